//! A lane: one kernel queue, one helper, one thread, one worker that serves and spares that could. The files stand in the order a
//! packet meets them: `intake` → `records` to the worker → `ask` → `release`; `tickets` and `flows` are what is remembered meanwhile.
//! `session` is a worker's life, `mourn` its end; `staff` sees to it that there are enough of them, `circuit` whether there are to be any.
//!
//! A lane waits for its queue, its workers, the warden, a deadline and the operator, in one `poll`; nobody on it waits for anybody else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use cthelper_policy::config::HelperConfig;
use cthelper_policy::expect::Judge;
use cthelper_policy::limits::{Bucket, Rate};
use cthelper_policy::restart::{Blame, Restart};
use cthelper_proto::ctl::LaneState;
use cthelper_proto::manifest::Manifest;
use cthelper_proto::types::L4s;
use nix::errno::Errno;
use nix::sys::eventfd::EventFd;

use crate::audit::Audit;
use crate::broker::link::Link;
use crate::kernel::{Fault, Kernel};
use crate::quarantine::Quarantine;
use crate::spawn::Identity;
use crate::warden::Post;

mod ask;
mod circuit;
mod closed;
mod counters;
mod crew;
mod flows;
mod intake;
mod log;
mod mourn;
mod order;
mod records;
mod release;
mod reload;
mod session;
mod staff;
mod tickets;
mod wait;
mod worker;

use circuit::Down;
pub use closed::HINTS;
use counters::Counters;
use crew::Crew;
use flows::Flows;
use intake::Unhelped;
use mourn::Mourned;
pub use order::{Command, Handle};
use records::Records;
use tickets::Tickets;
use wait::Ready;

/// How long a launcher and a worker may take until `Ready`. Emulated machines need 0.3 s.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Refusals that go into the audit log: 64 at once, then 4 a second. A stranger may cause them, and must not fill a disk with them, nor
/// crowd out the record of a crash.
const AUDITED: Rate = Rate { burst: 64, per_second: 4 };

/// What a lane is set up with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What the operator set.
    pub config: HelperConfig,
    /// Who its workers are.
    pub identity: Identity,
}

impl Setup {
    fn name(&self) -> &str {
        &self.config.name
    }
}

/// Why a lane is over.
#[derive(Debug)]
pub enum Ended {
    /// It was told to stop, or the capture is at its end.
    Orderly,
    /// It never got so far as to serve.
    NotStarted(String),
    /// The kernel side failed for good.
    Fault(Fault),
}

/// A lane's counts, for the summary of a replay.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Expectations and edits refused.
    pub refused: u64,
    /// Payloads that broke their protocol, by field.
    pub malformed: BTreeMap<String, u64>,
    /// Workers that ended.
    pub crashes: u64,
}

/// Carries the packets of one helper: kernel → worker → kernel.
#[expect(clippy::struct_excessive_bools, reason = "what the kernel was told and how far the end has come are independent facts")]
pub struct Lane<K> {
    kernel: K,
    setup: Setup,
    post: Post,
    l4s: L4s,
    orders: Receiver<Command>,
    wake: Arc<EventFd>,
    audit: Audit,
    /// Where the broker is told what becomes of announcements.
    link: Link,
    quarantine: Quarantine,
    crew: Crew,
    /// Workers that are gone for us, whose end the warden has not told yet.
    mourning: Vec<Mourned>,
    /// What the first worker said of itself; later ones must say the same.
    pinned: Option<Manifest>,
    /// The same with the operator's limits in it: what is registered and judged by.
    served: Option<Manifest>,
    generation: u64,
    state: LaneState,
    started: bool,
    /// What the kernel was told last: whether it sends packets at all.
    enabled: bool,
    stopping: bool,
    drained: bool,
    /// The last flush failed and is to be tried again soon.
    unflushed: bool,
    /// No worker is started earlier.
    not_before: Instant,
    down_since: Instant,
    /// The open circuit is being tried with one worker.
    probing: bool,
    /// The worker that serves is to be relieved as soon as it has nothing in hand.
    retiring: bool,
    /// Workers up to this generation are to be relieved.
    stale: u64,
    tickets: Tickets,
    flows: Flows,
    records: Records,
    judge: Judge,
    restart: Restart,
    blame: Blame,
    counters: Counters,
    granted: u32,
    /// Refusals that may be audited; all are counted.
    refusals: Bucket,
    edited: Vec<u8>,
}

impl<K: Kernel> Lane<K> {
    /// A lane that has not started; returns the handle the control side keeps.
    pub fn new(kernel: K, setup: Setup, post: Post, audit: Audit, quarantine: Quarantine) -> Result<(Self, Handle), Errno> {
        let (handle, orders, wake) = Handle::new(setup.name())?;
        let now = Instant::now();
        let lane = Self {
            kernel,
            judge: Judge::new(setup.config.rules),
            restart: Restart::new(setup.config.restart, seed(setup.name())),
            blame: Blame::new(setup.config.restart.blame),
            setup,
            post,
            l4s: L4s::Tcp,
            orders,
            wake,
            audit,
            link: Link::default(),
            quarantine,
            crew: Crew::default(),
            mourning: Vec::new(),
            pinned: None,
            served: None,
            generation: 0,
            state: LaneState::Restarting,
            started: false,
            enabled: false,
            unflushed: false,
            stopping: false,
            drained: false,
            not_before: now,
            down_since: now,
            probing: false,
            retiring: false,
            stale: 0,
            tickets: Tickets::default(),
            flows: Flows::default(),
            records: Records::default(),
            counters: Counters::default(),
            granted: 0,
            refusals: Bucket::full(AUDITED, now),
            edited: Vec::new(),
        };
        Ok((lane, handle))
    }

    /// What becomes of announcements is told there; a lane that has no such link tells nobody.
    #[must_use]
    pub fn with_link(self, link: Link) -> Self {
        Self { link, ..self }
    }

    /// Serves until told to stop, and leaves nothing behind that would hold packets up. `on_start` is called once, when the first worker
    /// is verified and the kernel sends packets.
    pub fn run(&mut self, on_start: impl FnMut(&Manifest)) -> Ended {
        let ended = self.turns(on_start);
        if let (true, Ended::Fault(_)) = (self.started, &ended) {
            // An enabled helper without a listener is worse than none: new connections would not be confirmed.
            let _ = self.set_enabled(false);
            self.state = LaneState::Disabled;
            self.tickets.send_again();
            self.give_up_waiting(Instant::now());
            let _ = self.kernel.flush();
        }
        for generation in self.crew.generations() {
            self.dismiss(generation);
        }
        ended
    }

    /// What has been counted, and the kernel side, when the lane is over.
    pub fn into_parts(self) -> (K, Figures) {
        let figures = Figures {
            refused: self.counters.refused.values().sum(),
            malformed: self.counters.malformed,
            crashes: self.counters.restarts,
        };
        (self.kernel, figures)
    }

    fn turns(&mut self, mut on_start: impl FnMut(&Manifest)) -> Ended {
        let mut announced = false;
        loop {
            let now = Instant::now();
            let staffed = self.staff(now);
            let ready = match staffed.and_then(|()| self.wait(now).map_err(|errno| Ended::Fault(Fault::new("poll", errno)))) {
                Ok(ready) => ready,
                Err(ended) => return ended,
            };
            if let Err(ended) = self.turn(ready) {
                return ended;
            }
            if let (true, false, Some(manifest)) = (self.started, announced, &self.served) {
                on_start(manifest);
                announced = true;
            }
            if self.is_over() {
                return Ended::Orderly;
            }
        }
    }

    /// One turn: whatever is ready, in the order that keeps packets moving.
    fn turn(&mut self, ready: Ready) -> Result<(), Ended> {
        if ready.orders {
            self.obey();
        }
        if ready.news {
            self.read_news()?;
        }
        for stirred in ready.stirred {
            self.attend(stirred)?;
        }
        if ready.queue {
            self.take_packets().map_err(Ended::Fault)?;
        }
        self.send_packets();
        self.check_deadlines()?;
        let now = Instant::now();
        self.retire(now);
        self.probe_circuit(now);
        let flushed = self.kernel.flush();
        self.unflushed = flushed.is_err();
        if let Err(fault) = flushed {
            self.counters.trouble("flush");
            tracing::warn!(helper = %self.setup.name(), %fault, "verdicts could not be sent");
        }
        Ok(())
    }

    /// Tells the kernel whether to send packets, and remembers what it was told.
    fn set_enabled(&mut self, enabled: bool) -> Result<(), Fault> {
        self.kernel.enable(enabled)?;
        self.enabled = enabled;
        Ok(())
    }

    fn is_serving(&self) -> bool {
        self.crew.serving().is_some()
    }

    /// What has ended is mourned first: its record may be the reason for a replay.
    fn is_over(&self) -> bool {
        self.drained && self.tickets.held() == 0 && self.mourning.is_empty()
    }

    /// Takes packets in. Without a worker, and past the time worth waiting for one, they pass without the helper.
    fn take_packets(&mut self) -> Result<(), Fault> {
        let unhelped = match self.down(Instant::now()) {
            _ if self.is_serving() => None,
            Down::Hold => None,
            Down::Pass => Some(Unhelped::Pass),
            Down::Drop => Some(Unhelped::Drop),
        };
        let received = self.intake(unhelped)?;
        if received.drained {
            self.flows.queue_drained();
            self.drained |= self.stopping;
        }
        self.drained |= received.ended;
        Ok(())
    }
}

/// A number that differs between helpers and between lives, so that helpers which fell together do not rise together.
fn seed(name: &str) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(name)
}
