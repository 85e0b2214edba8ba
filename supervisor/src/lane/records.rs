//! The packet channel: several messages in one record, each way.

use std::os::fd::{AsRawFd, BorrowedFd};

use cthelper_proto::ipc::{FrameError, MAX_FRAMES, MAX_RECORD, ToWorker, append};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

/// Reusable buffers for one lane's packet channel.
#[derive(Debug)]
pub(super) struct Records {
    /// Taken out while a record is read from it; an empty one costs nothing to leave behind.
    pub(super) inbox: Vec<u8>,
    outbox: Vec<u8>,
}

impl Default for Records {
    fn default() -> Self {
        Self { inbox: vec![0; MAX_RECORD], outbox: Vec::new() }
    }
}

/// What the packet channel held.
pub(super) enum Received<'a> {
    /// Nothing at the moment.
    Nothing,
    /// The end: the peer has hung up.
    Hangup,
    /// A record; empty if it was longer than any may be.
    Record(&'a [u8]),
}

/// Receives one record into `inbox` without waiting.
pub(super) fn receive<'a>(fd: BorrowedFd<'_>, inbox: &'a mut [u8]) -> Received<'a> {
    let mut recv = || recv(fd.as_raw_fd(), inbox, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC);
    // A peer that ends with packets unread leaves this error, once, before what it had said (`unix_release_sock`).
    let got = recv().or_else(|error| if error == Errno::ECONNRESET { recv() } else { Err(error) });
    match got {
        Ok(0) => Received::Hangup,
        Ok(length) => Received::Record(inbox.get(..length).unwrap_or_default()),
        Err(Errno::EAGAIN | Errno::EINTR) => Received::Nothing,
        Err(_) => Received::Hangup,
    }
}

impl Records {
    /// Sends the first messages, each with its payload behind it, as one record; returns how many the channel took.
    pub(super) fn send<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        messages: impl Iterator<Item = (ToWorker, &'a [u8])>,
    ) -> Result<usize, Errno> {
        self.outbox.clear();
        let mut count = 0;
        for (message, payload) in messages.take(MAX_FRAMES) {
            let before = self.outbox.len();
            append(&message, payload, &mut self.outbox).map_err(|_: FrameError| Errno::EMSGSIZE)?;
            if self.outbox.len() > MAX_RECORD {
                self.outbox.truncate(before);
                break;
            }
            count += 1;
        }
        match send(fd.as_raw_fd(), &self.outbox, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => Ok(count),
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::EINTR) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    #[test]
    fn what_was_said_before_an_end_with_packets_unread_is_heard() {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        send(theirs.as_raw_fd(), b"verdict", MsgFlags::empty()).unwrap();
        send(ours.as_raw_fd(), b"never read", MsgFlags::empty()).unwrap();
        drop(theirs);
        let mut inbox = [0; 16];
        assert!(matches!(receive(ours.as_fd(), &mut inbox), Received::Record(b"verdict")));
        assert!(matches!(receive(ours.as_fd(), &mut inbox), Received::Hangup));
    }
}
