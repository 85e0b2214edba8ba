//! What holds for any message: it reads back as it was written, and no bytes make a reader panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::conntrack::{self, Conntrack, SeqAdj, Update};
use super::cthelper::{self, Helper, Policy};
use super::cttimeout::Timeouts;
use super::entry::Entry;
use super::expect::{self, Expectation, Mask, Nat};
use super::message::{Body, flag, messages};
use super::queue::{self, Config, CtUpdate, Decision, Packet, VerdictParts};
use super::report::{Moment, Report};
use super::{Attrs, golden, tuple};
use crate::events_sock::Notice;
use crate::types::{Dir, Family, Tuple};
use crate::writer::Writer;

fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<(Ipv4Addr, Ipv4Addr)>().prop_map(|(src, dst)| (src.into(), dst.into())),
        any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(src, dst)| (src.into(), dst.into())),
    ]
}

/// Of a protocol with ports, keys or ICMP's three; the others have nothing to carry.
fn tuples() -> impl Strategy<Value = Tuple> {
    let proto = prop_oneof![Just(6), Just(17), Just(33), Just(132), Just(136), Just(47), Just(1), Just(58), Just(89)];
    (addresses(), proto, any::<(u16, u16)>()).prop_map(|((src, dst), proto, (sport, dport))| {
        let (sport, dport) = if proto == 89 { (0, 0) } else { (sport, dport) };
        Tuple { src, dst, proto, sport, dport }
    })
}

fn dirs() -> impl Strategy<Value = Dir> {
    prop_oneof![Just(Dir::Orig), Just(Dir::Reply)]
}

fn names() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9.-]{0,15}"
}

fn helpers() -> impl Strategy<Value = Helper> {
    let class =
        (names(), any::<(u32, u32)>()).prop_map(|(name, (expect_max, timeout_secs))| Policy { name, expect_max, timeout_secs });
    (names(), any::<(u16, u8, u32, u32, u32)>(), vec(class, 0..=4)).prop_map(
        |(name, (family, l4, queue, state_len, status), classes)| Helper { name, family, l4, queue, classes, state_len, status },
    )
}

/// As a creation can say it: no id, and a mask of ones and zeros.
fn expectations() -> impl Strategy<Value = Expectation> {
    let nat = (dirs(), any::<bool>(), any::<u16>());
    let numbers = any::<(u32, u32, u16)>();
    ((tuples(), tuples()), any::<(bool, bool)>(), of(any::<u32>()), numbers, of(nat), of(names()), of(names())).prop_map(
        |((tuple, master), (src_addr, sport), timeout, (flags, class, zone), nat, function, helper)| {
            let nat = nat.map(|(dir, saved, port)| {
                let addr = Some(tuple.dst).filter(|addr| saved && !addr.is_unspecified());
                Nat { dir, addr, port: if tuple.proto == 89 { 0 } else { port } }
            });
            let mut mask = Mask::new(src_addr, sport);
            if tuple.proto == 89 {
                mask.sport = false;
                mask.raw = Some(Tuple { dport: 0, ..mask.tuple(&tuple) });
            }
            Expectation { tuple, mask, master, timeout, id: None, flags, class, zone, nat, function, helper }
        },
    )
}

fn seqadjs() -> impl Strategy<Value = SeqAdj> {
    any::<(u32, i32, i32)>().prop_map(|(pos, before, after)| SeqAdj { pos, before, after })
}

/// The attributes of the only message in `out`.
fn attrs(out: &[u8]) -> (u8, u16, Attrs<'_>) {
    let all: Vec<_> = messages(out).map(Result::unwrap).collect();
    let [message] = all[..] else { panic!("{} messages", all.len()) };
    let Body::Nf { family, res_id, attrs, .. } = message.body else { panic!("{message:?}") };
    (family, res_id, attrs)
}

/// Reads `bytes` as everything there is.
fn read_all(bytes: &[u8]) {
    for message in messages(bytes).flatten() {
        let _ = Notice::from_raw(&message);
        if let Ok(Some(report)) = Report::parse(&message) {
            assert_eq!(report.line(Moment(0), true).to_string().lines().count(), 1);
            assert!(serde_json::to_string(&report.json(Moment(0))).is_ok());
        }
        if let Body::Nf { family, res_id, attrs, .. } = message.body {
            read_attrs(family, res_id, attrs);
        }
    }
    read_attrs(2, 0, Attrs::new(bytes));
}

fn read_attrs(family: u8, res_id: u16, attrs: Attrs<'_>) {
    let _ = Helper::parse(attrs);
    let _ = Timeouts::parse(attrs);
    let _ = Conntrack::parse(attrs);
    let _ = Entry::parse(attrs);
    let _ = tuple::parse_zoned(attrs);
    if let Ok(expectation) = Expectation::parse(attrs, family) {
        let _ = expectation.to_string();
    }
    if let Ok(packet) = Packet::parse(family, res_id, attrs) {
        assert_eq!(Packet::id_of(attrs), Some(packet.id));
    }
}

proptest! {
    #[test]
    fn tuples_read_back(tuple in tuples()) {
        let mut out = Vec::new();
        tuple::write(&mut Writer::new(&mut out), 1, &tuple);
        let nest = Attrs::new(&out).iter().next().unwrap().unwrap();
        prop_assert_eq!(tuple::parse(nest.nested()), Ok(tuple));
    }

    #[test]
    fn helpers_read_back(helper in helpers()) {
        let mut out = Vec::new();
        cthelper::register(&mut out, 1, flag::CREATE, &helper);
        prop_assert_eq!(Helper::parse(attrs(&out).2), Ok(helper));
    }

    #[test]
    fn expectations_read_back(expectation in expectations()) {
        let mut out = Vec::new();
        expect::create(&mut out, 1, flag::CREATE, &expectation);
        let (family, _, attrs) = attrs(&out);
        prop_assert_eq!(Expectation::parse(attrs, family), Ok(expectation));
    }

    #[test]
    fn updates_read_back(
        tuple in tuples(), zone: u16, name in names(), info in vec(any::<u8>(), 0..=32),
        seqadj in seqadjs(), dir in dirs(), timeout: u32,
    ) {
        let mut out = Vec::new();
        let update = Update { help: Some((&name, &info)), seqadj: Some((dir, seqadj)), timeout: Some(timeout) };
        conntrack::update(&mut out, 1, &tuple, zone, &update);
        let (family, _, attrs) = attrs(&out);
        prop_assert_eq!(family, Family::of(tuple.src).number());
        let ct = Conntrack::parse(attrs).unwrap();
        prop_assert_eq!((ct.orig, ct.zone, ct.timeout), (tuple, zone, Some(timeout)));
        prop_assert_eq!(ct.seqadj[dir.index()], Some(seqadj));
        prop_assert_eq!(ct.seqadj[dir.flip().index()], None);
        let help = ct.help.unwrap();
        prop_assert_eq!((help.name, help.info), (name.as_str().into(), Some(info.as_slice())));
    }

    #[test]
    fn verdicts_are_well_formed(
        expectation in of(expectations()), payload in of(vec(any::<u8>(), 0..2000)), id: u32, queue: u16,
        info in of(vec(any::<u8>(), 0..=32)), mark in of(any::<u32>()),
    ) {
        let ct = info.as_ref().map(|info| CtUpdate { help: Some(("ftp", info)), mark, timeout_secs: None });
        let parts = VerdictParts { payload: payload.as_deref(), ct, expect: expectation.as_ref(), mark, ack: false };
        let mut out = Vec::new();
        queue::verdict(&mut out, 1, queue, id, Decision::Accept, &parts);
        let (_, res_id, attrs) = attrs(&out);
        prop_assert_eq!(res_id, queue);
        let found: Vec<_> = attrs.iter().map(Result::unwrap).collect();
        prop_assert_eq!(found[0].be64("verdict").unwrap(), 1 << 32 | u64::from(id));
        let value = |kind| found.iter().find(|attr| attr.kind == kind).map(|attr| attr.value);
        prop_assert_eq!(value(10), payload.as_deref());
        prop_assert_eq!(value(11).is_some(), ct.is_some() || expectation.is_some());
        if let Some(expectation) = &expectation {
            let kinds: Vec<_> = Attrs::new(value(15).unwrap()).iter().map(|attr| attr.unwrap().kind).collect();
            prop_assert_eq!(&kinds[..2], [2, 3]);
            prop_assert_eq!(kinds.contains(&6), expectation.helper.is_some());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        read_all(&bytes);
    }

    #[test]
    fn random_attributes_never_panic(parts in vec((0u16..30, vec(any::<u8>(), 0..60)), 0..12)) {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        for (kind, value) in &parts {
            writer.attr(*kind, value);
        }
        read_attrs(2, 0, Attrs::new(&out));
    }

    #[test]
    fn damaged_messages_never_panic(
        which: proptest::sample::Index, cut: proptest::sample::Index, flips in vec((any::<proptest::sample::Index>(), 0u8..8), 0..6),
    ) {
        let all = golden::received();
        let mut bytes = which.get(&all).clone();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        read_all(&bytes);
        read_all(&bytes[..cut.index(bytes.len())]);
    }
}

#[test]
fn each_damage_of_one_bit_is_survived() {
    for message in golden::received() {
        for at in 0..message.len() {
            for bit in 0..8 {
                let mut bytes = message.clone();
                bytes[at] ^= 1 << bit;
                read_all(&bytes);
            }
            read_all(&message[..at]);
        }
    }
}

#[test]
fn every_builder_writes_whole_messages_that_follow_one_another() {
    let tuple = Tuple { src: Ipv4Addr::LOCALHOST.into(), dst: Ipv4Addr::LOCALHOST.into(), proto: 6, sport: 1, dport: 2 };
    let mut out = Vec::new();
    cthelper::dump(&mut out, 1);
    cthelper::get(&mut out, 2, "sip", Some((2, 17)));
    cthelper::set_status(&mut out, 3, "sip", 2, 17, true);
    queue::bind(&mut out, 4, 1);
    queue::configure(&mut out, 5, 1, &Config { copy_range: 0, max_len: 1, flags: 0, mask: 0 });
    queue::verdict_batch(&mut out, 6, 1, 9, Decision::Accept);
    conntrack::get(&mut out, 7, &tuple, 1);
    expect::delete(&mut out, 8, &tuple, 1, Some(1));
    let seqs: Vec<_> = messages(&out).map(|message| message.unwrap().header.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6, 7, 8]);
}
