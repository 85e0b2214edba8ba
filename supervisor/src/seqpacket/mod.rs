//! Records of `SOCK_SEQPACKET` sockets between processes of ours, with descriptors beside them: one message each, in the encoding of the
//! workers' protocol; as bytes in [`raw`].

pub(crate) mod raw;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cthelper_proto::ipc::{decode, encode};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};
use serde::Serialize;
use serde::de::DeserializeOwned;

use raw::Received;

/// Longest message, bytes: a recipe with two long paths.
const RECORD: usize = 16 * 1024;
/// Descriptors beside one record: a worker's three.
pub(crate) const DESCRIPTORS: usize = 3;

/// What a socket held.
pub(crate) enum Heard<T> {
    /// A message and what came beside it.
    Message(T, Vec<OwnedFd>),
    /// Nothing at the moment.
    Nothing,
    /// The other end is closed.
    Hangup,
}

/// A pair of connected sockets.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message without waiting.
pub(crate) fn say<T: Serialize>(fd: impl AsFd, message: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let record = encode(message).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
    Ok(raw::send(fd, &record, descriptors)?)
}

/// Receives one message without waiting.
pub(crate) fn hear<T: DeserializeOwned>(fd: impl AsFd) -> io::Result<Heard<T>> {
    receive(fd, RecvFlags::DONTWAIT)
}

/// Receives one message, however long it takes.
pub(crate) fn wait_for<T: DeserializeOwned>(fd: impl AsFd) -> io::Result<Heard<T>> {
    receive(fd, RecvFlags::empty())
}

fn receive<T: DeserializeOwned>(fd: impl AsFd, how: RecvFlags) -> io::Result<Heard<T>> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut record = vec![0; RECORD];
    let (length, descriptors) = match raw::receive(fd, &mut record, how)? {
        Received::Record(length, descriptors) => (length, descriptors),
        Received::Nothing => return Ok(Heard::Nothing),
        Received::Hangup => return Ok(Heard::Hangup),
        Received::TooLong => return Err(bad("a message that is too long, or too much beside it")),
    };
    match decode(record.get(..length).unwrap_or_default()) {
        Ok((message, [])) => Ok(Heard::Message(message, descriptors)),
        Ok(_) => Err(bad("bytes behind the message")),
        Err(error) => Err(bad(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptors_and_the_end_is_seen() {
        let (ours, theirs) = pair().unwrap();
        let beside = [ours.as_fd(), theirs.as_fd(), ours.as_fd()];
        say(&ours, &7_u64, &beside).unwrap();
        let Heard::Message(said, descriptors) = hear::<u64>(&theirs).unwrap() else { panic!() };
        assert_eq!((said, descriptors.len()), (7, 3));
        assert!(matches!(hear::<u64>(&theirs).unwrap(), Heard::Nothing));
        drop((ours, descriptors));
        assert!(matches!(hear::<u64>(&theirs).unwrap(), Heard::Hangup));
    }

    #[test]
    fn more_descriptors_than_a_worker_has_are_not_sent() {
        let (ours, theirs) = pair().unwrap();
        assert!(say(&ours, &7_u64, &[ours.as_fd(); 4]).is_err());
        assert!(matches!(hear::<u64>(&theirs).unwrap(), Heard::Nothing));
    }

    #[test]
    fn garbage_what_is_too_long_and_what_stands_behind_a_message_are_errors() {
        let (ours, theirs) = pair().unwrap();
        let says = |record: &[u8]| {
            raw::send(&ours, record, &[]).unwrap();
            hear::<bool>(&theirs).map(drop).unwrap_err().to_string()
        };
        assert_eq!(says(&[7]), "record shorter than its header says");
        assert_eq!(says(b"\x01\0\x01\0\0\0\x01!"), "bytes behind the message");
        assert_eq!(says(&vec![1; RECORD + 1]), "a message that is too long, or too much beside it");
    }
}
