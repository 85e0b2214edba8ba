//! The networks of conversations, and expectations in short.

use std::net::{IpAddr, SocketAddr};

use cthelper_proto::ipc::{Expect, Source};
use cthelper_proto::types::{Flow, FlowId, L4, Tuple};

use crate::helper;

/// Where the two ends stand. Without translation the client is 10.0.1.2 or `2001:db8:1::2`, the server 10.0.2.2 or
/// `2001:db8:2::2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// IPv4, no translation.
    Plain4,
    /// IPv4; the server sees the client as 10.0.2.1.
    Snat4,
    /// IPv4; the client sees the server as 10.0.1.1.
    Dnat4,
    /// IPv6, no translation.
    Plain6,
    /// IPv6; the server sees the client as `2001:db8:2::1`.
    Snat6,
    /// IPv6; the client sees the server as `2001:db8:1::1`.
    Dnat6,
}

impl Net {
    /// The connection from the client's port 40000 to `port` of the server.
    pub fn flow(self, l4: L4, port: u16) -> Flow {
        let (client, server, client_seen, server_seen) = match self {
            Self::Plain4 => ("10.0.1.2", "10.0.2.2", "10.0.1.2", "10.0.2.2"),
            Self::Snat4 => ("10.0.1.2", "10.0.2.2", "10.0.2.1", "10.0.2.2"),
            Self::Dnat4 => ("10.0.1.2", "10.0.2.2", "10.0.1.2", "10.0.1.1"),
            Self::Plain6 => ("2001:db8:1::2", "2001:db8:2::2", "2001:db8:1::2", "2001:db8:2::2"),
            Self::Snat6 => ("2001:db8:1::2", "2001:db8:2::2", "2001:db8:2::1", "2001:db8:2::2"),
            Self::Dnat6 => ("2001:db8:1::2", "2001:db8:2::2", "2001:db8:1::2", "2001:db8:1::1"),
        };
        let tuple = |src: &str, sport, dst: &str, dport| {
            let (src, dst): (IpAddr, IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
            Tuple { src, dst, proto: l4.number(), sport, dport }
        };
        let orig = tuple(client, 40_000, server_seen, port);
        let reply = tuple(server, port, client_seen, 40_000);
        Flow { id: FlowId(7), orig, reply }
    }
}

/// A TCP connection from the peer to this address and port, class 0.
pub fn tcp(to: &str) -> Expect {
    let to: SocketAddr = to.parse().unwrap();
    helper::tcp(0, to.ip(), to.port())
}

/// UDP packets from the peer to this address and port, class 0.
pub fn udp(to: &str) -> Expect {
    let to: SocketAddr = to.parse().unwrap();
    helper::udp(0, to.ip(), to.port())
}

/// UDP packets from this port, or any, of anybody to this address and port, class 0, until the class's timeout.
pub fn answers_from(sport: Option<u16>, to: &str) -> Expect {
    Expect { src: Source::Anyone, sport, permanent: true, ..udp(to) }
}
