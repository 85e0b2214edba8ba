//! A real lane on a thread of its own, with real confined workers, on a [fake kernel](crate::fake_kernel).

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use cthelper_policy::config::{Daemon, HelperConfig};
use cthelper_policy::restart::{Backoff, OnDown};
use cthelper_proto::ctl::{HelperStatus, LaneState};
use cthelper_proto::events::Event;
use cthelper_supervisor::audit::{Audit, Records};
use cthelper_supervisor::lane::{Command, Ended, Handle, Lane, Setup};
use cthelper_supervisor::quarantine::Quarantine;
use cthelper_supervisor::spawn::{Identity, Recipe};
use cthelper_supervisor::warden::{Hiring, Warden};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::binaries::binary;
use crate::fake_kernel::{Script, fake_kernel};
use crate::{PATIENCE, eventually};

/// A helper's lane before it runs.
pub struct Play {
    /// To be changed at will.
    pub setup: Setup,
    /// How its workers are made; to be changed, too.
    pub recipe: Recipe,
    /// The program that is the warden.
    pub warden: PathBuf,
    /// Where packets in hand are kept.
    pub quarantine: Option<PathBuf>,
}

impl Play {
    /// FTP, by the shipped worker.
    pub fn ftp() -> Self {
        Self::new("ftp", "ftp", binary("cthelper-worker"))
    }

    /// Another helper of the shipped worker.
    pub fn helper(name: &str) -> Self {
        Self::new(name, name, binary("cthelper-worker"))
    }

    /// A link of the chain of `bin/chain`.
    pub fn chain(name: &str) -> Self {
        Self::new(name, name, binary("chain"))
    }

    /// An imposter that will behave as `mode` says.
    pub fn imposter(mode: &str) -> Self {
        Self::new("imposter", mode, binary("imposter"))
    }

    /// No spares, restarts at once; a deadline, and a wait for the next worker, far longer than a loaded or emulated machine takes.
    fn new(name: &str, argument: &str, worker: PathBuf) -> Self {
        let identity = Identity::find(Daemon::USER, Daemon::USER).unwrap();
        let mut recipe = Recipe::new(argument, worker, identity);
        recipe.launcher = binary("cthelperd");
        let mut config = HelperConfig::new(name);
        config.restart.deadline = PATIENCE;
        config.restart.on_down = OnDown::Hold(PATIENCE);
        config.restart.spares = 0;
        let soon = Duration::from_millis(1);
        config.restart.backoff = Backoff { initial: soon, max: soon, ..Backoff::default() };
        Self { setup: Setup { config, identity }, recipe, warden: binary("cthelperd"), quarantine: None }
    }

    /// With another deadline for the worker.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.setup.config.restart.deadline = deadline;
        self
    }

    /// With workers that wait to take over.
    #[must_use]
    pub fn spares(mut self, spares: u8) -> Self {
        self.setup.config.restart.spares = spares;
        self
    }

    /// Bears this many ends of workers before the circuit opens.
    #[must_use]
    pub fn bears(mut self, ends: u16) -> Self {
        self.setup.config.restart.limit.burst = ends;
        self
    }

    /// Raises the curtain, and waits until the first worker serves.
    pub fn start(self) -> Stage {
        let stage = self.open();
        stage.serves();
        stage
    }

    /// Raises the curtain.
    pub fn open(self) -> Stage {
        let (kernel, script) = fake_kernel();
        let (audit, records) = Audit::channel();
        let (tell, told) = channel();
        let mut hiring = Hiring::start(&self.warden).unwrap();
        let post = hiring.post(&self.recipe).unwrap();
        let warden = hiring.seal().unwrap();
        let run = move || {
            let (mut lane, handle) = Lane::new(kernel, self.setup, post, audit, Quarantine::new(self.quarantine)).unwrap();
            tell.send(handle).unwrap();
            let ended = lane.run(|_| ());
            drop(lane.into_parts());
            ended
        };
        let thread = std::thread::spawn(run);
        let handle = told.recv_timeout(PATIENCE).unwrap();
        Stage { kernel: script, handle, records, seen: RefCell::default(), thread, warden }
    }
}

/// A running lane.
pub struct Stage {
    /// Its kernel.
    pub kernel: Script,
    handle: Handle,
    records: Records,
    seen: RefCell<Vec<Event>>,
    thread: JoinHandle<Ended>,
    warden: Warden,
}

impl Stage {
    /// The process that makes its workers.
    pub fn warden(&self) -> u32 {
        self.warden.pid()
    }

    /// Asks the lane how it is.
    pub fn status(&self) -> HelperStatus {
        self.answer(Command::Status)
    }

    /// Waits until a worker serves; gives its process id.
    pub fn serves(&self) -> u32 {
        eventually("a worker that serves", || {
            assert!(!self.thread.is_finished(), "the lane is over; audit: {:?}", self.audited());
            let status = self.status();
            (status.state == LaneState::Serving).then(|| status.workers.first().map(|worker| worker.pid)).flatten()
        })
    }

    /// Waits until another worker than this one serves.
    pub fn serves_after(&self, pid: u32) -> u32 {
        eventually("the next worker", || Some(self.serves()).filter(|next| *next != pid))
    }

    /// Waits for a state.
    pub fn comes_to(&self, state: LaneState) {
        eventually(&format!("the state {state:?}"), || (self.status().state == state).then_some(()));
    }

    /// Signals the worker, if it still lives.
    pub fn signal(&self, pid: u32, signal: Signal) {
        match kill(Pid::from_raw(pid.try_into().unwrap()), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => panic!("{signal}: {error}"),
        }
    }

    /// Takes away the handler that std sets up for faults, so that the next such signal kills. A fault that was only sent by somebody is
    /// not repeated when the handler returns; it costs no more than the handler.
    pub fn disarm(&self, pid: u32, fault: Signal) {
        let is_caught = || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
            let bit = 1_u64 << (fault as u32 - 1);
            u64::from_str_radix(caught, 16).unwrap() & bit != 0
        };
        if is_caught() {
            self.signal(pid, fault);
            eventually("the handler to go", || (!is_caught()).then_some(()));
        }
    }

    /// Stops the worker and waits until it stands still, so that what arrives next stays in flight.
    pub fn freeze(&self) -> u32 {
        let pid = self.serves();
        self.signal(pid, Signal::SIGSTOP);
        eventually("the worker to stand still", || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            status.rsplit_once(')').is_some_and(|(_, fields)| fields.starts_with(" T")).then_some(())
        });
        pid
    }

    /// Gives an order that nobody answers; `false` when the lane is over.
    pub fn orders(&self, command: Command) -> bool {
        self.handle.order(command)
    }

    /// Gives an order that is answered.
    pub fn answer<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> T {
        let (answer, mut answered) = oneshot::channel();
        assert!(self.handle.order(command(answer)), "the lane is over; audit: {:?}", self.audited());
        eventually("the lane to answer an order", || match answered.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Closed) => panic!("the lane is over; audit: {:?}", self.audited()),
        })
    }

    /// Everything audited so far.
    pub fn audited(&self) -> Vec<Event> {
        let mut seen = self.seen.borrow_mut();
        seen.extend(self.records.try_iter().map(|record| record.event));
        seen.clone()
    }

    /// Waits for an audit event.
    pub fn audits<T>(&self, what: &str, which: impl Fn(&Event) -> Option<T>) -> T {
        eventually(what, || self.audited().iter().find_map(&which))
    }

    /// Orders the lane to stop, and waits until it has; every packet has come back once and in order by then.
    pub fn stop(self) -> Ended {
        assert!(self.handle.order(Command::Stop), "the lane is over; audit: {:?}", self.audited());
        let kernel = self.kernel.clone();
        let ended = self.ends();
        kernel.is_in_order();
        ended
    }

    /// Orders the lane to leave the queue to a successor.
    pub fn hand_over(&self) {
        assert!(self.handle.order(Command::HandOver), "the lane is over; audit: {:?}", self.audited());
    }

    /// Waits until the lane is over by itself.
    pub fn ends(self) -> Ended {
        eventually("the lane to end", || self.thread.is_finished().then_some(()));
        self.thread.join().unwrap()
    }
}

/// How workers ended, by their audit events: `crashed signal SIGKILL`, `hung`, `out of turn …`, `refused …`.
pub fn ends(events: &[Event]) -> Vec<String> {
    let end = |event: &Event| match event {
        Event::WorkerCrashed(crash) => Some(format!("crashed {}", crash.cause)),
        Event::WorkerHung(_) => Some("hung".to_owned()),
        Event::WorkerOutOfTurn { said, .. } => Some(format!("out of turn: {said}")),
        Event::WorkerRefused { reason, .. } => Some(format!("refused: {reason}")),
        _ => None,
    };
    events.iter().filter_map(end).collect()
}
