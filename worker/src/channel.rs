//! The two channels to the supervisor: records of packets in, verdicts out (fd 0), questions and answers (fd 1).
//!
//! Both are `SOCK_SEQPACKET`: one message per record, and an empty record means that the supervisor is gone. While serving, only
//! `recvmmsg`, `sendmmsg`, `sendto` and `recvfrom` are used on them.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

use cthelper_proto::ipc::{
    Answer, Ask, Expect, ExpectId, FrameError, FromWorker, Grant, MAX_RECORD, Rule, Ticket, Verdict, decode, encode_into,
};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, recv, recvmmsg, send, sendmmsg};

use crate::helper::{Judge, Refused};

/// Records read or written by one system call at most.
pub const BATCH: usize = 16;
/// Distance of two receive buffers: whole pages, so that a buffer no large packet has used costs no memory.
const STRIDE: usize = MAX_RECORD.next_multiple_of(4096);
/// Largest answer to a question, bytes.
const MAX_ANSWER: usize = 2 + cthelper_proto::ipc::MAX_HEADER;

/// Why a channel cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The supervisor has closed it.
    Closed,
    /// A record does not follow the protocol.
    Record(FrameError),
    /// A record that does not belong here.
    OutOfTurn(&'static str),
    /// The operating system said no.
    Fault(&'static str, Errno),
}

impl Broken {
    fn from_errno(doing: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::EPIPE | Errno::ECONNRESET => Self::Closed,
            errno => Self::Fault(doing, errno),
        }
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("supervisor closed the channel"),
            Self::Record(error) => write!(f, "bad record from the supervisor: {error}"),
            Self::OutOfTurn(what) => write!(f, "out of turn from the supervisor: {what}"),
            Self::Fault(doing, errno) => write!(f, "{doing}: {errno}"),
        }
    }
}

/// Repeats a system call that a signal interrupted.
fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

/// The receiving half of the packet channel.
pub struct Inbox<'fd> {
    fd: BorrowedFd<'fd>,
    headers: MultiHeaders<()>,
    buffers: Vec<u8>,
    lengths: Vec<usize>,
}

impl<'fd> Inbox<'fd> {
    /// Buffers for one batch; zeroed pages that are not touched yet.
    pub fn new(fd: BorrowedFd<'fd>) -> Self {
        let headers = MultiHeaders::preallocate(BATCH, None);
        Self { fd, headers, buffers: vec![0; STRIDE * BATCH], lengths: Vec::with_capacity(BATCH) }
    }

    /// Waits for one record at least, and takes up to [`BATCH`] that are there.
    pub fn receive(&mut self) -> Result<(), Broken> {
        while !self.try_receive()? {}
        Ok(())
    }

    /// As [`Self::receive`]; false if a signal came first.
    fn try_receive(&mut self) -> Result<bool, Broken> {
        self.lengths.clear();
        let mut buffers = self.buffers.chunks_exact_mut(STRIDE);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(buffers.next().unwrap_or_default())]);
        let received = match recvmmsg(self.fd.as_raw_fd(), &mut self.headers, &mut slices, MsgFlags::MSG_WAITFORONE, None) {
            Ok(received) => received,
            Err(Errno::EINTR) => return Ok(false),
            Err(errno) => return Err(Broken::from_errno("receive packets", errno)),
        };
        for record in received {
            if record.flags.contains(MsgFlags::MSG_TRUNC) {
                return Err(Broken::Record(FrameError::TooLong));
            }
            self.lengths.push(record.bytes);
        }
        Ok(true)
    }

    /// The records received last, in order. An empty one is the end of the channel.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.buffers.chunks_exact(STRIDE).zip(&self.lengths).map(|(buffer, len)| buffer.get(..*len).unwrap_or_default())
    }
}

/// The sending half of the packet channel: collects verdicts.
struct Outbox<'fd> {
    fd: BorrowedFd<'fd>,
    headers: MultiHeaders<()>,
    records: [Vec<u8>; BATCH],
    queued: usize,
}

impl Outbox<'_> {
    fn push(&mut self, verdict: Verdict) -> Result<(), Broken> {
        if self.queued == BATCH {
            self.flush()?;
        }
        if let Some(record) = self.records.get_mut(self.queued) {
            encode_into(&FromWorker::Verdict(verdict), record).map_err(Broken::Record)?;
            self.queued += 1;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Broken> {
        let mut sent = 0;
        while sent < self.queued {
            let mut records = self.records.get(sent..self.queued).unwrap_or_default().iter();
            let slices: [[IoSlice<'_>; 1]; BATCH] =
                std::array::from_fn(|_| [IoSlice::new(records.next().map_or(&[], Vec::as_slice))]);
            let batch = slices.iter().take(self.queued - sent);
            match sendmmsg(self.fd.as_raw_fd(), &mut self.headers, batch, [None; BATCH], [], MsgFlags::MSG_NOSIGNAL) {
                Ok(done) => sent += done.count(),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Broken::from_errno("send verdicts", errno)),
            }
        }
        self.queued = 0;
        Ok(())
    }
}

/// The ask channel.
pub struct Asks<'fd> {
    fd: BorrowedFd<'fd>,
    record: Vec<u8>,
}

impl<'fd> Asks<'fd> {
    /// Nothing asked yet.
    pub fn new(fd: BorrowedFd<'fd>) -> Self {
        Self { fd, record: Vec::new() }
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, ask: &Ask) -> Result<Answer, Broken> {
        let fd = self.fd.as_raw_fd();
        encode_into(ask, &mut self.record).map_err(Broken::Record)?;
        retry(|| send(fd, &self.record, MsgFlags::MSG_NOSIGNAL)).map_err(|errno| Broken::from_errno("ask", errno))?;
        self.record.resize(MAX_ANSWER, 0);
        let len = retry(|| recv(fd, &mut self.record, MsgFlags::MSG_TRUNC))
            .map_err(|errno| Broken::from_errno("receive an answer", errno))?;
        match self.record.get(..len) {
            Some([]) => Err(Broken::Closed),
            None => Err(Broken::Record(FrameError::TooLong)),
            Some(record) => match decode(record).map_err(Broken::Record)? {
                (answer, []) => Ok(answer),
                (_, [..]) => Err(Broken::Record(FrameError::Trailing)),
            },
        }
    }
}

/// All the worker can say to the supervisor while it serves.
pub struct Link<'fd> {
    out: Outbox<'fd>,
    asks: Asks<'fd>,
    broken: Option<Broken>,
}

impl<'fd> Link<'fd> {
    /// Verdicts go to `packets`, questions to `asks`.
    pub fn new(packets: BorrowedFd<'fd>, asks: Asks<'fd>) -> Self {
        let headers = MultiHeaders::preallocate(BATCH, None);
        let out = Outbox { fd: packets, headers, records: Default::default(), queued: 0 };
        Self { out, asks, broken: None }
    }

    /// Queues a verdict; sends all when the batch is full.
    pub fn verdict(&mut self, verdict: Verdict) -> Result<(), Broken> {
        self.out.push(verdict)
    }

    /// Sends the queued verdicts.
    pub fn flush(&mut self) -> Result<(), Broken> {
        self.out.flush()
    }

    /// Whether a question asked by a helper found the channel broken.
    pub fn check(&mut self) -> Result<(), Broken> {
        self.broken.take().map_or(Ok(()), Err)
    }

    /// Sends the finished verdicts first: nobody waits for an answer he does not need, and the oldest ticket without a verdict is
    /// the one in hand.
    fn ask(&mut self, ask: &Ask) -> Option<Answer> {
        let answer = self.out.flush().and_then(|()| self.asks.ask(ask));
        answer.map_err(|broken| self.broken = Some(broken)).ok()
    }
}

impl Judge for Link<'_> {
    fn expect(&mut self, ticket: Ticket, expect: &Expect) -> Result<Grant, Refused> {
        match self.ask(&Ask::Expect(ticket, *expect)) {
            Some(Answer::Granted(grant)) => Ok(grant),
            Some(Answer::Refused(rule)) => Err(Refused::By(rule)),
            Some(Answer::Gone) | None => Err(Refused::Gone),
            Some(Answer::Welcome(_) | Answer::Go) => {
                self.broken = Some(Broken::OutOfTurn("answer to a question for an expectation"));
                Err(Refused::By(Rule::Kernel))
            }
        }
    }

    fn withdraw(&mut self, ticket: Ticket, id: ExpectId) {
        if !matches!(self.ask(&Ask::Withdraw(ticket, id)), Some(Answer::Gone) | None) {
            self.broken = Some(Broken::OutOfTurn("answer to a withdrawal"));
        }
    }
}

#[cfg(test)]
mod tests;
