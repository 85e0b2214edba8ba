//! One connection.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use super::outbox::{Flushed, Outbox};
use super::{http, request};

/// How long a client may take to say what it wants.
const ASKING: Duration = Duration::from_secs(5);
/// How long it may take to read an answer that is complete.
const READING: Duration = Duration::from_secs(10);
/// How long an answer of the supervisor is waited for; its lanes answer within 2 s or not at all.
pub(super) const WAITING: Duration = Duration::from_secs(3);
/// Bytes read at a time.
const CHUNK: usize = 2048;

/// Where it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// `events.sock`, as this user.
    Socket {
        /// `SO_PEERCRED`.
        uid: u32,
    },
    /// The port for metrics.
    Port,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has not said what it wants.
    Asking,
    /// The supervisor is asked for the metrics.
    Waiting,
    /// It has its answer and may read it.
    Leaving,
}

/// What its words mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing yet, or nothing that matters any more.
    Nothing,
    /// It wants the metrics.
    Metrics,
    /// It is told this, and leaves; it was wrong.
    Wrong(Vec<u8>),
    /// It has hung up.
    Bye,
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    connection: OwnedFd,
    pub(super) door: Door,
    pub(super) phase: Phase,
    pub(super) since: Instant,
    inbox: Vec<u8>,
    outbox: Outbox,
    /// Whether it is waited for that it has room again.
    pub(super) is_awaited: bool,
}

impl Client {
    pub(super) fn new(connection: OwnedFd, door: Door, now: Instant) -> Self {
        let (inbox, outbox) = (Vec::new(), Outbox::default());
        Self { connection, door, phase: Phase::Asking, since: now, inbox, outbox, is_awaited: false }
    }

    /// Reads what has come. One that is not asking any more is only watched for its end.
    pub(super) fn hear(&mut self) -> Said {
        let mut chunk = [0; CHUNK];
        let length = match recv(self.connection.as_raw_fd(), &mut chunk, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Said::Bye,
            Ok(length) => length,
            Err(Errno::EAGAIN | Errno::EINTR) => return Said::Nothing,
            Err(_) => return Said::Bye,
        };
        if self.phase != Phase::Asking {
            return Said::Nothing;
        }
        self.inbox.extend_from_slice(chunk.get(..length).unwrap_or_default());
        let said = match self.door {
            Door::Socket { .. } => by_line(&self.inbox),
            Door::Port => by_http(&self.inbox),
        };
        if said != Said::Nothing {
            self.inbox = Vec::new();
        }
        said
    }

    /// Gives it its metrics, and nothing more.
    pub(super) fn give_metrics(&mut self, text: &str, now: Instant) {
        let answer = match self.door {
            Door::Socket { .. } => [request::ok("metrics").as_slice(), text.as_bytes()].concat(),
            Door::Port => http::answer("200 OK", text),
        };
        self.last_word(answer, now);
    }

    /// Tells it that there is nothing to be had.
    pub(super) fn give_up(&mut self, reason: &str, now: Instant) {
        let answer = match self.door {
            Door::Socket { .. } => request::error(reason),
            Door::Port => http::answer("503 Service Unavailable", &format!("{reason}\n")),
        };
        self.last_word(answer, now);
    }

    /// After this it is only waited for until it has read it.
    pub(super) fn last_word(&mut self, word: Vec<u8>, now: Instant) {
        self.outbox.push(Rc::from(word));
        self.phase = Phase::Leaving;
        self.since = now;
    }

    /// Sends what it has room for.
    pub(super) fn flush(&mut self) -> Flushed {
        self.outbox.flush(&self.connection)
    }

    /// When its patience with us, or ours with it, is over.
    pub(super) fn deadline(&self) -> Instant {
        self.since
            + match self.phase {
                Phase::Asking => ASKING,
                Phase::Waiting => WAITING,
                Phase::Leaving => READING,
            }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

fn by_line(bytes: &[u8]) -> Said {
    match request::asked(bytes) {
        request::Asked::Incomplete => Said::Nothing,
        request::Asked::Wanted(request::Wanted::Metrics) => Said::Metrics,
        request::Asked::Wrong(reason) => Said::Wrong(request::error(&reason)),
    }
}

fn by_http(bytes: &[u8]) -> Said {
    match http::asked(bytes) {
        http::Asked::Incomplete => Said::Nothing,
        http::Asked::Metrics => Said::Metrics,
        http::Asked::Other(status) => Said::Wrong(http::answer(status, "only GET /metrics\n")),
    }
}
