//! From a captured frame to the IP packet in it. Link types: <https://www.tcpdump.org/linktypes.html>.

use std::fmt;

use cthelper_proto::Malformed;
use cthelper_proto::reader::Reader;

/// Why a record of a capture holds no packet for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// The capture kept fewer bytes than the packet had.
    CutShort {
        /// Bytes kept.
        captured: u32,
        /// Bytes on the wire.
        original: u32,
    },
    /// Frames of this link type are not understood.
    LinkType(u16),
    /// The frame holds another protocol, by Ethernet type (at most 1500: the length of an LLC frame).
    NotIp(u16),
    /// The frame's own header is broken.
    Frame(Malformed),
    /// The record names an interface that its section does not describe (pcapng).
    NoInterface(u32),
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort { captured, original } => write!(f, "cut short: {captured} of {original} bytes captured"),
            Self::LinkType(link) => write!(f, "unknown link type {link}"),
            Self::NotIp(ethertype) => write!(f, "not IP (Ethernet type {ethertype:#06x})"),
            Self::Frame(malformed) => malformed.fmt(f),
            Self::NoInterface(id) => write!(f, "interface {id} is not described"),
        }
    }
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// VLAN tags taken off before a frame is given up; two are in use (IEEE 802.1ad).
const MAX_TAGS: usize = 4;

/// The IP packet in `frame`, with whatever padding follows it.
pub fn network(link: u16, frame: &[u8]) -> Result<&[u8], Skip> {
    let mut reader = Reader::new(frame);
    let ethertype = match link {
        0 | 108 => loopback(&mut reader),
        1 => ethernet(&mut reader),
        12 | 14 | 101 | 228 | 229 => return Ok(frame),
        113 => cooked(&mut reader),
        276 => cooked2(&mut reader),
        other => return Err(Skip::LinkType(other)),
    };
    match ethertype.and_then(|ethertype| untagged(ethertype, &mut reader)).map_err(Skip::Frame)? {
        IPV4 | IPV6 => Ok(reader.rest()),
        other => Err(Skip::NotIp(other)),
    }
}

/// Ethernet: two addresses, then the type.
fn ethernet(reader: &mut Reader<'_>) -> Result<u16, Malformed> {
    reader.take(12, "ethernet header")?;
    reader.be16("ethernet header")
}

/// Linux cooked capture: packet type, device type, address length and address, then the protocol.
fn cooked(reader: &mut Reader<'_>) -> Result<u16, Malformed> {
    reader.take(14, "cooked header")?;
    reader.be16("cooked header")
}

/// Linux cooked capture version 2: the protocol, then 18 bytes of interface and address.
fn cooked2(reader: &mut Reader<'_>) -> Result<u16, Malformed> {
    let ethertype = reader.be16("cooked v2 header")?;
    reader.take(18, "cooked v2 header")?;
    Ok(ethertype)
}

/// BSD loopback: the address family as a 32-bit number in the byte order of the capturing host (link type 108: big-endian).
fn loopback(reader: &mut Reader<'_>) -> Result<u16, Malformed> {
    let number = reader.be32("loopback header")?;
    // A family fits into one byte, so the smaller reading is the meant one.
    Ok(match number.min(number.swap_bytes()) {
        2 => IPV4,
        // Linux; NetBSD and OpenBSD; FreeBSD; Darwin.
        10 | 24 | 28 | 30 => IPV6,
        _ => 0,
    })
}

/// Takes off VLAN tags (802.1Q, 802.1ad, and the older 0x9100), and gives the type behind them.
fn untagged(mut ethertype: u16, reader: &mut Reader<'_>) -> Result<u16, Malformed> {
    for _ in 0..MAX_TAGS {
        if !matches!(ethertype, 0x8100 | 0x88a8 | 0x9100) {
            break;
        }
        reader.take(2, "vlan tag")?;
        ethertype = reader.be16("vlan tag")?;
    }
    Ok(ethertype)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: &[u8] = &[0x45, 0, 0, 20];

    fn framed(header: &[u8]) -> Vec<u8> {
        [header, IP].concat()
    }

    #[test]
    fn raw_ip_is_the_whole_frame() {
        for link in [12, 14, 101, 228, 229] {
            assert_eq!(network(link, IP), Ok(IP));
        }
    }

    #[test]
    fn ethernet_with_and_without_tags() {
        let tagged: [&[u8]; 4] = [
            &[8, 0],
            &[0x81, 0, 0, 5, 0x86, 0xdd],
            &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0],
            &[0x91, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 0x81, 0, 0, 4, 8, 0],
        ];
        for types in tagged {
            let frame = framed(&[&[2; 12], types].concat());
            assert_eq!(network(1, &frame), Ok(IP));
            for cut in 0..12 + types.len() {
                let field = if cut < 14 { "ethernet header" } else { "vlan tag" };
                assert_eq!(network(1, &frame[..cut]), Err(Skip::Frame(Malformed(field))), "{cut} bytes");
            }
        }
    }

    #[test]
    fn tags_without_end_are_given_up() {
        let frame = framed(&[&[2; 12][..], &[0x81, 0, 0, 1].repeat(9)].concat());
        assert_eq!(network(1, &frame), Err(Skip::NotIp(0x8100)));
    }

    #[test]
    fn cooked_headers_of_both_versions() {
        let v1 = framed(&[0, 0, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0, 8, 0]);
        assert_eq!(network(113, &v1), Ok(IP));
        assert_eq!(network(113, &v1[..15]), Err(Skip::Frame(Malformed("cooked header"))));
        let v2 = framed(&[0x86, 0xdd, 0, 0, 0, 0, 0, 4, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0]);
        assert_eq!(network(276, &v2), Ok(IP));
        assert_eq!(network(276, &v2[..19]), Err(Skip::Frame(Malformed("cooked v2 header"))));
    }

    #[test]
    fn loopback_families_in_either_byte_order() {
        for family in [2, 10, 24, 28, 30] {
            assert_eq!(network(0, &framed(&[family, 0, 0, 0])), Ok(IP));
            assert_eq!(network(0, &framed(&[0, 0, 0, family])), Ok(IP));
            assert_eq!(network(108, &framed(&[0, 0, 0, family])), Ok(IP));
        }
        assert_eq!(network(0, &framed(&[7, 0, 0, 0])), Err(Skip::NotIp(0)));
        assert_eq!(network(0, &[2, 0, 0]), Err(Skip::Frame(Malformed("loopback header"))));
    }

    #[test]
    fn arp_and_unknown_links_are_skipped_by_name() {
        let arp = network(1, &framed(&[2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 8, 6])).unwrap_err();
        assert_eq!(arp.to_string(), "not IP (Ethernet type 0x0806)");
        assert_eq!(network(127, IP).unwrap_err().to_string(), "unknown link type 127");
    }
}
