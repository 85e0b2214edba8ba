//! What supervisor and broker say to each other: records of a `SOCK_SEQPACKET` pair, one message each, a descriptor beside. Neither waits
//! for the other; what finds no room is dropped, and counted.

use cthelper_proto::ipc::{Enforcement, Namespaces};
use cthelper_proto::types::Tuple;
use serde::{Deserialize, Serialize};

use super::setting::QueueSetting;

/// Supervisor → broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToBroker {
    /// A socket, which comes beside.
    Socket(Kind),
    /// An event queue; belongs to the `Queues` that follows.
    Queue(Box<QueueSetting>),
    /// These were all queues there are from now on.
    Queues,
    /// It is verified and has everything: it may serve.
    Go,
    /// One helper's status, a `ctl::HelperStatus` in JSON; belongs to the `Status` that follows.
    Helper(String),
    /// The answer to `StatusPlease` is complete.
    Status(Daemon),
    /// Events that the kernel has dropped since the event socket was made, by its own count.
    Dropped(u64),
    /// A lane's news.
    News(News),
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// `events.sock`, listening.
    Events,
    /// The port for metrics, listening.
    Metrics,
    /// Netlink: what the kernel tells all.
    Feed,
    /// Netlink: what it tells because the supervisor has asked.
    Dump,
}

/// What is to be told of the whole daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Daemon {
    /// Of the program.
    pub version: String,
    /// Milliseconds since it serves.
    pub uptime_ms: u64,
    /// Brokers that were replaced.
    pub broker_restarts: u64,
    /// Messages for the broker for which the link had no room.
    pub link_lost: u64,
}

/// What a lane has done for a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// The lane's helper.
    pub helper: String,
    /// The kernel's id.
    pub id: u32,
    /// As the originator sees it.
    pub orig: Tuple,
    /// Its zone.
    pub zone: u16,
    /// What there is to tell.
    pub what: What,
}

/// What is told of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// The kernel expects the connection.
    Granted,
    /// It does not.
    Refused,
    /// None yet: the connection was itself announced, and this helper reads it.
    Read,
}

/// Broker → supervisor. None of it is trusted: a broker that lies is told nothing it may not know, and does nothing to a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromBroker {
    /// It has confined itself; nothing is handed over before the kernel says so, too.
    Ready {
        /// What landlock enforces.
        landlock: Enforcement,
        /// Namespaces of its own.
        own: Namespaces,
    },
    /// It wants the helpers' status.
    StatusPlease,
    /// The kernel is to tell of everything there is; the answer comes on the dump socket.
    Dump {
        /// Of what.
        table: Table,
        /// The number of the request, which is the answers' number, too.
        seq: u32,
    },
    /// The kernel has dropped events; how many?
    Gap,
    /// Helped connections that have ended: hints.
    Closed(Vec<Closed>),
    /// Its own counts, for `cthelperctl status`.
    Figures(Figures),
}

/// A table of the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Table {
    /// Connections.
    Flows,
    /// Expectations.
    Expectations,
}

/// A connection that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Its helper.
    pub helper: String,
    /// The kernel's id.
    pub id: u32,
    /// As the originator saw it.
    pub orig: Tuple,
}

/// What a broker counts of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Clients that are connected.
    pub clients: u64,
    /// Those of them that get events.
    pub subscribers: u64,
    /// Events of the kernel that were read.
    pub events: u64,
    /// Events that subscribers lost because they were slow.
    pub lost: u64,
}
