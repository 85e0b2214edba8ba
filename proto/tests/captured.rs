//! Bytes captured from real kernels: every message is understood, means what it says, and comes out again as it came in.
//!
//! `captured/*.hex`, made on the loopback interface, and `tests/vm/capture/*.hex`, made behind a router with NAT, hold one datagram a
//! line in hexadecimal; `#` starts a comment.
#![cfg(target_endian = "little")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may say what it means")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use cthelper_proto::netlink::conntrack::{self, Conntrack, Event, Update, status};
use cthelper_proto::netlink::cthelper::{self, Helper};
use cthelper_proto::netlink::expect::{self, Expectation};
use cthelper_proto::netlink::message::{Body, Message, flag, messages, op, subsystem};
use cthelper_proto::netlink::queue::{self, CtUpdate, Decision, Packet, VerdictParts};
use cthelper_proto::netlink::{Attrs, tuple};
use cthelper_proto::types::{Dir, Family, Tuple};
use cthelper_proto::writer::Writer;

/// All datagrams with the name of their file and their line.
fn captured() -> Vec<(String, Vec<u8>)> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for folder in [here.join("tests/captured"), here.join("../tests/vm/capture")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "hex") {
                let text = std::fs::read_to_string(&path).unwrap();
                all.extend(text.lines().enumerate().filter_map(|(number, line)| {
                    let bytes = hex(line.split('#').next()?);
                    (!bytes.is_empty()).then(|| (format!("{}:{}", path.display(), number + 1), bytes))
                }));
            }
        }
    }
    assert!(!all.is_empty(), "nothing was captured");
    all
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The nfnetlink messages the kernel sent: what it was asked carries `REQUEST`.
fn each_answer(subsystem: u8, mut check: impl FnMut(&str, &Message<'_>, u8, u8, Attrs<'_>)) {
    for (place, datagram) in captured() {
        for message in messages(&datagram) {
            let message = message.unwrap_or_else(|malformed| panic!("{place}: {malformed}"));
            let Body::Nf { subsystem: of, op, family, attrs, .. } = message.body else { continue };
            if of == subsystem && message.header.flags & flag::REQUEST == 0 {
                check(&place, &message, op, family, attrs);
            }
        }
    }
}

/// The attributes of a message, each as its kind and value, in order of kind.
fn sorted(attrs: Attrs<'_>) -> Vec<(u16, &[u8])> {
    let mut all: Vec<_> = attrs.iter().map(|attr| attr.map(|attr| (attr.kind, attr.value)).unwrap()).collect();
    all.sort_unstable();
    all
}

fn body(request: &[u8]) -> Attrs<'_> {
    match messages(request).next().unwrap().unwrap().body {
        Body::Nf { attrs, .. } => attrs,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_message_and_every_attribute_is_well_formed() {
    for (place, datagram) in captured() {
        for message in messages(&datagram) {
            let message = message.unwrap_or_else(|malformed| panic!("{place}: {malformed}"));
            match message.body {
                Body::Nf { attrs, .. } => assert!(attrs.iter().all(|attr| attr.is_ok()), "{place}"),
                Body::Ack(ack) => assert!((0..=133).contains(&ack.errno), "{place}: {ack:?}"),
                Body::Done(errno) => assert_eq!(errno, 0, "{place}"),
                Body::Noop(_) | Body::Other => panic!("{place}: {message:?}"),
            }
        }
    }
}

#[test]
fn connections_mean_what_they_say() {
    let mut seen = [0; 3];
    each_answer(subsystem::CONNTRACK, |place, message, op, family, attrs| {
        let ct = Conntrack::parse(attrs).unwrap_or_else(|malformed| panic!("{place}: {malformed}"));
        let reply = ct.reply.unwrap();
        assert_eq!(Family::of(ct.orig.src).number(), family, "{place}");
        assert_eq!(Family::of(reply.src).number(), family, "{place}");
        assert_eq!(ct.orig.proto, reply.proto, "{place}");
        assert!(ct.id.is_some() && ct.status & status::CONFIRMED != 0, "{place}: {ct:?}");
        assert_eq!(ct.orig != reply.inverse(), ct.status & status::NAT != 0, "{place}: {ct:?}");
        assert!(ct.master.is_none() || ct.status & status::EXPECTED != 0, "{place}: {ct:?}");
        if let Some(help) = ct.help {
            assert!((1..=15).contains(&help.name.shown().len()), "{place}");
        }
        match conntrack::event(op, message.header.flags).unwrap() {
            Event::New => seen[0] += 1,
            Event::Update => seen[1] += 1,
            Event::Destroy => {
                assert!(ct.help.is_none(), "{place}: an ended connection tells no helper");
                seen[2] += 1;
            }
        }
        let mut again = Vec::new();
        tuple::write(&mut Writer::new(&mut again), 1, &ct.orig);
        tuple::write(&mut Writer::new(&mut again), 2, &reply);
        assert!(sorted(Attrs::new(&again)).iter().all(|attr| sorted(attrs).contains(attr)), "{place}");
    });
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[test]
fn expectations_come_out_as_they_came_in() {
    let mut seen = (0, 0, 0);
    each_answer(subsystem::EXPECT, |place, _, _, family, attrs| {
        let expectation = Expectation::parse(attrs, family).unwrap_or_else(|malformed| panic!("{place}: {malformed}"));
        let mut request = Vec::new();
        expect::create(&mut request, 1, flag::CREATE, &expectation);
        // The id is the kernel's own.
        let told: Vec<_> = sorted(attrs).into_iter().filter(|(kind, _)| *kind != 5).collect();
        assert_eq!(sorted(body(&request)), told, "{place}");
        assert!(expectation.id.is_some() && expectation.timeout.is_some() && expectation.helper.is_some(), "{place}");
        let line = expectation.to_string();
        assert!(line.contains(&format!("dport={} mask-src=", expectation.tuple.dport)), "{place}: {line}");
        assert!(line.ends_with(&format!("helper={}", expectation.helper.as_deref().unwrap())), "{place}: {line}");
        seen.0 += 1;
        seen.1 += usize::from(family == 10);
        seen.2 += usize::from(expectation.nat.is_some());
    });
    assert!(seen.0 > 0 && seen.1 > 0 && seen.2 > 0, "{seen:?}");
}

#[test]
fn helpers_come_out_as_they_came_in() {
    each_answer(subsystem::CTHELPER, |place, _, _, _, attrs| {
        let helper = Helper::parse(attrs).unwrap_or_else(|malformed| panic!("{place}: {malformed}"));
        assert!((1..=15).contains(&helper.name.len()) && (1..=4).contains(&helper.classes.len()), "{place}: {helper:?}");
        assert!(helper.state_len <= 32 && helper.status <= 1, "{place}: {helper:?}");
        let mut request = Vec::new();
        cthelper::register(&mut request, 1, flag::CREATE, &helper);
        assert_eq!(sorted(body(&request)), sorted(attrs), "{place}");
    });
}

#[test]
fn a_packet_is_of_the_connection_it_comes_with() {
    each_answer(subsystem::QUEUE, |place, _, _, family, attrs| {
        let packet = Packet::parse(family, 0, attrs).unwrap_or_else(|malformed| panic!("{place}: {malformed}"));
        assert_eq!(Packet::id_of(attrs), Some(packet.id), "{place}");
        let (Some(ct), Some(info)) = (packet.ct, packet.info) else { return };
        // At the hooks of helpers a packet is translated already: it looks as the receiver's answers to it will, turned round.
        let other = match info.dir() {
            Dir::Orig => ct.reply.unwrap(),
            Dir::Reply => ct.orig,
        };
        if matches!(other.proto, 6 | 17) {
            assert_eq!(tuple_of(packet.payload), Some(other.inverse()), "{place}");
        }
    });
}

/// What `captured/linux-6.1.hex` and `linux-6.12.hex` were made with.
#[test]
fn helper_class_master_and_private_data_are_what_was_set() {
    let made = |place: &str| place.contains("linux-6.1.hex") || place.contains("linux-6.12.hex");
    let mut private = Vec::new();
    each_answer(subsystem::QUEUE, |place, _, _, family, attrs| {
        if made(place) {
            let packet = Packet::parse(family, 7, attrs).unwrap();
            let ct = packet.ct.unwrap();
            let help = ct.help.unwrap();
            assert_eq!((help.name, help.info.unwrap().len()), ("ftp-u".into(), 24), "{place}");
            assert_eq!(ct.master.map(|master| master.dport), (ct.orig.dport == 3000).then_some(2121), "{place}");
            assert_eq!(ct.status & status::EXPECTED != 0, ct.master.is_some(), "{place}");
            private.push(help.info.unwrap()[0]);
        }
    });
    assert!(private.contains(&0) && private.iter().any(|byte| *byte > 0), "{private:?}");
    let mut helpers = Vec::new();
    each_answer(subsystem::CTHELPER, |place, _, _, _, attrs| {
        let helper = Helper::parse(attrs).unwrap();
        if made(place) {
            let classes: Vec<_> = helper.classes.iter().map(|c| (c.name.as_str(), c.expect_max, c.timeout_secs)).collect();
            assert_eq!(classes, [("ftp", 4, 300), ("more", 2, 60)], "{place}");
            assert_eq!((helper.name.as_str(), helper.l4, helper.state_len), ("ftp-u", 6, 24), "{place}");
            helpers.push((helper.family, helper.queue, helper.status));
        }
    });
    assert!(helpers.contains(&(10, 0, 0)) && helpers.contains(&(10, 7, 1)), "{helpers:?}");
    each_answer(subsystem::EXPECT, |place, _, _, family, attrs| {
        if made(place) {
            let expectation = Expectation::parse(attrs, family).unwrap();
            assert_eq!((expectation.class, expectation.master.dport), (1, 2121), "{place}");
            let permanent = expectation.flags == expect::PERMANENT;
            assert_eq!(expectation.tuple.dport, if permanent { 3005 } else { 3000 }, "{place}");
            let function = permanent.then_some(expect::FOLLOW_MASTER);
            assert_eq!(expectation.function.as_deref(), function, "{place}");
        }
    });
}

#[test]
fn requests_a_kernel_accepted_are_what_our_builders_write() {
    let mut seen = 0;
    for (place, datagram) in captured().iter().filter(|(place, _)| place.contains("-request.hex:")) {
        let message = messages(datagram).next().unwrap().unwrap();
        let ours = rebuilt(&message).unwrap_or_else(|| panic!("{place}: {message:?}"));
        let built = messages(&ours).next().unwrap().unwrap();
        let (Body::Nf { attrs: theirs, family, res_id, .. }, Body::Nf { attrs, family: our_family, res_id: our_res_id, .. }) =
            (message.body, built.body)
        else {
            panic!("{place}")
        };
        assert_eq!((built.header, our_family, our_res_id), (message.header, family, res_id), "{place}");
        assert_eq!(sorted(attrs), sorted(theirs), "{place}");
        seen += 1;
    }
    assert!(seen > 0, "no request was captured");
}

/// The same request from our builders, by what it says.
fn rebuilt(message: &Message<'_>) -> Option<Vec<u8>> {
    let Body::Nf { subsystem, op, family, res_id, attrs } = message.body else { return None };
    let (seq, flags) = (message.header.seq, message.header.flags);
    let value = |kind| attrs.iter().flatten().find(|attr| attr.kind == kind);
    let mut out = Vec::new();
    match (subsystem, op) {
        (subsystem::QUEUE, op::QUEUE_CONFIG) => match value(2) {
            None => queue::bind(&mut out, seq, res_id),
            Some(params) => {
                let number = |kind| value(kind).unwrap().be32("number").unwrap();
                let copy_range = u32::from_be_bytes(*params.value.first_chunk()?);
                let config = queue::Config { copy_range, max_len: number(3), mask: number(4), flags: number(5) };
                queue::configure(&mut out, seq, res_id, &config);
            }
        },
        (subsystem::QUEUE, op::QUEUE_VERDICT) => {
            let [_, _, _, _, id @ ..] = value(2)?.array::<8>("verdict").ok()?;
            let help = value(11).and_then(|ct| ct.nested().iter().next()).map(|help| {
                let parts: Vec<_> = help.unwrap().nested().iter().flatten().collect();
                (parts[0].str("name").unwrap(), parts[1].value)
            });
            let ct = value(11).map(|_| CtUpdate { help, mark: None, timeout_secs: None });
            let parts = VerdictParts {
                payload: value(10).map(|payload| payload.value),
                ct,
                ack: flags & flag::ACK != 0,
                ..VerdictParts::default()
            };
            queue::verdict(&mut out, seq, res_id, u32::from_be_bytes(id), Decision::Accept, &parts);
        }
        (subsystem::CTHELPER, op::NEW) => {
            let helper = Helper::parse(attrs).ok()?;
            match value(4) {
                Some(_) => cthelper::register(&mut out, seq, flags, &helper),
                None => cthelper::set_status(&mut out, seq, &helper.name, helper.family, helper.l4, helper.status == 1),
            }
        }
        (subsystem::CTHELPER, op) => match (op, value(1).map(|name| name.str("name").unwrap())) {
            (op::GET, None) => cthelper::dump(&mut out, seq),
            (op::GET, Some(name)) => cthelper::get(&mut out, seq, name, None),
            (_, None) => cthelper::flush(&mut out, seq),
            (_, Some(name)) => cthelper::delete(&mut out, seq, name, None),
        },
        (subsystem::EXPECT, op::NEW) => expect::create(&mut out, seq, flags, &Expectation::parse(attrs, family).ok()?),
        (subsystem::EXPECT, op::GET) => expect::dump(&mut out, seq, family),
        (subsystem::CONNTRACK, op) => {
            let ct = Conntrack::parse(attrs).ok()?;
            let seqadj = [Dir::Orig, Dir::Reply].into_iter().find_map(|dir| ct.seqadj[dir.index()].map(|seqadj| (dir, seqadj)));
            let name = ct.help.map(|help| help.name.shown());
            let help = ct.help.map(|help| (name.as_deref().unwrap(), help.info.unwrap()));
            match op {
                op::GET => conntrack::get(&mut out, seq, &ct.orig, ct.zone),
                _ => conntrack::update(&mut out, seq, &ct.orig, ct.zone, &Update { help, seqadj, timeout: ct.timeout }),
            }
        }
        _ => return None,
    }
    Some(out)
}

/// The tuple of an IP packet with ports and without extension headers.
fn tuple_of(packet: &[u8]) -> Option<Tuple> {
    let (src, dst, proto, ports): (IpAddr, IpAddr, u8, &[u8]) = match packet.first()? >> 4 {
        4 => (
            Ipv4Addr::from(*packet.get(12..16)?.first_chunk()?).into(),
            Ipv4Addr::from(*packet.get(16..20)?.first_chunk()?).into(),
            packet[9],
            packet.get(usize::from(packet[0] & 15) * 4..)?,
        ),
        _ => (
            Ipv6Addr::from(*packet.get(8..24)?.first_chunk::<16>()?).into(),
            Ipv6Addr::from(*packet.get(24..40)?.first_chunk::<16>()?).into(),
            packet[6],
            packet.get(40..)?,
        ),
    };
    let [a, b, c, d] = *ports.first_chunk()?;
    Some(Tuple { src, dst, proto, sport: u16::from_be_bytes([a, b]), dport: u16::from_be_bytes([c, d]) })
}
