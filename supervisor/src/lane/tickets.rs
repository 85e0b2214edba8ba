//! Packets between intake and release. A ticket is answered exactly once: by the worker's verdict, or by giving up.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::time::Instant;

use cthelper_policy::expect::Permit;
use cthelper_proto::ipc::{Expect, Grant, Segment, Ticket};
use cthelper_proto::types::{CtInfo, Flow, FlowId, State, Tuple};

use crate::kernel::{Expected, PacketId, Wish};

/// A packet that is waiting for a worker, or with one.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) ticket: Ticket,
    pub(super) id: PacketId,
    pub(super) flow: Flow,
    pub(super) info: CtInfo,
    pub(super) zone: u16,
    pub(super) confirmed: bool,
    /// Whether another connection announced this one.
    pub(super) expected: Option<Expected>,
    /// The newest private bytes known for the flow.
    pub(super) state: State,
    pub(super) tcp: Option<Segment>,
    pub(super) packet: Vec<u8>,
    /// Where the application payload lies in `packet`.
    pub(super) payload: Range<usize>,
    /// Expectations asked for while it was in the worker's hands.
    pub(super) asks: u8,
    /// What goes out with the verdict of the worker that has it: what it announces as the first packet of its connection, or a connection
    /// that gets a helper.
    pub(super) announces: Option<Announces>,
    /// That was so with an earlier worker, whose verdict never came.
    pub(super) announced_before: bool,
    /// How long its connection is to be kept because of what it announces, seconds.
    pub(super) timeout_secs: Option<u32>,
    /// By when the worker must have answered; set when it is sent.
    pub(super) deadline: Option<Instant>,
}

/// A grant that the kernel does not know yet, or not the whole of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announces {
    pub(super) expect: Expect,
    pub(super) permit: Permit,
    pub(super) grant: Grant,
}

impl Held {
    pub(super) fn payload(&self) -> &[u8] {
        self.packet.get(self.payload.clone()).unwrap_or_default()
    }

    /// An expectation of its connection.
    pub(super) fn wish<'a>(&'a self, permit: &'a Permit, port: u16) -> Wish<'a> {
        let counted_as = self.expected.and_then(|expected| expected.counted_as);
        Wish { flow: &self.flow, zone: self.zone, permit, port, counted_as }
    }
}

/// The packets of one lane, in the order they came. Those in flight come before those that wait.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    issued: u64,
    in_flight: VecDeque<Held>,
    /// How many of them each flow has.
    of_flow: HashMap<(FlowId, Tuple), usize>,
    waiting: VecDeque<Held>,
    /// Buffers of packets that are gone, to be filled again.
    spare: Vec<Vec<u8>>,
}

/// Buffers kept for reuse; more would only be memory.
const SPARE_BUFFERS: usize = 64;

impl Tickets {
    pub(super) fn issue(&mut self) -> Ticket {
        self.issued += 1;
        Ticket(self.issued)
    }

    pub(super) fn buffer(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        buffer
    }

    pub(super) fn recycle(&mut self, held: Held) {
        if self.spare.len() < SPARE_BUFFERS {
            self.spare.push(held.packet);
        }
    }

    pub(super) fn wait(&mut self, held: Held) {
        self.waiting.push_back(held);
    }

    pub(super) fn held(&self) -> usize {
        self.in_flight.len() + self.waiting.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next `count` packets to send, oldest first.
    pub(super) fn next_to_send(&self, count: usize) -> impl Iterator<Item = &Held> {
        self.waiting.iter().take(count)
    }

    /// Whether a packet of the flow is with the worker.
    pub(super) fn flow_in_flight(&self, flow: &Flow) -> bool {
        self.of_flow.contains_key(&(flow.id, flow.orig))
    }

    /// Likewise, by what names the flow.
    pub(super) fn holds(&self, id: FlowId, orig: &Tuple) -> bool {
        self.of_flow.contains_key(&(id, *orig))
    }

    /// The first `count` waiting packets are with the worker now.
    pub(super) fn sent(&mut self, count: usize, deadline: Instant) {
        for mut held in self.waiting.drain(..count.min(self.waiting.len())) {
            held.deadline = Some(deadline);
            held.asks = 0;
            held.announced_before |= held.announces.take().is_some(); // another worker has to ask anew
            *self.of_flow.entry((held.flow.id, held.flow.orig)).or_default() += 1;
            self.in_flight.push_back(held);
        }
    }

    /// The packet with this ticket, if the worker holds it.
    pub(super) fn with_worker(&mut self, ticket: Ticket) -> Option<&mut Held> {
        let at = self.in_flight.binary_search_by_key(&ticket, |held| held.ticket).ok()?;
        self.in_flight.get_mut(at)
    }

    /// Takes the packet with this ticket from the worker.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<Held> {
        let at = self.in_flight.binary_search_by_key(&ticket, |held| held.ticket).ok()?;
        let held = self.in_flight.remove(at)?;
        self.left(&held.flow);
        Some(held)
    }

    fn left(&mut self, flow: &Flow) {
        let key = (flow.id, flow.orig);
        match self.of_flow.get_mut(&key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.of_flow.remove(&key)),
        }
    }

    /// By when the oldest packet with the worker must be answered.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.in_flight.front().and_then(|held| held.deadline)
    }

    /// The packet the worker was on when it died: the oldest it has not answered.
    pub(super) fn in_hand(&mut self) -> Option<Held> {
        let held = self.in_flight.pop_front()?;
        self.left(&held.flow);
        Some(held)
    }

    /// Everything the worker still held waits again, in order, for the next one.
    pub(super) fn send_again(&mut self) {
        self.of_flow.clear();
        while let Some(held) = self.in_flight.pop_back() {
            self.waiting.push_front(held);
        }
    }

    /// Everything that waits, oldest first, to be passed without the helper.
    pub(super) fn drain_waiting(&mut self) -> impl Iterator<Item = Held> + '_ {
        self.waiting.drain(..)
    }

    /// What waits of one flow, oldest first, to be passed without the helper.
    pub(super) fn take_waiting_of(&mut self, flow: &Flow) -> VecDeque<Held> {
        let (theirs, others) = std::mem::take(&mut self.waiting).into_iter().partition(|held| held.flow == *flow);
        self.waiting = others;
        theirs
    }

    /// Makes a packet whose verdict is none the one in hand.
    pub(super) fn put_in_hand(&mut self, held: Held) {
        *self.of_flow.entry((held.flow.id, held.flow.orig)).or_default() += 1;
        self.in_flight.push_front(held);
    }

    /// A release has changed the flow's private bytes: later packets carry a snapshot that is stale now.
    pub(super) fn state_changed(&mut self, flow: &Flow, state: State) {
        for held in self.in_flight.iter_mut().chain(self.waiting.iter_mut()).filter(|held| held.flow == *flow) {
            held.state = state;
        }
    }
}
