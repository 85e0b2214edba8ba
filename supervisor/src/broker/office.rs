//! The supervisor's end: starts a broker, asks the kernel whether it is confined, hands the sockets over, and starts another when it ends.
//!
//! Runs on the control side. Nothing here is believed, and nothing waits for a broker but its start, for a bounded time.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use cthelper_policy::restart::Backoff;
use cthelper_policy::verify::{Expected, network_is_empty, verify};
use cthelper_proto::ctl::{BrokerState, BrokerStatus};
use cthelper_proto::events::Event;
use cthelper_proto::ipc::{Enforcement, Namespace};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::board::Board;
use super::link::Link;
use super::protocol::{Daemon, FromBroker, Kind, ToBroker};
use crate::audit::Audit;
use crate::control::Governor;
use crate::evidence::crash::signal_name;
use crate::evidence::text::{escaped, one_line};
use crate::spawn::Identity;
use crate::warden::protocol::{Heard, hear, pair};
use crate::warden::{End, News, Post};

/// How long a broker may take until `Ready`. Emulated machines need 0.3 s.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A broker that lived so long begins a new series of delays.
const SERIES: Duration = Duration::from_secs(60);
/// Least time between two answers to `StatusPlease`; each costs every lane a turn.
const STATUS: Duration = Duration::from_millis(100);
/// How long the warden may take to tell of an end after the link has hung up.
const END: Duration = Duration::from_secs(2);
/// Bytes of a broker's words that are kept.
const WORDS: usize = 4096;

/// What a broker is handed.
#[derive(Debug)]
pub struct Equipment {
    /// `events.sock`, listening.
    pub events: OwnedFd,
    /// The port for metrics, listening.
    pub metrics: Option<OwnedFd>,
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
}

/// One broker.
struct Broker {
    pid: u32,
    link: AsyncFd<OwnedFd>,
    log: AsyncFd<File>,
    news: AsyncFd<OwnedFd>,
    words: Vec<u8>,
}

impl Office {
    /// Brokers are ordered at `post`, as `identity`.
    pub fn new(post: Post, identity: Identity, equipment: Equipment, link: Link, board: Board, audit: Audit) -> Self {
        let (began, ordered, restarts, answered) = (Instant::now(), 0, 0, None);
        Self { post, identity, equipment, link, board, audit, began, ordered, restarts, answered }
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
            self.board.change(|status| *status = BrokerStatus { state: BrokerState::Restarting, restarts: self.restarts + 1, ..BrokerStatus::default() });
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
        fcntl(&log, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let news = AsyncFd::register(self.post.as_fd().try_clone_to_owned()?)?;
        self.post.broker(self.ordered, theirs.as_fd(), their_log.as_fd())?;
        let (link, log) = (AsyncFd::register(ours)?, AsyncFd::register(File::from(log))?);
        Ok(Broker { pid: 0, link, log, news, words: Vec::new() })
    }

    async fn greet(&self, mut broker: Broker) -> Result<Broker, (u32, String)> {
        loop {
            match broker.news(&self.post).await.map_err(|error| (0, error.to_string()))? {
                News::Spawned { generation, pid } if generation == self.ordered => break broker.pid = pid,
                News::Failed { generation, reason } if generation == self.ordered => return Err((0, reason)),
                _ => {} // the end of an earlier one
            }
        }
        let pid = broker.pid;
        let landlock = self.judge(&mut broker).await.map_err(|reason| (pid, with_words(reason, &broker.words)))?;
        self.equip(&broker).map_err(|error| (pid, error.to_string()))?;
        let Identity { uid, .. } = self.identity;
        self.board.change(|status| {
            let restarts = status.restarts;
            *status = BrokerStatus { state: BrokerState::Serving, pid, uid, landlock: landlock.to_string(), restarts, ..BrokerStatus::default() };
        });
        tracing::info!(pid, uid, %landlock, "the broker is verified and serves");
        Ok(broker)
    }

    /// It says that it is confined, and the kernel says so, too.
    async fn judge(&self, broker: &mut Broker) -> Result<Enforcement, String> {
        let Some(FromBroker::Ready { landlock, own }) = broker.hear().await else {
            broker.read_words();
            return Err("it ended before it was ready, or said something else".to_owned());
        };
        if self.identity.change && !own.contains(Namespace::Network) {
            return Err("it has no network namespace of its own".to_owned());
        }
        let proc = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", broker.pid)).map_err(|error| format!("{file}: {error}"));
        let worker = self.identity.expected(self.post.warden());
        let expected = Expected { filters_min: worker.filters_min.saturating_sub(1), ..worker }; // it has no launcher
        verify(&proc("status")?, &expected).map_err(|deviation| format!("it is not confined as it must be: {deviation}"))?;
        if own.contains(Namespace::Network) {
            network_is_empty(&proc("net/dev")?).map_err(|deviation| format!("it is not confined as it must be: {deviation}"))?;
        }
        Ok(landlock)
    }

    fn equip(&self, broker: &Broker) -> io::Result<()> {
        self.link.set(Some(broker.link.get_ref().try_clone()?));
        let Equipment { events, metrics } = &self.equipment;
        self.link.tell_with(&ToBroker::Socket(Kind::Events), &[events.as_fd()])?;
        if let Some(metrics) = metrics {
            self.link.tell_with(&ToBroker::Socket(Kind::Metrics), &[metrics.as_fd()])?;
        }
        self.link.tell_with(&ToBroker::Go, &[])
    }

    /// Looks after a broker until it is gone; returns why it is.
    async fn serve(&mut self, broker: &mut Broker, governor: &Governor) -> String {
        loop {
            let Broker { link, log, news, words, .. } = &mut *broker;
            tokio::select! {
                heard = next(link) => match heard {
                    Some(message) => self.heed(&message, governor).await,
                    None => break,
                },
                open = read(log, words) => if !open { break },
                told = next_news(&self.post, news) => match told {
                    Ok(News::Ended { generation, end }) if generation == self.ordered => {
                        broker.read_words();
                        return cause(&end);
                    }
                    Ok(_) => {}
                    Err(_) => return "the warden is gone".to_owned(),
                },
            }
        }
        let _ = self.post.kill(self.ordered);
        let end = timeout(END, async {
            while let Ok(news) = broker.news(&self.post).await {
                if let News::Ended { generation, end } = news
                    && generation == self.ordered
                {
                    return cause(&end);
                }
            }
            "the warden is gone".to_owned()
        });
        let cause = end.await.unwrap_or_else(|_| "it hung up".to_owned());
        broker.read_words();
        cause
    }

    async fn heed(&mut self, message: &FromBroker, governor: &Governor) {
        match message {
            FromBroker::Ready { .. } => {} // it has been heard
            FromBroker::StatusPlease => {
                if self.answered.is_none_or(|at| at.elapsed() >= STATUS) {
                    self.tell_status(governor).await;
                    self.answered = Some(Instant::now());
                }
            }
            FromBroker::Figures(figures) => self.board.change(|status| {
                (status.clients, status.subscribers) = (figures.clients, figures.subscribers);
                (status.events, status.lost) = (figures.events, figures.lost);
            }),
        }
    }

    async fn tell_status(&self, governor: &Governor) {
        for helper in governor.status().await.helpers {
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
    async fn hear(&mut self) -> Option<FromBroker> {
        next(&mut self.link).await
    }

    async fn news(&mut self, post: &Post) -> io::Result<News> {
        next_news(post, &mut self.news).await
    }

    /// What is left of its words.
    fn read_words(&mut self) {
        while take_words(self.log.get_ref(), &mut self.words).is_ok_and(|read| read > 0) {}
    }
}

/// The broker's next message; `None` when it has hung up or cannot be understood.
async fn next(link: &mut AsyncFd<OwnedFd>) -> Option<FromBroker> {
    loop {
        let mut ready = link.readable().await.ok()?;
        match hear::<FromBroker>(ready.get_inner()) {
            Ok(Heard::Message(message, _)) => return Some(message),
            Ok(Heard::Nothing) => ready.clear_ready(),
            Ok(Heard::Hangup) | Err(_) => return None,
        }
    }
}

async fn next_news(post: &Post, news: &mut AsyncFd<OwnedFd>) -> io::Result<News> {
    loop {
        let mut ready = news.readable().await?;
        match post.news()? {
            Some(news) => return Ok(news),
            None => ready.clear_ready(),
        }
    }
}

/// Reads what it has written; `false` when it has closed its log.
async fn read(log: &mut AsyncFd<File>, words: &mut Vec<u8>) -> bool {
    let Ok(mut ready) = log.readable().await else { return false };
    match take_words(ready.get_inner(), words) {
        Ok(0) => false,
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            ready.clear_ready();
            true
        }
        Err(_) => false,
    }
}

/// Its words are read all and kept in part: the last.
fn take_words(mut log: &File, words: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0; 1024];
    let read = log.read(&mut chunk)?;
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
