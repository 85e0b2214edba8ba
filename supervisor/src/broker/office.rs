//! The supervisor's end: starts a broker, asks the kernel whether it is confined, hands the sockets over, and starts another when it ends.
//!
//! Runs on the control side. Nothing here is believed, and nothing waits for a broker but its start, for a bounded time.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use cthelper_policy::config::{EventsConfig, QueueConfig};
use cthelper_policy::events::socket_filter;
use cthelper_policy::limits::{Bucket, Rate};
use cthelper_policy::restart::Backoff;
use cthelper_policy::verify::{Expected, network_is_empty, verify};
use cthelper_proto::ctl::{BrokerState, BrokerStatus};
use cthelper_proto::events::Event;
use cthelper_proto::ipc::{Enforcement, Namespace};
use cthelper_proto::netlink::report;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::watch;
use tokio::time::timeout;

use super::board::{Board, Queues};
use super::feed::Feed;
use super::link::Link;
use super::protocol::{Daemon, FromBroker, Kind, ToBroker};
use super::setting::{Names, QueueSetting};
use crate::audit::Audit;
use crate::control::Governor;
use crate::evidence::crash::signal_name;
use crate::evidence::text::{escaped, one_line};
use crate::seqpacket::{Heard, hear, pair};
use crate::spawn::Identity;
use crate::warden::{End, News, Post};

/// How long a broker may take until `Ready`. Emulated machines need 0.3 s.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A broker that lived so long begins a new series of delays.
const SERIES: Duration = Duration::from_secs(60);
/// Least time between two answers to `StatusPlease`; each costs every lane a turn.
const STATUS: Duration = Duration::from_millis(100);
/// What a broker may say: messages, and lines of its log. An honest one says the most of connections that have ended, 64 in a message, and
/// at most one message for each turn of its loop.
const SPEECH: Rate = Rate { burst: 4096, per_second: 2048 };
/// Messages of ended connections that are passed on to lanes; the others are let fall.
const HINTS: Rate = Rate { burst: 64, per_second: 256 };
/// Dumps asked of the kernel: an honest broker begins one a second, of two tables. Another one's table waits until it is read, or not at all.
const DUMPS: Rate = Rate { burst: 8, per_second: 4 };
/// How long a broker may take to take all its event queues, however many there are.
const QUEUES: Duration = Duration::from_secs(5);
/// Between two looks for room on the link.
const ROOM: Duration = Duration::from_millis(5);
/// How long the warden may take to tell of an end, after the link has hung up or it was ordered.
const END: Duration = Duration::from_secs(2);
/// Why a broker is ended, as the record has it before what that came to; see also `tell_queues`.
const FLOODS: &str = "it said more than it may";
const NONSENSE: &str = "it said what is no message";
const HANGS_UP: &str = "it hung up and lived on";
/// With the warden all brokers end, and with it the supervisor.
const NO_WARDEN: &str = "the warden is gone";
/// Bytes of a broker's words that are kept.
const WORDS: usize = 4096;

/// What a broker is handed.
#[derive(Debug)]
pub struct Equipment {
    /// `events.sock`, listening.
    pub events: OwnedFd,
    /// The port for metrics, listening.
    pub metrics: Option<OwnedFd>,
    /// Who the readers of event queues are.
    pub names: Names,
    /// Of `[events]`.
    pub settings: EventsConfig,
}

/// Where brokers are made and looked after.
pub struct Office {
    post: Post,
    identity: Identity,
    equipment: Equipment,
    link: Link,
    board: Board,
    audit: Audit,
    began: Instant,
    ordered: u64,
    restarts: u64,
    answered: Option<Instant>,
    queues: watch::Receiver<Queues>,
    /// The kernel's sockets of the broker that lives.
    feed: Option<Feed>,
    /// The kernel has dropped events of it.
    has_gaps: bool,
    /// What a broker may still say.
    hearing: Bucket,
    /// How many more hints go to lanes.
    hints: Bucket,
    /// How many more dumps are asked for.
    dumps: Bucket,
}

/// One broker.
struct Broker {
    pid: u32,
    link: UnixStream,
    log: Receiver,
    news: UnixStream,
    words: Vec<u8>,
}

impl Office {
    /// Brokers are ordered at `post`, as `identity`.
    pub fn new(post: Post, identity: Identity, equipment: Equipment, link: Link, board: Board, audit: Audit) -> Self {
        let (began, ordered, restarts, answered) = (Instant::now(), 0, 0, None);
        let queues = board.watch_queues();
        let (hearing, hints, dumps) = (Bucket::full(SPEECH, began), Bucket::full(HINTS, began), Bucket::full(DUMPS, began));
        Self {
            post,
            identity,
            equipment,
            link,
            board,
            audit,
            began,
            ordered,
            restarts,
            answered,
            queues,
            feed: None,
            has_gaps: false,
            hearing,
            hints,
            dumps,
        }
    }

    /// For ever.
    pub async fn keep(mut self, governor: Governor) {
        let mut series = 0_usize;
        loop {
            let born = Instant::now();
            let (pid, cause) = match self.start().await {
                Ok(mut broker) => {
                    let cause = self.serve(&mut broker, &governor).await;
                    (broker.pid, with_words(cause, &broker.words))
                }
                Err((pid, reason)) => (pid, reason),
            };
            self.link.set(None);
            self.feed = None;
            self.has_gaps = false;
            self.board.change(|status| {
                *status = BrokerStatus { state: BrokerState::Restarting, restarts: self.restarts + 1, ..BrokerStatus::default() }
            });
            series = if born.elapsed() > SERIES { 1 } else { series.saturating_add(1) };
            self.restarts += 1;
            let delay = Backoff::default().longest(series);
            let decision = format!("restart after {} ms", delay.as_millis());
            tracing::warn!(pid, %cause, %decision, "the broker ended; helpers are served as before");
            self.audit.write(Event::BrokerEnded { pid, cause, decision });
            tokio::time::sleep(delay).await;
        }
    }

    /// A verified broker with its sockets; or the process id, 0 if there never was one, and why not.
    async fn start(&mut self) -> Result<Broker, (u32, String)> {
        self.ordered += 1;
        let began = self.order().map_err(|error| (0, error.to_string()))?;
        let started = timeout(HANDSHAKE, self.greet(began)).await;
        let result = started.unwrap_or_else(|_| Err((0, "it was not ready in time".to_owned())));
        if result.is_err() {
            let _ = self.post.kill(self.ordered);
        }
        result
    }

    fn order(&self) -> io::Result<Broker> {
        let (ours, theirs) = pair()?;
        let (log, their_log) = pipe2(OFlag::O_CLOEXEC)?;
        let news = watchable(self.post.as_fd().try_clone_to_owned()?)?;
        self.post.broker(self.ordered, theirs.as_fd(), their_log.as_fd())?;
        let (link, log) = (watchable(ours)?, Receiver::from_owned_fd(log)?);
        Ok(Broker { pid: 0, link, log, news, words: Vec::new() })
    }

    async fn greet(&mut self, mut broker: Broker) -> Result<Broker, (u32, String)> {
        loop {
            match broker.news(&self.post).await.map_err(|error| (0, error.to_string()))? {
                News::Spawned { generation, pid } if generation == self.ordered => break broker.pid = pid,
                News::Failed { generation, reason } if generation == self.ordered => return Err((0, reason)),
                _ => {} // the end of an earlier one
            }
        }
        let pid = broker.pid;
        let landlock = self.judge(&mut broker).await.map_err(|reason| (pid, with_words(reason, &broker.words)))?;
        self.equip(&broker).await.map_err(|error| (pid, error.to_string()))?;
        let Identity { uid, .. } = self.identity;
        self.board.change(|status| {
            let restarts = status.restarts;
            *status = BrokerStatus {
                state: BrokerState::Serving,
                pid,
                uid,
                landlock: landlock.to_string(),
                restarts,
                ..BrokerStatus::default()
            };
        });
        tracing::info!(pid, uid, %landlock, "the broker is verified and serves");
        Ok(broker)
    }

    /// It says that it is confined, and the kernel says so, too.
    async fn judge(&self, broker: &mut Broker) -> Result<Enforcement, String> {
        let Ok(FromBroker::Ready { landlock, own }) = broker.hear().await else {
            broker.read_words();
            return Err("it ended before it was ready, or said something else".to_owned());
        };
        if self.identity.change && !own.contains(Namespace::Network) {
            return Err("it has no network namespace of its own".to_owned());
        }
        let proc = |file: &str| {
            std::fs::read_to_string(format!("/proc/{}/{file}", broker.pid)).map_err(|error| format!("{file}: {error}"))
        };
        let worker = self.identity.expected(self.post.warden());
        let expected = Expected { filters_min: worker.filters_min.saturating_sub(1), ..worker }; // it has no launcher
        verify(&proc("status")?, &expected).map_err(|deviation| format!("it is not confined as it must be: {deviation}"))?;
        if own.contains(Namespace::Network) {
            network_is_empty(&proc("net/dev")?).map_err(|deviation| format!("it is not confined as it must be: {deviation}"))?;
        }
        Ok(landlock)
    }

    async fn equip(&mut self, broker: &Broker) -> io::Result<()> {
        self.link.set(Some(broker.link.as_fd().try_clone_to_owned()?));
        let Equipment { events, metrics, .. } = &self.equipment;
        self.link.tell_with(&ToBroker::Socket(Kind::Events), &[events.as_fd()])?;
        if let Some(metrics) = metrics {
            self.link.tell_with(&ToBroker::Socket(Kind::Metrics), &[metrics.as_fd()])?;
        }
        self.open_feed();
        if let Some(feed) = &self.feed {
            self.link.tell_with(&ToBroker::Socket(Kind::Feed), &[feed.events()])?;
            self.link.tell_with(&ToBroker::Socket(Kind::Dump), &[feed.dump()])?;
        }
        self.tell_queues().await?;
        self.link.tell_with(&ToBroker::Go, &[])
    }

    /// The kernel's sockets for a new broker. Where they cannot be had, there is nothing to tell of events; the rest is served.
    fn open_feed(&mut self) {
        let groups = self.groups();
        let opened = if groups.is_empty() { Ok(None) } else { Feed::open(self.equipment.settings.buffer).map(Some) };
        self.feed = opened.unwrap_or_else(|errno| {
            tracing::error!(%errno, "no socket for the kernel's events");
            None
        });
        self.join(&groups);
        self.filter();
    }

    /// What somebody wants: the queues, and the mirror.
    fn groups(&self) -> BTreeSet<u32> {
        let mirror = report::Kind::ALL.map(report::Kind::group).into_iter().filter(|_| self.equipment.settings.flows);
        self.queues.borrow().values().flat_map(QueueConfig::groups).chain(mirror).collect()
    }

    fn join(&mut self, groups: &BTreeSet<u32>) {
        if let Some(Err(errno)) = self.feed.as_mut().map(|feed| feed.join(groups)) {
            tracing::error!(%errno, "the kernel's events cannot be had");
        }
    }

    /// The kernel delivers what a queue or the mirror may want. Without a filter it delivers more, which the broker judges by itself.
    fn filter(&self) {
        let Some(feed) = &self.feed else { return };
        let program = socket_filter::program(&self.queues.borrow().values().collect::<Vec<_>>(), self.equipment.settings.flows);
        let instructions = program.as_ref().map_or(0, Vec::len);
        match feed.filter(program.as_deref()) {
            Ok(()) => tracing::debug!(instructions, "the kernel's filter for events"),
            Err(error) => {
                tracing::warn!(%error, instructions, "the kernel does not take the filter for events; the broker reads all");
                let _ = feed.filter(None); // one of other queues would be wrong
            }
        }
    }

    /// All queues there are, within a bounded time.
    async fn tell_queues(&mut self) -> io::Result<()> {
        let settings: Vec<QueueSetting> =
            self.queues.borrow_and_update().values().map(|queue| QueueSetting::new(queue, &self.equipment.names)).collect();
        let told = timeout(QUEUES, async {
            for setting in settings {
                self.tell_surely(&ToBroker::Queue(Box::new(setting))).await?;
            }
            self.tell_surely(&ToBroker::Queues).await
        });
        told.await.unwrap_or_else(|_| Err(io::Error::other("it did not take its event queues in time")))
    }

    /// Waits for room, which a broker that reads makes at once; the caller bounds for how long.
    async fn tell_surely(&self, message: &ToBroker) -> io::Result<()> {
        loop {
            match self.link.tell_with(message, &[]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(ROOM).await,
                told => return told,
            }
        }
    }

    /// After a reload: the queues as they are now.
    async fn renew_queues(&mut self) -> io::Result<()> {
        let groups = self.groups();
        if self.feed.is_none() && !groups.is_empty() {
            return Err(io::Error::other("event queues where there were none: another broker gets what they need"));
        }
        self.filter();
        self.join(&groups);
        self.tell_queues().await
    }

    fn tell_dropped(&self) {
        match self.feed.as_ref().map(Feed::dropped) {
            Some(Ok(count)) => self.link.tell(&ToBroker::Dropped(count)),
            Some(Err(error)) => tracing::warn!(%error, "/proc/net/netlink"),
            None => {}
        }
    }

    /// Looks after a broker until it is gone; returns why it is.
    async fn serve(&mut self, broker: &mut Broker, governor: &Governor) -> String {
        let reason = loop {
            let Broker { link, log, news, words, .. } = &mut *broker;
            tokio::select! {
                heard = next(link) => match heard {
                    Ok(_) if !self.may_speak() => break Some(FLOODS.to_owned()),
                    Ok(message) => self.heed(&message, governor).await,
                    Err(error) if error.kind() == io::ErrorKind::InvalidData => break Some(NONSENSE.to_owned()),
                    Err(_) => break None,
                },
                open = read(log, words) => match open {
                    false => break None,
                    true if self.may_speak() => {}
                    true => break Some(FLOODS.to_owned()),
                },
                Ok(()) = self.queues.changed() => {
                    if let Err(error) = self.renew_queues().await { break Some(error.to_string()) }
                },
                told = next_news(&self.post, news) => match told {
                    Ok(News::Ended { generation, end }) if generation == self.ordered => {
                        broker.read_words();
                        return cause(&end);
                    }
                    Ok(_) => {}
                    Err(_) => return NO_WARDEN.to_owned(),
                },
            }
        };
        self.put_an_end(broker, reason).await
    }

    fn may_speak(&mut self) -> bool {
        self.hearing.take(SPEECH, Instant::now())
    }

    /// Ends a broker for this reason. Without one it has hung up, which is how every end is seen first: only one that lives on is ended
    /// for that.
    async fn put_an_end(&self, broker: &mut Broker, reason: Option<String>) -> String {
        let reason = match reason {
            Some(reason) => reason,
            None => match self.end_of(broker).await {
                Some(cause) => return cause,
                None => HANGS_UP.to_owned(),
            },
        };
        let _ = self.post.kill(self.ordered);
        let cause = self.end_of(broker).await;
        format!("{reason}; {}", cause.as_deref().unwrap_or("its end was not told"))
    }

    /// How it ended, when the warden tells in time.
    async fn end_of(&self, broker: &mut Broker) -> Option<String> {
        let end = timeout(END, async {
            loop {
                match broker.news(&self.post).await {
                    Ok(News::Ended { generation, end }) if generation == self.ordered => break cause(&end),
                    Ok(_) => {}
                    Err(_) => break NO_WARDEN.to_owned(),
                }
            }
        });
        let told = end.await.ok();
        broker.read_words();
        told
    }

    async fn heed(&mut self, message: &FromBroker, governor: &Governor) {
        match message {
            FromBroker::Closed(closed) if self.hints.take(HINTS, Instant::now()) => governor.closed(closed),
            FromBroker::Ready { .. } | FromBroker::Closed(_) => {} // heard before; more than lanes are to be bothered with
            FromBroker::StatusPlease => {
                if self.answered.is_none_or(|at| at.elapsed() >= STATUS) {
                    self.tell_status(governor).await;
                    self.answered = Some(Instant::now());
                }
            }
            FromBroker::Dump { .. } if !self.dumps.take(DUMPS, Instant::now()) => {} // to one that waits for it, it is a silent dump
            FromBroker::Dump { table, seq } => {
                let asked = self.feed.as_ref().map(|feed| feed.ask(*table, *seq));
                if let Some(Err(errno)) = asked {
                    tracing::warn!(%errno, ?table, "the kernel does not tell what there is; the broker asks again");
                }
            }
            FromBroker::Gap => self.has_gaps = true,
            FromBroker::Figures(figures) => self.board.change(|status| {
                (status.clients, status.subscribers) = (figures.clients, figures.subscribers);
                (status.events, status.lost) = (figures.events, figures.lost);
            }),
        }
    }

    async fn tell_status(&self, governor: &Governor) {
        if self.has_gaps {
            self.tell_dropped();
        }
        for mut helper in governor.status().await.helpers {
            helper.left_alone.clear(); // as long as it likes, and nobody's metric
            match serde_json::to_string(&helper) {
                Ok(json) => self.link.tell(&ToBroker::Helper(json)),
                Err(error) => tracing::warn!(%error, helper = %helper.name, "a status that cannot be told"),
            }
        }
        self.link.tell(&ToBroker::Status(Daemon {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            broker_restarts: self.restarts,
            link_lost: self.link.lost(),
        }));
    }
}

impl Broker {
    async fn hear(&mut self) -> io::Result<FromBroker> {
        next(&self.link).await
    }

    async fn news(&mut self, post: &Post) -> io::Result<News> {
        next_news(post, &self.news).await
    }

    /// What is left of its words.
    fn read_words(&mut self) {
        while take_words(&self.log, &mut self.words).is_ok_and(|read| read > 0) {}
    }
}

/// A `SOCK_SEQPACKET` socket that the control side can wait for; nothing is read through what this returns.
fn watchable(socket: OwnedFd) -> io::Result<UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

/// Waits until `hear`, which does not wait, has something.
async fn heard<T>(socket: &UnixStream, hear: impl Fn() -> io::Result<Option<T>>) -> io::Result<T> {
    loop {
        socket.readable().await?;
        let tried = socket.try_io(Interest::READABLE, || hear()?.ok_or_else(|| io::ErrorKind::WouldBlock.into()));
        match tried {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}

/// The broker's next message; fails when it has hung up, or, as `InvalidData`, when that is none.
async fn next(link: &UnixStream) -> io::Result<FromBroker> {
    let message = heard(link, || match hear::<FromBroker>(link)? {
        Heard::Message(message, _) => Ok(Some(message)),
        Heard::Nothing => Ok(None),
        Heard::Hangup => Err(io::ErrorKind::BrokenPipe.into()),
    });
    message.await
}

async fn next_news(post: &Post, news: &UnixStream) -> io::Result<News> {
    heard(news, || post.news()).await
}

/// Reads what it has written; `false` when it has closed its log.
async fn read(log: &Receiver, words: &mut Vec<u8>) -> bool {
    log.readable().await.is_ok() && !matches!(take_words(log, words), Ok(0))
}

/// Its words are read all and kept in part: the last.
fn take_words(log: &Receiver, words: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0; 1024];
    let read = log.try_read(&mut chunk)?;
    words.extend_from_slice(chunk.get(..read).unwrap_or_default());
    let excess = words.len().saturating_sub(WORDS);
    words.drain(..excess);
    Ok(read)
}

fn with_words(cause: String, words: &[u8]) -> String {
    let said = escaped(words);
    match said.lines().next_back() {
        Some(last) => format!("{cause}: {}", one_line(last, 512)),
        None => cause,
    }
}

fn cause(end: &End) -> String {
    let fault = end.fault.as_ref().map(|fault| match &fault.syscall {
        Some(call) => format!(" (system call {} {})", call.nr, call.name),
        None => format!(" ({})", fault.class),
    });
    let fault = fault.unwrap_or_default();
    match (end.signal, end.code) {
        (Some(number), _) => format!("signal {}{fault}", signal_name(number)),
        (None, Some(code)) => format!("exit {code}"),
        (None, None) => "it is gone".to_owned(),
    }
}
