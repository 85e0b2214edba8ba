//! Step 1: kernel → ticket. A packet without payload, or of a kind the helper is not for, never crosses to the worker.

use std::ops::Range;
use std::time::Instant;

use cthelper_proto::Malformed;
use cthelper_proto::ipc::Segment;
use cthelper_proto::packet::{Transport, dissect};
use cthelper_proto::types::{L4, L4s};

use super::Lane;
use super::ask::news;
use super::tickets::Held;
use crate::broker::protocol::What;
use crate::kernel::{Arrived, Fault, Incoming, Intake, Kernel, Received, Release};

/// What becomes of packets that no worker will see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unhelped {
    /// They pass.
    Pass,
    /// They are dropped.
    Drop,
}

/// What of a packet concerns a helper.
struct Payload {
    at: Range<usize>,
    tcp: Option<Segment>,
}

/// The part of a packet that a helper for `l4s` may see; `None` if there is none: no payload, another protocol (an ICMP error of
/// the flow is queued too), a fragment.
fn payload(packet: &[u8], l4s: L4s) -> Result<Option<Payload>, Malformed> {
    let dissected = dissect(packet)?;
    let tcp = match &dissected.transport {
        Transport::Tcp(tcp) if l4s.contains(L4::Tcp) => {
            Some(Segment { seq: tcp.payload_seq(), last: tcp.is_fin() || tcp.is_rst() })
        }
        Transport::Udp(_) if l4s.contains(L4::Udp) => None,
        _ => return Ok(None),
    };
    let at = dissected.payload_at..dissected.payload_at + dissected.payload.len();
    Ok((!at.is_empty()).then_some(Payload { at, tcp }))
}

impl<K: Kernel> Lane<K> {
    /// Takes what the window has room for. `unhelped` = what becomes of it without the helper's seeing it.
    pub(super) fn intake(&mut self, unhelped: Option<Unhelped>) -> Result<Received, Fault> {
        let now = Instant::now();
        let mut dropped = Vec::new();
        let room = self.kernel.window().saturating_sub(self.tickets.held());
        let Self { kernel, tickets, flows, counters, setup, l4s, blame, link, .. } = self;
        let received = kernel.receive(room, &mut |incoming| {
            counters.packets += 1;
            let arrived = match (incoming, unhelped) {
                (Incoming::Packet(arrived), _) if blame.is_left_alone(arrived.flow.id, now) => return pass(counters),
                // The announced connection carries what the announcement was about, a stranger's file: no helper reads that, unless its class
                // says so.
                (Incoming::Packet(arrived), _) if arrived.expected.is_some_and(|expected| !expected.ours) => {
                    return pass(counters);
                }
                (Incoming::Packet(arrived), None) => arrived,
                (Incoming::Packet(_), Some(Unhelped::Pass)) => return pass(counters),
                (Incoming::Packet(arrived), Some(Unhelped::Drop)) => {
                    dropped.push(arrived.id);
                    return Intake::Held;
                }
                (Incoming::Stray(_, malformed), _) => {
                    counters.trouble("stray-packet");
                    tracing::debug!(helper = %setup.name(), %malformed, "a packet of the queue is not understood and passes");
                    return pass(counters);
                }
            };
            match payload(arrived.packet, *l4s) {
                Ok(Some(payload)) => {
                    let held = hold(tickets, flows, &arrived, payload);
                    // Some kernels say that it has its master's helper.
                    if held.expected.is_some() && flows.is_first_seen(&held.flow, now) {
                        link.tell(&news(setup.name(), &held, What::Read));
                    }
                    tickets.wait(held);
                    Intake::Held
                }
                Ok(None) => pass(counters),
                Err(malformed) => {
                    counters.malformed(malformed.0);
                    pass(counters)
                }
            }
        })?;
        for id in dropped {
            self.counters.verdicts += 1;
            self.kernel.release(id, Release::Drop)?;
        }
        Ok(received)
    }
}

fn pass(counters: &mut super::counters::Counters) -> Intake {
    counters.verdicts += 1;
    Intake::Accept
}

fn hold(tickets: &mut super::Tickets, flows: &super::Flows, arrived: &Arrived<'_>, payload: Payload) -> Held {
    Held {
        ticket: tickets.issue(),
        id: arrived.id,
        flow: arrived.flow,
        info: arrived.info,
        zone: arrived.zone,
        confirmed: arrived.confirmed,
        expected: arrived.expected,
        state: flows.state(&arrived.flow, arrived.state),
        tcp: payload.tcp,
        packet: tickets.buffer(arrived.packet),
        payload: payload.at,
        asks: 0,
        announces: None,
        announced_before: false,
        timeout_secs: None,
        deadline: None,
    }
}
