//! One connection.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use cthelper_policy::config::WhenFull;
use cthelper_proto::events_sock::{self, Denial, Notice};
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{MsgFlags, recv};

use super::backlog::{Backlog, Flushed, Limit};
use super::frames::{self, Look};
use super::http;
use super::mirror::Cursor;
use super::request::{self, Wanted};

/// How long a client may take to say what it wants.
const ASKING: Duration = Duration::from_secs(5);
/// How long it may take to read an answer that is complete, or the next piece of one that is not.
const READING: Duration = Duration::from_secs(10);
/// How long an answer of the supervisor is waited for; its lanes answer within 2 s or not at all.
const WAITING: Duration = Duration::from_secs(3);
/// Notices that may wait for a subscriber.
const NOTICES: usize = 64;
/// Bytes read at a time.
const CHUNK: usize = 2048;

/// Where it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// `events.sock`, as this user (`SO_PEERCRED`).
    Socket {
        /// Its user.
        uid: u32,
        /// Its user's first group.
        gid: u32,
    },
    /// The port for metrics.
    Port,
}

impl Door {
    /// Who came in there; of the port nobody knows.
    pub(super) fn uid(self) -> Option<u32> {
        match self {
            Self::Socket { uid, .. } => Some(uid),
            Self::Port => None,
        }
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has not said what it wants.
    Asking,
    /// The supervisor is asked for the metrics.
    Waiting,
    /// It gets events.
    Subscribed,
    /// It gets the list of flows, and has come so far.
    Listing(Cursor),
    /// It has its answer and may read it.
    Leaving,
}

/// What its words mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing yet.
    Nothing,
    /// It wants this.
    Wanted(Wanted),
    /// It is told this, and leaves; it was wrong.
    Wrong(Vec<u8>),
    /// It has hung up.
    Bye,
}

/// What a subscriber gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    /// The queue's number.
    pub(super) queue: u16,
    /// How its events look.
    pub(super) look: Look,
    /// Everything there is, first and after each gap.
    pub(super) resync: Resync,
}

/// Where a subscriber is with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resync {
    /// It did not ask for it.
    Never,
    /// It has it.
    Done,
    /// It waits for the next dump.
    Wanted,
    /// It is getting it.
    Running,
}

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    connection: OwnedFd,
    pub(super) door: Door,
    pub(super) phase: Phase,
    pub(super) since: Instant,
    pub(super) subscription: Option<Subscription>,
    inbox: Vec<u8>,
    backlog: Backlog,
    /// What the epoll listens to.
    pub(super) interest: EpollFlags,
    /// It has got something since it was flushed.
    pub(super) is_dirty: bool,
    is_full: bool,
}

impl Client {
    pub(super) fn new(connection: OwnedFd, door: Door, now: Instant) -> Self {
        Self {
            connection,
            door,
            phase: Phase::Asking,
            since: now,
            subscription: None,
            inbox: Vec::new(),
            backlog: Backlog::default(),
            interest: EpollFlags::EPOLLIN,
            is_dirty: false,
            is_full: false,
        }
    }

    /// Reads what has come. Only one that has not said what it wants is read; of the others, what they say stays where it is.
    pub(super) fn hear(&mut self) -> Said {
        let mut chunk = [0; CHUNK];
        let length = match recv(self.connection.as_raw_fd(), &mut chunk, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => return Said::Bye,
            Ok(length) => length,
            Err(Errno::EAGAIN | Errno::EINTR) => return Said::Nothing,
            Err(_) => return Said::Bye,
        };
        self.inbox.extend_from_slice(chunk.get(..length).unwrap_or_default());
        let said = match self.door {
            Door::Socket { .. } => by_line(&self.inbox),
            Door::Port => by_http(&self.inbox, length),
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
    pub(super) fn deny(&mut self, code: Denial, reason: &str, now: Instant) {
        let answer = match self.door {
            Door::Socket { .. } => request::denied(code, reason, Vec::new()),
            Door::Port => http::answer("503 Service Unavailable", &format!("{reason}\n")),
        };
        self.last_word(answer, now);
    }

    /// The list of flows begins, with all of its first line but the end.
    pub(super) fn begin_list(&mut self, from: Cursor, now: Instant) {
        let mut answer = request::ok("flows");
        answer.pop();
        self.backlog.push_word(Rc::from(answer));
        (self.phase, self.since) = (Phase::Listing(from), now);
    }

    /// Where its list goes on, if it has read what it was given of it.
    pub(super) fn list_goes_on(&self) -> Option<Cursor> {
        match self.phase {
            Phase::Listing(from) if self.backlog.is_empty() => Some(from),
            _ => None,
        }
    }

    /// The next piece of its list, and where that goes on; with the last piece it does not.
    pub(super) fn give_piece(&mut self, piece: Vec<u8>, next: Option<Cursor>, now: Instant) {
        self.backlog.push_word(Rc::from(piece));
        (self.phase, self.since) = (next.map_or(Phase::Leaving, Phase::Listing), now);
    }

    /// After this it is only waited for until it has read it.
    pub(super) fn last_word(&mut self, word: Vec<u8>, now: Instant) {
        self.backlog.push_word(Rc::from(word));
        self.leave(now);
    }

    fn leave(&mut self, now: Instant) {
        self.phase = Phase::Leaving;
        self.since = now;
    }

    /// From now on it gets events.
    pub(super) fn subscribe(&mut self, subscription: Subscription, answer: Vec<u8>) {
        self.subscription = Some(subscription);
        self.phase = Phase::Subscribed;
        self.backlog.push_word(Rc::from(answer));
    }

    /// One more event for a subscriber; returns how many it loses by that.
    pub(super) fn give_event(&mut self, frame: Rc<[u8]>, limit: Limit, when_full: WhenFull, now: Instant) -> u64 {
        if when_full == WhenFull::DropOldest || self.backlog.has_room_for(frame.len(), limit) {
            return self.backlog.push_event(frame, limit);
        }
        self.backlog.refuse();
        1 + self.let_go(now)
    }

    /// From now on it has this share; returns how many events it loses by that.
    pub(super) fn shrink(&mut self, share: usize, when_full: WhenFull, now: Instant) -> u64 {
        let lost = self.backlog.shrink(share);
        if lost == 0 || when_full == WhenFull::DropOldest { lost } else { lost + self.let_go(now) }
    }

    /// It is told how many events it has lost, which are all that wait, and leaves.
    fn let_go(&mut self, now: Instant) -> u64 {
        self.leave(now);
        self.backlog.shrink(0)
    }

    /// What a subscriber must know besides. One that has not read so many of them is let go of.
    pub(super) fn give_notice(&mut self, notice: Notice, now: Instant) {
        if self.backlog.words() >= NOTICES {
            return self.leave(now);
        }
        if let Some(subscription) = self.subscription {
            self.backlog.push_word(frames::notice(notice, subscription.look.format));
        }
    }

    /// Bytes that wait for it.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.backlog.bytes()
    }

    /// Whether what waits for it has filled half of its room.
    pub(super) fn is_half_full(&self, limit: Limit) -> bool {
        self.backlog.is_half_full(limit)
    }

    /// Sends what it has room for.
    pub(super) fn flush(&mut self) -> Flushed {
        self.is_dirty = false;
        let format = self.subscription.map_or_else(Default::default, |subscription| subscription.look.format);
        let flushed = self.backlog.flush(&self.connection, |events| frames::notice(Notice::Lost { events }, format));
        self.is_full = flushed == Flushed::Full;
        flushed
    }

    /// What is to be listened to: words of one that asks, room of one that had none or gets more; and always the end.
    pub(super) fn wanted_interest(&self) -> EpollFlags {
        let asking = if self.phase == Phase::Asking { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
        let is_waiting = self.is_full || matches!(self.phase, Phase::Listing(_));
        asking | if is_waiting { EpollFlags::EPOLLOUT } else { EpollFlags::empty() }
    }

    /// When its patience with us, or ours with it, is over; a subscriber's never is.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let patience = match self.phase {
            Phase::Asking => ASKING,
            Phase::Waiting => WAITING,
            Phase::Leaving | Phase::Listing(_) => READING,
            Phase::Subscribed => return None,
        };
        Some(self.since + patience)
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
        request::Asked::Wanted(wanted) => Said::Wanted(wanted),
        request::Asked::Wrong(reason) => Said::Wrong(request::denied(events_sock::Denial::BadRequest, &reason, Vec::new())),
    }
}

fn by_http(bytes: &[u8], fresh: usize) -> Said {
    match http::asked(bytes, fresh) {
        http::Asked::Incomplete => Said::Nothing,
        http::Asked::Metrics => Said::Wanted(Wanted::Metrics),
        http::Asked::Other(status) => Said::Wrong(http::answer(status, "only GET /metrics\n")),
    }
}
