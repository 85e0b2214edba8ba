//! Which packet of a capture ended a worker, and whether that is what it did before.
//!
//! The record of a death may come when the next packets have been handed out already, so it is told by the packet's hash.

use std::collections::VecDeque;

use cthelper_proto::events::{Crash, Repeats, Replay as Line};

use super::Arrival;
use crate::evidence::crash::hash;

/// Packets remembered. Evidence is a few packets late at most.
const REMEMBERED: usize = 64;

/// The packets handed out last, and those of the quarantine that have not ended a worker yet.
#[derive(Debug, Default)]
pub(super) struct Crashes {
    recent: VecDeque<(u64, Vec<u8>)>,
    exhibits: Vec<(u64, Repeats)>,
}

impl Crashes {
    /// A packet is handed to the helper.
    pub(super) fn handed(&mut self, number: u64, arrival: &Arrival) {
        if self.recent.len() >= REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((number, arrival.packet.clone()));
        if let Some(exhibit) = &arrival.exhibit {
            let repeats = Repeats { crash: exhibit.crash.clone(), cause: exhibit.cause.clone(), same: false };
            self.exhibits.push((number, repeats));
        }
    }

    /// A worker ended while packet `now` was the last that was handed out.
    pub(super) fn crashed(&mut self, crash: Crash, now: u64) -> Line {
        let packet = crash.in_hand.and_then(|in_hand| self.number(&in_hand.hash)).unwrap_or(now);
        let at = self.exhibits.iter().position(|(number, _)| *number == packet);
        let repeats = at.map(|at| self.exhibits.remove(at).1).map(|then| Repeats { same: then.cause == crash.cause, ..then });
        let Crash { helper, cause, exit, fault, panic, .. } = crash;
        Line::Crash { helper, cause, exit, fault, panic, repeats, packet }
    }

    /// The packets of the quarantine that have ended no worker.
    pub(super) fn survived(&mut self, helper: &str) -> Vec<Line> {
        let lines = self.exhibits.drain(..);
        lines.map(|(packet, repeats)| Line::Survived { helper: helper.to_owned(), repeats, packet }).collect()
    }

    fn number(&self, digest: &str) -> Option<u64> {
        self.recent.iter().rev().find(|(_, packet)| hash(packet) == digest).map(|(number, _)| *number)
    }
}
