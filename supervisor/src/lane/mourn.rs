//! The end of a worker: evidence first, then its packets, then the next one.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use cthelper_policy::restart::{Exit, Next};
use cthelper_proto::ctl::LaneState;
use cthelper_proto::events::{Crash, Event, Master};
use nix::sys::signal::Signal;

use super::session::{OutOfTurn, Phase, Session};
use super::tickets::Held;
use super::{Ended, HANDSHAKE, Lane};
use crate::kernel::{Kernel, Release};

/// How long a worker that hung up may take to be reaped before it is killed.
const LAST_BREATH: Duration = Duration::from_millis(20);

/// Reads of 4 KiB in one turn: what a pipe holds.
const LOG_READS: usize = 16;

/// Why a worker is no longer ours.
#[derive(Debug)]
pub(super) enum Cause {
    /// It closed its channels: it ended, or behaves as if.
    Hangup,
    /// It kept a packet, or its introduction, past the deadline.
    Silent,
    /// It broke the protocol or failed verification.
    OutOfTurn(OutOfTurn),
    /// The operator wants another.
    Replaced,
}

impl<K: Kernel> Lane<K> {
    /// Starts the next worker. Fails only for the lane's first, when the operator still watches.
    pub(super) fn spawn(&mut self, now: Instant) -> Result<(), String> {
        self.next_spawn = None;
        self.generation += 1;
        match self.setup.recipe.spawn() {
            Ok(spawned) => {
                self.session = Some(Session::new(spawned, self.generation, now));
                Ok(())
            }
            Err(error) if !self.started => Err(format!("cannot start a worker: {error}")),
            Err(error) => {
                tracing::error!(helper = %self.setup.name(), %error, "cannot start a worker");
                self.after_exit(Exit::Breach, now);
                Ok(())
            }
        }
    }

    /// Reads what the worker wrote on stderr, a pipe's worth at most, so that one who keeps writing does not keep us reading.
    pub(super) fn read_log(&mut self) {
        let Some(session) = &mut self.session else { return };
        let mut buffer = [0; 4096];
        for _ in 0..LOG_READS {
            let Ok(length @ 1..) = session.spawned.log.read(&mut buffer) else { return };
            let text = buffer.get(..length).unwrap_or_default();
            if session.log.push(text) {
                tracing::info!(helper = %self.setup.name(), pid = session.spawned.pid(), "worker: {}", text.trim_ascii().escape_ascii());
            }
        }
    }

    /// A silent worker ends; packets that wait for one too long pass.
    pub(super) fn check_deadlines(&mut self) -> Result<(), Ended> {
        let now = Instant::now();
        let shaking_hands =
            self.session.as_ref().is_some_and(|session| session.phase != Phase::Serving && now > session.since + HANDSHAKE);
        let overdue = |lane: &Self| lane.tickets.next_deadline().is_some_and(|deadline| now > deadline);
        if overdue(self) {
            self.read_last_verdicts(); // it may be us who were late
        }
        if shaking_hands || overdue(self) {
            self.worker_ended(&Cause::Silent)?;
        }
        if !self.is_serving() && self.started && !self.is_holding(now) {
            self.pass_waiting();
        }
        Ok(())
    }

    /// Buries the worker, gives its packet in hand back unmodified, keeps the others for the next, and records all of it.
    pub(super) fn worker_ended(&mut self, cause: &Cause) -> Result<(), Ended> {
        self.read_log();
        if matches!(cause, Cause::Hangup | Cause::Replaced) {
            self.read_last_verdicts();
        }
        let Some(mut session) = self.session.take() else { return Ok(()) };
        let now = Instant::now();
        let in_flight = self.tickets.in_flight();
        let own_end = match cause {
            Cause::Hangup => session.spawned.ended(LAST_BREATH),
            Cause::Silent | Cause::OutOfTurn(_) | Cause::Replaced => None,
        };
        let (pid, generation, landed) = (session.spawned.pid(), session.generation, session.phase == Phase::Serving);
        let Session { spawned, log, since, packets, .. } = session;
        if own_end.is_none() {
            spawned.bury();
        }
        if !self.started {
            return Err(Ended::NotStarted(format!("the first worker {}: {}", describe(cause, own_end), log.escaped())));
        }
        let in_hand = match cause {
            Cause::Replaced => None,
            _ => self.tickets.in_hand(),
        };
        self.tickets.send_again();
        let crash = Crash {
            helper: self.setup.name().to_owned(),
            pid,
            generation,
            cause: describe(cause, own_end),
            uptime: now.saturating_duration_since(since).as_secs_f64(),
            packets,
            in_flight,
            in_hand: in_hand.as_ref().map(|held| Master::from(&held.flow.orig)),
            log: log.escaped(),
            decision: String::new(),
        };
        if let Some(held) = in_hand {
            self.let_go(held);
        }
        if landed {
            self.down_since = now;
        }
        self.counters.restarts += 1;
        let decision = match cause {
            Cause::Replaced => self.again(Duration::ZERO, now),
            _ => self.after_exit(exit(cause, own_end), now),
        };
        self.record(cause, Crash { decision, ..crash });
        Ok(())
    }

    /// The packet the worker was on: it passes as it came, its flow is remembered, its bytes are kept for the analyst. Of a flow that is
    /// left alone from now on, all that waits passes, in order and before what comes later.
    fn let_go(&mut self, held: Held) {
        self.quarantine.keep(self.setup.name(), &held.packet);
        let flow = held.flow;
        self.pass(held);
        if self.blame.blame(flow.id, Instant::now()) {
            tracing::warn!(helper = %self.setup.name(), flow = ?flow.orig, "this flow ends workers; it is left alone from now on");
            self.counters.trouble("flow-left-alone");
            for waiting in self.tickets.take_waiting_of(&flow) {
                self.pass(waiting);
            }
        }
    }

    /// Gives a packet back as it came, and remembers that.
    fn pass(&mut self, held: Held) {
        self.flows.went_plain(&held, Instant::now());
        self.release(&held, Release::Accept);
        self.tickets.recycle(held);
    }

    fn after_exit(&mut self, exit: Exit, now: Instant) -> String {
        match self.restart.after_exit(exit, now) {
            Next::Restart(delay) => self.again(delay, now),
            Next::OpenCircuit { why, .. } => {
                self.open_circuit(&why.to_string());
                "circuit opened".to_owned()
            }
        }
    }

    fn again(&mut self, delay: Duration, now: Instant) -> String {
        if self.enabled {
            self.state = LaneState::Restarting;
        }
        self.next_spawn = Some(now + delay);
        format!("restart after {} ms", delay.as_millis())
    }

    /// DISABLED in the kernel: its packets pass unqueued until the operator says `restart`.
    fn open_circuit(&mut self, reason: &str) {
        self.state = LaneState::Tripped;
        self.next_spawn = None;
        if let Err(fault) = self.set_enabled(false) {
            tracing::error!(helper = %self.setup.name(), %fault, "the helper could not be disabled; its packets pass without it");
        }
        self.pass_waiting();
        self.audit.write(Event::CircuitOpened { helper: self.setup.name().to_owned(), reason: reason.to_owned() });
        tracing::error!(helper = %self.setup.name(), reason, "circuit opened: traffic passes without the helper; cthelperctl restart closes it");
    }

    /// Gives everything that waits back as it came.
    pub(super) fn pass_waiting(&mut self) {
        let waiting: Vec<Held> = self.tickets.drain_waiting().collect();
        for held in waiting {
            self.pass(held);
        }
    }

    fn record(&self, cause: &Cause, crash: Crash) {
        tracing::warn!(
            helper = %crash.helper, pid = crash.pid, generation = crash.generation, cause = %crash.cause,
            in_flight = crash.in_flight, decision = %crash.decision, "worker ended"
        );
        self.audit.write(match cause {
            Cause::Silent => Event::WorkerHung(crash),
            Cause::OutOfTurn(why) => Event::WorkerOutOfTurn {
                helper: crash.helper,
                pid: crash.pid,
                generation: crash.generation,
                said: why.to_string(),
            },
            Cause::Replaced => Event::WorkerReplaced { helper: crash.helper, pid: crash.pid, generation: crash.generation },
            Cause::Hangup => Event::WorkerCrashed(crash),
        });
    }
}

fn describe(cause: &Cause, status: Option<ExitStatus>) -> String {
    match cause {
        Cause::Silent => "was silent past its deadline".to_owned(),
        Cause::OutOfTurn(why) => format!("out of turn: {why}"),
        Cause::Replaced => "replaced by the operator".to_owned(),
        Cause::Hangup => match (status.and_then(|s| s.signal()), status.and_then(|s| s.code())) {
            (Some(signal), _) => {
                let name = Signal::try_from(signal).map_or("unknown", Signal::as_str);
                format!("signal {name}")
            }
            (None, Some(code)) => format!("exit {code}"),
            (None, None) => "closed its channels".to_owned(),
        },
    }
}

fn exit(cause: &Cause, status: Option<ExitStatus>) -> Exit {
    match (cause, status) {
        (Cause::Silent, _) => Exit::Hung,
        (Cause::Hangup | Cause::Replaced, Some(status)) => {
            status.signal().map_or_else(|| Exit::Code(status.code().unwrap_or(0)), Exit::Signal)
        }
        (Cause::OutOfTurn(_) | Cause::Hangup | Cause::Replaced, _) => Exit::Breach,
    }
}
