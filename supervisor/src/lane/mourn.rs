//! The end of a worker: its packets first, then the evidence, then what is decided.
//!
//! A death has two halves. The lane sees that a worker is gone, or is through with it: its packet in hand goes back, the others go to
//! the next worker, at once. How it died is the warden's to say, a moment later: then the restart policy decides, and the record is
//! written.

use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant, SystemTime};

use cthelper_policy::restart::Exit;
use cthelper_proto::events::{Crash, Event};
use nix::sys::signal::Signal;

use super::session::{OutOfTurn, Session};
use super::tickets::Held;
use super::{Ended, HANDSHAKE, Lane};
use crate::evidence::exhibit::Exhibit;
use crate::evidence::{crash, text};
use crate::kernel::Kernel;
use crate::warden::End;

/// How long a worker that hung up, or was dismissed, may take to end by itself before it is ended.
const LAST_BREATH: Duration = Duration::from_millis(200);
/// How long the kernel's word on a worker's end is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads of 4 KiB in one turn: what a pipe holds.
const LOG_READS: usize = 16;

/// Longest text about what a worker said, bytes.
const SAID: usize = 512;

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
    /// It was told to go, having nothing in hand; no other is wanted for it.
    Dismissed,
}

/// A worker that is gone for us, whose end the kernel has not told yet.
pub(super) struct Mourned {
    cause: Cause,
    crash: Box<Crash>,
    /// The packet it had in hand, to be kept when it is known what it died of.
    exhibit: Option<(Exhibit, Vec<u8>)>,
    /// What it wrote last may still be in here.
    log: File,
    tail: super::log::Tail,
    /// When it is ended if it has not ended by itself; `None` = it has been told to the warden.
    end_at: Option<Instant>,
    /// Until when its end is waited for.
    until: Instant,
}

impl Mourned {
    /// Whether what follows depends on how it ended.
    pub(super) fn is_undecided(&self) -> bool {
        !matches!(self.cause, Cause::Replaced | Cause::Dismissed)
    }
}

impl<K: Kernel> Lane<K> {
    /// Reads what a worker wrote on stderr, a pipe's worth at most, so that one who keeps writing does not keep us reading.
    pub(super) fn read_log(&mut self, generation: u64) {
        let Some(session) = self.crew.by_mut(generation) else { return };
        let (name, pid) = (self.setup.config.name.as_str(), session.pid);
        drain(&mut session.channels.log, |bytes| {
            if session.log.push(bytes) {
                tracing::info!(helper = name, pid, "worker: {}", bytes.trim_ascii().escape_ascii());
            }
        });
    }

    /// A silent worker ends; packets that wait for one too long pass.
    pub(super) fn check_deadlines(&mut self) -> Result<(), Ended> {
        let now = Instant::now();
        let shy = |session: &&Session| !session.is_verified() && now > session.since + HANDSHAKE;
        let shy = self.crew.iter().find(shy).map(|session| session.generation);
        if let Some(generation) = shy {
            self.worker_ended(generation, Cause::Silent);
        }
        let overdue = |lane: &Self| lane.tickets.next_deadline().is_some_and(|deadline| now > deadline);
        if overdue(self) {
            self.read_last_verdicts(); // it may be us who were late
        }
        if overdue(self) {
            self.serving_ended(Cause::Silent);
        }
        self.mourn_late(now)?;
        if !self.is_serving() && self.started && !self.is_holding(now) {
            self.give_up_waiting(now);
        }
        Ok(())
    }

    /// The serving worker is gone.
    pub(super) fn serving_ended(&mut self, cause: Cause) {
        if let Some(generation) = self.crew.serving().map(|session| session.generation) {
            self.worker_ended(generation, cause);
        }
    }

    /// A worker is gone, or we are through with it: its packet in hand goes back, the others go to the next worker.
    pub(super) fn worker_ended(&mut self, generation: u64, cause: Cause) {
        self.read_log(generation);
        let served = self.crew.serving().is_some_and(|session| session.generation == generation);
        if served && matches!(cause, Cause::Hangup | Cause::Replaced) {
            self.read_last_verdicts();
        }
        let Some(session) = self.crew.leave(generation) else { return };
        let now = Instant::now();
        let in_flight = if served { self.tickets.in_flight() } else { 0 };
        let in_hand = if served && !matches!(cause, Cause::Replaced | Cause::Dismissed) { self.tickets.in_hand() } else { None };
        let mut mourned = self.mourned(session, cause, in_flight, now);
        if served {
            self.retiring = false;
            self.tickets.send_again();
            if let Some(held) = in_hand {
                mourned.crash.in_hand = Some(crash::in_hand(&held.flow, held.info.dir(), &held.packet, None));
                mourned.exhibit = Some(self.exhibit(&mourned.crash.id, &held));
                self.let_go(held, now);
            }
            self.take_over(now);
        }
        if mourned.end_at.is_none() {
            self.end(generation);
        }
        self.mourning.push(mourned);
    }

    fn exhibit(&self, crash: &str, held: &Held) -> (Exhibit, Vec<u8>) {
        let exhibit = Exhibit {
            crash: crash.to_owned(),
            helper: self.setup.name().to_owned(),
            cause: String::new(),
            flow: held.flow,
            info: held.info,
            confirmed: held.confirmed,
            state: held.state,
        };
        (exhibit, held.packet.clone())
    }

    fn mourned(&self, session: Session, cause: Cause, in_flight: usize, now: Instant) -> Mourned {
        let crash = Box::new(Crash {
            id: crash::id(self.setup.name(), session.generation, SystemTime::now()),
            helper: self.setup.name().to_owned(),
            pid: session.pid.unwrap_or_default(),
            generation: session.generation,
            uptime: now.saturating_duration_since(session.since).as_secs_f64(),
            packets: session.packets,
            cause: String::new(),
            exit: crash::exit(None),
            fault: None,
            panic: None,
            log: String::new(),
            in_hand: None,
            in_flight,
            landlock: session.landlock.to_string(),
            decision: String::new(),
            next_delay_ms: None,
        });
        let by_itself = matches!(cause, Cause::Hangup | Cause::Dismissed);
        let end_at = by_itself.then(|| now + LAST_BREATH);
        Mourned {
            cause,
            crash,
            exhibit: None,
            log: session.channels.log,
            tail: session.log,
            end_at,
            until: now + LAST_BREATH + PATIENCE,
        }
    }

    /// Has the warden end a worker.
    fn end(&self, generation: u64) {
        if let Err(error) = self.post.kill(generation) {
            tracing::error!(helper = %self.setup.name(), generation, %error, "a worker could not be ended");
        }
    }

    /// The kernel's word on a worker's end.
    pub(super) fn end_is_known(&mut self, generation: u64, end: &End) -> Result<(), Ended> {
        if self.crew.by(generation).is_some() {
            self.worker_ended(generation, Cause::Hangup); // we had not noticed yet
        }
        let Some(at) = self.mourning.iter().position(|mourned| mourned.crash.generation == generation) else { return Ok(()) };
        let mourned = self.mourning.swap_remove(at);
        self.bury(mourned, Some(end))
    }

    /// Ends what does not end by itself, and goes on without the kernel's word where it does not come.
    fn mourn_late(&mut self, now: Instant) -> Result<(), Ended> {
        let lingering: Vec<u64> = (self.mourning.iter_mut())
            .filter(|mourned| mourned.end_at.is_some_and(|at| now > at))
            .map(|mourned| {
                mourned.end_at = None;
                mourned.crash.generation
            })
            .collect();
        for generation in lingering {
            self.end(generation);
        }
        while let Some(at) = self.mourning.iter().position(|mourned| now > mourned.until) {
            let mourned = self.mourning.swap_remove(at);
            self.bury(mourned, None)?;
        }
        Ok(())
    }

    /// When [`Self::mourn_late`] has something to do.
    pub(super) fn mourning_until(&self) -> Option<Instant> {
        self.mourning.iter().map(|mourned| mourned.end_at.unwrap_or(mourned.until)).min()
    }

    /// Decides what follows, and writes the record.
    fn bury(&mut self, mut mourned: Mourned, end: Option<&End>) -> Result<(), Ended> {
        drain(&mut mourned.log, |bytes| {
            mourned.tail.push(bytes);
        });
        let Mourned { cause, mut crash, exhibit, tail, end_at, .. } = mourned;
        // What we ended ourselves says nothing of why; one that ended before we could has its own end.
        let own_end = end.filter(|end| end_at.is_some() || end.signal != Some(Signal::SIGKILL as i32));
        crash.cause = describe(&cause, own_end);
        crash.log = tail.escaped();
        if !self.started && !matches!(cause, Cause::Dismissed) {
            return Err(Ended::NotStarted(format!("the first worker {}: {}", crash.cause, crash.log)));
        }
        crash.exit = crash::exit(end);
        crash.fault = end.and_then(|end| end.fault.clone());
        crash.panic = text::panic_of(&crash.log);
        if let (Some((mut exhibit, packet)), Some(in_hand)) = (exhibit, &mut crash.in_hand) {
            exhibit.cause.clone_from(&crash.cause);
            in_hand.file = self.quarantine.keep(&exhibit, &packet).map(|path| path.display().to_string());
        }
        let now = Instant::now();
        match cause {
            Cause::Dismissed => return Ok(()),
            Cause::Replaced => self.counters.restarts += 1,
            Cause::Hangup | Cause::Silent | Cause::OutOfTurn(_) => {
                self.counters.restarts += 1;
                (crash.decision, crash.next_delay_ms) = self.decide(exit(&cause, own_end), now);
            }
        }
        self.record(&cause, crash);
        Ok(())
    }

    fn record(&self, cause: &Cause, crash: Box<Crash>) {
        tracing::warn!(
            helper = %crash.helper, pid = crash.pid, generation = crash.generation, cause = %crash.cause,
            in_flight = crash.in_flight, decision = %crash.decision, "worker ended"
        );
        self.audit.write(match cause {
            Cause::Silent => Event::WorkerHung(crash),
            Cause::OutOfTurn(why) => Event::WorkerOutOfTurn { said: text::one_line(&why.to_string(), SAID), crash },
            Cause::Replaced | Cause::Dismissed => {
                Event::WorkerReplaced { helper: crash.helper, pid: crash.pid, generation: crash.generation }
            }
            Cause::Hangup => Event::WorkerCrashed(crash),
        });
    }
}

fn drain(log: &mut File, mut each: impl FnMut(&[u8])) {
    let mut buffer = [0; 4096];
    for _ in 0..LOG_READS {
        let Ok(length @ 1..) = log.read(&mut buffer) else { return };
        each(buffer.get(..length).unwrap_or_default());
    }
}

fn describe(cause: &Cause, end: Option<&End>) -> String {
    match cause {
        Cause::Silent => "was silent past its deadline".to_owned(),
        Cause::OutOfTurn(why) => text::one_line(&format!("out of turn: {why}"), SAID),
        Cause::Replaced => "replaced by the operator".to_owned(),
        Cause::Dismissed => "dismissed".to_owned(),
        Cause::Hangup => match end.map(|end| (end.signal, end.code)) {
            Some((Some(number), _)) => format!("signal {}", crash::signal_name(number)),
            Some((None, Some(code))) => format!("exit {code}"),
            _ => "closed its channels".to_owned(),
        },
    }
}

fn exit(cause: &Cause, end: Option<&End>) -> Exit {
    match (cause, end.map(|end| (end.signal, end.code))) {
        (Cause::Silent, _) => Exit::Hung,
        (Cause::Hangup, Some((Some(signal), _))) => Exit::Signal(signal),
        (Cause::Hangup, Some((None, Some(code)))) => Exit::Code(code),
        _ => Exit::Breach,
    }
}
