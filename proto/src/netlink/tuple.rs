//! `CTA_TUPLE_*`: one side's view of a connection (`enum ctattr_tuple`, `ctattr_ip`, `ctattr_l4proto`).
//!
//! ```text
//! IP 1    { V4_SRC 1, V4_DST 2 | V6_SRC 3, V6_DST 4 }
//! PROTO 2 { NUM 1 u8, SRC_PORT 2, DST_PORT 3 be16 | ICMP_ID 4 be16, TYPE 5, CODE 6 u8 | ICMPV6_ID 7, TYPE 8, CODE 9 }
//! ZONE 3  be16
//! ```
//! In a [`Tuple`] an ICMP id is `sport`, and type and code are the two bytes of `dport`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::attrs::Attrs;
use crate::Malformed;
use crate::types::Tuple;
use crate::writer::Writer;

/// Both addresses.
pub const TUPLE_IP: u16 = 1;
/// The protocol, and what it has beside the addresses.
pub const TUPLE_PROTO: u16 = 2;
const TUPLE_ZONE: u16 = 3;
/// IPv4 source.
pub const IP_V4_SRC: u16 = 1;
/// IPv4 destination.
pub const IP_V4_DST: u16 = 2;
/// IPv6 source.
pub const IP_V6_SRC: u16 = 3;
/// IPv6 destination.
pub const IP_V6_DST: u16 = 4;
/// The protocol's number.
pub const PROTO_NUM: u16 = 1;
/// Source port.
pub const PROTO_SRC_PORT: u16 = 2;
/// Destination port.
pub const PROTO_DST_PORT: u16 = 3;
const PROTO_ICMP_ID: u16 = 4;
const PROTO_ICMP_TYPE: u16 = 5;
const PROTO_ICMP_CODE: u16 = 6;
const PROTO_ICMPV6_ID: u16 = 7;
const PROTO_ICMPV6_TYPE: u16 = 8;
const PROTO_ICMPV6_CODE: u16 = 9;

/// What the kernel writes of a protocol beside its number (the `tuple_to_nlattr` of each `nf_conntrack_l4proto`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// TCP, UDP, DCCP, SCTP, UDP-Lite.
    Ports,
    /// GRE: keys, written as ports.
    Keys,
    /// Id, type and code.
    Icmp,
    /// The same under other numbers.
    Icmpv6,
    /// Nothing.
    Bare,
}

impl Shape {
    pub(super) fn of(proto: u8) -> Self {
        match proto {
            6 | 17 | 33 | 132 | 136 => Self::Ports,
            47 => Self::Keys,
            1 => Self::Icmp,
            58 => Self::Icmpv6,
            _ => Self::Bare,
        }
    }
}

/// Whether tuples of this protocol have ports.
pub fn has_ports(proto: u8) -> bool {
    Shape::of(proto) == Shape::Ports
}

/// Writes `tuple` as a nest of this kind. Both addresses must be of one family: a mixed tuple comes out without addresses and the
/// kernel answers EINVAL.
pub fn write(w: &mut Writer<'_>, kind: u16, tuple: &Tuple) {
    w.nest(kind, |w| {
        w.nest(TUPLE_IP, |w| match (tuple.src, tuple.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                w.attr(IP_V4_SRC, &src.octets());
                w.attr(IP_V4_DST, &dst.octets());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                w.attr(IP_V6_SRC, &src.octets());
                w.attr(IP_V6_DST, &dst.octets());
            }
            _ => {}
        });
        w.nest(TUPLE_PROTO, |w| proto(w, tuple));
    });
}

fn proto(w: &mut Writer<'_>, tuple: &Tuple) {
    let [icmp_type, icmp_code] = tuple.dport.to_be_bytes();
    w.u8(PROTO_NUM, tuple.proto);
    match Shape::of(tuple.proto) {
        Shape::Ports | Shape::Keys => {
            w.be16(PROTO_SRC_PORT, tuple.sport);
            w.be16(PROTO_DST_PORT, tuple.dport);
        }
        Shape::Icmp => {
            w.be16(PROTO_ICMP_ID, tuple.sport);
            w.u8(PROTO_ICMP_TYPE, icmp_type);
            w.u8(PROTO_ICMP_CODE, icmp_code);
        }
        Shape::Icmpv6 => {
            w.be16(PROTO_ICMPV6_ID, tuple.sport);
            w.u8(PROTO_ICMPV6_TYPE, icmp_type);
            w.u8(PROTO_ICMPV6_CODE, icmp_code);
        }
        Shape::Bare => {}
    }
}

/// Reads what stands inside a tuple's nest.
pub fn parse(attrs: Attrs<'_>) -> Result<Tuple, Malformed> {
    parse_zoned(attrs).map(|(tuple, _)| tuple)
}

/// As [`parse`], and the zone if this direction has one of its own.
pub fn parse_zoned(attrs: Attrs<'_>) -> Result<(Tuple, Option<u16>), Malformed> {
    let (mut addrs, mut ports, mut zone) = (None, None, None);
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            TUPLE_IP => addrs = Some(parse_addrs(attr.nested())?),
            TUPLE_PROTO => ports = Some(parse_proto(attr.nested())?),
            TUPLE_ZONE => zone = Some(attr.be16("tuple zone")?),
            _ => {}
        }
    }
    let (src, dst) = addrs.ok_or(Malformed("tuple addresses"))?;
    let (proto, sport, dport) = ports.ok_or(Malformed("tuple protocol"))?;
    Ok((Tuple { src, dst, proto, sport, dport }, zone))
}

fn parse_addrs(attrs: Attrs<'_>) -> Result<(IpAddr, IpAddr), Malformed> {
    let (mut src, mut dst): (Option<IpAddr>, Option<IpAddr>) = (None, None);
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            IP_V4_SRC => src = Some(Ipv4Addr::from(attr.array("tuple source")?).into()),
            IP_V4_DST => dst = Some(Ipv4Addr::from(attr.array("tuple destination")?).into()),
            IP_V6_SRC => src = Some(Ipv6Addr::from(attr.array::<16>("tuple source")?).into()),
            IP_V6_DST => dst = Some(Ipv6Addr::from(attr.array::<16>("tuple destination")?).into()),
            _ => {}
        }
    }
    match (src, dst) {
        (Some(src), Some(dst)) if src.is_ipv4() == dst.is_ipv4() => Ok((src, dst)),
        _ => Err(Malformed("tuple addresses")),
    }
}

/// Protocol number, `sport`, `dport`. A protocol that has ports must come with both.
fn parse_proto(attrs: Attrs<'_>) -> Result<(u8, u16, u16), Malformed> {
    let (mut proto, mut sport, mut dport, mut icmp) = (None, None, None, [0; 2]);
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            PROTO_NUM => proto = Some(attr.u8("tuple protocol")?),
            PROTO_SRC_PORT => sport = Some(attr.be16("tuple source port")?),
            PROTO_DST_PORT => dport = Some(attr.be16("tuple destination port")?),
            PROTO_ICMP_ID | PROTO_ICMPV6_ID => sport = Some(attr.be16("tuple icmp id")?),
            PROTO_ICMP_TYPE | PROTO_ICMPV6_TYPE => icmp[0] = attr.u8("tuple icmp type")?,
            PROTO_ICMP_CODE | PROTO_ICMPV6_CODE => icmp[1] = attr.u8("tuple icmp code")?,
            _ => {}
        }
    }
    let proto = proto.ok_or(Malformed("tuple protocol"))?;
    match Shape::of(proto) {
        Shape::Ports | Shape::Keys => {
            Ok((proto, sport.ok_or(Malformed("tuple source port"))?, dport.ok_or(Malformed("tuple destination port"))?))
        }
        Shape::Icmp | Shape::Icmpv6 => Ok((proto, sport.ok_or(Malformed("tuple icmp id"))?, u16::from_be_bytes(icmp))),
        Shape::Bare => Ok((proto, 0, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(src: &str, dst: &str, proto: u8, sport: u16, dport: u16) -> Tuple {
        Tuple { src: src.parse().unwrap(), dst: dst.parse().unwrap(), proto, sport, dport }
    }

    fn inside(body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        body(&mut Writer::new(&mut out));
        out
    }

    #[test]
    fn icmp_keeps_id_type_and_code() {
        for (src, dst, proto) in [("10.0.0.1", "10.0.0.2", 1), ("fd00::1", "fd00::2", 58)] {
            let echo = tuple(src, dst, proto, 77, 0x0800);
            let out = inside(|w| write(w, 1, &echo));
            assert_eq!(parse(Attrs::new(&out[4..])), Ok(echo));
        }
    }

    #[test]
    fn a_zone_of_one_direction_is_seen() {
        let seen = tuple("10.0.0.1", "10.0.0.2", 6, 1, 2);
        let mut out = inside(|w| write(w, 1, &seen)).split_off(4);
        Writer::new(&mut out).be16(TUPLE_ZONE, 9);
        assert_eq!(parse_zoned(Attrs::new(&out)), Ok((seen, Some(9))));
    }

    #[test]
    fn tcp_without_a_port_is_refused() {
        let out = inside(|w| {
            w.nest(TUPLE_IP, |w| {
                w.attr(IP_V4_SRC, &[10, 0, 0, 1]);
                w.attr(IP_V4_DST, &[10, 0, 0, 2]);
            });
            w.nest(TUPLE_PROTO, |w| {
                w.u8(PROTO_NUM, 6);
                w.be16(PROTO_SRC_PORT, 5);
            });
        });
        assert_eq!(parse(Attrs::new(&out)), Err(Malformed("tuple destination port")));
    }

    #[test]
    fn mixed_families_and_missing_parts_are_refused() {
        let mixed = inside(|w| {
            w.nest(TUPLE_IP, |w| {
                w.attr(IP_V4_SRC, &[10, 0, 0, 1]);
                w.attr(IP_V6_DST, &[0; 16]);
            });
        });
        assert_eq!(parse(Attrs::new(&mixed)), Err(Malformed("tuple addresses")));
        assert_eq!(parse(Attrs::new(&[])), Err(Malformed("tuple addresses")));
        let torn = inside(|w| write(w, 1, &tuple("10.0.0.1", "fd00::2", 6, 1, 2)));
        assert_eq!(parse(Attrs::new(&torn[4..])), Err(Malformed("tuple addresses")));
    }
}
