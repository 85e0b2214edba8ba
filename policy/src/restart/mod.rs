//! What follows the end of a worker, and which flow is to blame. Pure: time and chance are arguments, nothing sleeps here.
//!
//! | file | judges |
//! |---|---|
//! | `settings` | what the operator decided, and whether a worker is worn |
//! | `backoff` | the delay before a restart |
//! | here | restart, or open the circuit; when to try an open one, and when it is closed |
//! | `blame` | which flows are left alone |

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

mod backoff;
mod blame;
mod settings;

use backoff::Dice;
pub use blame::Blame;
pub use settings::{Backoff, BlameLimit, Limit, OnCrash, OnDown, Policy, Thousandths, When, is_worn};

/// How a worker ended that was not asked to go. A planned end (drained, recycled, replaced by the operator) is none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It was silent past its deadline, and was killed.
    Hung,
    /// It said what it may not say, or failed verification, and was killed.
    Breach,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Start another one after this time.
    Restart(Duration),
    /// Disable the helper in the kernel, so that packets pass unqueued. [`Restart::due`] says when to ask again.
    OpenCircuit {
        /// What opened it.
        why: Why,
        /// Time until one worker is to be tried; `None` = wait for the operator.
        probe: Option<Duration>,
    },
}

/// What opened the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// More ends within the interval than are borne.
    Burst,
    /// `policy = "never"`.
    Never,
    /// `policy = "on-failure"`, and the worker exited with code 0.
    CleanExit,
    /// The circuit was half-open, and the one worker ended.
    ProbeFailed,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Burst => "too many workers ended",
            Self::Never => "policy never",
            Self::CleanExit => "policy on-failure and a clean exit",
            Self::ProbeFailed => "the worker that tried the open circuit ended",
        })
    }
}

/// What a lane is to do about a circuit that is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The pause is over, the circuit half-open: enable the helper and start one worker.
    Start,
    /// The worker has proven itself, the circuit is closed: say so, and make spares again.
    Closed,
}

/// Whether packets go to workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Circuit {
    Closed,
    Open { why: Why, since: Instant },
    HalfOpen { since: Instant },
}

/// The restart history of one helper; kept by the supervisor, so that no crash resets it.
#[derive(Debug)]
pub struct Restart {
    policy: Policy,
    dice: Dice,
    /// Ends within the interval; at most `burst` of the policy under which they were counted.
    ends: VecDeque<Instant>,
    circuit: Circuit,
    /// Probes that failed since the circuit was last closed.
    failed_probes: u32,
}

impl Restart {
    /// Longest pause that failed probes grow to, unless the first is longer: an hour without a helper is noticed.
    pub const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

    /// No end seen yet. The seed is for the jitter: helpers with different ones do not restart in step.
    pub fn new(policy: Policy, seed: u64) -> Self {
        Self { policy, dice: Dice(seed), ends: VecDeque::new(), circuit: Circuit::Closed, failed_probes: 0 }
    }

    /// Another policy; the history stays and is judged by it.
    pub fn reconfigure(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// The operator closes the circuit: a new series begins.
    pub fn reset(&mut self) {
        self.ends.clear();
        self.circuit = Circuit::Closed;
        self.failed_probes = 0;
    }

    /// What to do after a worker ended. An open circuit stays open.
    pub fn after_exit(&mut self, exit: Exit, now: Instant) -> Next {
        if self.is_proven(now) {
            self.reset();
        }
        if let Circuit::Open { why, .. } = self.circuit {
            return Next::OpenCircuit { why, probe: self.pause_left(now) };
        }
        if let Some(why) = self.refuses(exit, now) {
            return self.open(why, now);
        }
        self.ends.push_back(now);
        Next::Restart(self.policy.backoff.delay(self.ends.len(), &mut self.dice))
    }

    /// When [`Self::probe`] will have something to say; `None` = not before another end or order.
    pub fn due(&self) -> Option<Instant> {
        match self.circuit {
            Circuit::Closed => None,
            Circuit::Open { why, since } => since.checked_add(self.pause(why)?),
            Circuit::HalfOpen { since } => since.checked_add(self.policy.limit.interval),
        }
    }

    /// What is to be done about an open or half-open circuit now. Each answer is given once.
    pub fn probe(&mut self, now: Instant) -> Option<Probe> {
        if self.due().is_none_or(|due| now < due) {
            return None;
        }
        if self.is_proven(now) {
            self.reset();
            return Some(Probe::Closed);
        }
        self.circuit = Circuit::HalfOpen { since: now };
        Some(Probe::Start)
    }

    /// Spares to keep at present: none unless the circuit is closed, because a probe is one worker.
    pub fn spares(&self) -> u8 {
        if self.circuit == Circuit::Closed { self.policy.spares } else { 0 }
    }

    /// Why there shall be no restart, if so.
    fn refuses(&mut self, exit: Exit, now: Instant) -> Option<Why> {
        let interval = self.policy.limit.interval;
        self.ends.retain(|end| now.saturating_duration_since(*end) < interval);
        match (self.policy.when, self.circuit) {
            (When::Never, _) => Some(Why::Never),
            (When::OnFailure, _) if exit == Exit::Code(0) => Some(Why::CleanExit),
            (_, Circuit::HalfOpen { .. }) => Some(Why::ProbeFailed),
            _ if self.ends.len() >= usize::from(self.policy.limit.burst) => Some(Why::Burst),
            _ => None,
        }
    }

    fn open(&mut self, why: Why, now: Instant) -> Next {
        if why == Why::ProbeFailed {
            self.failed_probes = self.failed_probes.saturating_add(1);
        }
        self.circuit = Circuit::Open { why, since: now };
        Next::OpenCircuit { why, probe: self.pause_left(now) }
    }

    /// Whether the worker of a half-open circuit has lived through the interval.
    fn is_proven(&self, now: Instant) -> bool {
        let interval = self.policy.limit.interval;
        matches!(self.circuit, Circuit::HalfOpen { since } if now.saturating_duration_since(since) >= interval)
    }

    /// How long an open circuit rests: doubled with each probe that failed. None for what no probe can change: the worker's going was
    /// what the operator wished to be final.
    fn pause(&self, why: Why) -> Option<Duration> {
        let first = self.policy.probe?;
        if self.policy.when == When::Never || matches!(why, Why::Never | Why::CleanExit) {
            return None;
        }
        let factor = 1_u32.checked_shl(self.failed_probes).unwrap_or(u32::MAX);
        Some(first.saturating_mul(factor).min(Self::LONGEST_PAUSE.max(first)))
    }

    fn pause_left(&self, now: Instant) -> Option<Duration> {
        self.due().map(|due| due.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests;
