//! IP packets as the kernel queues them: headers are views that can only be made by checking, so no getter can fail.
//!
//! This is the privileged side's whole knowledge of a packet. It finds the payload and never looks inside it.

pub mod checksum;
pub mod edit;
pub mod ip;
pub mod tcp;
pub mod udp;

use std::net::IpAddr;

pub use edit::{Applied, EditError, apply};
pub use ip::{Ipv4, Ipv6};
pub use tcp::Tcp;
pub use udp::Udp;

use crate::reader::Malformed;
use crate::types::{Family, L4, Tuple};

/// A packet taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Dissected<'a> {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// The IP header.
    pub ip: Ip<'a>,
    /// The transport header.
    pub transport: Transport<'a>,
    /// The application's bytes; for `Other` and `Fragment` everything behind the IP header.
    pub payload: &'a [u8],
    /// Where `payload` begins in the packet, bytes.
    pub payload_at: usize,
}

/// The network layer of a packet.
#[derive(Clone, Copy, Debug)]
pub enum Ip<'a> {
    /// Version 4.
    V4(Ipv4<'a>),
    /// Version 6.
    V6(Ipv6<'a>),
}

/// The transport layer of a packet.
#[derive(Clone, Copy, Debug)]
pub enum Transport<'a> {
    /// Protocol 6.
    Tcp(Tcp<'a>),
    /// Protocol 17.
    Udp(Udp<'a>),
    /// Another protocol, by number.
    Other(u8),
    /// A part of a larger packet; its transport header may be elsewhere.
    Fragment,
}

/// Takes a packet apart. Allocates nothing, and reads nothing behind the transport header.
pub fn dissect(packet: &[u8]) -> Result<Dissected<'_>, Malformed> {
    let ip = Ip::new(packet)?;
    let body = ip.payload();
    let transport = match (ip.is_fragment(), L4::from_number(ip.protocol())) {
        (true, _) => Transport::Fragment,
        (_, Some(L4::Tcp)) => Transport::Tcp(Tcp::new(body)?),
        (_, Some(L4::Udp)) => Transport::Udp(Udp::new(body)?),
        (_, None) => Transport::Other(ip.protocol()),
    };
    let payload = match &transport {
        Transport::Tcp(tcp) => tcp.payload(),
        Transport::Udp(udp) => udp.payload(),
        Transport::Other(_) | Transport::Fragment => body,
    };
    let payload_at = ip.header_len() + transport.header_len();
    Ok(Dissected { family: ip.family(), src: ip.src(), dst: ip.dst(), ip, transport, payload, payload_at })
}

impl Dissected<'_> {
    /// Addresses and ports as this packet carries them; only TCP and UDP have them.
    pub fn tuple(&self) -> Option<Tuple> {
        let (l4, sport, dport) = match &self.transport {
            Transport::Tcp(tcp) => (L4::Tcp, tcp.src_port(), tcp.dst_port()),
            Transport::Udp(udp) => (L4::Udp, udp.src_port(), udp.dst_port()),
            Transport::Other(_) | Transport::Fragment => return None,
        };
        Some(Tuple { src: self.src, dst: self.dst, proto: l4.number(), sport, dport })
    }
}

impl<'a> Ip<'a> {
    /// The packet at the start of `bytes`, by its version; link padding after it is ignored.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match bytes.first().map(|first| first >> 4) {
            Some(4) => Ipv4::new(bytes).map(Self::V4),
            Some(6) => Ipv6::new(bytes).map(Self::V6),
            _ => Err(Malformed("ip version")),
        }
    }

    /// The family of its addresses.
    pub fn family(&self) -> Family {
        match self {
            Self::V4(_) => Family::Inet,
            Self::V6(_) => Family::Inet6,
        }
    }

    /// Source address.
    pub fn src(&self) -> IpAddr {
        match self {
            Self::V4(v4) => v4.src().into(),
            Self::V6(v6) => v6.src().into(),
        }
    }

    /// Destination address.
    pub fn dst(&self) -> IpAddr {
        match self {
            Self::V4(v4) => v4.dst().into(),
            Self::V6(v6) => v6.dst().into(),
        }
    }

    /// Number of the protocol behind all of the header.
    pub fn protocol(&self) -> u8 {
        match self {
            Self::V4(v4) => v4.protocol(),
            Self::V6(v6) => v6.protocol(),
        }
    }

    /// Whether the packet is a part of a larger one.
    pub fn is_fragment(&self) -> bool {
        match self {
            Self::V4(v4) => v4.is_fragment(),
            Self::V6(v6) => v6.is_fragment(),
        }
    }

    /// Bytes of the header, options and extension headers included.
    pub fn header_len(&self) -> usize {
        match self {
            Self::V4(v4) => v4.header().len() + v4.options().len(),
            Self::V6(v6) => v6.header().len() + v6.extensions().len(),
        }
    }

    /// Everything behind the header.
    pub fn payload(&self) -> &'a [u8] {
        match self {
            Self::V4(v4) => v4.payload(),
            Self::V6(v6) => v6.payload(),
        }
    }
}

impl Transport<'_> {
    /// Bytes of the header, options included; 0 where we know none.
    pub fn header_len(&self) -> usize {
        match self {
            Self::Tcp(tcp) => tcp.header().len() + tcp.options().len(),
            Self::Udp(udp) => udp.header().len(),
            Self::Other(_) | Self::Fragment => 0,
        }
    }
}
