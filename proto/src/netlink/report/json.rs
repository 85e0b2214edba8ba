//! The JSON form of an event: one object; what was not told is left out. supervisor/EVENTS.md is its description for readers.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::super::conntrack::{Event, status};
use super::super::entry::{Counters, Entry, ProtoInfo};
use super::super::expect::{Expectation, INACTIVE, PERMANENT, USERSPACE};
use super::super::tuple::Shape;
use super::{Moment, Report, Subject};
use crate::types::{Dir, Family, Tuple};

/// See [`Report::json`].
#[derive(Clone, Copy, Debug)]
pub struct Json<'a> {
    pub(super) report: &'a Report<'a>,
    pub(super) received: Moment,
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Report { event, port_id, subject } = self.report;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time_us", &self.report.moment(self.received).0)?;
        map.serialize_entry("event", word(subject, *event))?;
        match subject {
            Subject::Flow(entry) => flow(&mut map, entry)?,
            Subject::Expect(expectation) => expect(&mut map, expectation)?,
        }
        some(&mut map, "port_id", Some(port_id).filter(|port_id| **port_id != 0))?;
        map.end()
    }
}

/// The word of the event; what a dump shows has its own.
fn word(subject: &Subject<'_>, event: Option<Event>) -> &'static str {
    match (subject, event) {
        (Subject::Flow(_), Some(Event::New)) => "new",
        (Subject::Flow(_), Some(Event::Update)) => "update",
        (Subject::Flow(_), Some(Event::Destroy)) => "destroy",
        (Subject::Flow(_), None) => "dump",
        (Subject::Expect(_), Some(Event::New)) => "expect-new",
        (Subject::Expect(_), Some(Event::Update)) => "expect-update",
        (Subject::Expect(_), Some(Event::Destroy)) => "expect-destroy",
        (Subject::Expect(_), None) => "expect-dump",
    }
}

fn some<M: SerializeMap>(map: &mut M, key: &'static str, value: Option<impl Serialize>) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(key, &value))
}

fn flow<M: SerializeMap>(map: &mut M, entry: &Entry<'_>) -> Result<(), M::Error> {
    protocol(map, &entry.orig)?;
    some(map, "id", entry.id)?;
    some(map, "timeout", entry.timeout)?;
    some(map, "state", entry.protoinfo.and_then(|info| info.state()))?;
    let side = |dir: Dir, tuple: &Tuple| {
        let at = dir.index();
        Side { tuple: *tuple, zone: entry.zones.get(at).copied().flatten(), counters: entry.counters.get(at).copied().flatten() }
    };
    map.serialize_entry("orig", &side(Dir::Orig, &entry.orig))?;
    some(map, "reply", entry.reply.as_ref().map(|reply| side(Dir::Reply, reply)))?;
    some(map, "status", entry.status.map(Status))?;
    some(map, "mark", entry.mark)?;
    some(map, "labels", entry.labels.map(|labels| labels.iter().collect::<Vec<u8>>()))?;
    some(map, "zone", entry.zone)?;
    some(map, "helper", entry.helper)?;
    some(map, "secctx", entry.secctx)?;
    some(map, "master", entry.master.map(Side::of))?;
    some(map, "start_ns", entry.lifetime.start)?;
    some(map, "stop_ns", entry.lifetime.stop)?;
    some(map, "use", entry.uses)?;
    some(map, "protoinfo", entry.protoinfo.map(Details))
}

fn expect<M: SerializeMap>(map: &mut M, expectation: &Expectation) -> Result<(), M::Error> {
    protocol(map, &expectation.tuple)?;
    some(map, "id", expectation.id)?;
    some(map, "timeout", expectation.timeout)?;
    map.serialize_entry("tuple", &Side::of(expectation.tuple))?;
    map.serialize_entry("mask", &Side::of(expectation.mask.tuple(&expectation.tuple)))?;
    map.serialize_entry("master", &Side::of(expectation.master))?;
    some(map, "zone", Some(expectation.zone).filter(|zone| *zone != 0))?;
    map.serialize_entry("flags", &Flags(expectation.flags))?;
    map.serialize_entry("class", &expectation.class)?;
    some(map, "helper", expectation.helper.as_deref())?;
    some(map, "function", expectation.function.as_deref())
}

fn protocol<M: SerializeMap>(map: &mut M, tuple: &Tuple) -> Result<(), M::Error> {
    map.serialize_entry("family", &Family::of(tuple.src))?;
    map.serialize_entry("proto", &tuple.proto)
}

/// A tuple, and what belongs to its direction.
struct Side {
    tuple: Tuple,
    zone: Option<u16>,
    counters: Option<Counters>,
}

impl Side {
    fn of(tuple: Tuple) -> Self {
        Self { tuple, zone: None, counters: None }
    }
}

impl Serialize for Side {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Tuple { src, dst, proto, sport, dport } = &self.tuple;
        let [icmp_type, icmp_code] = dport.to_be_bytes();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("src", src)?;
        map.serialize_entry("dst", dst)?;
        let numbers = match Shape::of(*proto) {
            Shape::Ports => [Some(("sport", *sport)), Some(("dport", *dport)), None],
            Shape::Keys => [Some(("srckey", *sport)), Some(("dstkey", *dport)), None],
            Shape::Icmp | Shape::Icmpv6 => {
                [Some(("type", icmp_type.into())), Some(("code", icmp_code.into())), Some(("id", *sport))]
            }
            Shape::Bare => [None; 3],
        };
        for (key, number) in numbers.into_iter().flatten() {
            map.serialize_entry(key, &number)?;
        }
        some(&mut map, "zone", self.zone)?;
        some(&mut map, "packets", self.counters.map(|counters| counters.packets))?;
        some(&mut map, "bytes", self.counters.map(|counters| counters.bytes))?;
        map.end()
    }
}

/// The names of the bits that are set, as `enum ip_conntrack_status` has them without `IPS_` and `_BIT`.
struct Status(u32);

/// In the order of their bits.
const STATUS: [(u32, &str); 16] = [
    (status::EXPECTED, "EXPECTED"),
    (status::SEEN_REPLY, "SEEN_REPLY"),
    (status::ASSURED, "ASSURED"),
    (status::CONFIRMED, "CONFIRMED"),
    (status::SRC_NAT, "SRC_NAT"),
    (status::DST_NAT, "DST_NAT"),
    (status::SEQ_ADJUST, "SEQ_ADJUST"),
    (status::SRC_NAT_DONE, "SRC_NAT_DONE"),
    (status::DST_NAT_DONE, "DST_NAT_DONE"),
    (status::DYING, "DYING"),
    (status::FIXED_TIMEOUT, "FIXED_TIMEOUT"),
    (status::TEMPLATE, "TEMPLATE"),
    (status::UNTRACKED, "UNTRACKED"),
    (status::HELPER, "HELPER"),
    (status::OFFLOAD, "OFFLOAD"),
    (status::HW_OFFLOAD, "HW_OFFLOAD"),
];

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(set_bits(self.0, &STATUS))
    }
}

/// Of an expectation.
struct Flags(u32);

impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(set_bits(self.0, &[(PERMANENT, "PERMANENT"), (INACTIVE, "INACTIVE"), (USERSPACE, "USERSPACE")]))
    }
}

fn set_bits<'a>(bits: u32, names: &'a [(u32, &'static str)]) -> impl Iterator<Item = &'static str> + 'a {
    names.iter().filter(move |(bit, _)| bits & bit != 0).map(|(_, name)| *name)
}

/// What a protocol remembers besides its state.
struct Details(ProtoInfo);

impl Serialize for Details {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.0 {
            ProtoInfo::Tcp { state: _, wscale: [orig_scale, reply_scale], flags: [orig_flags, reply_flags] } => {
                some(&mut map, "wscale_orig", orig_scale)?;
                some(&mut map, "wscale_reply", reply_scale)?;
                some(&mut map, "flags_orig", orig_flags)?;
                some(&mut map, "flags_reply", reply_flags)?;
            }
            ProtoInfo::Dccp { state: _, role, handshake_seq } => {
                some(&mut map, "role", role)?;
                some(&mut map, "handshake_seq", handshake_seq)?;
            }
            ProtoInfo::Sctp { state: _, vtag: [orig, reply] } => {
                some(&mut map, "vtag_orig", orig)?;
                some(&mut map, "vtag_reply", reply)?;
            }
        }
        map.end()
    }
}
