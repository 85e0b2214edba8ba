//! The records as bytes.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use super::DESCRIPTORS;

/// What one look at a socket found.
pub(crate) enum Received {
    /// Nothing yet.
    Nothing,
    /// The other end is gone.
    Hangup,
    /// A record of so many bytes, and the descriptors that came beside it.
    Record(usize, Vec<OwnedFd>),
    /// A longer record than there is room for, or more descriptors; what came is closed.
    TooLong,
}

/// Sends one record without waiting.
///
/// # Errors
/// The kernel's; `INVAL` for more than [`DESCRIPTORS`].
pub(crate) fn send(to: impl AsFd, record: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let fits = descriptors.len() <= DESCRIPTORS; // the buffer is rounded up and would take one more
    let pushed = descriptors.is_empty() || (fits && beside.push(SendAncillaryMessage::ScmRights(descriptors)));
    if !pushed {
        return Err(Errno::INVAL);
    }
    sendmsg(to, &[IoSlice::new(record)], &mut beside, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(drop)
}

/// Receives one record into `room`; `how` says whether it waits for one.
///
/// # Errors
/// The kernel's, but for those that are a [`Received`].
pub(crate) fn receive(from: impl AsFd, room: &mut [u8], how: RecvFlags) -> Result<Received, Errno> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(&from, &mut [IoSliceMut::new(room)], &mut beside, how | RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Received::Nothing),
            Err(Errno::CONNRESET | Errno::PIPE) => return Ok(Received::Hangup),
            received => break received?,
        }
    };
    let mut descriptors = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        Received::TooLong
    } else if received.bytes == 0 && descriptors.is_empty() {
        Received::Hangup
    } else {
        Received::Record(received.bytes, descriptors)
    })
}
