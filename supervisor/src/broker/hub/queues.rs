//! The event queues: what is configured, and what that means for those who are subscribed.

use std::time::Instant;

use cthelper_policy::events::Needs;
use cthelper_proto::events_sock::Denial;

use super::{Hub, Queue};
use crate::broker::backlog::Limit;
use crate::broker::client::{Door, Phase};

/// Bytes that may wait for all subscribers together, shared evenly: of as many as there may be (`BROKER_PEERS`), each has 128 KiB.
const BUDGET: usize = 128 << 20;

/// What may wait for one subscriber, of so many.
pub(super) fn limit(queue: &Queue, subscribers: usize) -> Limit {
    let number = |setting: u32| usize::try_from(setting).unwrap_or(usize::MAX);
    Limit { records: number(queue.config.room.records), bytes: number(queue.config.room.bytes).min(share(subscribers)) }
}

fn share(subscribers: usize) -> usize {
    BUDGET / subscribers.max(1)
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

    /// A subscriber has come. What waits for others above the share that is left gives way at once: before their next event, which may be
    /// long in coming, those who come could fill more than there is.
    pub(super) fn share_anew(&mut self, now: Instant) {
        let share = share(self.subscribers);
        for client in self.clients.values_mut() {
            let queue = client.subscription.and_then(|subscription| self.queues.get(&subscription.queue));
            let when_full = queue.map_or_else(Default::default, |queue| queue.config.when_full);
            self.counts.lost += client.shrink(share, when_full, now);
        }
    }

    fn may_read(&self, queue: &Queue, number: u64) -> bool {
        match self.clients.get(&number).map(|client| (client.door, client.phase)) {
            Some((Door::Socket { uid, gid }, Phase::Subscribed)) => queue.access.allows(uid, gid),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests;
