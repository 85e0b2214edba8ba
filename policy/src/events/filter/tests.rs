use std::net::IpAddr;

use cthelper_proto::netlink::conntrack::{Event, status};
use cthelper_proto::netlink::entry::{Entry, Labels, ProtoInfo};
use cthelper_proto::netlink::expect::{Expectation, Mask};
use cthelper_proto::netlink::report::{Report, Subject};
use cthelper_proto::types::Tuple;

use super::*;

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// FTP from 10.0.1.2 to 192.0.2.7, whose source is translated to 198.51.100.1.
fn entry() -> Entry<'static> {
    let orig = Tuple { src: addr("10.0.1.2"), dst: addr("192.0.2.7"), proto: 6, sport: 40000, dport: 21 };
    let reply = Tuple { src: addr("192.0.2.7"), dst: addr("198.51.100.1"), proto: 6, sport: 21, dport: 61000 };
    Entry {
        reply: Some(reply),
        status: Some(status::SEEN_REPLY | status::ASSURED | status::SRC_NAT),
        protoinfo: Some(ProtoInfo::Tcp { state: Some(3), wscale: [None; 2], flags: [None; 2] }),
        helper: Some("ftp".into()),
        zones: [Some(3), None],
        mark: Some(0x1234),
        labels: Some(Labels::with([5, 127])),
        ..Entry::new(orig)
    }
}

fn report(event: Option<Event>) -> Report<'static> {
    Report { event, port_id: 0, subject: Subject::Flow(entry()) }
}

fn expectation() -> Report<'static> {
    let master = entry().orig;
    let tuple = Tuple { sport: 0, dport: 3000, ..master };
    let expectation = Expectation { zone: 3, helper: Some("ftp".into()), ..Expectation::new(tuple, master) };
    let expectation = Expectation { mask: Mask::new(true, false), ..expectation };
    Report { event: Some(Event::New), port_id: 0, subject: Subject::Expect(expectation) }
}

fn is(filter: &str, report: &Report<'_>) -> bool {
    Filter::parse(filter).unwrap().matches(report, &Known::default())
}

#[test]
fn each_field_is_looked_at() {
    let update = report(Some(Event::Update));
    for (so, not_so) in [
        ("", "not proto tcp"),
        ("event update", "event new,destroy"),
        ("family inet", "family inet6"),
        ("proto 6", "proto udp,47"),
        ("state established", "state SYN_SENT,closed"),
        ("src 10.0.0.0/8", "src 10.0.1.3-10.0.1.9"),
        ("src 10.0.1.2", "src 10.0.1.0/31"),
        ("dst 192.0.2.0-192.0.2.7", "dst 192.0.2.8-192.0.3.0"),
        ("reply-src 192.0.2.7", "reply-src ::/0"),
        ("reply-dst 198.51.100.1", "reply-dst 10.0.1.2"),
        ("addr 198.51.100.1,::1", "addr 198.51.100.2"),
        ("sport 1024-65535", "sport 21"),
        ("dport 20,21", "dport 22-30"),
        ("reply-sport 21", "reply-sport 61000"),
        ("reply-dport 61000", "reply-dport 40000"),
        ("port 61000", "port 0-20"),
        ("zone 3", "zone 1-2"),
        ("zone 0", "zone 4"),
        ("zone-orig 3", "zone-orig 0"),
        ("zone-reply 0", "zone-reply 3"),
        ("mark 0x1234", "mark 0x34"),
        ("mark 0x34/0xff", "mark 1/1"),
        ("label 4,5", "label 6"),
        ("label 127", "label 0"),
        ("helper sip,ftp", "helper ft"),
        ("replied", "dnat"),
        ("assured", "expected"),
        ("nated", "offloaded"),
        ("snat", "not helped"),
        ("dport 21 and (helper sip or assured)", "dport 21 and helper sip or dnat"),
        ("not (dnat or expected)", "! snat"),
        ("proto tcp && assured || proto udp", "proto tcp && (dnat || proto udp)"),
    ] {
        assert!(is(so, &update), "{so}");
        assert!(!is(not_so, &update), "{not_so}");
    }
}

#[test]
fn what_a_dump_shows_is_meant_where_its_birth_or_change_would_be() {
    let there = report(None);
    assert!(is("event new", &there) && is("event update", &there) && !is("event destroy", &there));
}

#[test]
fn an_expectation_is_looked_at_as_far_as_its_mask_compares() {
    let expectation = expectation();
    for so in ["event expect-new", "proto tcp and dport 3000", "src 10.0.1.2", "zone 3", "helper ftp", "helped", "addr 192.0.2.7"]
    {
        assert!(is(so, &expectation), "{so}");
    }
    for not_so in ["sport 0", "reply-src 192.0.2.7", "mark 0", "label 5", "state established", "assured", "event new", "port 0"] {
        assert!(!is(not_so, &expectation), "{not_so}");
    }
}

#[test]
fn helper_and_labels_are_remembered_where_the_event_lacks_them() {
    let bare = Entry { helper: None, labels: None, ..entry() };
    let destroy = Report { event: Some(Event::Destroy), port_id: 0, subject: Subject::Flow(bare) };
    let known = Known { helper: Some("ftp"), labels: Some(Labels::with([9])) };
    for text in ["helper ftp", "helped", "label 9"] {
        let filter = Filter::parse(text).unwrap();
        assert!(filter.matches(&destroy, &known), "{text}");
        assert!(!filter.matches(&destroy, &Known::default()), "{text}");
    }
    let needs = |text: &str| Filter::parse(text).unwrap().needs();
    assert_eq!(needs("proto tcp or not (mark 1 and helper ftp)"), Needs { helper: true, labels: false });
    assert_eq!(needs("label 1 and assured"), Needs { helper: false, labels: true });
    assert_eq!(needs(""), Needs::default());
}

#[test]
fn a_protocol_without_ports_has_none() {
    let ping = Tuple { proto: 1, sport: 77, dport: 0x0800, ..entry().orig };
    let report = Report { event: None, port_id: 0, subject: Subject::Flow(Entry::new(ping)) };
    assert!(!is("port 0-65535", &report) && is("proto icmp", &report));
}

#[test]
fn a_mistake_has_a_place_and_a_hint() {
    for (text, column, reason) in [
        ("prot tcp", 1, "unknown word `prot`; did you mean `proto`?"),
        ("proto tpc", 7, "unknown protocol `tpc`; did you mean `tcp`?, or a number up to 255"),
        ("proto tcp dport 21", 11, "`dport`: expected `and`, `or` or the end; did you mean `and dport`?"),
        ("proto tcp adn dport 21", 11, "`adn`: expected `and`, `or` or the end; did you mean `and`?"),
        ("(proto tcp", 1, "`(` without its `)`"),
        ("proto tcp)", 10, "`)` without its `(`"),
        ("proto", 6, "`proto` needs a value"),
        ("proto tcp and ", 14, "the expression ends where a test is expected, such as `proto tcp`"),
        ("and", 1, "`and` where a test is expected, such as `proto tcp`"),
        ("dport 70000", 7, "`70000`: a port is a number up to 65535, or a range first-last"),
        ("dport 30-20", 7, "`30-20`: the first is above the last"),
        ("src 10.0.0.1/8", 5, "`10.0.0.1/8` has bits set beyond its length; did you mean `10.0.0.0/8`?"),
        ("src 10.0.0.0/33", 5, "`10.0.0.0/33`: a prefix length is 0 to 32"),
        ("src host", 5, "`host`: an address, a prefix such as 10.0.0.0/8, or a range first-last"),
        ("src ::1-10.0.0.1", 5, "`::1-10.0.0.1`: a range has two addresses of one family, the first not above the last"),
        ("mark 0x11/0x10", 6, "`0x11/0x10` has bits set outside its mask, and would never be"),
        ("label 128", 7, "`128`: a label is a number from 0 to 127"),
        ("new", 1, "`new` is a value; did you mean `event new`?"),
        ("assured and established", 13, "`established` is a value; did you mean `state established`?"),
        ("state new", 7, "`new` is an event; did you mean `event new`?"),
        ("state establishd", 7, "unknown state `establishd`; did you mean `established`?"),
        ("event created", 7, "unknown event `created`; known: new update destroy expect-new expect-destroy"),
        ("dport 21,", 10, "`dport` needs a value"),
        ("dport ,", 7, "`,` where a value of `dport` is expected"),
        ("a & b", 1, "unknown word `a`; known here: event"),
        ("snat & dnat", 6, "`&`; did you mean `&&`?"),
        ("helper ü\u{7} and x", 8, "`ü\\u{7}`: a helper's name has 1 to 15 characters"),
        ("not (snat or ünknown)", 14, "unknown word `ünknown`"),
    ] {
        let error = Filter::parse(text).unwrap_err();
        assert_eq!(error.column, column, "{text}: {error}");
        assert!(error.reason.starts_with(reason), "{text}: {error}");
    }
}

#[test]
fn depth_length_and_lists_are_bounded() {
    let nested = |depth: usize| format!("{}snat{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Filter::parse(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(Filter::parse(&nested(MAX_DEPTH + 1)).unwrap_err().at, MAX_DEPTH);
    assert!(Filter::parse(&"not ".repeat(1000)).unwrap_err().reason.starts_with("nested too deep"));
    assert_eq!(Filter::parse(&" ".repeat(MAX_LENGTH + 1)).unwrap_err().reason, "too long: at most 4096 bytes");
    let ports = |count: usize| format!("dport {}", vec!["1"; count].join(","));
    assert!(Filter::parse(&ports(MAX_VALUES)).is_ok());
    assert_eq!(Filter::parse(&ports(MAX_VALUES + 1)).unwrap_err().reason, "dport: at most 256 values");
}
