//! Datagrams that end too early, or go on for as long as UDP lets them, with every helper of a datagram protocol.

use cthelper_proto::ipc::{Holds, Question, Settings, To};

use super::{ask, dhcpv6, mdns, slp, ssdp, tftp};
use crate::testkit::{Net, Talk, talk};

/// The longest payload over IPv4: 65 535 bytes without an IPv4 and a UDP header.
const LONGEST: usize = 65_535 - 20 - 8;

/// A good message, what it is sent through, and from which lengths on it can be told to be one, although its end is missing.
struct Row {
    talk: fn() -> Talk,
    message: Vec<u8>,
    good: fn(usize) -> bool,
}

fn rows() -> Vec<Row> {
    let mdns = b"\0\0\0\0\0\x02\0\0\0\0\0\0\x04_ipp\x05local\0\0\x0c\0\x01\x04_ssh\xc0\x11\0\x0c\0\x01";
    let slp = b"\x02\x01\0\0\x1a\x20\0\0\0\0\0\x07\0\x02en\0\0\0\x02aa\0\0\0\0";
    let search = b"M-SEARCH * HTTP/1.1\r\nMAN: ssdp:discover\r\nST: x\r\n\r\n";
    let relay = [&[12, 0][..], &[0xfe; 32], &[0, 9, 0, 4, 1, 1, 2, 3]].concat();
    vec![
        Row { talk: || talk(mdns::helper()).to("224.0.0.251"), message: mdns.to_vec(), good: |_| false },
        Row { talk: || talk(slp::helper()).to("239.255.255.253"), message: slp.to_vec(), good: |_| false },
        Row {
            talk: || talk(slp::helper()).to("224.0.1.22"),
            message: b"\x01\x01\0\x0d\0\0en\0\x03\0\x07x".to_vec(),
            good: |_| false,
        },
        // Behind each option; the first of them stands at 4.
        Row { talk: servers, message: b"\x01abc\0\x08\0\x02\0\0\0\x0e\0\0".to_vec(), good: |length| [4, 10].contains(&length) },
        Row { talk: servers, message: relay, good: |_| false },
        // From the mode's end on.
        Row { talk: || talk(tftp::helper()), message: b"\0\x01f\0octet\0tsize\x000\0".to_vec(), good: |length| length >= 10 },
        // From the first byte of what is searched on.
        Row {
            talk: || talk(ssdp::helper()).over_udp().to("239.255.255.250"),
            message: search.to_vec(),
            good: |length| length >= 46,
        },
        Row { talk: bjnp, message: b"BJNP\x02\x01\0\0\0\0\0\0\0\0\0\0".to_vec(), good: |length| length >= 6 },
    ]
}

fn servers() -> Talk {
    talk(dhcpv6::helper()).across(Net::Plain6).to("ff02::1:2").from_port(546)
}

fn bjnp() -> Talk {
    let holds = vec![Holds { at: 0, bytes: b"BJNP".to_vec() }, Holds { at: 4, bytes: vec![2, 1] }];
    let question = Question { to: vec![To::Multicast], holds, answers_from: None };
    talk(ask::helper_for("?bjnp").unwrap()).with(Settings { question: Some(question), ..Settings::default() }).to("224.0.0.1")
}

#[test]
fn a_message_cut_anywhere_announces_only_where_it_can_be_told() {
    for Row { talk, message, good } in rows() {
        assert_eq!(talk().from_client(&message).well_formed().asked().len(), 1, "{:?}", message.escape_ascii().to_string());
        for length in 0..message.len() {
            let cut = message.get(..length).unwrap();
            let asked = talk().from_client(cut).passes_unchanged().asked().len();
            assert_eq!(asked, usize::from(good(length)), "{length} bytes: {:?}", cut.escape_ascii().to_string());
        }
    }
}

#[test]
fn a_message_that_does_not_end_announces_once_at_most() {
    for Row { talk, message, .. } in rows() {
        for filler in [&b"\0"[..], b"a", b"\xc0\x0c", b"\xff", b"\r\n", b"\0\x09\0\0", &message] {
            let long: Vec<u8> = message.iter().chain(filler.iter().cycle()).copied().take(LONGEST).collect();
            assert!(talk().from_client(&long).passes_unchanged().asked().len() <= 1, "{:?}", filler.escape_ascii().to_string());
        }
    }
}

#[test]
fn the_other_end_announces_nothing_with_a_question() {
    for Row { talk, message, .. } in rows() {
        talk().from_server(&message).expects_nothing().passes_unchanged();
    }
}
