//! `cthelperd replay --json` on captures that are built here, line by line against the transcripts beside this file. `UPDATE=1` writes the
//! transcripts anew; look at the difference before you commit it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what it means")]

mod arguments;
mod bad_datagrams;
mod command_lines;
mod datagrams;
mod guides;
mod import;
mod operator;
mod outside;
mod packages;
mod records;
mod vm;

use cthelper_tests::capture::{Link, pcap, pcapng};
use cthelper_tests::control::{Control, Net};
use cthelper_tests::packets::{behind_extensions, flags, fragments, tcp, udp};
use cthelper_tests::program::{Said, replay};

/// Who says something.
#[derive(Clone, Copy)]
enum Line {
    C(&'static str),
    S(&'static str),
}
use Line::{C, S};

/// A connection with its handshake, each line a segment.
fn talk(net: Net, lines: &[Line]) -> Vec<Vec<u8>> {
    let mut control = Control::over(net, 0);
    let mut packets: Vec<_> = control.handshake().into_iter().map(|packet| packet.bytes).collect();
    for line in lines {
        packets.push(match line {
            C(text) => control.client(text).bytes,
            S(text) => control.server(text).bytes,
        });
    }
    packets
}

/// Replays the capture, which is whole, and compares what is printed with `tests/replay/NAME.jsonl`.
fn is_told(name: &str, capture: &[u8]) {
    let said = replay(&format!("{name}.pcap"), capture);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{name}");
    is_transcript(name, &said.out);
}

fn is_transcript(name: &str, out: &str) {
    let path = format!("{}/replay/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, out).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}; UPDATE=1 writes it"));
    assert_eq!(out, wanted, "{name}");
}

const PASV: &[Line] = &[S("220 ready\r\n"), C("PASV\r\n"), S("227 Entering Passive Mode (10,0,2,2,7,208).\r\n")];

#[test]
fn each_way_to_announce() {
    let conversations: [(&str, Net, &[Line]); 6] = [
        ("pasv", Net::Plain4, PASV),
        ("port", Net::Plain4, &[S("220 ready\r\n"), C("PORT 10,0,1,2,7,208\r\n"), S("200 ok\r\n")]),
        ("eprt-v4", Net::Plain4, &[C("EPRT |1|10.0.1.2|2001|\r\n"), S("200 ok\r\n")]),
        ("eprt-v6", Net::Plain6, &[C("EPRT |2|2001:db8:1::2|2001|\r\n"), S("200 ok\r\n")]),
        ("epsv-v4", Net::Plain4, &[C("EPSV\r\n"), S("229 Entering Extended Passive Mode (|||6446|)\r\n")]),
        ("epsv-v6", Net::Plain6, &[C("EPSV\r\n"), S("229 Entering Extended Passive Mode (|||6446|)\r\n")]),
    ];
    for (name, net, lines) in conversations {
        is_told(name, &pcap(Link::Ethernet, &talk(net, lines)));
    }
}

#[test]
fn lines_that_segments_cut_or_repeat() {
    is_told(
        "split",
        &pcap(Link::Ethernet, &talk(Net::Plain4, &[C("PO"), C("RT 10,0,"), C("1,2,7"), C(",208"), C("\r"), C("\nNOOP\r\n")])),
    );
    let mut packets = talk(Net::Plain4, &[C("PORT 10,0,1,2,7,208\r\n")]);
    packets.push(packets[3].clone());
    is_told("retransmission", &pcap(Link::Ethernet, &packets));
}

#[test]
fn what_is_no_announcement_or_none_that_is_allowed() {
    let conversations: [(&str, &[Line]); 5] = [
        ("logout", &[C("REIN\r\n"), S("227 Logout.\r\n")]),
        ("foreign-address", &[C("PORT 192,0,2,9,7,208\r\n"), S("227 Entering Passive Mode (192,0,2,9,7,208).\r\n")]),
        ("privileged-port", &[C("PORT 10,0,1,2,0,22\r\n"), C("EPRT |1|10.0.1.2|1023|\r\n"), C("PORT 10,0,1,2,4,0\r\n")]),
        ("auth-tls", &[C("AUTH TLS\r\n"), S("234 go\r\n"), C("PORT 10,0,1,2,7,208\r\n"), S("227 (10,0,2,2,7,208)\r\n")]),
        ("epsv-all", &[C("EPSV ALL\r\n"), S("200 ok\r\n"), C("PORT 10,0,1,2,7,208\r\n"), S("229 (|||6446|)\r\n")]),
    ];
    for (name, lines) in conversations {
        is_told(name, &pcap(Link::Ethernet, &talk(Net::Plain4, lines)));
    }
}

#[test]
fn every_link_type_and_both_formats_tell_the_same() {
    let packets = talk(Net::Plain4, PASV);
    for link in [Link::Ethernet, Link::Vlan, Link::Raw, Link::Cooked, Link::Cooked2] {
        is_told("pasv", &pcap(link, &packets));
        is_told("pasv", &pcapng(link, &packets));
    }
}

#[test]
fn ipv6_extension_headers_are_passed_over() {
    let (client, server) = ("[2001:db8:1::2]:40000".parse().unwrap(), "[2001:db8:2::2]:21".parse().unwrap());
    let packets = [
        tcp(client, server, 1, flags::SYN, b""),
        tcp(server, client, 1, flags::SYN | flags::ACK, b""),
        tcp(client, server, 2, flags::ACK, b"EPRT |2|2001:db8:1::2|2001|\r\n"),
    ];
    let packets = packets.map(|packet| behind_extensions(&packet));
    is_told("extension-headers", &pcap(Link::Ethernet, &packets));
}

#[test]
fn fragments_and_other_packets_are_counted() {
    let mut packets = talk(Net::Plain4, &[C("NOOP\r\n")]);
    let mut control = Control::over(Net::Plain4, 1);
    packets.extend(fragments(&control.client("PORT 10,0,1,2,7,208\r\n").bytes, 4));
    packets.push(udp("10.0.1.2:5353".parse().unwrap(), "10.0.2.2:53".parse().unwrap(), b"a question"));
    let mut broken = control.client("NOOP\r\n").bytes;
    broken[32] = 0x10; // a TCP header of four bytes
    packets.push(broken);
    packets.push(vec![0x45; 12]);
    is_told("fragments", &pcap(Link::Ethernet, &packets));
}

#[test]
fn a_connection_that_was_under_way_when_the_capture_began_is_served() {
    is_told("under-way", &pcap(Link::Raw, &talk(Net::Plain4, PASV)[3..]));
}

#[test]
fn a_cut_file_is_an_error_that_names_the_place_and_keeps_what_came_before() {
    for (name, capture) in
        [("cut", pcap(Link::Raw, &talk(Net::Plain4, PASV))), ("cut-ng", pcapng(Link::Raw, &talk(Net::Plain4, PASV)))]
    {
        let announced = replay("whole.pcap", &capture);
        let mut cut = capture.clone();
        let another =
            if name == "cut" { pcap(Link::Raw, &talk(Net::Plain4, &[])) } else { pcapng(Link::Raw, &talk(Net::Plain4, &[])) };
        let header = if name == "cut" { 24 } else { 28 + 20 };
        cut.extend(&another[header..another.len() - 5]);
        let Said { code, out, err } = replay(&format!("{name}.pcap"), &cut);
        assert_eq!(code, 65, "{err}");
        // The last record begins where the file would end without it.
        let last = another.len() - header - (if name == "cut" { 16 + 40 } else { 32 + 40 });
        let offset = capture.len() + last;
        assert!(err.contains(&format!("{name}.pcap: offset {offset}: ")), "{err}, wanted {offset}");
        assert_eq!(out.lines().next(), announced.out.lines().next(), "the expectation is told all the same");
        is_transcript(name, &out);
    }
}

#[test]
fn a_file_of_another_kind_is_an_error_at_its_start() {
    for (name, content) in [
        ("empty", &b""[..]),
        ("text", b"220 ready\r\n"),
        ("short", &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0]),
        ("elf", b"\x7fELF\x02\x01\x01"),
    ] {
        let Said { code, out, err } = replay(name, content);
        assert_eq!(code, 65, "{name}: {err}");
        assert!(err.contains(&format!("{name}: offset 0: ")), "{name}: {err}");
        assert_eq!(out.lines().count(), 1, "{name}: only the summary: {out}");
    }
}
