//! What a dead supervisor left, when nobody is to take it over.

use super::client::Keeper;
use super::ledger::Life;

/// Lets what waits in the keeper's queues pass, has it close them, and end. Their helpers must be disabled by now. Returns how many
/// queues that were; none where no keeper lives.
pub fn dissolve(life: &Life) -> usize {
    let Ok(keeper) = Keeper::find(&life.runtime_dir) else { return 0 };
    let kept = keeper.take().map(|(kept, _)| kept).unwrap_or_default();
    let queues = kept.len();
    for heir in kept.into_iter().filter_map(|kept| kept.recognise().ok()) {
        let queue = heir.queue;
        if let Err(errno) = heir.wind_up() {
            tracing::warn!(queue, %errno, "packets that waited in the queue are lost");
        }
    }
    keeper.bye();
    queues
}
