//! What of a filter can be told from a message alone: the condition under which it may be true, for the kernel's socket filter.

use std::net::IpAddr;

use cthelper_proto::netlink::conntrack::status;
use cthelper_proto::netlink::report::Kind;
use cthelper_proto::netlink::tuple::has_ports;

use super::{Expr, Filter, Flag, Net, Place, Span, Test};
use crate::events::socket_filter::condition::{self, Attribute, Check, Condition, Width};

impl Filter {
    /// Under this condition it may be true of an event of this kind, a kind of connections; otherwise it is not.
    pub(crate) fn told(&self, kind: Kind) -> Condition {
        self.expr.as_ref().map_or(Condition::Always, |expr| may_be(expr, kind, true))
    }
}

/// When the expression may come out so.
fn may_be(expr: &Expr, kind: Kind, so: bool) -> Condition {
    let each = |parts: &[Expr]| parts.iter().map(|part| may_be(part, kind, so)).collect::<Vec<_>>();
    match expr {
        Expr::And(parts) if so => Condition::all(each(parts)),
        Expr::And(parts) => Condition::any(each(parts)),
        Expr::Or(parts) if so => Condition::any(each(parts)),
        Expr::Or(parts) => Condition::all(each(parts)),
        Expr::Not(part) => may_be(part, kind, !so),
        Expr::Is(test) => may_test(test, kind, so),
    }
}

fn may_test(test: &Test, kind: Kind, so: bool) -> Condition {
    match test {
        Test::Event(kinds) if kinds.has(kind) => Condition::Always.be(so),
        Test::Event(_) => Condition::Never.be(so),
        Test::Family(families) => {
            Condition::any(families.iter().map(|family| Condition::Is(Check::Family(family.number())))).be(so)
        }
        Test::Proto(protos) => is_proto(protos).be(so),
        Test::Addr(Place::Src, nets) => may_be_in(nets, Attribute::V4Src, Attribute::V6Src, so),
        Test::Addr(Place::Dst, nets) => may_be_in(nets, Attribute::V4Dst, Attribute::V6Dst, so),
        Test::Port(Place::Src, spans) => is_port(spans, Attribute::Sport).be(so),
        Test::Port(Place::Dst, spans) => is_port(spans, Attribute::Dport).be(so),
        Test::Mark(marks) => Condition::any(marks.iter().map(|mark| condition::mark(*mark))).be(so),
        Test::Flag(flag) => flag_bits(*flag).map_or(Condition::Always, |bits| condition::status(bits).be(so)),
        // The other direction's tuple, and what not every event tells.
        Test::Addr(..) | Test::Port(..) | Test::State(_) | Test::Zone(..) | Test::Label(_) | Test::Helper(_) => Condition::Always,
    }
}

fn is_proto(protos: &[u8]) -> Condition {
    let one = |proto: &u8| Condition::within(Attribute::Proto, Width::One, (*proto).into(), (*proto).into());
    Condition::any(protos.iter().map(one))
}

fn is_port(spans: &[Span], of: Attribute) -> Condition {
    let one = |Span(first, last): &Span| Condition::within(of, Width::Two, (*first).into(), (*last).into());
    let with_ports: Vec<u8> = (0..=u8::MAX).filter(|proto| has_ports(*proto)).collect();
    Condition::all([is_proto(&with_ports), Condition::any(spans.iter().map(one))])
}

/// An address is in one of the nets, or is in none of them.
fn may_be_in(nets: &[Net], v4: Attribute, v6: Attribute, so: bool) -> Condition {
    let each = nets.iter().map(|net| match net {
        Net::Prefix(IpAddr::V4(base), length) => {
            let mask = prefix_mask(u32::from(*length));
            let base = base.to_bits();
            word(v4, 0, mask, base, base).be(so)
        }
        Net::Range(IpAddr::V4(first), IpAddr::V4(last)) => word(v4, 0, u32::MAX, first.to_bits(), last.to_bits()).be(so),
        Net::Prefix(IpAddr::V6(base), length) => is_in_v6(v6, base.segments(), u32::from(*length)).be(so),
        // Sixteen bytes in order are not worth their instructions.
        Net::Range(..) if so => Condition::has(v6),
        Net::Range(..) => Condition::Always,
    });
    if so { Condition::any(each) } else { Condition::all(each) }
}

fn is_in_v6(of: Attribute, segments: [u16; 8], length: u32) -> Condition {
    let words = segments.chunks_exact(2).zip(0_u8..).map(|(pair, at)| {
        let base = pair.iter().fold(0, |word, half| word << 16 | u32::from(*half));
        let mask = prefix_mask(length.saturating_sub(32 * u32::from(at)).min(32));
        if mask == 0 { Condition::has(of) } else { word(of, 4 * at, mask, base, base) }
    });
    Condition::all(words)
}

/// Four bytes of an address.
fn word(of: Attribute, skip: u8, mask: u32, first: u32, last: u32) -> Condition {
    Condition::Is(Check::Within { of, skip, width: Width::Four, mask, first, last })
}

/// The upper so many bits of 32.
fn prefix_mask(length: u32) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(length)).unwrap_or(0)
}

/// The status tells it; of `helped` it does not.
fn flag_bits(flag: Flag) -> Option<u32> {
    match flag {
        Flag::Replied => Some(status::SEEN_REPLY),
        Flag::Assured => Some(status::ASSURED),
        Flag::Nated => Some(status::NAT),
        Flag::Snat => Some(status::SRC_NAT),
        Flag::Dnat => Some(status::DST_NAT),
        Flag::Expected => Some(status::EXPECTED),
        Flag::Offloaded => Some(status::OFFLOAD | status::HW_OFFLOAD),
        Flag::Helped => None,
    }
}
