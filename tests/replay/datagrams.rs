//! Helpers of datagram protocols, each on a capture of its own: what is asked, what is answered, what announces nothing.

use std::net::SocketAddr;

use cthelper_tests::capture::{Link, pcap};
use cthelper_tests::packets::udp;
use cthelper_tests::program::{Said, Temporary, cthelperd};

use crate::is_transcript;

/// One datagram: from, to, payload.
type Datagram<'a> = (&'a str, &'a str, &'a [u8]);

pub(crate) fn packet((from, to, payload): &Datagram<'_>) -> Vec<u8> {
    let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
    udp(addr(from), addr(to), payload)
}

/// Replays these datagrams with a helper, and compares with `tests/replay/HELPER.jsonl`.
fn is_told(helper: &str, config: Option<&str>, datagrams: &[Datagram<'_>]) {
    let packets: Vec<_> = datagrams.iter().map(packet).collect();
    is_told_of(helper, helper, config, &pcap(Link::Ethernet, &packets));
}

/// Replays a capture with a helper, and compares with `tests/replay/NAME.jsonl`.
pub(crate) fn is_told_of(name: &str, helper: &str, config: Option<&str>, capture: &[u8]) {
    let capture = Temporary::new(&format!("{name}.pcap"), capture);
    let mut args = vec!["replay", "--json", "--helper", helper];
    args.extend(config.into_iter().flat_map(|path| ["--config", path]));
    args.push(capture.path());
    let Said { code, out, err } = cthelperd(&args);
    assert_eq!((code, err.as_str()), (0, ""), "{name}");
    is_transcript(name, &out);
}

const HOST: &str = "10.0.1.2:40000";
const HOST6: &str = "[2001:db8:1::2]:40000";

#[test]
fn tftp() {
    is_told(
        "tftp",
        None,
        &[
            (HOST, "10.0.2.2:69", b"\0\x01pxelinux.0\0octet\0tsize\x000\0"),
            ("10.0.2.2:1024", HOST, b"\0\x06tsize\x0042\0"),
            (HOST, "10.0.2.2:1024", b"\0\x04\0\0"),
            (HOST6, "[2001:db8:2::2]:69", b"\0\x02up\0netascii\0"),
            ("10.0.1.3:40000", "10.0.2.2:69", b"\0\x01no-mode\0"),
            ("10.0.1.3:40001", "10.0.2.2:69", b"\0\x09"),
        ],
    );
}

#[test]
fn mdns() {
    let question = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x04_ipp\x04_tcp\x05local\0\0\x0c\0\x01";
    let response = b"\0\0\x84\0\0\0\0\0\0\0\0\0";
    is_told(
        "mdns",
        None,
        &[
            (HOST, "224.0.0.251:5353", question),
            (HOST, "224.0.0.251:5353", question),
            ("10.0.1.7:5353", HOST, response),
            (HOST6, "[ff02::fb]:5353", question),
            ("10.0.1.7:5353", "224.0.0.251:5353", response),
            ("10.0.1.3:40000", "224.0.0.251:5353", b"\0\0\0\0\0\x01\0\0\0\0\0\0\x01a\xc0\x0c\0\x0c\0\x01"),
        ],
    );
}

#[test]
fn slp() {
    let request = b"\x02\x01\0\0\x10\x20\0\0\0\0\0\x07\0\x02en";
    is_told(
        "slp",
        None,
        &[
            (HOST, "239.255.255.253:427", request),
            ("10.0.1.7:427", HOST, b"\x02\x02\0\0\x10\0\0\0\0\0\0\x07\0\x02en"),
            ("[2001:db8:1::2]:427", "[ff02::116]:427", request),
            ("10.0.1.3:40000", "239.255.255.253:427", b"\x02\x01\0\0\xff\x20\0\0\0\0\0\x07\0\x02en"),
        ],
    );
}

#[test]
fn dhcpv6() {
    is_told(
        "dhcpv6",
        None,
        &[
            ("[fe80::1]:546", "[ff02::1:2]:547", b"\x01abc\0\x08\0\x02\0\0"),
            ("[fe80::7]:547", "[fe80::1]:546", b"\x02abc"),
            ("[2001:db8:1::2]:547", "[ff05::1:3]:547", &[&[12, 0][..], &[0xfe; 32], &[0, 9, 0, 1, 1]].concat()),
            ("[fe80::3]:546", "[ff02::1:2]:547", b"\x01abc\0\x08\xff\xff\0\0"),
        ],
    );
}

#[test]
fn ssdp_follows_the_answers() {
    let search = b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 2\r\nST: ssdp:all\r\n\r\n";
    let found = |at: &str| format!("HTTP/1.1 200 OK\r\nLOCATION: http://{at}/root.xml\r\n\r\n").into_bytes();
    is_told(
        "ssdp",
        None,
        &[
            (HOST, "239.255.255.250:1900", search),
            ("10.0.1.7:1900", HOST, &found("10.0.1.7:49152")),
            ("10.0.1.8:50000", HOST, &found("10.0.1.8")),
            ("10.0.1.9:1900", HOST, &found("192.0.2.1:49152")),
            ("10.0.1.10:1900", HOST, &found("10.0.1.10:22")),
            ("10.0.1.11:1900", HOST, &found("10.0.1.300:49152")),
            (HOST6, "[ff02::c]:1900", search),
        ],
    );
}

/// The path of an example that is shipped.
pub(crate) fn example(name: &str) -> String {
    format!("{}/../packaging/examples/{name}.toml", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn helpers_that_are_only_configured() {
    let probe = b"<?xml version=\"1.0\"?><e:Envelope/>";
    let matches = b"<?xml version=\"1.0\"?><e:Envelope>ProbeMatches</e:Envelope>";
    is_told(
        "wsd",
        Some(&example("wsd")),
        &[
            (HOST, "239.255.255.250:3702", probe),
            ("10.0.1.7:3702", HOST, matches),
            (HOST6, "[ff02::c]:3702", probe),
            ("10.0.1.3:40000", "10.0.1.7:3702", probe),
            ("10.0.1.4:40000", "239.255.255.250:3702", b"no xml"),
        ],
    );
    is_told(
        "bjnp",
        Some(&example("bjnp")),
        &[
            (HOST, "255.255.255.255:8612", b"BJNP\x02\x01\0\0\0\0\0\0\0\0\0\0"),
            (HOST, "10.0.1.255:8612", b"BJNP\x02\x01\0\0\0\0\0\0\0\0\0\0"),
            (HOST6, "[ff02::1]:8612", b"BJNP\x02\x01\0\0\0\0\0\0\0\0\0\0"),
            ("10.0.1.3:40000", "255.255.255.255:8612", b"BJNP\x02\x02\0\0\0\0\0\0\0\0\0\0"),
            ("10.0.1.9:8612", "224.0.0.1:8612", b"BJNP\x82\x01\0\0\0\0\0\0\0\0\0\0"),
        ],
    );
    is_told(
        "bjnp-printer",
        Some(&example("bjnp")),
        &[
            (HOST, "10.0.1.255:8611", b"BJNP\x01\x01\0\0\0\0\0\0\0\0\0\0"),
            ("10.0.1.9:8611", "224.0.0.1:8611", b"BJNP\x81\x01\0\0\0\0\0\0\0\0\0\0"),
        ],
    );
    let query = [&b"\0\x07\x01\x10\0\x01\0\0\0\0\0\0\x20"[..], &b"CA".repeat(16), b"\0\0\x20\0\x01"].concat();
    is_told(
        "nbns",
        Some(&example("netbios-ns")),
        &[
            ("10.0.1.2:137", "10.0.1.255:137", &query),
            ("10.0.1.7:137", "10.0.1.2:137", b"\0\x07\x85\0\0\0\0\x01\0\0\0\0"),
            ("10.0.1.3:137", "10.0.1.255:137", &[&b"\0\x07\x29\x10"[..], &query[4..]].concat()),
        ],
    );
}

/// Devices that were asked in the link's scope and name a place outside it.
#[test]
fn places_outside_the_link() {
    let search: &[u8] = b"M-SEARCH * HTTP/1.1\r\nMAN: \"ssdp:discover\"\r\nST: ssdp:all\r\n\r\n";
    let found = |place: &str| format!("HTTP/1.1 200 OK\r\nLOCATION: http://{place}/\r\n\r\n");
    let (global, privileged, here) = (found("[2001:db8::7]:5000"), found("[2001:db8::8]:22"), found("[fe80::9]:5000"));
    let asker = "[fe80::2]:40000";
    let packets: Vec<_> = [
        (asker, "[ff02::c]:1900", search),
        ("[fe80::7]:1900", asker, global.as_bytes()),
        ("[fe80::8]:1900", asker, privileged.as_bytes()),
        ("[fe80::9]:1900", asker, here.as_bytes()),
        ("[fe80::a]:1900", asker, here.as_bytes()),
    ]
    .iter()
    .map(packet)
    .collect();
    for (name, config) in [("ssdp-link", "[helper.ssdp]\n"), ("ssdp-link-loose", "[helper.ssdp]\nloose = true\n")] {
        let config = Temporary::new(&format!("{name}.toml"), config.as_bytes());
        is_told_of(name, "ssdp", Some(config.path()), &pcap(Link::Ethernet, &packets));
    }
}

#[test]
fn the_examples_are_good() {
    for name in ["wsd", "bjnp", "netbios-ns"] {
        let Said { code, err, .. } = cthelperd(&["check", "--config", &example(name)]);
        assert_eq!((code, err.as_str()), (0, ""), "{name}");
    }
}
