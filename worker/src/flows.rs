//! A bounded cache of what the worker remembers of each flow. All of it may be lost: the truth lies in the kernel.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::BuildHasherDefault;

use cthelper_proto::types::{FlowId, State};

use crate::stream::LineSync;
use crate::stream::records::RecordSync;

/// Flows remembered at most.
pub const CAPACITY: usize = 4096;
/// What they may hold in all, bytes: half of a worker's heap (`policy/src/confine/seal.rs`). It counts if an attacker leaves a line or record
/// unfinished in each direction of each: up to 1.4 KiB long they are all remembered, of longer ones fewer.
const HELD: usize = 16 << 20;
/// What one holds besides, bytes.
const FLOW: usize = 1100;

/// What is remembered of one flow.
#[derive(Clone, Debug)]
pub struct Known {
    /// Newest private state.
    pub state: State,
    /// Where lines start, by [`Dir`](cthelper_proto::types::Dir): originator's, replier's.
    pub lines: [LineSync; 2],
    /// The same for records.
    pub records: [RecordSync; 2],
}

impl Known {
    /// A flow of which only the private state is known.
    pub fn new(state: State) -> Self {
        Self { state, lines: Default::default(), records: Default::default() }
    }
}

// Fixed keys: no syscall for random ones, and a flow's id is already the kernel's keyed hash, which no stranger can choose.
type Table = HashMap<FlowId, Known, BuildHasherDefault<DefaultHasher>>;

/// Two generations: a flow in use moves to the young one; when that holds half of the capacity, the old one is forgotten and the young
/// one grows old. So each of the `capacity / 2` flows used last is there, and never more than `capacity`.
#[derive(Debug)]
pub struct Flows {
    young: Table,
    old: Table,
    capacity: usize,
}

impl Flows {
    /// None yet; of each, up to `longest` bytes of an unfinished message will be remembered in each direction.
    pub fn of_messages(longest: usize) -> Self {
        let capacity = (HELD / longest.saturating_mul(2).saturating_add(FLOW)).clamp(2, CAPACITY);
        Self { young: Table::default(), old: Table::default(), capacity }
    }

    /// What is known of `id`; `state` (the truth, if the supervisor sent it) replaces the remembered one.
    /// `None` if neither is there: then nothing can be said about the packet.
    pub fn recall(&mut self, id: FlowId, state: Option<State>) -> Option<&mut Known> {
        if !self.young.contains_key(&id) {
            let known = self.old.remove(&id).or_else(|| state.map(Known::new))?;
            if self.young.len() >= self.capacity / 2 {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(id, known);
        }
        let known = self.young.get_mut(&id)?;
        if let Some(state) = state {
            known.state = state;
        }
        Some(known)
    }

    /// The connection is gone.
    pub fn forget(&mut self, id: FlowId) {
        self.young.remove(&id);
        self.old.remove(&id);
    }

    /// Flows remembered now.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(byte: u8) -> State {
        State::new(&[byte]).unwrap()
    }

    #[test]
    fn a_sent_state_replaces_the_remembered_one_and_an_absent_one_keeps_it() {
        let mut flows = Flows::of_messages(512);
        assert!(flows.recall(FlowId(1), None).is_none());
        flows.recall(FlowId(1), Some(state(1))).unwrap().state = state(2);
        assert_eq!(flows.recall(FlowId(1), None).unwrap().state, state(2));
        assert_eq!(flows.recall(FlowId(1), Some(state(3))).unwrap().state, state(3));
        flows.forget(FlowId(1));
        assert!(flows.is_empty() && flows.recall(FlowId(1), None).is_none());
    }

    #[test]
    fn a_flood_of_flows_stays_within_the_capacity_and_the_last_ones_are_known() {
        let mut flows = Flows::of_messages(512);
        for id in 0..20_000 {
            flows.recall(FlowId(id), Some(state(0)));
            assert!(flows.len() <= CAPACITY);
        }
        for id in 20_000 - u32::try_from(CAPACITY / 2).unwrap()..20_000 {
            assert!(flows.recall(FlowId(id), None).is_some(), "{id}");
        }
    }

    #[test]
    fn a_flow_in_use_survives_any_number_of_others() {
        let mut flows = Flows::of_messages(512);
        for id in 1..50_000 {
            flows.recall(FlowId(id), Some(state(0)));
            if id % 100 == 0 {
                flows.recall(FlowId(0), (id == 100).then(|| state(7))).unwrap();
            }
        }
        assert_eq!(flows.recall(FlowId(0), None).unwrap().state, state(7));
    }
}
