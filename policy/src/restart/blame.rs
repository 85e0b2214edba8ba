//! Which flows end workers.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use cthelper_proto::types::FlowId;

use super::settings::BlameLimit;

/// Remembers which flows' packets were in hand when workers ended. A blame counts until `penalty` after the flow's last one; then
/// the flow begins anew.
///
/// Bounded: when full, the flow blamed longest ago is forgotten.
#[derive(Debug, Default)]
pub struct Blame {
    limit: BlameLimit,
    flows: HashMap<FlowId, Blamed>,
    /// Of all flows together.
    blames: u64,
}

#[derive(Clone, Copy, Debug)]
struct Blamed {
    times: u8,
    last: Instant,
    /// The last one's place in the order of all blames; two may share an instant.
    place: u64,
}

impl Blame {
    /// Flows remembered: a hundred times as many as can end workers before the circuit opens.
    pub const FLOWS: usize = 1024;

    /// Nobody is to blame yet.
    pub fn new(limit: BlameLimit) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Other limits; what was remembered stays and is judged by them.
    pub fn reconfigure(&mut self, limit: BlameLimit) {
        self.limit = limit;
    }

    /// A worker ended with a packet of this flow in hand; returns whether the flow is left alone from now on.
    pub fn blame(&mut self, flow: FlowId, now: Instant) -> bool {
        self.blames += 1;
        let before = self.counts(flow, now);
        if before == 0 {
            self.make_room_for(flow);
        }
        let times = before.saturating_add(1);
        self.flows.insert(flow, Blamed { times, last: now, place: self.blames });
        times >= self.limit.times
    }

    /// Whether the flow's packets pass without the helper.
    pub fn is_left_alone(&self, flow: FlowId, now: Instant) -> bool {
        let times = self.counts(flow, now);
        times > 0 && times >= self.limit.times
    }

    /// All flows whose packets pass without the helper, by id, and for how much longer.
    pub fn left_alone(&self, now: Instant) -> Vec<(FlowId, Duration)> {
        let left = |blamed: &Blamed| self.limit.penalty.saturating_sub(now.saturating_duration_since(blamed.last));
        let alone = self.flows.iter().filter(|(flow, _)| self.is_left_alone(**flow, now));
        let mut flows: Vec<_> = alone.map(|(flow, blamed)| (*flow, left(blamed))).collect();
        flows.sort_by_key(|(flow, _)| flow.0);
        flows
    }

    /// Blames of this flow that still count.
    fn counts(&self, flow: FlowId, now: Instant) -> u8 {
        match self.flows.get(&flow) {
            Some(blamed) if now.saturating_duration_since(blamed.last) < self.limit.penalty => blamed.times,
            _ => 0,
        }
    }

    fn make_room_for(&mut self, flow: FlowId) {
        if self.flows.len() < Self::FLOWS || self.flows.contains_key(&flow) {
            return;
        }
        let oldest = self.flows.iter().min_by_key(|(_, blamed)| blamed.place).map(|(flow, _)| *flow);
        oldest.map(|flow| self.flows.remove(&flow));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PENALTY: Duration = Duration::from_secs(3600);
    const FLOW: FlowId = FlowId(1);

    #[test]
    fn a_flow_is_left_alone_after_its_second_end() {
        let (mut blame, now) = (Blame::default(), Instant::now());
        assert!(!blame.blame(FLOW, now));
        assert!(!blame.is_left_alone(FLOW, now));
        assert!(!blame.blame(FlowId(2), now));
        assert!(blame.blame(FLOW, now));
        assert!(blame.is_left_alone(FLOW, now));
        assert!(!blame.is_left_alone(FlowId(2), now));
        assert!(!blame.is_left_alone(FlowId(3), now));
        assert_eq!(blame.left_alone(now + PENALTY / 4), [(FLOW, PENALTY * 3 / 4)]);
        assert_eq!(blame.left_alone(now + PENALTY), []);
    }

    #[test]
    fn a_flow_is_served_again_after_its_penalty_and_begins_anew() {
        let (mut blame, now) = (Blame::default(), Instant::now());
        blame.blame(FLOW, now);
        let second = now + PENALTY / 2;
        blame.blame(FLOW, second);
        let over = second + PENALTY;
        assert!(blame.is_left_alone(FLOW, second + PENALTY * 9 / 10));
        assert!(!blame.is_left_alone(FLOW, over));
        assert!(!blame.blame(FLOW, over), "its first again");
        assert!(blame.blame(FLOW, over));
    }

    #[test]
    fn a_single_end_is_forgiven_too() {
        let (mut blame, now) = (Blame::default(), Instant::now());
        blame.blame(FLOW, now);
        assert!(!blame.blame(FLOW, now + PENALTY));
    }

    #[test]
    fn other_limits_judge_what_is_remembered() {
        let (mut blame, now) = (Blame::new(BlameLimit { times: 3, penalty: PENALTY }), Instant::now());
        blame.blame(FLOW, now);
        blame.blame(FLOW, now);
        assert!(!blame.is_left_alone(FLOW, now));
        blame.reconfigure(BlameLimit { times: 2, penalty: PENALTY });
        assert!(blame.is_left_alone(FLOW, now));
        blame.reconfigure(BlameLimit { times: 2, penalty: Duration::from_secs(1) });
        assert!(!blame.is_left_alone(FLOW, now + Duration::from_secs(1)));
    }

    #[test]
    fn blame_is_bounded_and_forgets_the_oldest() {
        let (mut blame, now) = (Blame::default(), Instant::now());
        let flows = u32::try_from(Blame::FLOWS).unwrap();
        for flow in 0..flows {
            blame.blame(FlowId(flow), now);
        }
        blame.blame(FlowId(0), now);
        blame.blame(FlowId(flows), now);
        assert!(blame.is_left_alone(FlowId(0), now), "blamed again lately");
        assert!(!blame.blame(FLOW, now), "forgotten: this is its first again");
        assert_eq!(blame.flows.len(), Blame::FLOWS);
    }

    proptest! {
        #[test]
        fn what_blame_answers_is_what_it_remembers(blames in prop::collection::vec((0_u32..4, 0_u64..4000), 1..60), times in 0_u8..4) {
            let (mut blame, mut now) = (Blame::new(BlameLimit { times, penalty: PENALTY }), Instant::now());
            for (flow, pause) in blames {
                now += Duration::from_secs(pause);
                let left_alone = blame.blame(FlowId(flow), now);
                prop_assert_eq!(blame.is_left_alone(FlowId(flow), now), left_alone);
                prop_assert!(!blame.is_left_alone(FlowId(flow), now + PENALTY));
                prop_assert!(!blame.is_left_alone(FlowId(9), now), "never blamed");
            }
        }
    }
}
