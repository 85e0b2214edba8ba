//! What a lane remembers of a connection for a while. All of it may be lost: the kernel holds what must survive.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use cthelper_proto::ipc::{Expect, Grant};
use cthelper_proto::types::{Dir, Flow, FlowId, State, Tuple};

use super::tickets::Held;

/// Connections remembered; past it those not touched for longest go, half at a time.
const FLOWS: usize = 8192;
/// Grants remembered per connection, enough to answer a repeated segment the same way.
const GRANTS: usize = 4;
/// How often TCP is made to repeat the same segment before it passes as it is. A sender doubles its timeout each time: 3 = about 1.5 s.
const RESENDS: u8 = 3;
/// Segments whose repetitions are counted at a time; a worker that alternates between more of them is counted for the oldest anew,
/// so this bounds patience, not memory alone.
const RESENT: usize = 8;

/// An answer given, with the place in the stream it was given for.
#[derive(Clone, Copy, Debug)]
struct Given {
    dir: Dir,
    expect: Expect,
    seq: Option<u32>,
    grant: Grant,
}

#[derive(Debug)]
struct Entry {
    touched: Instant,
    /// Private bytes released, and in which drain of the queue; `None` = the kernel keeps none, we do.
    newest: Option<(State, Option<u64>)>,
    grants: Vec<Given>,
    resent: VecDeque<(Dir, u32, u8)>,
    /// Per direction, the end of the last segment that went on as it came although it may hold an announcement.
    plain_to: [Option<u32>; 2],
}

/// The connections of one lane.
#[derive(Debug, Default)]
pub(super) struct Flows {
    /// By id and original tuple: ids are hashes and may come back.
    entries: HashMap<(FlowId, Tuple), Entry>,
    drains: u64,
}

impl Flows {
    /// The queue was empty a moment ago: packets that come from now on carry what has been released until now.
    pub(super) fn queue_drained(&mut self) {
        self.drains += 1;
    }

    /// The flow's private bytes: the packet's snapshot, unless it was taken before our newest release reached the kernel: at the
    /// flush that ends a turn, so the queue must have been seen empty twice.
    pub(super) fn state(&self, flow: &Flow, snapshot: State) -> State {
        match self.entries.get(&key(flow)).and_then(|entry| entry.newest) {
            Some((state, drain)) if drain.is_none_or(|drain| self.drains.saturating_sub(drain) < 2) => state,
            _ => snapshot,
        }
    }

    /// These private bytes have been released. `ours` = of a connection of which the kernel keeps none: they last as long as this process,
    /// whatever becomes of workers.
    pub(super) fn released(&mut self, flow: &Flow, state: State, ours: bool, now: Instant) {
        let drain = (!ours).then_some(self.drains);
        self.entry(flow, now).newest = Some((state, drain));
    }

    /// Nothing is remembered of the connection yet; from now on something is.
    pub(super) fn is_first_seen(&mut self, flow: &Flow, now: Instant) -> bool {
        let is_first = !self.entries.contains_key(&key(flow));
        self.entry(flow, now);
        is_first
    }

    /// The grant given when this segment was seen before, so that its repetition is edited to the same bytes.
    pub(super) fn granted_before(&self, held: &Held, expect: &Expect) -> Option<Grant> {
        let segment = held.tcp?;
        let length = u32::try_from(held.payload.len()).ok()?;
        let given = self.entries.get(&key(&held.flow))?.grants.iter().find(|given| {
            given.dir == held.info.dir()
                && given.expect == *expect
                && given.seq.is_some_and(|seq| overlaps(seq, segment.seq, length))
        })?;
        Some(given.grant)
    }

    /// The port granted for the same announcement earlier in the connection: the first to try again.
    pub(super) fn port_before(&self, held: &Held, expect: &Expect) -> Option<u16> {
        let entry = self.entries.get(&key(&held.flow))?;
        entry.grants.iter().find(|given| given.dir == held.info.dir() && given.expect == *expect).map(|given| given.grant.port)
    }

    /// Remembers an answer.
    pub(super) fn granted(&mut self, held: &Held, expect: &Expect, grant: Grant, now: Instant) {
        let (dir, seq) = (held.info.dir(), held.tcp.map(|segment| segment.seq));
        let entry = self.entry(&held.flow, now);
        entry.grants.retain(|given| !(given.dir == dir && given.expect == *expect));
        if entry.grants.len() == GRANTS {
            entry.grants.remove(0);
        }
        entry.grants.push(Given { dir, expect: *expect, seq, grant });
    }

    /// The expectation granted under this id, to take it back.
    pub(super) fn withdraw(&mut self, held: &Held, id: cthelper_proto::ipc::ExpectId) -> Option<(Expect, Grant, Dir)> {
        let grants = &mut self.entries.get_mut(&key(&held.flow))?.grants;
        let at = grants.iter().position(|given| given.grant.id == id)?;
        let given = grants.remove(at);
        Some((given.expect, given.grant, given.dir))
    }

    /// This segment goes on as it came, whatever may be in it.
    pub(super) fn went_plain(&mut self, held: &Held, now: Instant) {
        let (Some(segment), Ok(length)) = (held.tcp, u32::try_from(held.payload.len())) else { return };
        let end = segment.seq.wrapping_add(length);
        if let Some(plain_to) = self.entry(&held.flow, now).plain_to.get_mut(held.info.dir().index()) {
            *plain_to = Some(plain_to.filter(|before| is_before(end, *before)).unwrap_or(end));
        }
    }

    /// Whether the segment, or its beginning, has gone on as it came before.
    pub(super) fn has_gone_plain(&self, held: &Held) -> bool {
        let plain_to = self.entries.get(&key(&held.flow)).and_then(|entry| entry.plain_to.get(held.info.dir().index()).copied());
        plain_to.flatten().zip(held.tcp).is_some_and(|(plain_to, segment)| is_before(segment.seq, plain_to))
    }

    /// Whether TCP may be made to repeat this segment once more.
    pub(super) fn may_resend(&mut self, held: &Held, now: Instant) -> bool {
        let (dir, Some(segment)) = (held.info.dir(), held.tcp) else { return false };
        let entry = self.entry(&held.flow, now);
        let at = entry.resent.iter().position(|(d, seq, _)| (*d, *seq) == (dir, segment.seq));
        let times = at.and_then(|at| entry.resent.remove(at)).map_or(0, |(.., times)| times);
        if entry.resent.len() == RESENT {
            entry.resent.pop_front();
        }
        entry.resent.push_back((dir, segment.seq, times.saturating_add(1)));
        times < RESENDS
    }

    /// The connection is gone.
    pub(super) fn forget(&mut self, id: FlowId, orig: Tuple) {
        self.entries.remove(&(id, orig));
    }

    fn entry(&mut self, flow: &Flow, now: Instant) -> &mut Entry {
        if self.entries.len() >= FLOWS && !self.entries.contains_key(&key(flow)) {
            self.forget_oldest_half();
        }
        let entry = self.entries.entry(key(flow)).or_insert_with(|| Entry {
            touched: now,
            newest: None,
            grants: Vec::new(),
            resent: VecDeque::new(),
            plain_to: [None; 2],
        });
        entry.touched = now;
        entry
    }

    fn forget_oldest_half(&mut self) {
        let mut ages: Vec<Instant> = self.entries.values().map(|entry| entry.touched).collect();
        let middle = ages.len() / 2;
        let (_, median, _) = ages.select_nth_unstable(middle);
        let median = *median;
        self.entries.retain(|_, entry| entry.touched > median);
    }
}

fn key(flow: &Flow) -> (FlowId, Tuple) {
    (flow.id, flow.orig)
}

/// Whether `a` comes before `b`, modulo 2³².
fn is_before(a: u32, b: u32) -> bool {
    b.wrapping_sub(a).wrapping_sub(1) < 1 << 31
}

/// Whether the segment `start..start + length` (modulo 2³²) holds the byte `seq`, or begins where the other did.
fn overlaps(seq: u32, start: u32, length: u32) -> bool {
    seq.wrapping_sub(start) < length.max(1)
}
