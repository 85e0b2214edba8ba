//! Several records of the packet channel in one system call, each way.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

use cthelper_proto::ipc::{FrameError, MAX_HEADER, ToWorker, encode_into};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg};

/// Records per system call. Between 16 and 64 the cost per packet hardly changes; 32 buffers of verdicts are half a megabyte.
pub(super) const BATCH: usize = 32;
/// A verdict has no payload behind it.
const RECORD: usize = 2 + MAX_HEADER;

/// Reusable buffers for one lane's packet channel.
pub(super) struct Records {
    inbound: MultiHeaders<()>,
    outbound: MultiHeaders<()>,
    inbox: Vec<Vec<u8>>,
    outbox: Vec<Vec<u8>>,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            inbound: MultiHeaders::preallocate(BATCH, None),
            outbound: MultiHeaders::preallocate(BATCH, None),
            inbox: (0..BATCH).map(|_| vec![0; RECORD]).collect(),
            outbox: vec![Vec::new(); BATCH],
        }
    }
}

impl Records {
    /// Receives what is there; `each` gets a record's bytes. `Ok(false)` = the peer has hung up.
    pub(super) fn receive(&mut self, fd: BorrowedFd<'_>, mut each: impl FnMut(&[u8])) -> Result<bool, Errno> {
        let mut lengths = [0_usize; BATCH];
        let mut count = 0;
        {
            let mut slices: Vec<[IoSliceMut<'_>; 1]> = self.inbox.iter_mut().map(|b| [IoSliceMut::new(b)]).collect();
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
            for (length, result) in
                lengths.iter_mut().zip(recvmmsg(fd.as_raw_fd(), &mut self.inbound, slices.iter_mut(), flags, None)?)
            {
                *length = result.bytes;
                count += 1;
            }
        }
        for (buffer, length) in self.inbox.iter().zip(lengths).take(count) {
            if length == 0 {
                return Ok(false);
            }
            // A record longer than any verdict arrives as its own beginning, which is no message.
            each(buffer.get(..length).unwrap_or_default());
        }
        Ok(true)
    }

    /// Sends each message with its payload behind it; returns how many the channel took.
    pub(super) fn send<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        messages: impl Iterator<Item = (ToWorker, &'a [u8])>,
    ) -> Result<usize, Errno> {
        let mut payloads = [&[][..]; BATCH];
        let mut count = 0;
        for (((message, payload), slot), record) in messages.zip(&mut payloads).zip(&mut self.outbox) {
            encode_into(&message, record).map_err(|_: FrameError| Errno::EMSGSIZE)?;
            *slot = payload;
            count += 1;
        }
        let slices: Vec<[IoSlice<'_>; 2]> = self
            .outbox
            .iter()
            .zip(payloads)
            .take(count)
            .map(|(record, payload)| [IoSlice::new(record), IoSlice::new(payload)])
            .collect();
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match sendmmsg(fd.as_raw_fd(), &mut self.outbound, slices.iter(), [None; BATCH], [], flags) {
            Ok(results) => Ok(results.count()),
            Err(Errno::EAGAIN | Errno::ENOBUFS) => Ok(0),
            Err(error) => Err(error),
        }
    }
}
