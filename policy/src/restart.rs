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
        Self { initial: Duration::from_millis(100), max: Duration::from_secs(5), burst: 10, interval: Duration::from_secs(60) }
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(restart: &mut Restart, start: Instant, gaps: &[u64]) -> Vec<Next> {
        let mut now = start;
        let step = |gap: &u64| {
            now += Duration::from_millis(*gap);
            restart.after_exit(Exit::Signal(11), now)
        };
        gaps.iter().map(step).collect()
    }

    #[test]
    fn first_restart_is_immediate_then_the_delay_doubles_up_to_its_limit() {
        let mut restart = Restart::new(Policy::default());
        let next = series(&mut restart, Instant::now(), &[0; 10]);
        let delays = [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000];
        assert_eq!(next, delays.map(|ms| Next::Restart(Duration::from_millis(ms))));
    }

    #[test]
    fn the_eleventh_end_in_a_minute_opens_the_circuit() {
        let mut restart = Restart::new(Policy::default());
        let next = series(&mut restart, Instant::now(), &[5000; 11]);
        assert!(!next[..10].contains(&Next::OpenCircuit));
        assert_eq!(next[10], Next::OpenCircuit);
    }

    #[test]
    fn a_worker_that_crashes_at_once_trips_in_spite_of_its_delays() {
        let (mut restart, mut now) = (Restart::new(Policy::default()), Instant::now());
        let trips = (0..11).any(|_| match restart.after_exit(Exit::Code(1), now) {
            Next::Restart(delay) => {
                now += delay + Duration::from_millis(5);
                false
            }
            Next::OpenCircuit => true,
        });
        assert!(trips);
    }

    #[test]
    fn a_worker_that_lives_through_the_interval_starts_a_new_series() {
        let mut restart = Restart::new(Policy::default());
        let next = series(&mut restart, Instant::now(), &[0, 60_000, 60_000]);
        assert_eq!(next, [Next::Restart(Duration::ZERO); 3]);
    }

    #[test]
    fn the_operator_can_close_the_circuit_again() {
        let (mut restart, now) = (Restart::new(Policy { burst: 1, ..Policy::default() }), Instant::now());
        assert_eq!(series(&mut restart, now, &[0, 0]), [Next::Restart(Duration::ZERO), Next::OpenCircuit]);
        restart.reset();
        assert_eq!(restart.after_exit(Exit::Hung, now), Next::Restart(Duration::ZERO));
    }

    #[test]
    fn burst_0_never_restarts_and_a_huge_one_does_not_overflow() {
        let now = Instant::now();
        assert_eq!(Restart::new(Policy { burst: 0, ..Policy::default() }).after_exit(Exit::Breach, now), Next::OpenCircuit);
        let policy = Policy { burst: u16::MAX, ..Policy::default() };
        let mut restart = Restart::new(policy);
        assert!((0..200).all(|_| restart.after_exit(Exit::Code(0), now) != Next::OpenCircuit));
        assert_eq!(restart.after_exit(Exit::Code(0), now), Next::Restart(policy.max));
    }

    #[test]
    fn a_flow_is_left_alone_after_its_second_end() {
        let mut blame = Blame::default();
        assert!(!blame.blame(FlowId(1)));
        assert!(!blame.is_left_alone(FlowId(1)));
        assert!(!blame.blame(FlowId(2)));
        assert!(blame.blame(FlowId(1)));
        assert!(blame.is_left_alone(FlowId(1)));
        assert!(!blame.is_left_alone(FlowId(2)));
    }

    #[test]
    fn blame_is_bounded_and_forgets_the_oldest() {
        let mut blame = Blame::default();
        let flows = u32::try_from(Blame::FLOWS).unwrap();
        for flow in 0..flows {
            blame.blame(FlowId(flow));
        }
        blame.blame(FlowId(0));
        blame.blame(FlowId(flows));
        assert!(blame.is_left_alone(FlowId(0)), "blamed again lately");
        assert!(!blame.blame(FlowId(1)), "forgotten: this is its first again");
        assert_eq!(blame.flows.len(), Blame::FLOWS);
    }
}
