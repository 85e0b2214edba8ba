//! The event queues: what is configured, and what that means for those who are subscribed.

use std::time::Instant;

use cthelper_policy::events::Needs;
use cthelper_proto::events_sock::Denial;

use super::{Hub, Queue};
use crate::broker::backlog::Limit;
use crate::broker::client::{Door, Phase};

/// Bytes that may wait for all subscribers together; shared evenly, each gets no less than `LEAST`.
const BUDGET: usize = 128 << 20;
/// Bytes that may wait for a subscriber however many there are.
const LEAST: usize = 64 << 10;

/// What may wait for one subscriber, of so many.
pub(super) fn limit(queue: &Queue, subscribers: usize) -> Limit {
    let number = |setting: u32| usize::try_from(setting).unwrap_or(usize::MAX);
    let share = (BUDGET / subscribers.max(1)).max(LEAST);
    Limit { records: number(queue.config.room.records), bytes: number(queue.config.room.bytes).min(share) }
}

impl Hub<'_> {
    /// The queues that have arrived are all there are. Subscribers stay, unless their queue is gone or not theirs any more.
    pub(super) fn take_queues(&mut self, now: Instant) {
        let mut before = std::mem::take(&mut self.queues);
        for config in std::mem::take(&mut self.arriving) {
            let access = config.readers.resolve(|_| None, |_| None).unwrap_or_default();
            let subscribers = before.remove(&config.number).map(|queue| queue.subscribers).unwrap_or_default();
            self.queues.insert(config.number, Queue { config, access, subscribers });
        }
        let orphans: Vec<u64> = before.into_values().flat_map(|queue| queue.subscribers).collect();
        let strangers: Vec<u64> = self
            .queues
            .values()
            .flat_map(|queue| queue.subscribers.iter().filter(|number| !self.may_read(queue, **number)))
            .copied()
            .collect();
        for (number, code, reason) in orphans
            .into_iter()
            .map(|n| (n, Denial::NoQueue, "the event queue is gone"))
            .chain(strangers.into_iter().map(|n| (n, Denial::Forbidden, "the event queue is not yours any more")))
        {
            if let Some(client) = self.clients.get_mut(&number) {
                client.deny(code, reason, now);
            }
            self.flush(number);
        }
        self.active = self.queues.iter().filter(|(_, queue)| !queue.subscribers.is_empty()).map(|(number, _)| *number).collect();
        self.mirror.needs(self.queues.values().fold(Needs::default(), |needs, queue| needs.union(queue.config.needs())));
    }

    fn may_read(&self, queue: &Queue, number: u64) -> bool {
        match self.clients.get(&number).map(|client| (client.door, client.phase)) {
            Some((Door::Socket { uid, gid }, Phase::Subscribed)) => queue.access.allows(uid, gid),
            _ => true,
        }
    }
}
