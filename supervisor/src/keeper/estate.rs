//! What a dead supervisor left, when nobody is to take it over.

use std::collections::BTreeSet;

use super::client::Keeper;
use super::ledger::Life;

/// Lets what waits in the queues of its keepers pass, has them close these, and end. Their helpers must be disabled by now. Returns how many
/// queues that were; none where no keeper lives.
pub fn dissolve(life: &Life) -> usize {
    let mut queues = BTreeSet::new();
    for keeper in Keeper::find(&life.runtime_dir) {
        let kept = keeper.take().map(|(kept, _)| kept).unwrap_or_default();
        queues.extend(kept.iter().map(|kept| kept.queue));
        for heir in kept.into_iter().filter_map(|kept| kept.recognise().ok()) {
            let queue = heir.queue;
            if let Err(errno) = heir.wind_up() {
                tracing::warn!(queue, %errno, "packets that waited in the queue are lost");
            }
        }
        if !keeper.bye() {
            tracing::warn!("a keeper does not end, and goes on to hold its queues");
        }
    }
    queues.len()
}
