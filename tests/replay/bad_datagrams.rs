//! What no honest peer sends to the helpers of datagram protocols, and what is honest but hard to read: transcripts of refusals by name, and
//! of messages in jumbo frames behind IPv6 extension headers.

use cthelper_tests::capture::{Link, pcap};
use cthelper_tests::packets::behind_extensions;

use crate::datagrams::{example, is_told_of, packet};

const HOST: &str = "10.0.1.2:40000";
const HOST6: &str = "[2001:db8:1::2]:40000";
/// What is left of a jumbo frame of 9000 bytes behind an IPv6 header with two extensions and a UDP header.
const JUMBO: usize = 9000 - 40 - 16 - 8;

/// Bad messages from one host each to one place, and the transcript `HELPER-lies`.
fn are_refused(helper: &str, config: Option<&str>, to: &str, messages: &[Vec<u8>]) {
    let from = |n: usize| {
        if to.starts_with('[') { format!("[2001:db8:1::2]:{}", 40_000 + n) } else { format!("10.0.1.2:{}", 40_000 + n) }
    };
    let packets: Vec<_> = messages.iter().enumerate().map(|(n, message)| packet(&(&from(n), to, message))).collect();
    is_told_of(&format!("{helper}-lies"), helper, config, &pcap(Link::Ethernet, &packets));
}

/// Option 9 in option 9 and so on, and each says that it is longer than the message.
fn relays_in_relays(depth: usize) -> Vec<u8> {
    [&[12, 0][..], &[0xfe; 32], &[0, 9, 0xff, 0xff]].concat().repeat(depth)
}

#[test]
fn tftp() {
    let long = [&b"\0\x01"[..], &[b'a'; JUMBO]].concat();
    let options = [&b"\0\x01f\0octet\0"[..], &b"blksize\0".repeat(1001)].concat();
    let requests = [
        &b""[..],
        b"\0",
        b"\0\x01",
        b"\0\x07f\0octet\0",
        b"\x01\0f\0octet\0",
        b"\0\x01\0octet\0",
        b"\0\x01f\0binary\0",
        &long,
        &options,
    ];
    are_refused("tftp", None, "10.0.2.2:69", &requests.map(<[u8]>::to_vec));
}

#[test]
fn mdns() {
    let message = |questions: u16, body: &[u8]| [&b"\0\0\0\0"[..], &questions.to_be_bytes(), &[0; 6], body].concat();
    let messages = [
        vec![0; 11],
        message(1, b"\x3f"),
        message(u16::MAX, b"\x01a\0\0\x0c\0\x01"),
        message(1, b"\xc0\x0c\0\x0c\0\x01"),
        message(1, b"\x01a\xc0\x0e\0\x0c\0\x01"),
        message(1, b"\xff\xff\0\x0c\0\x01"),
        message(1, &[&[63][..], &[b'a'; 63]].concat().repeat(5)),
        message(u16::MAX, &b"\x01a\0\0\x0c\0\x01".repeat(1277)),
        [&b"\0\0\x78\0"[..], &message(1, b"\0\0\x0c\0\x01")[4..]].concat(),
    ];
    are_refused("mdns", None, "224.0.0.251:5353", &messages);
}

#[test]
fn slp() {
    let header =
        |length: [u8; 3], tag: u16| [&[2, 1][..], &length, &[0x20, 0, 0, 0, 0, 0, 7], &tag.to_be_bytes(), b"en"].concat();
    let messages = [
        vec![2],
        vec![9, 1],
        header([0, 0, 16], u16::MAX),
        header([0, 0, 17], 2),
        header([0, 0, 0], 2),
        header([0xff; 3], 2),
        [&header([0, 0, 16], 2)[..], &[0; JUMBO - 16]].concat(),
        vec![1, 1, 0xff, 0xff, 0, 0, b'e', b'n', 0, 3, 0, 7],
    ];
    are_refused("slp", None, "239.255.255.253:427", &messages);
}

#[test]
fn dhcpv6() {
    let relay = |hops: u8, options: &[u8]| [&[12, hops][..], &[0xfe; 32], options].concat();
    let messages = [
        vec![],
        vec![1, 0],
        vec![99, 0, 0, 0],
        b"\x01abc\0\x08\0".to_vec(),
        b"\x01abc\0\x08\xff\xff\0\0".to_vec(),
        relay(33, b"\0\x09\0\x01\x01"),
        relay(0, b"\0\x09\0\0"),
        relays_in_relays(200),
        vec![12; 30],
    ];
    are_refused("dhcpv6", None, "[ff02::1:2]:547", &messages);
}

#[test]
fn ssdp() {
    let search = |fields: &str| format!("M-SEARCH * HTTP/1.1\r\n{fields}\r\n").into_bytes();
    let found = |place: &str| format!("HTTP/1.1 200 OK\r\nLOCATION: http://{place}/\r\n\r\n").into_bytes();
    let messages = [
        b"M-SEARCH".to_vec(),
        search(""),
        search("MAN: \"ssdp:discover\"\r\nST:\r\n"),
        search(&format!("{}MAN: ssdp:discover\r\n", "X: y\r\n".repeat(1400))),
        search(&format!("MAN: {}\r\nST: ssdp:all\r\n", "\"".repeat(8000))),
    ];
    let packets: Vec<_> = (40_000..)
        .zip(&messages)
        .map(|(port, text)| packet(&(&format!("10.0.1.2:{port}"), "239.255.255.250:1900", text)))
        .collect();
    let asked = packet(&(HOST, "239.255.255.250:1900", &search("MAN: \"ssdp:discover\"\r\nST: ssdp:all\r\n")));
    // Answers, of which each device has one: out of range, foreign, privileged, of the other family; and one that nobody has asked for.
    let places = ["10.0.1.3:65536", "10.0.1.4:0", "10.0.1.999", "192.0.2.1:5000", "10.0.1.7:22", "[2001:db8::1]:5000"];
    let answers = (3..).zip(places).map(|(host, place)| packet(&(&format!("10.0.1.{host}:1900"), HOST, &found(place))));
    let unasked = packet(&("10.0.1.2:1900", "10.0.1.9:50000", &found("10.0.1.2:5000")));
    let packets: Vec<_> = packets.into_iter().chain([asked]).chain(answers).chain([unasked]).collect();
    is_told_of("ssdp-lies", "ssdp", None, &pcap(Link::Ethernet, &packets));
}

/// They have no parser, and so nothing to name: what is not as described announces nothing.
#[test]
fn helpers_that_are_only_configured() {
    are_refused("wsd", Some(&example("wsd")), "239.255.255.250:3702", &[vec![], b" <".to_vec(), vec![0; JUMBO]]);
    are_refused(
        "bjnp",
        Some(&example("bjnp")),
        "224.0.0.1:8612",
        &[vec![], b"BJNP\x02".to_vec(), b"bjnp\x02\x01".to_vec(), b"BJNP\x82\x01".to_vec(), vec![b'B'; JUMBO]],
    );
    let query = |flags: &[u8], count: &[u8]| [&b"\0\x07"[..], flags, count, &[0; 6]].concat();
    let queries = [
        vec![0; 5],
        query(b"\x85\0", b"\0\x01"),
        query(b"\x01\x10", b"\0\0"),
        query(b"\x01\x10", b"\xff\xff"),
        query(b"\x29\x10", b"\0\x01"),
    ];
    are_refused("nbns", Some(&example("netbios-ns")), "10.0.1.255:137", &queries);
}

/// A helper, its example if it is only configured, where its message goes, and the message.
type Row = (&'static str, Option<&'static str>, &'static [&'static str], Vec<u8>);

/// Each helper's message, made as long as a jumbo frame takes it, over IPv4 and over IPv6 behind extension headers.
#[test]
fn jumbo_frames_and_extension_headers_hide_nothing() {
    let padded = |head: &[u8], filler: &[u8], tail: &[u8]| {
        let times = (JUMBO - head.len() - tail.len()) / filler.len();
        [head, &filler.repeat(times), tail].concat()
    };
    let request = |length: u16| {
        let rest = usize::from(length) - 20;
        [
            b"\x02\x01\0",
            &length.to_be_bytes()[..],
            b"\x20\0\0\0\0\0\x07\0\x02en",
            &(length - 20).to_be_bytes(),
            &vec![b's'; rest],
            &[0; 2],
        ]
        .concat()
    };
    let search = padded(b"M-SEARCH * HTTP/1.1\r\n", b"X-NAME: value\r\n", b"MAN: \"ssdp:discover\"\r\nST: ssdp:all\r\n\r\n");
    let length = u16::try_from(JUMBO).unwrap();
    let vendor = [&b"\x01abc\0\x10"[..], &(length - 8).to_be_bytes(), &[7; JUMBO - 8]].concat();
    let questions = u16::try_from((JUMBO - 12) / 7).unwrap().to_be_bytes();
    let asks_much = padded(&[b"\0\0\0\0", &questions[..], &[0; 6]].concat(), b"\x01a\0\0\x0c\0\x01", b"");
    let probe = padded(b"<?xml version=\"1.0\"?><e:Envelope>", b" ", b"</e:Envelope>");
    let rows: [Row; 8] = [
        ("tftp", None, &["10.0.2.2:69", "[2001:db8:2::2]:69"], padded(b"\0\x01f\0octet\0", b"blksize\x001468\0", b"")),
        ("mdns", None, &["224.0.0.251:5353", "[ff02::fb]:5353"], asks_much),
        ("slp", None, &["239.255.255.253:427", "[ff02::116]:427"], request(length)),
        ("ssdp", None, &["239.255.255.250:1900", "[ff02::c]:1900"], search),
        ("dhcpv6", None, &["[ff02::1:2]:547"], vendor),
        ("wsd", Some("wsd"), &["239.255.255.250:3702", "[ff02::c]:3702"], probe),
        ("bjnp", Some("bjnp"), &["224.0.0.1:8612", "[ff02::1]:8612"], padded(b"BJNP\x02\x01", b"\0", b"")),
        ("nbns", Some("netbios-ns"), &["10.0.1.255:137"], padded(b"\0\x07\x01\x10\0\x01", b"\0", b"")),
    ];
    for (helper, config, places, message) in rows {
        assert!(message.len() > JUMBO - 20 && message.len() <= JUMBO, "{helper}: {}", message.len());
        let packets: Vec<_> = places
            .iter()
            .map(|to| {
                let from = if to.starts_with('[') { HOST6 } else { HOST };
                let packet = packet(&(from, to, &message));
                if from == HOST6 { behind_extensions(&packet) } else { packet }
            })
            .collect();
        is_told_of(&format!("{helper}-jumbo"), helper, config.map(example).as_deref(), &pcap(Link::Ethernet, &packets));
    }
}
