//! What follows the end of a worker, and which flow is to blame. Pure: time is an argument, nothing sleeps here.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use cthelper_proto::types::FlowId;

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code. 0 without having been told to drain is a failure like any other.
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
    /// Too many ends: disable the helper in the kernel, so that packets pass unqueued, and wait for the operator.
    OpenCircuit,
}

/// When to start again, in systemd's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Delay before the second restart of a series; the first has none. Doubles from there.
    pub initial: Duration,
    /// Longest delay.
    pub max: Duration,
    /// Ends that are borne within `interval`; one more opens the circuit.
    pub burst: u16,
    /// The window in which ends are counted; a worker that lives through it starts a new series.
    pub interval: Duration,
}

impl Default for Policy {
    /// 100 ms doubling to 5 s, 10 ends in 60 s. A single poison flow ends two workers before it is left alone, so five such flows
    /// at the same time are borne; the delays of ten ends (21 s) fit into the window, so steady crashing does trip.
    fn default() -> Self {
        Self { initial: Duration::from_millis(100), max: Duration::from_secs(5), burst: 10, interval: Duration::from_mins(1) }
    }
}

/// The restart history of one helper; kept by the supervisor, so that no crash resets it.
#[derive(Debug)]
pub struct Restart {
    policy: Policy,
    ends: VecDeque<Instant>,
}

impl Restart {
    /// No end seen yet.
    pub fn new(policy: Policy) -> Self {
        Self { policy, ends: VecDeque::new() }
    }

    /// What to do after a worker ended. Every [`Exit`] counts alike: the worker was not asked to go.
    pub fn after_exit(&mut self, _exit: Exit, now: Instant) -> Next {
        self.ends.retain(|end| now.saturating_duration_since(*end) < self.policy.interval);
        if self.ends.len() >= usize::from(self.policy.burst) {
            return Next::OpenCircuit;
        }
        self.ends.push_back(now);
        Next::Restart(self.delay())
    }

    /// Ends counted in the window that ended with the last one.
    pub fn recent(&self) -> usize {
        self.ends.len()
    }

    /// The operator closes the circuit: a new series begins.
    pub fn reset(&mut self) {
        self.ends.clear();
    }

    /// 0, initial, 2 × initial, 4 × initial … max.
    fn delay(&self) -> Duration {
        let Some(doublings) = self.ends.len().checked_sub(2) else { return Duration::ZERO };
        let factor = u32::try_from(doublings).ok().and_then(|n| 1_u32.checked_shl(n)).unwrap_or(u32::MAX);
        self.policy.initial.saturating_mul(factor).min(self.policy.max)
    }
}

/// Remembers which flows' packets were in hand when workers ended.
///
/// Bounded: when full, the flow blamed longest ago is forgotten.
#[derive(Debug, Default)]
pub struct Blame {
    /// How often, and when last in the order of all blames.
    flows: HashMap<FlowId, (u8, u64)>,
    blames: u64,
}

impl Blame {
    /// Ends after which a flow is left alone: the first may be chance, the second is its packets.
    pub const LIMIT: u8 = 2;
    /// Flows remembered: a hundred times as many as can end workers before the circuit opens.
    pub const FLOWS: usize = 1024;

    /// A worker ended with a packet of this flow in hand; returns whether the flow is left alone from now on.
    pub fn blame(&mut self, flow: FlowId) -> bool {
        self.blames += 1;
        if self.flows.len() >= Self::FLOWS && !self.flows.contains_key(&flow) {
            let oldest = self.flows.iter().min_by_key(|(_, (_, last))| *last).map(|(flow, _)| *flow);
            oldest.map(|flow| self.flows.remove(&flow));
        }
        let (times, last) = self.flows.entry(flow).or_default();
        (*times, *last) = (times.saturating_add(1), self.blames);
        *times >= Self::LIMIT
    }

    /// Whether the flow's packets pass without the helper.
    pub fn is_left_alone(&self, flow: FlowId) -> bool {
        self.flows.get(&flow).is_some_and(|(times, _)| *times >= Self::LIMIT)
    }

    /// The connection is gone; its id may come back as another's.
    pub fn forget(&mut self, flow: FlowId) {
        self.flows.remove(&flow);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
}
