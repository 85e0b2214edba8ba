//! Whether an expression is true of an event.

use std::net::IpAddr;

use cthelper_proto::netlink::conntrack::status;
use cthelper_proto::netlink::entry::Entry;
use cthelper_proto::netlink::expect::Expectation;
use cthelper_proto::netlink::report::{Report, Subject};
use cthelper_proto::netlink::tuple::has_ports;
use cthelper_proto::types::{Dir, Family, Tuple};

use super::{Expr, Flag, Known, Mark, Needs, Net, Place, Span, Test, Zone};

pub(super) fn matches(expr: &Expr, report: &Report<'_>, known: &Known<'_>) -> bool {
    match expr {
        Expr::And(parts) => parts.iter().all(|part| matches(part, report, known)),
        Expr::Or(parts) => parts.iter().any(|part| matches(part, report, known)),
        Expr::Not(part) => !matches(part, report, known),
        Expr::Is(Test::Event(kinds)) => kinds.mean(report),
        Expr::Is(test) => match &report.subject {
            Subject::Flow(entry) => is_flow(test, entry, known),
            Subject::Expect(expectation) => is_expectation(test, expectation),
        },
    }
}

/// Which memory the tests ask for.
pub(super) fn needs(expr: &Expr) -> Needs {
    match expr {
        Expr::And(parts) | Expr::Or(parts) => parts.iter().map(needs).fold(Needs::default(), Needs::union),
        Expr::Not(part) => needs(part),
        Expr::Is(Test::Helper(_) | Test::Flag(Flag::Helped)) => Needs { helper: true, labels: false },
        Expr::Is(Test::Label(_)) => Needs { helper: false, labels: true },
        Expr::Is(_) => Needs::default(),
    }
}

fn is_flow(test: &Test, entry: &Entry<'_>, known: &Known<'_>) -> bool {
    match test {
        // Judged by the caller.
        Test::Event(_) => false,
        Test::Family(families) => families.contains(&entry.family()),
        Test::Proto(protos) => protos.contains(&entry.orig.proto),
        Test::State(states) => entry.protoinfo.and_then(|info| info.state()).is_some_and(|state| states.contains(&state)),
        Test::Addr(place, nets) => {
            at(*place, &entry.orig, entry.reply.as_ref(), |tuple| tuple.src, |tuple| tuple.dst, |addr| is_in(addr, nets))
        }
        Test::Port(place, spans) => {
            has_ports(entry.orig.proto)
                && at(*place, &entry.orig, entry.reply.as_ref(), |t| t.sport, |t| t.dport, |port| is_within(port, spans))
        }
        Test::Zone(Zone::Orig, spans) => is_within(entry.zone_of(Dir::Orig), spans),
        Test::Zone(Zone::Reply, spans) => is_within(entry.zone_of(Dir::Reply), spans),
        Test::Zone(Zone::Any, spans) => is_within(entry.zone_of(Dir::Orig), spans) || is_within(entry.zone_of(Dir::Reply), spans),
        Test::Mark(marks) => marks.iter().any(|mark| mark.is(entry.mark.unwrap_or(0))),
        Test::Label(labels) => entry.labels.or(known.labels).is_some_and(|set| labels.iter().any(|label| set.has(*label))),
        Test::Helper(names) => match entry.helper {
            Some(helper) => names.iter().any(|name| helper.is(name)),
            None => known.helper.is_some_and(|helper| names.iter().any(|name| name == helper)),
        },
        Test::Flag(flag) => is_flagged(*flag, entry, known),
    }
}

fn is_flagged(flag: Flag, entry: &Entry<'_>, known: &Known<'_>) -> bool {
    match flag {
        Flag::Replied => entry.has_status(status::SEEN_REPLY),
        Flag::Assured => entry.has_status(status::ASSURED),
        Flag::Nated => entry.is_translated(),
        Flag::Snat => entry.has_status(status::SRC_NAT),
        Flag::Dnat => entry.has_status(status::DST_NAT),
        Flag::Expected => entry.has_status(status::EXPECTED),
        Flag::Helped => entry.helper.is_some() || known.helper.is_some(),
        Flag::Offloaded => entry.has_status(status::OFFLOAD | status::HW_OFFLOAD),
    }
}

/// The mask says what the expectation compares; the rest of its tuple means nothing.
fn is_expectation(test: &Test, expectation: &Expectation) -> bool {
    let Expectation { tuple, mask, zone, helper, .. } = expectation;
    let whole = |compared: bool| compared.then_some(());
    match test {
        Test::Family(families) => families.contains(&Family::of(tuple.src)),
        Test::Proto(protos) => protos.contains(&tuple.proto),
        Test::Addr(place, nets) => {
            let (src, dst) = (whole(mask.src_addr).map(|()| tuple.src), Some(tuple.dst));
            one_of(*place, src, dst).any(|addr| is_in(addr, nets))
        }
        Test::Port(place, spans) => {
            let (sport, dport) = (whole(mask.sport).map(|()| tuple.sport), Some(tuple.dport));
            has_ports(tuple.proto) && one_of(*place, sport, dport).any(|port| is_within(port, spans))
        }
        Test::Zone(_, spans) => is_within(*zone, spans),
        Test::Helper(names) => helper.as_ref().is_some_and(|helper| names.contains(helper)),
        Test::Flag(Flag::Helped) => helper.is_some(),
        Test::Event(_) | Test::State(_) | Test::Mark(_) | Test::Label(_) | Test::Flag(_) => false,
    }
}

/// What a connection has at a place, judged.
fn at<T>(
    place: Place,
    orig: &Tuple,
    reply: Option<&Tuple>,
    source: impl Fn(&Tuple) -> T,
    destination: impl Fn(&Tuple) -> T,
    is: impl Fn(T) -> bool,
) -> bool {
    match place {
        Place::Src => is(source(orig)),
        Place::Dst => is(destination(orig)),
        Place::ReplySrc => reply.is_some_and(|reply| is(source(reply))),
        Place::ReplyDst => reply.is_some_and(|reply| is(destination(reply))),
        Place::Any => [Some(orig), reply].into_iter().flatten().any(|tuple| is(source(tuple)) || is(destination(tuple))),
    }
}

/// What an expectation has at a place.
fn one_of<T>(place: Place, source: Option<T>, destination: Option<T>) -> impl Iterator<Item = T> {
    let (source, destination) = match place {
        Place::Src => (source, None),
        Place::Dst => (None, destination),
        Place::Any => (source, destination),
        Place::ReplySrc | Place::ReplyDst => (None, None),
    };
    source.into_iter().chain(destination)
}

fn is_within(number: u16, spans: &[Span]) -> bool {
    spans.iter().any(|Span(first, last)| (first..=last).contains(&&number))
}

fn is_in(addr: IpAddr, nets: &[Net]) -> bool {
    nets.iter().any(|net| match net {
        Net::Prefix(base, length) => base.is_ipv4() == addr.is_ipv4() && network(addr, *length) == *base,
        Net::Range(first, last) => first.is_ipv4() == addr.is_ipv4() && (first..=last).contains(&&addr),
    })
}

/// An address without the bits beyond a prefix length.
pub(super) fn network(addr: IpAddr, length: u8) -> IpAddr {
    let kept = u32::from(length);
    match addr {
        IpAddr::V4(addr) => IpAddr::V4((addr.to_bits() & u32::MAX.checked_shl(32_u32.saturating_sub(kept)).unwrap_or(0)).into()),
        IpAddr::V6(addr) => {
            IpAddr::V6((addr.to_bits() & u128::MAX.checked_shl(128_u32.saturating_sub(kept)).unwrap_or(0)).into())
        }
    }
}

/// Bits of an address.
pub(super) fn width(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

impl Mark {
    /// Of the bits in `mask` only.
    pub fn new(value: u32, mask: u32) -> Self {
        Self { value: value & mask, mask }
    }

    /// The value under the mask.
    pub fn value(self) -> u32 {
        self.value
    }

    /// Which bits are compared.
    pub fn mask(self) -> u32 {
        self.mask
    }

    /// Whether a connection's mark is it.
    pub fn is(self, mark: u32) -> bool {
        mark & self.mask == self.value
    }
}
