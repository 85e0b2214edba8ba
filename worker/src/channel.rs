//! The two channels to the supervisor: records of packets in, verdicts out (fd 0), questions and answers (fd 1).
//!
//! Both are `SOCK_SEQPACKET`; an empty record means that the supervisor is gone. While serving, only `sendto` and `recvfrom` are used on
//! them.

use std::os::fd::{AsRawFd, BorrowedFd};

use cthelper_proto::ipc::{
    Answer, Ask, Expect, ExpectId, FrameError, FromWorker, Grant, MAX_FRAMES, MAX_RECORD, Rule, Ticket, ToWorker, Verdict,
    append, decode, encode_into, frames,
};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::helper::{Judge, Refused};

/// Largest answer to a question, bytes.
const MAX_ANSWER: usize = 4096;

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
    buffer: Vec<u8>,
    length: usize,
}

impl<'fd> Inbox<'fd> {
    /// A buffer for one record: zeroed pages, which cost no memory until a large one comes.
    pub fn new(fd: BorrowedFd<'fd>) -> Self {
        Self { fd, buffer: vec![0; MAX_RECORD], length: 0 }
    }

    /// Waits for a record.
    pub fn receive(&mut self) -> Result<(), Broken> {
        let received = retry(|| recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_TRUNC));
        match received.map_err(|errno| Broken::from_errno("receive packets", errno))? {
            0 => Err(Broken::Closed),
            length if length > self.buffer.len() => Err(Broken::Record(FrameError::TooLong)),
            length => {
                self.length = length;
                Ok(())
            }
        }
    }

    /// The messages of the record received last, in order, each with the payload behind it.
    pub fn messages(&self) -> impl Iterator<Item = Result<(ToWorker, &[u8]), Broken>> {
        frames(self.buffer.get(..self.length).unwrap_or_default()).map(|frame| frame.map_err(Broken::Record))
    }
}

/// The sending half of the packet channel: collects verdicts.
struct Outbox<'fd> {
    fd: BorrowedFd<'fd>,
    record: Vec<u8>,
    queued: usize,
}

impl Outbox<'_> {
    fn push(&mut self, verdict: Verdict) -> Result<(), Broken> {
        if self.queued == MAX_FRAMES || self.record.len() > MAX_RECORD / 2 {
            self.flush()?;
        }
        append(&FromWorker::Verdict(verdict), &[], &mut self.record).map_err(Broken::Record)?;
        self.queued += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Broken> {
        if self.queued > 0 {
            let sent = retry(|| send(self.fd.as_raw_fd(), &self.record, MsgFlags::MSG_NOSIGNAL));
            sent.map_err(|errno| Broken::from_errno("send verdicts", errno))?;
            self.record.clear();
            self.queued = 0;
        }
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
        let out = Outbox { fd: packets, record: Vec::new(), queued: 0 };
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
