//! The broker's one loop: whoever has something to say is heard, whoever has room gets what waits. Nobody is waited for but all at once.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use cthelper_policy::profiles::BROKER_PEERS;
use cthelper_proto::ctl::HelperStatus;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{getsockopt, sockopt};
use rustix::net::{SocketFlags, accept_with};

use super::client::{Client, Door, Phase, Said};
use super::metrics::{Counts, Dropped, Snapshot, text};
use super::outbox::Flushed;
use super::protocol::{Daemon, Figures, FromBroker, ToBroker};
use super::request;
use crate::warden::protocol::{Heard, hear, say};

/// Clients of one user at a time; root's count only against all.
const OF_ONE_USER: usize = 256;
/// Places that only root gets.
const FOR_ROOT: usize = 64;
/// A status that is no older than this is told again without asking.
const FRESH: Duration = Duration::from_millis(250);
/// How often the supervisor is told our figures, and clients' deadlines are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Connections accepted, and messages of the supervisor heard, at a time.
const AT_ONCE: usize = 64;

const LINK: u64 = 0;
const EVENTS: u64 = 1;
const METRICS: u64 = 2;
/// Clients' numbers begin here.
const CLIENTS: u64 = 16;

/// What the broker is given.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// `events.sock`, listening.
    pub(super) events: Option<OwnedFd>,
    /// The port for metrics, listening.
    pub(super) metrics: Option<OwnedFd>,
}

/// All of the broker's memory.
pub(super) struct Hub<'a> {
    epoll: Epoll,
    link: BorrowedFd<'a>,
    sockets: Sockets,
    clients: HashMap<u64, Client>,
    next: u64,
    counts: Counts,
    /// The helpers of the status that is just coming in.
    coming: Vec<HelperStatus>,
    status: Option<(Instant, Vec<HelperStatus>, Daemon)>,
    told: Option<Figures>,
    ticked: Instant,
}

impl<'a> Hub<'a> {
    pub(super) fn new(link: BorrowedFd<'a>, sockets: Sockets) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(link, EpollEvent::new(EpollFlags::EPOLLIN, LINK))?;
        for (socket, number) in [(&sockets.events, EVENTS), (&sockets.metrics, METRICS)] {
            if let Some(socket) = socket {
                epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, number))?;
            }
        }
        let (clients, coming, now) = (HashMap::new(), Vec::new(), Instant::now());
        let counts = Counts::default();
        Ok(Self { epoll, link, sockets, clients, next: CLIENTS, counts, coming, status: None, told: None, ticked: now })
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
                    LINK => {
                        if !self.obey(now)? {
                            return Ok(());
                        }
                    }
                    EVENTS | METRICS => self.admit(event.data(), now),
                    number => self.attend(number, event.events(), now),
                }
            }
            self.tick(now);
        }
    }

    /// Idle, it sleeps until somebody stirs.
    fn patience(&self) -> EpollTimeout {
        if self.clients.is_empty() && self.told == Some(self.figures()) {
            return EpollTimeout::NONE;
        }
        let left = (self.ticked + TICK).saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        EpollTimeout::try_from(left).unwrap_or(EpollTimeout::ZERO)
    }

    /// Hears the supervisor; `false` when it is gone.
    fn obey(&mut self, now: Instant) -> io::Result<bool> {
        for _ in 0..AT_ONCE {
            match hear::<ToBroker>(self.link)? {
                Heard::Message(ToBroker::Helper(json), _) => self.coming.extend(serde_json::from_str::<HelperStatus>(&json)),
                Heard::Message(ToBroker::Status(daemon), _) => {
                    let helpers = std::mem::take(&mut self.coming);
                    self.status = Some((now, helpers, daemon));
                    self.answer_all(now);
                }
                Heard::Message(ToBroker::Socket(_) | ToBroker::Go, _) => {}
                Heard::Nothing => break,
                Heard::Hangup => return Ok(false),
            }
        }
        Ok(true)
    }

    fn tell(&self, message: &FromBroker) -> bool {
        say(self.link, message, &[]).is_ok()
    }

    fn figures(&self) -> Figures {
        Figures { clients: self.clients.len() as u64, ..Figures::default() }
    }

    /// Lets clients in, or sends them away with the reason.
    fn admit(&mut self, door: u64, now: Instant) {
        for _ in 0..AT_ONCE {
            let listener = if door == EVENTS { &self.sockets.events } else { &self.sockets.metrics };
            let Some(listener) = listener else { return };
            let Ok(connection) = accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) else { return };
            let uid =
                (door == EVENTS).then(|| getsockopt(&connection, sockopt::PeerCredentials).map_or(u32::MAX, |peer| peer.uid()));
            let door = uid.map_or(Door::Port, |uid| Door::Socket { uid });
            let mut client = Client::new(connection, door, now);
            if !self.has_place_for(door) {
                self.counts.dropped(Dropped::TooMany);
                client.give_up("too many clients", now);
                let _ = client.flush(); // as far as it has room; then it is closed
                continue;
            }
            let number = self.next;
            self.next += 1;
            if self.epoll.add(client.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, number)).is_ok() {
                self.clients.insert(number, client);
            }
        }
    }

    fn has_place_for(&self, door: Door) -> bool {
        if door == (Door::Socket { uid: 0 }) {
            return self.clients.len() < BROKER_PEERS;
        }
        let of_this = self.clients.values().filter(|client| client.door == door).count();
        self.clients.len() < BROKER_PEERS - FOR_ROOT && of_this < OF_ONE_USER
    }

    /// A client has said something, or has room, or is gone.
    fn attend(&mut self, number: u64, events: EpollFlags, now: Instant) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if events.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
            return self.part(number, None);
        }
        if events.contains(EpollFlags::EPOLLIN) {
            match client.hear() {
                Said::Nothing => {}
                Said::Bye => return self.part(number, None),
                Said::Wrong(answer) => {
                    client.last_word(answer, now);
                    self.counts.dropped(Dropped::Garbage);
                }
                Said::Metrics => {
                    (client.phase, client.since) = (Phase::Waiting, now);
                    self.counts.scrapes += 1;
                    self.ask_for_status(now);
                }
            }
        }
        self.flush(number);
    }

    /// Has those who wait for the metrics answered, at once or when the supervisor has spoken.
    fn ask_for_status(&mut self, now: Instant) {
        let is_fresh = self.status.as_ref().is_some_and(|(at, ..)| now.duration_since(*at) < FRESH);
        let is_asked = self.clients.values().filter(|client| client.phase == Phase::Waiting).count() > 1;
        if is_fresh {
            self.answer_all(now);
        } else if !is_asked {
            self.tell(&FromBroker::StatusPlease); // where that fails, they get what is there when their time is over
        }
    }

    fn waiting(&self) -> Vec<u64> {
        self.clients.iter().filter(|(_, client)| client.phase == Phase::Waiting).map(|(number, _)| *number).collect()
    }

    fn answer_all(&mut self, now: Instant) {
        let waiting = self.waiting();
        let Some(snapshot) = self.snapshot(now).filter(|_| !waiting.is_empty()) else { return };
        let text = text(&snapshot);
        for number in waiting {
            if let Some(client) = self.clients.get_mut(&number) {
                client.give_metrics(&text, now);
            }
            self.flush(number);
        }
    }

    fn snapshot(&self, now: Instant) -> Option<Snapshot> {
        let (at, helpers, daemon) = self.status.as_ref()?;
        let broker = Counts { clients: self.clients.len() as u64, ..self.counts.clone() };
        let age = now.duration_since(*at).as_secs_f64();
        Some(Snapshot { helpers: helpers.clone(), daemon: daemon.clone(), age, broker })
    }

    /// Sends a client what it has room for, and waits for room only while something is left.
    fn flush(&mut self, number: u64) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let flushed = client.flush();
        if flushed == Flushed::Gone || (flushed == Flushed::Empty && client.phase == Phase::Leaving) {
            return self.part(number, None);
        }
        let is_awaited = flushed == Flushed::Full;
        if client.is_awaited != is_awaited {
            client.is_awaited = is_awaited;
            let sending = if is_awaited { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
            let _ = self.epoll.modify(client.as_fd(), &mut EpollEvent::new(EpollFlags::EPOLLIN | sending, number));
        }
    }

    /// Closes a connection; that takes it out of the epoll, too.
    fn part(&mut self, number: u64, why: Option<Dropped>) {
        self.clients.remove(&number);
        if let Some(why) = why {
            self.counts.dropped(why);
        }
    }

    /// Once a second: figures for the supervisor, and the end of patience.
    fn tick(&mut self, now: Instant) {
        if now < self.ticked + TICK {
            return;
        }
        self.ticked = now;
        let figures = self.figures();
        if self.told != Some(figures) && self.tell(&FromBroker::Figures(figures)) {
            self.told = Some(figures);
        }
        let late: Vec<(u64, Phase)> = self
            .clients
            .iter()
            .filter(|(_, client)| client.deadline() <= now)
            .map(|(number, client)| (*number, client.phase))
            .collect();
        for (number, phase) in late {
            self.time_is_over(number, phase, now);
        }
    }

    fn time_is_over(&mut self, number: u64, phase: Phase, now: Instant) {
        match phase {
            Phase::Leaving => self.part(number, Some(Dropped::Slow)),
            Phase::Asking => {
                if let Some(client) = self.clients.get_mut(&number) {
                    client.last_word(request::error("no request came in time"), now);
                    let _ = client.flush();
                }
                self.part(number, Some(Dropped::Silent));
            }
            // What there is, with its age; it is better than nothing.
            Phase::Waiting if self.status.is_some() => self.answer_all(now),
            Phase::Waiting => {
                if let Some(client) = self.clients.get_mut(&number) {
                    client.give_up("the supervisor does not answer", now);
                }
                self.flush(number);
            }
        }
    }
}
