//! What holds for any filter: it reads back as it is printed, and a plain model of it, written anew, agrees on any event.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cthelper_proto::netlink::conntrack::{Event, status};
use cthelper_proto::netlink::entry::{Entry, Labels, ProtoInfo};
use cthelper_proto::netlink::report::{Kind, Subject};
use cthelper_proto::types::Tuple;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Few addresses and numbers, so that tests are often true.
fn addresses() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u8..4, 0u8..4).prop_map(|(c, d)| Ipv4Addr::new(10, 0, c, d).into()),
        (0u16..4).prop_map(|last| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).into()),
    ]
}

fn spans() -> impl Strategy<Value = Vec<Span>> {
    vec((0u16..8, 0u16..8).prop_map(|(a, b)| Span(a.min(b), a.max(b))), 1..4)
}

fn nets() -> impl Strategy<Value = Vec<Net>> {
    let prefix = (addresses(), 0u8..=128).prop_map(|(addr, length)| {
        let length = length.min(eval::width(addr));
        Net::Prefix(eval::network(addr, length), length)
    });
    let range = (addresses(), addresses())
        .prop_filter_map("of one family", |(a, b)| (a.is_ipv4() == b.is_ipv4()).then(|| Net::Range(a.min(b), a.max(b))));
    vec(prop_oneof![prefix, range], 1..4)
}

fn places() -> impl Strategy<Value = Place> {
    select(vec![Place::Src, Place::Dst, Place::ReplySrc, Place::ReplyDst, Place::Any])
}

fn tests() -> impl Strategy<Value = Test> {
    prop_oneof![
        vec(select(Kind::ALL.to_vec()), 1..4).prop_map(|kinds| Test::Event(kinds.into_iter().collect())),
        vec(select(Family::ALL.to_vec()), 1..3).prop_map(Test::Family),
        vec(select(vec![1, 6, 17, 47, 89]), 1..4).prop_map(Test::Proto),
        vec(select(ProtoInfo::state_names().collect::<Vec<_>>()), 1..4).prop_map(Test::State),
        (places(), nets()).prop_map(|(place, nets)| Test::Addr(place, nets)),
        (places(), spans()).prop_map(|(place, spans)| Test::Port(place, spans)),
        (select(vec![Zone::Orig, Zone::Reply, Zone::Any]), spans()).prop_map(|(zone, spans)| Test::Zone(zone, spans)),
        vec((0u32..8, prop_oneof![Just(u32::MAX), 0u32..8]).prop_map(|(value, mask)| Mark::new(value, mask)), 1..4)
            .prop_map(Test::Mark),
        vec(0u8..8, 1..4).prop_map(Test::Label),
        vec(select(vec!["ftp".to_owned(), "sip".to_owned(), "and-1".to_owned()]), 1..3).prop_map(Test::Helper),
        select(words::FLAGS.map(|(_, flag)| flag).to_vec()).prop_map(Test::Flag),
    ]
}

/// In normal form.
fn exprs() -> impl Strategy<Value = Expr> {
    tests().prop_map(Expr::Is).prop_recursive(4, 24, 4, |inside| {
        let parts = vec(inside.clone(), 2..4);
        prop_oneof![
            inside.prop_map(|part| Expr::Not(Box::new(part))),
            parts.clone().prop_map(|parts| Expr::And(flat(parts, true))),
            parts.prop_map(|parts| Expr::Or(flat(parts, false))),
        ]
    })
}

fn flat(parts: Vec<Expr>, and: bool) -> Vec<Expr> {
    let apart = |part| match part {
        Expr::And(parts) if and => parts,
        Expr::Or(parts) if !and => parts,
        other => vec![other],
    };
    parts.into_iter().flat_map(apart).collect()
}

prop_compose! {
    fn entries()(
        (src, dst, reply_src, reply_dst) in (addresses(), addresses(), addresses(), addresses()),
        proto in select(vec![1u8, 6, 17, 47, 89]), ports in any::<(u8, u8, u8, u8)>(), has_reply: bool,
        zone in of(0u16..8), zones in (of(0u16..8), of(0u16..8)), mark in of(0u32..16), labels in of(vec(0u8..8, 0..4)),
        helper in of(select(vec!["ftp", "sip"])), bits in of(any::<u32>()), state in of(0u8..12),
    ) -> Entry<'static> {
        let (a, b, c, d) = ports;
        let tuple = |src, dst, sport: u8, dport: u8| Tuple { src, dst, proto, sport: sport.into(), dport: dport.into() };
        Entry {
            reply: has_reply.then(|| tuple(reply_src, reply_dst, c % 8, d % 8)),
            zone, zones: [zones.0, zones.1], mark, labels: labels.map(Labels::with), helper: helper.map(Into::into), status: bits,
            protoinfo: state.map(|state| ProtoInfo::Sctp { state: Some(state), vtag: [None; 2] }),
            ..Entry::new(tuple(src, dst, a % 8, b % 8))
        }
    }
}

/// The filter as its documentation words it: over lists of values, with none of the evaluation's short cuts.
fn model(expr: &Expr, event: Option<Event>, entry: &Entry<'_>, known: &Known<'_>) -> bool {
    match expr {
        Expr::And(parts) => !parts.iter().any(|part| !model(part, event, entry, known)),
        Expr::Or(parts) => !parts.iter().all(|part| !model(part, event, entry, known)),
        Expr::Not(part) => !model(part, event, entry, known),
        Expr::Is(test) => model_test(test, event, entry, known),
    }
}

fn model_test(test: &Test, event: Option<Event>, entry: &Entry<'_>, known: &Known<'_>) -> bool {
    let bit = |bit: u32| entry.status.is_some_and(|bits| bits & bit == bit);
    let ports = if [6, 17].contains(&entry.orig.proto) { tuples(entry) } else { vec![] };
    let zones = [Place::Src, Place::ReplySrc].into_iter().zip(entry.zones.map(|own| own.or(entry.zone).unwrap_or(0)));
    match test {
        Test::Event(kinds) => kinds.iter().any(|kind| match kind {
            Kind::New => event.is_none_or(|event| event == Event::New),
            Kind::Update => event.is_none_or(|event| event == Event::Update),
            Kind::Destroy => event == Some(Event::Destroy),
            Kind::ExpectNew | Kind::ExpectDestroy => false,
        }),
        Test::Family(families) => families.iter().any(|family| family.number() == if entry.orig.src.is_ipv4() { 2 } else { 10 }),
        Test::Proto(protos) => protos.contains(&entry.orig.proto),
        Test::State(states) => entry.protoinfo.is_some_and(|info| states.contains(&info.state().unwrap())),
        Test::Addr(place, nets) => {
            let mut here = tuples(entry).into_iter().filter(|(at, _)| *place == Place::Any || at == place);
            here.any(|(_, (addr, _))| nets.iter().any(|net| model_net(net, addr)))
        }
        Test::Port(place, spans) => {
            let mut here = ports.into_iter().filter(|(at, _)| *place == Place::Any || at == place);
            here.any(|(_, (_, port))| spans.iter().any(|Span(first, last)| *first <= port && port <= *last))
        }
        Test::Zone(whose, spans) => zones
            .filter(|(at, _)| match whose {
                Zone::Orig => *at == Place::Src,
                Zone::Reply => *at == Place::ReplySrc,
                Zone::Any => true,
            })
            .any(|(_, zone)| spans.iter().any(|Span(first, last)| *first <= zone && zone <= *last)),
        Test::Mark(marks) => marks.iter().any(|mark| (entry.mark.unwrap_or(0) ^ mark.value()) & mark.mask() == 0),
        Test::Label(labels) => {
            let set: Vec<u8> = entry.labels.or(known.labels).map_or(vec![], |labels| labels.iter().collect());
            labels.iter().any(|label| set.contains(label))
        }
        Test::Helper(names) => names.iter().any(|name| entry.helper.map_or(known.helper == Some(name), |helper| helper.is(name))),
        Test::Flag(flag) => match flag {
            Flag::Replied => bit(status::SEEN_REPLY),
            Flag::Assured => bit(status::ASSURED),
            Flag::Nated if entry.status.is_none() => entry.reply.is_some_and(|reply| reply != entry.orig.inverse()),
            Flag::Nated => bit(status::SRC_NAT) || bit(status::DST_NAT),
            Flag::Snat => bit(status::SRC_NAT),
            Flag::Dnat => bit(status::DST_NAT),
            Flag::Expected => bit(status::EXPECTED),
            Flag::Helped => entry.helper.is_some() || known.helper.is_some(),
            Flag::Offloaded => bit(status::OFFLOAD) || bit(status::HW_OFFLOAD),
        },
    }
}

/// What stands where.
fn tuples(entry: &Entry<'_>) -> Vec<(Place, (IpAddr, u16))> {
    let sides = |tuple: &Tuple, src, dst| [(src, (tuple.src, tuple.sport)), (dst, (tuple.dst, tuple.dport))];
    let reply = entry.reply.map(|reply| sides(&reply, Place::ReplySrc, Place::ReplyDst));
    sides(&entry.orig, Place::Src, Place::Dst).into_iter().chain(reply.into_iter().flatten()).collect()
}

/// Bit by bit.
fn model_net(net: &Net, addr: IpAddr) -> bool {
    let bits = |addr: IpAddr| -> Vec<bool> {
        let octets = match addr {
            IpAddr::V4(addr) => addr.octets().to_vec(),
            IpAddr::V6(addr) => addr.octets().to_vec(),
        };
        octets.into_iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1 == 1)).collect()
    };
    match net {
        Net::Prefix(base, length) => {
            let length = usize::from(*length);
            bits(*base).len() == bits(addr).len() && bits(*base)[..length] == bits(addr)[..length]
        }
        Net::Range(first, last) => {
            bits(*first).len() == bits(addr).len() && bits(*first) <= bits(addr) && bits(addr) <= bits(*last)
        }
    }
}

proptest! {
    #[test]
    fn a_filter_reads_back_as_it_is_printed(expr in exprs()) {
        let filter = Filter { expr: Some(expr) };
        let printed = filter.to_string();
        prop_assert_eq!(Filter::parse(&printed), Ok(filter), "{}", printed);
    }

    #[test]
    fn it_is_true_of_what_the_model_says(
        expr in exprs(), entry in entries(), event in of(select(vec![Event::New, Event::Update, Event::Destroy])),
        helper in of(select(vec!["ftp", "sip"])), labels in of(vec(0u8..8, 0..4)),
    ) {
        let known = Known { helper, labels: labels.map(Labels::with) };
        let expected = model(&expr, event, &entry, &known);
        let report = Report { event, port_id: 0, subject: Subject::Flow(entry) };
        prop_assert_eq!(Filter { expr: Some(expr) }.matches(&report, &known), expected);
    }

    #[test]
    fn any_text_is_a_filter_or_a_mistake_inside_it(text in "[a-z0-9 (),!&|./:-]{0,80}|\\PC{0,40}") {
        match Filter::parse(&text) {
            Ok(filter) => prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter)),
            Err(error) => prop_assert!(error.at <= text.len() && text.is_char_boundary(error.at) && !error.reason.is_empty()),
        }
    }

    #[test]
    fn a_damaged_filter_is_a_filter_or_a_mistake(expr in exprs(), at in any::<proptest::sample::Index>(), put in "[ (),!a-z0-9/]") {
        let mut text = Filter { expr: Some(expr) }.to_string();
        let at = at.index(text.len());
        text.replace_range(at..=at, &put);
        if let Ok(filter) = Filter::parse(&text) {
            prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
        }
    }
}

proptest! {
    /// Whatever the filter: what it is true of, by what one message tells, passes the kernel's program for it.
    #[test]
    fn what_it_is_true_of_passes_the_socket_filter(expr in exprs()) {
        use crate::config::QueueConfig;
        use crate::events::socket_filter::{program, tests::{accepts, recorded, report}};
        let queue = QueueConfig { filter: Filter { expr: Some(expr) }, ..QueueConfig::new(1) };
        let Some(program) = program(&[&queue], false) else { return Ok(()) };
        for message in recorded() {
            let report = report(&message);
            prop_assert!(accepts(&program, &message) || !queue.takes(&report, &Known::default()), "{} {:?}", queue.filter, report);
        }
    }
}
