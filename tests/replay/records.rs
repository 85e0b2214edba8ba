//! The helpers of protocols with binary messages: rpc over TCP and UDP, tns, sane, amanda; announcements, and what is none.

use std::net::SocketAddr;

use cthelper_tests::capture::{Link, pcap};
use cthelper_tests::packets::{flags, tcp, udp};
use cthelper_tests::program::replay_through;

use crate::is_transcript;

/// Who says something.
#[derive(Clone)]
enum Message {
    C(Vec<u8>),
    S(Vec<u8>),
}
use Message::{C, S};

fn ends(six: bool, port: u16) -> (SocketAddr, SocketAddr) {
    let (client, server) = if six { ("2001:db8:1::2", "2001:db8:2::2") } else { ("10.0.1.2", "10.0.2.2") };
    (SocketAddr::new(client.parse().unwrap(), 40_000), SocketAddr::new(server.parse().unwrap(), port))
}

/// A TCP connection with its handshake, each message a segment.
fn stream(six: bool, port: u16, messages: &[Message]) -> Vec<Vec<u8>> {
    let (client, server) = ends(six, port);
    let (mut from_client, mut from_server) = (1, 1);
    let mut packets = vec![
        tcp(client, server, 0, flags::SYN, b""),
        tcp(server, client, 0, flags::SYN | flags::ACK, b""),
        tcp(client, server, 1, flags::ACK, b""),
    ];
    for message in messages {
        let (from, to, seq, bytes) = match message {
            C(bytes) => (client, server, &mut from_client, bytes),
            S(bytes) => (server, client, &mut from_server, bytes),
        };
        packets.push(tcp(from, to, *seq, flags::ACK, bytes));
        *seq += u32::try_from(bytes.len()).unwrap();
    }
    packets
}

fn datagrams(six: bool, port: u16, messages: &[Message]) -> Vec<Vec<u8>> {
    let (client, server) = ends(six, port);
    let packet = |message: &Message| match message {
        C(bytes) => udp(client, server, bytes),
        S(bytes) => udp(server, client, bytes),
    };
    messages.iter().map(packet).collect()
}

fn is_told(helper: &str, name: &str, packets: &[Vec<u8>]) {
    let said = replay_through(helper, &format!("{name}.pcap"), &pcap(Link::Ethernet, packets));
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{name}");
    is_transcript(name, &said.out);
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn string(text: &str) -> Vec<u8> {
    let mut out = words(&[u32::try_from(text.len()).unwrap()]);
    out.extend(text.bytes());
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn call(xid: u32, version: u32, procedure: u32, args: &[u8]) -> Vec<u8> {
    [words(&[xid, 0, 2, 100_000, version, procedure, 0, 0, 0, 0]), args.to_vec()].concat()
}

fn getport(xid: u32) -> Vec<u8> {
    call(xid, 2, 3, &words(&[100_005, 3, 6, 0]))
}

fn getaddr(xid: u32) -> Vec<u8> {
    call(xid, 4, 3, &[words(&[100_005, 3]), string("tcp"), string(""), string("")].concat())
}

fn success(xid: u32, results: &[u8]) -> Vec<u8> {
    [words(&[xid, 1, 0, 0, 0, 0]), results.to_vec()].concat()
}

/// Record marking, in fragments of at most `size` bytes.
fn record(message: &[u8], size: usize) -> Vec<u8> {
    let parts: Vec<&[u8]> = message.chunks(size).collect();
    let mark = |n: usize, part: &[u8]| u32::try_from(part.len()).unwrap() | if n + 1 == parts.len() { 1 << 31 } else { 0 };
    parts.iter().enumerate().flat_map(|(n, part)| [words(&[mark(n, part)]), part.to_vec()].concat()).collect()
}

#[test]
fn rpc_announces_over_both_protocols_and_families() {
    let port = success(1, &words(&[2049]));
    is_told("rpc", "rpc-getport-udp", &datagrams(false, 111, &[C(getport(1)), S(port.clone())]));
    is_told("rpc", "rpc-getport-tcp", &stream(false, 111, &[C(record(&getport(1), 999)), S(record(&port, 999))]));
    let answer = success(2, &string("2001:db8:2::2.8.1"));
    is_told("rpc", "rpc-getaddr-udp6", &datagrams(true, 111, &[C(getaddr(2)), S(answer.clone())]));
    let whole = record(&answer, 16);
    let (first, second) = whole.split_at(25);
    let messages = [C(record(&getaddr(2), 10)), S(first.to_vec()), S(second.to_vec())];
    is_told("rpc", "rpc-getaddr-fragments6", &stream(true, 111, &messages));
}

#[test]
fn rpc_answers_that_lie_announce_nothing() {
    let lies = [
        success(9, &words(&[2049])),
        success(1, &words(&[65_536])),
        success(1, &words(&[2049, 0])),
        success(1, &words(&[22])),
        words(&[1, 1, 0, 0, 404]),
        vec![0, 0],
    ];
    let asked = std::iter::once(C(getport(1))).chain(lies.into_iter().map(S));
    is_told("rpc", "rpc-lies-udp", &datagrams(false, 111, &asked.collect::<Vec<_>>()));
    let foreign = success(2, &string("192.0.2.9.8.1"));
    let long = [words(&[2, 1, 0, 0, 0, 0, 4000]), b"10.0.2.2.8.1".to_vec()].concat();
    let messages = [C(record(&getaddr(2), 999)), S(record(&foreign, 999)), C(record(&getaddr(2), 999)), S(record(&long, 999))];
    is_told("rpc", "rpc-lies-tcp", &stream(false, 111, &messages));
}

fn tns(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + body.len()).unwrap().to_be_bytes();
    [&length[..], &[0, 0, kind, 0, 0, 0], body].concat()
}

fn redirect(text: &str) -> Vec<u8> {
    tns(5, &[&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat())
}

const ADDRESS: &str = "(ADDRESS=(PROTOCOL=TCP)(HOST=10.0.2.2)(PORT=49152))";

#[test]
fn tns_redirects_whole_and_in_pieces() {
    let connect = C(tns(1, &[0; 50]));
    is_told("tns", "tns-redirect", &stream(false, 1521, &[connect.clone(), S(redirect(ADDRESS))]));
    let head = tns(5, &u16::try_from(ADDRESS.len()).unwrap().to_be_bytes());
    let both = [head, tns(6, &[b"\0\0", ADDRESS.as_bytes()].concat())].concat();
    let (first, second) = both.split_at(40);
    is_told("tns", "tns-redirect-pieces", &stream(false, 1521, &[connect, S(first.to_vec()), S(second.to_vec())]));
}

#[test]
fn tns_packets_that_lie_and_sessions_announce_nothing() {
    let talk = |packet: Vec<u8>| stream(false, 1521, &[C(tns(1, &[0; 50])), S(packet), S(redirect(ADDRESS))]);
    is_told("tns", "tns-session", &talk(tns(2, &[0; 24])));
    is_told("tns", "tns-short", &talk(vec![0, 4, 0, 0]));
    is_told("tns", "tns-lying", &talk(tns(5, &[&[0xff, 0xff][..], ADDRESS.as_bytes()].concat())));
    is_told("tns", "tns-foreign", &talk(redirect("(HOST=192.0.2.9)(PORT=1521)")));
    is_told("tns", "tns-privileged", &talk(redirect("(HOST=10.0.2.2)(PORT=22)")));
}

/// Of what one packet announces, four are looked at by policy; the rest is refused by name, and the packet passes.
#[test]
fn floods_of_announcements_are_cut_off() {
    let redirects = (1..=40).map(|n| redirect(&format!("(HOST=10.0.2.2)(PORT={})", 49_151 + n))).collect::<Vec<_>>().concat();
    is_told("tns", "tns-flood", &stream(false, 1521, &[C(tns(1, &[0; 50])), S(redirects)]));
    // Three calls are remembered: of a hundred, the last three have answers.
    let calls = (1..=100).map(|xid| record(&getport(xid), 999)).collect::<Vec<_>>().concat();
    let answers = (1..=100).map(|xid| record(&success(xid, &words(&[2000 + xid])), 999)).collect::<Vec<_>>().concat();
    is_told("rpc", "rpc-flood", &stream(false, 111, &[C(calls), S(answers)]));
    // One announcement for each start, however many answers there are.
    let answer = |port: u32| S(words(&[0, port, 0x1234, 0]));
    let starts: Vec<_> =
        (0..4).flat_map(|n| [C(words(&[7, 1])), answer(20_000 + n), answer(30_000 + n), answer(40_000 + n)]).collect();
    is_told("sane", "sane-flood", &stream(false, 6566, &starts));
}

#[test]
fn sane_answers_a_start() {
    let start = [words(&[7, 1])].concat();
    let answer = |status: u32, port: u32| S(words(&[status, port, 0x1234, 0]));
    is_told("sane", "sane-start", &stream(true, 6566, &[C(start.clone()), answer(0, 40_001)]));
    let messages = [
        answer(0, 40_001),
        C(start.clone()),
        answer(0, 70_000),
        C(start.clone()),
        answer(7, 40_001),
        C(start.clone()),
        answer(0, 22),
        C(start),
        S(vec![0; 5]),
    ];
    is_told("sane", "sane-lies", &stream(false, 6566, &messages));
}

#[test]
fn amanda_names_its_streams() {
    let head = "Amanda 2.6 REP HANDLE 000-00010E5C SEQ 1119041234\n";
    let reply = |body: &str| S(format!("{head}{body}\n").into_bytes());
    let request = C(head.replace(" REP ", " REQ ").into_bytes());
    let packets = datagrams(false, 10_080, &[request.clone(), reply("CONNECT DATA 5001 MESG 5002 INDEX 5003\nOPTIONS x;")]);
    is_told("amanda", "amanda-connect", &packets);
    let lies = [
        reply("CONNECT DATA 99999"),
        reply("CONNECT DATA 5001 DATA 5002"),
        reply("CONNECT DATA 22"),
        reply("x CONNECT DATA 5001"),
        reply("CONNECT A 5001 B 5002 C 5003 D 5004 E 5005"),
        S(format!("{head}CONNECT DATA 500").into_bytes()),
        C(format!("{head}CONNECT DATA 5001\n").into_bytes()),
    ];
    is_told("amanda", "amanda-lies", &datagrams(false, 10_080, &std::iter::once(request).chain(lies).collect::<Vec<_>>()));
}
