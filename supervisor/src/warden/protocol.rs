//! What is said between supervisor and warden, and how between supervisor and broker, too: records of a `SOCK_SEQPACKET` pair, one message each, descriptors beside.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use cthelper_proto::events::Fault;
use cthelper_proto::ipc::{decode, encode};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::spawn::{Recipe, RoleRecipe};

/// Longest message, bytes: a recipe with two long paths.
const RECORD: usize = 16 * 1024;
/// Descriptors beside one message: a worker's three.
pub(super) const DESCRIPTORS: usize = 3;

/// At boot, on the warden's fd 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Instruction {
    /// A lane's workers are made like this; its channel comes beside.
    Post(Recipe),
    /// Keepers are made like this; their channel comes beside.
    Keeper(RoleRecipe),
    /// Brokers, likewise.
    Broker(RoleRecipe),
    /// That was all; nothing is taken here any more.
    Seal,
}

/// The warden's only word on that socket: it has confined itself, and serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed;

/// Lane → warden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    /// Another worker; its packet channel, ask channel and log come beside. Of a keeper: its listening socket; of a broker: its link and its
    /// log.
    Spawn {
        /// The name of that worker between the two of us.
        generation: u64,
    },
    /// End that worker.
    Kill {
        /// Which.
        generation: u64,
    },
}

/// Warden → lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// The launcher that will become the worker exists.
    Spawned {
        /// As it was ordered.
        generation: u64,
        /// Its process id, and the worker's.
        pid: u32,
    },
    /// It could not be started.
    Failed {
        /// As it was ordered.
        generation: u64,
        /// Why.
        reason: String,
    },
    /// It is gone.
    Ended {
        /// As it was ordered.
        generation: u64,
        /// How.
        end: End,
    },
}

/// What the kernel says of a process that is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// It exited with this code.
    pub code: Option<i32>,
    /// This signal ended it.
    pub signal: Option<i32>,
    /// Where the signal came from.
    pub fault: Option<Fault>,
}

/// A pair of connected sockets for these messages.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message without waiting.
pub(crate) fn say<T: Serialize>(fd: impl AsFd, message: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let record = encode(message).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.to_string()))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let fits = descriptors.len() <= DESCRIPTORS; // the buffer is rounded up and would take one more
    let pushed = descriptors.is_empty() || (fits && beside.push(SendAncillaryMessage::ScmRights(descriptors)));
    if !pushed {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(fd, &[IoSlice::new(&record)], &mut beside, flags)?;
    Ok(())
}

/// What a socket held.
pub(crate) enum Heard<T> {
    /// A message and what came beside it.
    Message(T, Vec<OwnedFd>),
    /// Nothing at the moment.
    Nothing,
    /// The other end is closed.
    Hangup,
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
    let mut record = vec![0; RECORD];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(fd, &mut [IoSliceMut::new(&mut record)], &mut beside, how | RecvFlags::CMSG_CLOEXEC);
    let length = match got {
        Ok(got) => got.bytes,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(Heard::Nothing),
        Err(rustix::io::Errno::CONNRESET | rustix::io::Errno::PIPE) => return Ok(Heard::Hangup),
        Err(error) => return Err(error.into()),
    };
    if length == 0 {
        return Ok(Heard::Hangup);
    }
    let mut descriptors = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    match decode(record.get(..length).unwrap_or_default()) {
        Ok((message, [])) => Ok(Heard::Message(message, descriptors)),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "bytes behind the message")),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptors_and_the_end_is_seen() {
        let (ours, theirs) = pair().unwrap();
        let beside = [ours.as_fd(), theirs.as_fd(), ours.as_fd()];
        say(&ours, &Order::Spawn { generation: 7 }, &beside).unwrap();
        let Heard::Message(order, descriptors) = hear::<Order>(&theirs).unwrap() else { panic!() };
        assert_eq!((order, descriptors.len()), (Order::Spawn { generation: 7 }, 3));
        assert!(matches!(hear::<Order>(&theirs).unwrap(), Heard::Nothing));
        drop((ours, descriptors));
        assert!(matches!(hear::<Order>(&theirs).unwrap(), Heard::Hangup));
    }

    #[test]
    fn more_descriptors_than_a_worker_has_are_refused_and_garbage_is_an_error() {
        let (ours, theirs) = pair().unwrap();
        assert!(say(&ours, &Sealed, &[ours.as_fd(); 4]).is_err());
        say(&ours, &u64::MAX, &[]).unwrap();
        assert!(hear::<Instruction>(&theirs).is_err());
    }
}
