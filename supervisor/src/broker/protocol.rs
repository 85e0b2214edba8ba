//! What supervisor and broker say to each other: records of a `SOCK_SEQPACKET` pair, one message each, a descriptor beside. Neither waits
//! for the other; what finds no room is dropped, and counted.

use cthelper_proto::ipc::{Enforcement, Namespaces};
use serde::{Deserialize, Serialize};

/// Supervisor → broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToBroker {
    /// A socket, which comes beside.
    Socket(Kind),
    /// It is verified and has everything: it may serve.
    Go,
    /// One helper's status, a `ctl::HelperStatus` in JSON; belongs to the `Status` that follows.
    Helper(String),
    /// The answer to `StatusPlease` is complete.
    Status(Daemon),
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// `events.sock`, listening.
    Events,
    /// The port for metrics, listening.
    Metrics,
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
    /// Its own counts, for `cthelperctl status`.
    Figures(Figures),
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
    /// Records that subscribers lost because they were slow.
    pub lost: u64,
}
