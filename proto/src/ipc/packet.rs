//! The packet channel: what the worker sees of a packet, and all it can do to one.

use serde::{Deserialize, Serialize};

use crate::types::{CtInfo, Flow, FlowId, State};

/// Names one packet between intake and release; never reused within a supervisor's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ticket(pub u64);

/// Supervisor → worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// A packet; its application payload follows raw behind the header.
    Packet(PacketHeader),
    /// The connection is gone: forget what is cached of it.
    FlowClosed(FlowId),
    /// No more packets will come: answer what you hold, then exit with 0.
    Drain,
}

/// All a worker learns of a packet besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketHeader {
    /// To be named in the verdict.
    pub ticket: Ticket,
    /// The connection.
    pub flow: Flow,
    /// Where the connection stands; holds the packet's direction.
    pub info: CtInfo,
    /// The private bytes; `None` = as the worker left them, because an earlier packet of the flow is still with it.
    pub state: Option<State>,
    /// TCP's view, absent for UDP.
    pub tcp: Option<Segment>,
}

/// The parts of a TCP header a helper may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Sequence number of the first payload byte, in the sender's own counting.
    pub seq: u32,
    /// Whether the sender ends with this segment (FIN) or aborts (RST).
    pub last: bool,
}

/// Worker → supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// A packet is done.
    Verdict(Verdict),
}

/// All a worker can say about a packet: never an address, port, flag or sequence number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which packet.
    pub ticket: Ticket,
    /// Pass it, or have TCP send it again.
    pub ruling: Ruling,
    /// Changes to the payload, by ascending `at`, not overlapping.
    pub edits: Vec<Edit>,
    /// New private bytes, if they changed.
    pub state: Option<State>,
    /// Field that broke the protocol's rules, to be counted; at most 32 bytes of printable ASCII.
    pub malformed: Option<String>,
}

/// What becomes of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ruling {
    /// It goes on.
    Pass,
    /// TCP under NAT only: it is dropped, so that the sender repeats it together with what follows. For an announcement
    /// cut by a segment boundary, which could not be rewritten in halves. The supervisor bounds how often.
    Resend,
}

/// At payload offset `at`, cut `cut` bytes and put `put` there instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Offset in the payload as it was received, bytes.
    pub at: u16,
    /// Bytes that go.
    pub cut: u16,
    /// Bytes that come.
    pub put: Vec<u8>,
}

impl Edit {
    /// Most edits in one verdict.
    pub const MAX: usize = 16;
    /// Most bytes one edit may put.
    pub const MAX_PUT: usize = 512;
}
