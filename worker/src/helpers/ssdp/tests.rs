use cthelper_proto::ipc::{Segment, Settings};
use cthelper_proto::types::CtInfo;
use proptest::prelude::*;

use super::*;
use crate::testkit::{self, Kernel, Net, Talk, answers_from, talk};

const GROUP: &str = "239.255.255.250";
const SEARCH: &str = "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 2\r\nST: ssdp:all\r\n\r\n";

/// Connections of TCP to this place, as long as the class lasts.
fn lasting(to: &str) -> Expect {
    Expect { permanent: true, ..testkit::tcp(to) }
}

fn over_udp() -> Talk {
    talk(Ssdp).over_udp()
}

fn over_tcp() -> Talk {
    talk(Ssdp)
}

fn found(location: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=60\r\nEXT:\r\nLocation: {location}\r\nST: upnp:rootdevice\r\n\r\n")
}

fn subscription(callback: &str) -> String {
    format!("SUBSCRIBE /events HTTP/1.1\r\nHOST: 10.0.2.2:49152\r\nCALLBACK: {callback}\r\nNT: upnp:event\r\n\r\n")
}

#[test]
fn a_search_that_goes_to_many_expects_answers_of_anybody() {
    for search in [
        SEARCH.to_owned(),
        SEARCH.replace("\r\n", "\n"),
        SEARCH.replace("MAN: \"ssdp:discover\"", "man:ssdp:discover"),
        SEARCH.trim_end().to_owned(),
    ] {
        over_udp().to(GROUP).from_client(search).expects(answers_from(None, "10.0.1.2:40000")).passes_unchanged().well_formed();
    }
    for group in ["ff02::c", "ff05::c"] {
        over_udp().across(Net::Plain6).to(group).from_client(SEARCH).expects(answers_from(None, "[2001:db8:1::2]:40000"));
    }
    over_udp().from_client(SEARCH).expects_nothing().well_formed();
    over_udp().to(GROUP).from_server(SEARCH).expects_nothing();
}

#[test]
fn a_search_without_what_makes_it_one_is_named() {
    for (search, field) in [
        (SEARCH.replace("* HTTP/1.1", "/ HTTP/1.1"), "ssdp request"),
        (SEARCH.replace("HTTP/1.1", "HTTP/2"), "ssdp request"),
        ("M-SEARCH".to_owned(), "ssdp request"),
        (SEARCH.replace("MAN:", "MEN:"), "ssdp MAN"),
        (SEARCH.replace("discover", "byebye"), "ssdp MAN"),
        (SEARCH.replace("ST: ssdp:all", "ST:  "), "ssdp ST"),
        (SEARCH.replace("ST: ssdp:all", "SX: 1"), "ssdp ST"),
        (SEARCH.replace("MX: 2\r\n", "\r\n"), "ssdp ST"),
    ] {
        over_udp().to(GROUP).from_client(search).expects_nothing().passes_unchanged().malformed(field);
    }
}

/// The device's answer is the first packet of a connection that was expected.
#[test]
fn an_answers_location_expects_the_searcher_at_the_device() {
    let first = |net: Net, text: String| {
        let answer = talk(Ssdp).over_udp().across(net);
        answer.packet(CtInfo::Related, Segment { seq: 0, last: false }, text.as_bytes())
    };
    for (location, to) in [
        ("http://10.0.1.2:49152/root.xml", "10.0.1.2:49152"),
        ("HTTP://10.0.1.2/root.xml", "10.0.1.2:80"),
        (" http://10.0.1.2:5000", "10.0.1.2:5000"),
        ("http://192.0.2.9:5000/a", "192.0.2.9:5000"), // the supervisor says no to that
    ] {
        first(Net::Plain4, found(location)).expects(lasting(to)).passes_unchanged().well_formed();
    }
    first(Net::Plain6, found("http://[2001:db8:1::2]:80/")).expects(lasting("[2001:db8:1::2]:80")).well_formed();
    first(Net::Plain6, found("http://[fe80::1%25eth0]:5000/")).expects(lasting("[fe80::1]:5000")).well_formed();
    for other in [
        found("https://10.0.1.2:443/"),
        found("http://printer.local:80/"),
        found("http://10.0.1.2:80/").replace("200", "404"),
        "HTTP/1.1 200 OK\r\nEXT:\r\n\r\nLOCATION: http://10.0.1.2:80/".to_owned(),
        "HTTP/1.".to_owned(),
    ] {
        first(Net::Plain4, other).expects_nothing().passes_unchanged().well_formed();
    }
    for bad in ["http://10.0.1.256/", "http://10.0.1/", "http://10.0.1.2:0/", "http://10.0.1.2:65536/", "http://10.0.1.2:/", "http://[::1/",
        "http://[::g]/", "http://10.0.1.2:80x", "http://10.0.1.2:99999999999999999999/"]
    {
        first(Net::Plain4, found(bad)).expects_nothing().passes_unchanged().malformed("ssdp LOCATION");
    }
}

#[test]
fn with_loose_a_place_outside_the_link_expects_whoever_the_searcher_is_there() {
    let found_by = |searcher: &str, loose: bool, place: &str| {
        let talk = over_udp().across(Net::Plain6).to(searcher).with(Settings { loose, ..Settings::default() });
        talk.packet(CtInfo::Related, Segment { seq: 0, last: false }, found(place).as_bytes())
    };
    let (outside, of_the_link) = ("http://[2001:db8::7]:5000/", "http://[fe80::7]:5000/");
    found_by("fe80::2", true, outside).expects(Expect { src: Source::Anyone, ..lasting("[2001:db8::7]:5000") });
    found_by("fe80::2", false, outside).expects(lasting("[2001:db8::7]:5000"));
    found_by("fe80::2", true, of_the_link).expects(lasting("[fe80::7]:5000"));
    found_by("2001:db8::2", true, outside).expects(lasting("[2001:db8::7]:5000"));
}

#[test]
fn a_translated_device_is_announced_by_its_other_address() {
    over_udp()
        .across(Net::Dnat4)
        .before(Kernel::that_grants_from("10.0.1.1").at_port(1030))
        .from_client(SEARCH)
        .from_server(found("http://10.0.2.2:49152/root.xml"))
        .expects(lasting("10.0.2.2:49152"))
        .passes_as(found("http://10.0.1.1:1030/root.xml"));
}

#[test]
fn a_subscription_expects_the_device_at_the_callback() {
    over_tcp()
        .from_client(subscription("<http://10.0.1.2:5000/cb><http://10.0.1.2:6000/other>"))
        .expects(lasting("10.0.1.2:5000"))
        .passes_unchanged()
        .well_formed();
    over_tcp()
        .across(Net::Snat4)
        .before(Kernel::that_grants_from("10.0.2.1").at_port(5001))
        .from_client(subscription("<http://10.0.1.2:5000/cb>"))
        .passes_as(subscription("<http://10.0.2.1:5001/cb>"));
    over_tcp().from_client("SUBSCRIBE /events HTTP/1.1\r\nSID: uuid:1\r\n\r\n").expects_nothing().well_formed();
    for bad in ["http://10.0.1.2:5000/", "<http://10.0.1.2:5000/", "<http://10.0.1.2:70000/>", "<http://10.0.1.2:80/>", "<http://10.0.1.2:1023>"] {
        over_tcp().from_client(subscription(bad)).expects_nothing().passes_unchanged().malformed("ssdp CALLBACK");
    }
}

/// A browser can be made to send all of this, but neither without `Origin`, nor so that the helper does not see it.
#[test]
fn a_web_page_cannot_subscribe() {
    let whole = subscription("<http://10.0.1.2:5000/cb>");
    for origin in ["Origin: http://attacker.example", "origin: null", "ORIGIN:"] {
        let asked = whole.replace("\r\n\r\n", &format!("\r\n{origin}\r\n\r\n"));
        over_tcp().from_client(asked).expects_nothing().passes_unchanged().malformed("ssdp Origin");
    }
    for length in whole.find("/cb>").unwrap() + 4..whole.len() {
        over_tcp().from_client(&whole[..length]).expects_nothing().passes_unchanged().malformed("ssdp request without an end");
    }
    for end in ["\r\n\n", "\n\r\n", "\n\n", "\r\n\r\nORIGIN: in the body"] {
        over_tcp().from_client(whole.replace("\r\n\r\n", end)).expects(lasting("10.0.1.2:5000"));
    }
}

/// A browser that was sent here can choose what stands in a body, not what a segment begins with; and nobody searches over TCP.
#[test]
fn what_stands_in_the_middle_of_something_announces_nothing() {
    let smuggled = subscription("<http://10.0.1.2:5000/cb>");
    over_tcp().from_client(format!("POST / HTTP/1.1\r\n\r\n{smuggled}")).expects_nothing();
    over_tcp().from_client(format!(" {smuggled}")).expects_nothing();
    over_tcp().from_server(&smuggled).expects_nothing();
    over_udp().from_client(&smuggled).expects_nothing();
    over_tcp().from_client(SEARCH).expects_nothing();
    over_tcp().from_server(found("http://10.0.2.2:5000/")).expects_nothing();
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(
        head in "(M-SEARCH \\* HTTP/1.1\r\n|HTTP/1.1 200 OK\r\nLOCATION: |SUBSCRIBE / HTTP/1.1\r\nCALLBACK: <|)(http://)?",
        body in prop::collection::vec(any::<u8>(), 0..300),
        udp in any::<bool>(),
    ) {
        let payload = [head.as_bytes(), &body].concat();
        let talk = (if udp { over_udp() } else { over_tcp() }).across(Net::Snat4);
        let talk = talk.before(Kernel::that_grants_from("10.0.2.1").at_port(9)).from_client(&payload).from_server(&payload);
        let _ = talk.forwarded();
        prop_assert!(talk.asked().len() <= 1);
    }

    #[test]
    fn any_place_is_read_or_named(location in "http://[\\[\\]:.0-9a-f%/]{0,60}") {
        let talk = over_udp().from_server(found(&location));
        prop_assert!(talk.asked().len() <= 1);
    }
}
