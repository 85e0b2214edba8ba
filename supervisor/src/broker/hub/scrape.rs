//! What is asked for once: the metrics, for which the supervisor is asked, and the flows.

use std::time::{Duration, Instant};

use cthelper_proto::events_sock::Denial;

use super::Hub;
use crate::broker::client::{Door, Phase};
use crate::broker::metrics::{Counts, Snapshot, text};
use crate::broker::protocol::FromBroker;

/// A status that is no older than this is told again without asking.
const FRESH: Duration = Duration::from_millis(250);
/// Bytes of a list of flows that are made at a time, and one record.
const PIECE: usize = 16 << 10;

impl Hub<'_> {
    /// Has those who wait for the metrics answered, at once or when the supervisor has spoken.
    pub(super) fn ask_for_status(&mut self, now: Instant) {
        let is_fresh = self.status.as_ref().is_some_and(|(at, ..)| now.duration_since(*at) < FRESH);
        let is_asked = self.clients.values().filter(|client| client.phase == Phase::Waiting).count() > 1;
        if is_fresh {
            self.answer_all(now);
        } else if !is_asked {
            self.tell(&FromBroker::StatusPlease); // where that fails, they get what is there when their time is over
        }
    }

    pub(super) fn answer_all(&mut self, now: Instant) {
        let waiting: Vec<u64> =
            self.clients.iter().filter(|(_, client)| client.phase == Phase::Waiting).map(|(number, _)| *number).collect();
        let Some(snapshot) = self.snapshot(now).filter(|_| !waiting.is_empty()) else { return };
        let text = text(&snapshot);
        for number in waiting {
            if let Some(client) = self.clients.get_mut(&number) {
                client.give_metrics(&text, now);
            }
            self.flush(number);
        }
    }

    fn snapshot(&self, now: Instant) -> Option<Snapshot> {
        let (at, helpers, daemon) = self.status.as_ref()?;
        let broker = Counts {
            clients: self.clients.len() as u64,
            subscribers: self.figures().subscribers,
            flows: self.mirror.counts().into_iter().map(|(helper, count)| (helper.to_string(), count)).collect(),
            overflow: self.mirror.overflow(),
            ..self.counts.clone()
        };
        let age = now.duration_since(*at).as_secs_f64();
        Some(Snapshot { helpers: helpers.clone(), daemon: daemon.clone(), age, broker })
    }

    /// The helped connections, a line each; root's alone, because they say who talks to whom. They are told in pieces.
    pub(super) fn give_flows(&mut self, number: u64, now: Instant) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if !matches!(client.door, Door::Socket { uid: 0, .. }) {
            return client.deny(Denial::Forbidden, "only root is told who talks to whom", now);
        }
        client.begin_list(self.mirror.list(), now);
    }

    /// One who has read what he was given of the flows gets the next piece: so nobody's list takes more room than that, however long it is.
    /// A line's end comes with what follows it: a list that breaks off between two pieces can be told from one that is whole.
    pub(super) fn go_on_with_list(&mut self, number: u64, now: Instant) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let Some(from) = client.list_goes_on() else { return };
        let (mut piece, mut next) = (Vec::new(), None);
        for (record, behind) in self.mirror.records(from, now) {
            piece.push(b'\n');
            piece.extend(serde_json::to_vec(&record).unwrap_or_default());
            if piece.len() >= PIECE {
                next = Some(behind);
                break;
            }
        }
        if next.is_none() {
            piece.push(b'\n');
        }
        client.give_piece(piece, next, now);
    }
}
