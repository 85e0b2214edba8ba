//! IP packets as the kernel queues them: headers are views that can only be made by checking, so no getter can fail.
//!
//! This is the privileged side's whole knowledge of a packet. It finds the payload and never looks inside it.

pub mod checksum;
pub mod edit;
pub mod ip;
#[cfg(test)]
pub(crate) mod sample;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_segment_over_ipv4_with_options() {
        let packet = sample::ipv4(sample::ROUTER_ALERT, 6, &sample::tcp(b"QUIT\r\n"));
        let dissected = dissect(&packet).unwrap();
        assert_eq!(dissected.family, Family::Inet);
        assert_eq!((dissected.payload, dissected.payload_at), (&b"QUIT\r\n"[..], 24 + 32));
        let tuple = dissected.tuple().unwrap();
        assert_eq!((tuple.src, tuple.dst), ([10, 0, 1, 2].into(), [10, 0, 2, 2].into()));
        assert_eq!((tuple.proto, tuple.sport, tuple.dport), (6, 40_360, 21));
    }

    #[test]
    fn a_datagram_over_ipv6_behind_an_extension_header() {
        let packet = sample::ipv6(0, &sample::hop_by_hop(17), 17, &sample::udp(b"hello"));
        let dissected = dissect(&packet).unwrap();
        assert_eq!((dissected.payload, dissected.payload_at), (&b"hello"[..], 40 + 8 + 8));
        assert_eq!(dissected.src, "2001:db8:1::2".parse::<IpAddr>().unwrap());
        assert_eq!(dissected.tuple().unwrap().dport, 69);
    }

    #[test]
    fn other_protocols_have_a_payload_and_no_tuple() {
        let packet = sample::ipv4(&[], 1, &[8, 0, 0, 0, 0, 1, 0, 1]);
        let dissected = dissect(&packet).unwrap();
        assert!(matches!(dissected.transport, Transport::Other(1)));
        assert_eq!((dissected.payload.len(), dissected.payload_at), (8, 20));
        assert_eq!(dissected.tuple(), None);
    }

    #[test]
    fn a_fragment_is_not_read_as_a_segment() {
        for flags in [[0x20, 0], [0, 1], [0x20, 185]] {
            let mut packet = sample::ipv4(&[], 0, &[0; 3]);
            packet[9] = 6;
            packet[6..8].copy_from_slice(&flags);
            assert!(matches!(dissect(&packet).unwrap().transport, Transport::Fragment));
        }
    }

    #[test]
    fn a_bad_ip_version_is_refused() {
        assert_eq!(dissect(&[0x50; 60]).unwrap_err(), Malformed("ip version"));
        assert_eq!(dissect(&[]).unwrap_err(), Malformed("ip version"));
    }

    #[test]
    fn every_truncation_names_the_length_it_breaks() {
        let v4 = sample::ipv4(&[], 6, &sample::tcp(b"QUIT\r\n"));
        let v6 = sample::ipv6(6, &[], 6, &sample::tcp(b"QUIT\r\n"));
        for cut in 1..v4.len() {
            let field = if cut < 20 { "ipv4 header" } else { "ipv4 total length" };
            assert_eq!(dissect(&v4[..cut]).unwrap_err(), Malformed(field), "{cut} bytes");
        }
        for cut in 1..v6.len() {
            let field = if cut < 40 { "ipv6 header" } else { "ipv6 payload length" };
            assert_eq!(dissect(&v6[..cut]).unwrap_err(), Malformed(field), "{cut} bytes");
        }
    }

    /// As above, but with the IP length saying that the cut is all there is.
    #[test]
    fn a_transport_cut_by_the_ip_length_names_its_own_field() {
        for cut in 0..32 {
            let field = if cut < 20 { "tcp header" } else { "tcp data offset" };
            let mut packet = sample::ipv4(&[], 6, &sample::tcp(b""));
            packet[3] = 20 + cut;
            assert_eq!(dissect(&packet).unwrap_err(), Malformed(field), "{cut} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart_or_refused(
            first in prop_oneof![Just(0x45u8), Just(0x46), Just(0x60), any::<u8>()],
            mut bytes in proptest::collection::vec(any::<u8>(), 1..200),
            protocol in prop_oneof![Just(0u8), Just(6), Just(17), Just(43), Just(44), Just(51), Just(60)],
        ) {
            let len = u16::try_from(bytes.len()).unwrap();
            bytes[0] = first;
            for (at, value) in [(2, len.to_be_bytes()), (4, len.saturating_sub(40).to_be_bytes())] {
                if (at == 2) == (first >> 4 == 4) && bytes.len() > 10 {
                    bytes[at..at + 2].copy_from_slice(&value);
                    bytes[if at == 2 { 9 } else { 6 }] = protocol;
                }
            }
            if let Ok(dissected) = dissect(&bytes) {
                let found = bytes.get(dissected.payload_at..).unwrap();
                prop_assert!(found.starts_with(dissected.payload));
            }
        }
    }
}
