//! The worker protocol's bytes are a contract: `proto/golden/worker.hex` has every message and every value, and worker/PROTOCOL.md explains
//! them. `UPDATE=1` writes the file anew; a line that changes needs another `VERSION`, a line that is new does not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what it means")]

use std::collections::BTreeMap;
use std::fmt::Write;

use cthelper_proto::ipc::{
    Answer, Ask, Confined, Edit, Enforcement, Expect, ExpectId, FromWorker, Grant, Holds, Launched, MAX_FRAMES, MAX_HEADER,
    MAX_RECORD, Namespace, Namespaces, PacketHeader, Question, Rule, Ruling, Segment, Settings, Source, Ticket, To, ToWorker,
    VERSION, Verdict, append, decode, encode, frames,
};
use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::types::{CtInfo, Family, Flow, FlowId, L4s, State, Tuple};
use serde::Serialize;
use serde::de::DeserializeOwned;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/worker.hex");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../worker/PROTOCOL.md");

/// Every message of a type by name. A new one does not compile until it is named here, and fails until it has bytes.
macro_rules! messages {
    ($($type:ident $channel:literal: $($variant:ident),+;)+) => {
        $(impl Message for $type {
            fn kind(&self) -> String {
                let name = match self { $(Self::$variant { .. } => stringify!($variant)),+ };
                format!("{}/{name}", $channel)
            }
        })+

        const KINDS: &[&str] = &[$($(concat!($channel, "/", stringify!($variant))),+),+];
    };
}

messages! {
    Ask "ask": Launched, Hello, Ready, Expect, Withdraw;
    Answer "answer": Welcome, Go, Granted, Refused, Gone;
    ToWorker "to-worker": Packet, FlowClosed, Drain;
    FromWorker "from-worker": Verdict;
}

/// Every value of a type that has nothing but values: likewise.
macro_rules! values {
    ($($type:ident: $($variant:ident),+;)+) => {
        $(impl Value for $type {
            fn name(&self) -> String {
                match self { $(Self::$variant { .. } => stringify!($variant).to_owned()),+ }
            }
        })+

        /// Type, its values' names, their bytes.
        fn values() -> Vec<(&'static str, Vec<(String, Vec<u8>)>)> {
            vec![
                $((stringify!($type), [$($type::$variant),+].iter().map(|value| (value.name(), bare(value))).collect())),+,
                ("Rule", Rule::ALL.iter().map(|rule| (rule.name().to_owned(), bare(rule))).collect()),
            ]
        }
    };
}

values! {
    CtInfo: Established, Related, New, EstablishedReply, RelatedReply;
    Ruling: Pass, Resend;
    Source: Peer, Anyone;
    Scope: BothEnds, AnyToEnd;
    L4s: Tcp, Udp, Both;
    Family: Inet, Inet6;
    Namespace: Network, Ipc, Mounts, Names;
}

trait Message: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug {
    fn kind(&self) -> String;
}

trait Value {
    fn name(&self) -> String;
}

/// Without the frame around it.
fn bare(value: &impl Serialize) -> Vec<u8> {
    encode(value).unwrap().split_off(6)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Names and bytes; each message is decoded again, too.
#[derive(Default)]
struct Book(Vec<(String, String)>);

impl Book {
    fn record<M: Message>(&mut self, detail: &str, message: M) -> &mut Self {
        self.with_payload(detail, message, b"")
    }

    fn with_payload<M: Message>(&mut self, detail: &str, message: M, payload: &[u8]) -> &mut Self {
        let mut record = Vec::new();
        append(&message, payload, &mut record).unwrap();
        let name = if detail.is_empty() { message.kind() } else { format!("{} {detail}", message.kind()) };
        assert_eq!(decode::<M>(&record), Ok((message, payload)), "{name}");
        self.0.push((name, hex(&record)));
        self
    }
}

fn flow(v6: bool) -> Flow {
    let tuple = |src: &str, sport, dst: &str, dport| Tuple {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        proto: 6,
        sport,
        dport,
    };
    let orig =
        if v6 { tuple("2001:db8:1::2", 40_000, "2001:db8:2::2", 4242) } else { tuple("10.0.1.2", 40_000, "10.0.2.2", 4242) };
    // Over IPv4 the server sees the router instead of the client.
    let reply = if v6 { orig.inverse() } else { Tuple { dst: "10.0.2.254".parse().unwrap(), ..orig.inverse() } };
    Flow { id: FlowId(0x0102_0304), orig, reply }
}

fn dial() -> Manifest {
    Manifest {
        name: "dial".into(),
        l4s: L4s::Tcp,
        families: Family::ALL.to_vec().into(),
        classes: vec![Class::new("call", Scope::BothEnds, 2, 30)].into(),
        state_len: 1,
        ports: vec![4242].into(),
        source: "this file".into(),
    }
}

fn everything() -> Manifest {
    let class = Class::new("mdns", Scope::AnyToEnd, 8, 30)
        .udp()
        .staying()
        .to_own_port()
        .to_reserved(546)
        .helped_by("mdns")
        .keeping_master(300);
    Manifest { l4s: L4s::Both, classes: vec![Class::new("a", Scope::BothEnds, 1, 1).tcp_or_udp(), class].into(), ..dial() }
}

fn book() -> Book {
    let mut book = Book::default();
    asks(&mut book);
    answers(&mut book);
    let header = PacketHeader {
        ticket: Ticket(7),
        flow: flow(false),
        info: CtInfo::EstablishedReply,
        state: State::new(&[2]),
        tcp: Some(Segment { seq: 0x1000_0001, last: false }),
    };
    let late = PacketHeader { state: None, tcp: Some(Segment { seq: 1, last: true }), flow: flow(true), ..header };
    let udp = PacketHeader { info: CtInfo::New, tcp: None, state: Some(State::zeroed(0)), ..header };
    book.with_payload("", ToWorker::Packet(header), b"DIAL 4000\r\n")
        .with_payload("ipv6, earlier one in flight, FIN", ToWorker::Packet(late), b"x")
        .with_payload("no TCP", ToWorker::Packet(udp), b"x")
        .record("", ToWorker::FlowClosed(FlowId(0x0102_0304)))
        .record("", ToWorker::Drain);
    let pass = Verdict { ticket: Ticket(7), ruling: Ruling::Pass, edits: Vec::new(), state: None, malformed: None };
    let edit = Edit { at: 5, cut: 4, put: b"40001".to_vec() };
    book.record("", FromWorker::Verdict(pass.clone()))
        .record("edit, state", FromWorker::Verdict(Verdict { edits: vec![edit], state: State::new(&[2]), ..pass.clone() }))
        .record("malformed", FromWorker::Verdict(Verdict { malformed: Some("DIAL port".into()), ..pass.clone() }))
        .record("resend", FromWorker::Verdict(Verdict { ruling: Ruling::Resend, ..pass }));
    book
}

fn asks(book: &mut Book) {
    let own = [Namespace::Network, Namespace::Ipc, Namespace::Mounts, Namespace::Names].into_iter().fold(
        Namespaces::default(),
        |mut own, namespace| {
            own.insert(namespace);
            own
        },
    );
    let expect = Expect {
        class: 0,
        proto: 6,
        src: Source::Peer,
        sport: None,
        dst: "10.0.2.2".parse().unwrap(),
        dport: 4000,
        permanent: false,
    };
    let answers = Expect {
        class: 1,
        proto: 17,
        src: Source::Anyone,
        sport: Some(5353),
        dst: "2001:db8:1::2".parse().unwrap(),
        permanent: true,
        ..expect
    };
    book.record("", Ask::Launched(Launched { landlock: Enforcement::Full { abi: 7 }, own, write_xor_execute: true }))
        .record("", Ask::Hello(VERSION, dial()))
        .record("everything", Ask::Hello(VERSION, everything()))
        .record("", Ask::Ready(Confined { landlock: Enforcement::Full { abi: 2 } }))
        .record("partial", Ask::Ready(Confined { landlock: Enforcement::Partial { abi: 2 } }))
        .record("no landlock", Ask::Ready(Confined { landlock: Enforcement::None }))
        .record("", Ask::Expect(Ticket(7), expect))
        .record("answers, ipv6", Ask::Expect(Ticket(7), answers))
        .record("", Ask::Withdraw(Ticket(7), ExpectId(3)));
}

fn answers(book: &mut Book) {
    let question = Question {
        to: vec![To::Addr("239.255.255.250".parse().unwrap()), To::Broadcast, To::Multicast],
        holds: vec![Holds { at: 2, bytes: b"BJNP".to_vec() }],
        answers_from: Some(8612),
    };
    let options = vec![("key".to_owned(), "value".to_owned())];
    book.record("", Answer::Welcome(Settings::default()))
        .record("everything", Answer::Welcome(Settings { loose: true, options, question: Some(question) }))
        .record("", Answer::Go)
        .record("", Answer::Granted(Grant { id: ExpectId(3), addr: "10.0.2.2".parse().unwrap(), port: 4001 }))
        .record("ipv6", Answer::Granted(Grant { id: ExpectId(3), addr: "2001:db8:1::2".parse().unwrap(), port: 4001 }))
        .record("", Answer::Refused(Rule::PrivilegedPort))
        .record("", Answer::Gone);
}

/// The whole file.
fn written() -> String {
    let mut text = format!(
        "# The worker protocol, byte by byte: one record or value a line, its name, a colon, its bytes. worker/PROTOCOL.md explains them.\n\
         version: {VERSION}\n"
    );
    for (name, bytes) in book().0 {
        let _ = writeln!(text, "{name}: {bytes}");
    }
    for (name, bytes) in
        values().into_iter().flat_map(|(of, values)| values.into_iter().map(move |(name, bytes)| (format!("{of} {name}"), bytes)))
    {
        let _ = writeln!(text, "{name}: {}", hex(&bytes));
    }
    text
}

fn golden() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(GOLDEN).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines.map(|(name, bytes)| (name.to_owned(), bytes.to_owned())).collect()
}

#[test]
fn every_message_and_value_has_exactly_the_golden_bytes() {
    let now = written();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(GOLDEN, &now).unwrap();
    }
    let kept = std::fs::read_to_string(GOLDEN).unwrap();
    for (now, kept) in now.lines().zip(kept.lines()) {
        assert_eq!(now, kept, "workers in other languages rely on these bytes: another encoding needs another VERSION");
    }
    assert_eq!(now.lines().count(), kept.lines().count());
}

#[test]
fn every_kind_of_message_has_golden_bytes() {
    let golden = golden();
    let missing: Vec<_> = KINDS.iter().filter(|kind| !golden.contains_key(**kind)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_record_of_several_messages_is_their_bytes_one_after_another() {
    let golden = golden();
    let bytes = |name: &str| -> Vec<u8> {
        let text = &golden[name];
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let record = [bytes("to-worker/Packet"), bytes("to-worker/FlowClosed"), bytes("to-worker/Drain")].concat();
    let heard: Vec<_> =
        frames::<ToWorker>(&record).map(Result::unwrap).map(|(message, payload)| (message.kind(), payload.len())).collect();
    assert_eq!(
        heard,
        [("to-worker/Packet".to_owned(), 11), ("to-worker/FlowClosed".to_owned(), 0), ("to-worker/Drain".to_owned(), 0)]
    );
}

/// A block of the page: its name, and its bytes put together. Of each line, what stands before two spaces.
fn blocks(page: &str) -> BTreeMap<String, String> {
    let mut blocks = BTreeMap::new();
    let mut name = None;
    for line in page.lines() {
        if let Some(opened) = line.strip_prefix("```hex ") {
            name = Some(opened.to_owned());
        } else if line.starts_with("```") {
            name = None;
        } else if let Some(name) = &name {
            let bytes: String = line.split("  ").next().unwrap_or_default().split(' ').collect();
            blocks.entry(name.clone()).or_insert_with(String::new).push_str(&bytes);
        }
    }
    blocks
}

#[test]
fn the_page_shows_every_kind_of_message_with_its_golden_bytes_and_every_value() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (golden, blocks) = (golden(), blocks(&page));
    for (name, bytes) in &blocks {
        assert_eq!(Some(bytes), golden.get(name), "{name}");
    }
    let missing: Vec<_> = KINDS.iter().filter(|kind| !blocks.contains_key(**kind)).collect();
    assert!(missing.is_empty(), "the page does not show {missing:?}");
    for (of, values) in values() {
        let row: Vec<String> = values.iter().enumerate().map(|(n, (name, _))| format!("{n} {name}")).collect();
        assert!(page.contains(&format!("| {of} | {} |", row.join(", "))), "the page does not say: {of} | {}", row.join(", "));
    }
    for (what, number) in
        [("protocol version", usize::from(VERSION)), ("messages", MAX_FRAMES), ("header", MAX_HEADER), ("record", MAX_RECORD)]
    {
        assert!(page.contains(&number.to_string()), "the page does not name {what} {number}");
    }
}
