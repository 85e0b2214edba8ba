//! Records with descriptors in them, sent and received without waiting.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use super::protocol::{RECORD, Record, Wrong};

/// A descriptor and the one too many that shows that there are more.
const DESCRIPTORS: usize = 2;

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
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = loop {
        match recvmsg(&from, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags) {
            Err(Errno::INTR) => {}
            received => break received,
        }
    };
    let received = match received {
        Ok(received) => received,
        Err(Errno::AGAIN) => return Heard::Nothing,
        Err(_) => return Heard::Hangup,
    };
    let descriptors = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
        _ => Vec::new(),
    });
    let descriptors: Vec<OwnedFd> = descriptors.collect();
    if received.bytes == 0 && descriptors.is_empty() {
        return Heard::Hangup;
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Heard::Wrong(Wrong::Length);
    }
    match bytes.get(..received.bytes).ok_or(Wrong::Length).and_then(Record::decode) {
        Ok(record) => Heard::Record(record, descriptors),
        Err(wrong) => Heard::Wrong(wrong),
    }
}

/// Sends one record without waiting, with a duplicate of `descriptor` if there is one.
pub(super) fn say(to: impl AsFd, record: &Record, descriptor: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(to, &[IoSlice::new(&record.encode())], &mut ancillary, flags).map(drop)
}
