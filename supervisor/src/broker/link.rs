//! Where anybody in the supervisor leaves a message for the broker. Nobody waits: with no broker, or one that does not read, the message
//! is dropped and counted.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::protocol::ToBroker;
use crate::seqpacket::say;

/// A handle; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Link(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// None while no broker serves. Held for the time of one `sendmsg` that does not wait.
    channel: Mutex<Option<OwnedFd>>,
    lost: AtomicU64,
}

impl Link {
    fn channel(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.0.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on messages go here, or nowhere.
    pub(super) fn set(&self, channel: Option<OwnedFd>) {
        *self.channel() = channel;
    }

    /// Leaves a message. Without a broker there is nobody to miss it; one for which there is no room counts as lost.
    pub fn tell(&self, message: &ToBroker) {
        if self.tell_with(message, &[]).is_err() {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn tell_with(&self, message: &ToBroker, beside: &[BorrowedFd<'_>]) -> io::Result<()> {
        match &*self.channel() {
            Some(channel) => say(channel.as_fd(), message, beside),
            None => Ok(()),
        }
    }

    /// Messages that were lost since the start.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::protocol::Daemon;
    use crate::seqpacket::{Heard, hear, pair};

    #[test]
    fn a_broker_that_does_not_read_costs_messages_and_no_time() {
        let link = Link::default();
        link.tell(&ToBroker::Go);
        assert_eq!(link.lost(), 0, "nobody was there to miss it");
        let (ours, theirs) = pair().unwrap();
        link.set(Some(ours));
        let message = ToBroker::Helper("x".repeat(8000));
        let mut told = 0_u64;
        while link.lost() < 3 {
            link.tell(&message);
            told += 1;
        }
        link.set(None);
        let heard = std::iter::from_fn(|| match hear::<ToBroker>(&theirs) {
            Ok(Heard::Message(message, _)) => Some(message),
            _ => None,
        });
        assert_eq!(u64::try_from(heard.count()).unwrap() + 3, told);
        link.tell(&ToBroker::Status(Daemon::default()));
        assert_eq!(link.lost(), 3);
    }
}
