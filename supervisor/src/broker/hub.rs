//! The broker's one loop: whoever has something to say is heard, whoever has room gets what waits. Nobody is waited for but all at once.

use std::collections::HashMap;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use cthelper_policy::config::{Access, QueueConfig};
use cthelper_proto::ctl::HelperStatus;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::client::Client;
use super::metrics::Counts;
use super::mirror::Mirror;
use super::protocol::{Daemon, Figures, FromBroker, ToBroker};
use crate::seqpacket::{Heard, hear, say};

mod attend;
mod events;
mod queues;
mod resync;
mod scrape;

use resync::Dump;

/// How often the supervisor is told our figures, and clients' deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Connections accepted, messages of the supervisor heard, and datagrams of the kernel read, at a time.
const AT_ONCE: usize = 64;
/// Longest datagram of the kernel, bytes: a dump's message has 32 KiB at most.
const DATAGRAM: usize = 64 * 1024;

const LINK: u64 = 0;
const EVENTS: u64 = 1;
const METRICS: u64 = 2;
const FEED: u64 = 3;
const DUMP: u64 = 4;
/// Clients' numbers begin here.
const CLIENTS: u64 = 16;

/// What the broker is given.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// `events.sock`, listening.
    pub(super) events: Option<OwnedFd>,
    /// The port for metrics, listening.
    pub(super) metrics: Option<OwnedFd>,
    /// The kernel's events.
    pub(super) feed: Option<OwnedFd>,
    /// The kernel's answers to the supervisor's requests.
    pub(super) dump: Option<OwnedFd>,
}

/// One event queue.
struct Queue {
    config: QueueConfig,
    access: Access,
    subscribers: Vec<u64>,
}

/// All of the broker's memory.
pub(super) struct Hub<'a> {
    epoll: Epoll,
    link: BorrowedFd<'a>,
    sockets: Sockets,
    clients: HashMap<u64, Client>,
    next: u64,
    queues: HashMap<u16, Queue>,
    /// Queues with subscribers; no other costs anything.
    active: Vec<u16>,
    /// Clients that have a queue, or had one until it was taken away and have not left yet.
    subscribers: usize,
    /// Clients that have got something and were not flushed.
    dirty: Vec<u64>,
    /// The queues that are just coming in.
    arriving: Vec<QueueConfig>,
    mirror: Mirror,
    dump: Dump,
    counts: Counts,
    /// The helpers of the status that is just coming in.
    coming: Vec<HelperStatus>,
    status: Option<(Instant, Vec<HelperStatus>, Daemon)>,
    told: Option<Figures>,
    ticked: Instant,
    buffer: Vec<u8>,
}

impl<'a> Hub<'a> {
    pub(super) fn new(link: BorrowedFd<'a>, sockets: Sockets, queues: Vec<QueueConfig>) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(link, EpollEvent::new(EpollFlags::EPOLLIN, LINK))?;
        let listened = [(&sockets.events, EVENTS), (&sockets.metrics, METRICS), (&sockets.feed, FEED), (&sockets.dump, DUMP)];
        for (socket, number) in listened {
            if let Some(socket) = socket {
                epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, number))?;
            }
        }
        let now = Instant::now();
        let mut hub = Self {
            epoll,
            link,
            sockets,
            clients: HashMap::new(),
            next: CLIENTS,
            queues: HashMap::new(),
            active: Vec::new(),
            subscribers: 0,
            dirty: Vec::new(),
            arriving: queues,
            mirror: Mirror::default(),
            dump: Dump::new(now),
            counts: Counts::default(),
            coming: Vec::new(),
            status: None,
            told: None,
            ticked: now,
            buffer: vec![0; DATAGRAM],
        };
        hub.take_queues(now);
        if hub.sockets.feed.is_some() {
            hub.want_dump(now);
        }
        Ok(hub)
    }

    /// Serves until the supervisor hangs up.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut ready = [EpollEvent::empty(); AT_ONCE];
        loop {
            let count = match self.epoll.wait(&mut ready, self.patience()) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(errno.into()),
            };
            let now = Instant::now();
            for event in ready.iter().take(count) {
                match event.data() {
                    LINK if !self.obey(now)? => return Ok(()),
                    LINK => {}
                    EVENTS | METRICS => self.admit(event.data(), now),
                    FEED => self.read_feed(now),
                    DUMP => self.read_dump(now),
                    number => self.attend(number, event.events(), now),
                }
            }
            self.flush_dirty();
            self.go_on_with_dump(now);
            self.tick(now);
        }
    }

    /// Idle, it sleeps until somebody stirs.
    fn patience(&self) -> EpollTimeout {
        let has_deadlines = self.clients.values().any(|client| client.deadline().is_some());
        let has_figures = self.told != Some(self.figures());
        let tick = (has_deadlines || has_figures || self.mirror.is_waiting()).then(|| self.ticked + TICK);
        let Some(next) = tick.into_iter().chain(self.dump.due()).min() else { return EpollTimeout::NONE };
        let left = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        EpollTimeout::try_from(left).unwrap_or(EpollTimeout::ZERO)
    }

    /// Hears the supervisor; `false` when it is gone.
    fn obey(&mut self, now: Instant) -> io::Result<bool> {
        for _ in 0..AT_ONCE {
            match hear::<ToBroker>(self.link)? {
                Heard::Message(message, _) => self.heed(message, now),
                Heard::Nothing => break,
                Heard::Hangup => return Ok(false),
            }
        }
        Ok(true)
    }

    fn heed(&mut self, message: ToBroker, now: Instant) {
        match message {
            ToBroker::Helper(json) => self.coming.extend(serde_json::from_str::<HelperStatus>(&json)),
            ToBroker::Status(daemon) => {
                let helpers = std::mem::take(&mut self.coming);
                self.status = Some((now, helpers, daemon));
                self.answer_all(now);
            }
            ToBroker::Queue(setting) => self.arriving.extend(setting.into_config()),
            ToBroker::Queues => self.take_queues(now),
            ToBroker::Dropped(count) => self.counts.dropped_by_kernel = count,
            ToBroker::News(news) => self.mirror.hear(&news, now),
            ToBroker::Socket(_) | ToBroker::Go => {}
        }
    }

    fn tell(&self, message: &FromBroker) -> bool {
        say(self.link, message, &[]).is_ok()
    }

    fn figures(&self) -> Figures {
        Figures {
            clients: self.clients.len() as u64,
            subscribers: self.subscribers as u64,
            events: self.counts.events.iter().sum(),
            lost: self.counts.lost,
        }
    }

    /// Once a second: figures for the supervisor, and the end of patience.
    fn tick(&mut self, now: Instant) {
        if now < self.ticked + TICK {
            return;
        }
        self.ticked = now;
        self.mirror.tick(now);
        let figures = self.figures();
        if self.told != Some(figures) && self.tell(&FromBroker::Figures(figures)) {
            self.told = Some(figures);
        }
        let is_late = |client: &Client| client.deadline().is_some_and(|deadline| deadline <= now);
        let late: Vec<u64> = self.clients.iter().filter(|(_, client)| is_late(client)).map(|(number, _)| *number).collect();
        for number in late {
            self.time_is_over(number, now);
        }
    }
}
