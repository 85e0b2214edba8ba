//! The records, sent and received without waiting.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::protocol::{RECORD, Record, Wrong};
use crate::seqpacket::raw::{self, Received};

/// What one look at a connection found.
#[derive(Debug)]
pub(super) enum Heard {
    /// Nothing yet.
    Nothing,
    /// The other end is gone.
    Hangup,
    /// A record and the descriptors that came with it.
    Record(Record, Vec<OwnedFd>),
    /// Something else; what came with it is closed.
    Wrong(Wrong),
}

/// Receives one record; waits for it until then.
pub(super) fn wait(from: impl AsFd, until: Instant) -> Heard {
    loop {
        match hear(&from) {
            Heard::Nothing if Instant::now() < until => {
                let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
                let _ = poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], left);
            }
            heard => return heard,
        }
    }
}

/// Receives one record without waiting.
pub(super) fn hear(from: impl AsFd) -> Heard {
    let mut bytes = [0; RECORD];
    let (length, descriptors) = match raw::receive(from, &mut bytes, RecvFlags::DONTWAIT) {
        Ok(Received::Record(length, descriptors)) => (length, descriptors),
        Ok(Received::Nothing) => return Heard::Nothing,
        Ok(Received::Hangup) | Err(_) => return Heard::Hangup,
        Ok(Received::TooLong) => return Heard::Wrong(Wrong::Length),
    };
    match bytes.get(..length).ok_or(Wrong::Length).and_then(Record::decode) {
        Ok(record) => Heard::Record(record, descriptors),
        Err(wrong) => Heard::Wrong(wrong),
    }
}

/// Sends one record without waiting, with a duplicate of `descriptor` if there is one.
pub(super) fn say(to: impl AsFd, record: &Record, descriptor: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    raw::send(to, &record.encode(), descriptor.as_slice())
}
