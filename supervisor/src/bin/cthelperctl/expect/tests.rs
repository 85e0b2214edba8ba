use clap::Parser;
use cthelper_proto::netlink::expect::Expectation;
use cthelper_proto::netlink::message::{Message, messages, op};
use cthelper_supervisor::cli::ctl::{Cli, Command};

use super::*;

fn wanted(line: &str) -> Result<Expect, String> {
    let words = ["cthelperctl", "expect"].into_iter().chain(line.split_whitespace());
    match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
        Command::Expect(wanted) => Ok(wanted),
        other => panic!("{other:?}"),
    }
}

fn shown(line: &str) -> Result<Form, Failure> {
    match wanted(line).unwrap() {
        Expect::List(show) | Expect::Watch(show) => show::form(&show),
        other => panic!("{other:?}"),
    }
}

/// A creation, as its event looks; `multi` = as a dump shows it.
fn bytes(multi: bool) -> Vec<u8> {
    let tuple = |src: [u8; 4], dst: [u8; 4], sport, dport| Tuple { src: src.into(), dst: dst.into(), proto: 6, sport, dport };
    let mut expectation =
        Expectation::new(tuple([10, 0, 1, 2], [10, 0, 2, 2], 0, 3000), tuple([10, 0, 1, 2], [10, 0, 2, 2], 40000, 21));
    expectation.timeout = Some(300);
    expectation.helper = Some("ftp".to_owned());
    let mut bytes = Vec::new();
    expect::create(&mut bytes, 1, 0x400, &expectation);
    let flags: u16 = if multi { 2 } else { 0x400 };
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

fn only(bytes: &[u8]) -> Message<'_> {
    messages(bytes).next().unwrap().unwrap()
}

const LINE: &str = "300 proto=6 src=10.0.1.2 dst=10.0.2.2 sport=0 dport=3000 mask-src=255.255.255.255 \
                    mask-dst=255.255.255.255 sport=0 dport=65535 master-src=10.0.1.2 master-dst=10.0.2.2 sport=40000 dport=21 \
                    class=0 helper=ftp";

#[test]
fn events_and_dumps_print_as_conntrack_prints_them() {
    let at = Moment(1_795_571_595_000_042);
    let mut event = bytes(false);
    assert_eq!(Form::Lines.line(&only(&event), 0, at).unwrap(), format!("    [NEW] {LINE}"));
    assert_eq!(Form::Stamped.line(&only(&event), 0, at).unwrap(), format!("[1795571595.42    ]\t    [NEW] {LINE}"));
    assert_eq!(Form::Lines.line(&only(&bytes(true)), 0, at).unwrap(), LINE);
    assert!(Form::Xml.line(&only(&event), 0, at).unwrap().starts_with("<flow type=\"new\"><layer3 protonum=\"2\""));
    assert!(Form::Json.line(&only(&event), 0, at).unwrap().starts_with("{\"time_us\":1795571595000042,\"event\":\"expect-new\""));
    event[4] = op::DELETE;
    assert_eq!(Form::Lines.line(&only(&event), 0, at).unwrap(), format!("[DESTROY] {LINE}"));
}

/// A process that causes an event is named by its port id; conntrack shows that for connections only.
#[test]
fn who_caused_an_event_is_not_in_its_line() {
    let mut event = bytes(false);
    event[12] = 7;
    assert_eq!(Form::Lines.line(&only(&event), 0, Moment(0)).unwrap(), format!("    [NEW] {LINE}"));
    assert!(Form::Json.line(&only(&event), 0, Moment(0)).unwrap().contains("\"port_id\":7"));
}

#[test]
fn a_name_cannot_move_the_cursor() {
    let mut event = bytes(false);
    let at = event.windows(4).position(|window| window == b"ftp\0").unwrap();
    event[at] = 0x1b;
    for form in [Form::Lines, Form::Stamped] {
        assert!(form.line(&only(&event), 0, Moment(0)).unwrap().ends_with("helper=\\x1btp"), "{form:?}");
    }
}

#[test]
fn another_family_is_not_shown() {
    assert!(Form::Lines.line(&only(&bytes(false)), 2, Moment(0)).is_some());
    assert!(Form::Lines.line(&only(&bytes(false)), 10, Moment(0)).is_none());
}

#[test]
fn conntracks_words_are_taken() {
    for (line, form) in [
        ("list", Form::Lines),
        ("list -o xml", Form::Xml),
        ("watch -o id,timestamp", Form::Stamped),
        ("list -o XML,Time", Form::StampedXml),
        ("watch -o t -o x", Form::StampedXml),
        ("list -o extended -o labels,userspace,ktimestamp -f ipv6", Form::Lines),
        ("list -o save", Form::Lines),
        ("watch --json --family inet", Form::Json),
    ] {
        assert_eq!(shown(line), Ok(form), "{line}");
    }
    assert_eq!(shown("list -o xml,save").unwrap_err().exit, Exit::Usage);
    for line in [
        "list -o bogus",
        "list -o xml,",
        "list -o xmls",
        "list -f inet5",
        "watch --json -o xml",
        "list x",
        "flush x",
        "delete",
        "delete tcp",
        "delete tcp 1.2.3.4:0",
    ] {
        assert!(wanted(line).is_err(), "{line}");
    }
    for line in ["delete --helper ftp tcp 1.2.3.4:0 1.2.3.5:9", "delete gre 1.2.3.4:0 1.2.3.5:9", "delete tcp 1.2.3.4 1.2.3.5:9"]
    {
        assert!(wanted(line).is_err(), "{line}");
    }
}

#[test]
fn one_is_named_as_it_is_listed() {
    let Expect::Delete(which) = wanted("delete udp [fd00::1]:0 [fd00::2]:99 --zone 3").unwrap() else { panic!() };
    assert_eq!((which.protocol, which.from, which.zone), (Some(17), "[fd00::1]:0".parse().ok(), 3));
    let Expect::Delete(which) = wanted("delete --helper ftp").unwrap() else { panic!() };
    assert_eq!(which.helper.as_deref(), Some("ftp"));
}

#[test]
fn missing_privilege_is_told_from_missing_support() {
    assert_eq!(refused("x", Errno::EPERM).exit, Exit::Permission);
    assert_eq!(refused("x", Errno::EINVAL).exit, Exit::Unavailable);
    assert_eq!(refused("x", Errno::ENOENT).exit, Exit::NoInput);
}
