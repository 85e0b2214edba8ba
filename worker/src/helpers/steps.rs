//! How often the parsers of text look at a byte, counted: whatever a message holds, a few times at most, so that twice the bytes are twice
//! the work. tests/bounds counts messages, asks and memory of whole packets.

use super::amanda::Amanda;
use super::ftp::Ftp;
use super::ssdp::Ssdp;
use super::tftp::Tftp;
use super::tns::Tns;
use crate::scan::steps;
use crate::testkit::{Talk, talk};

/// Steps for each byte of a message: six numbers are tried from each number on.
const PER_BYTE: usize = 8;
/// And besides.
const BESIDES: usize = 100;

/// `ready` hears `message` of 60 to 480 bytes: the longest line of FTP has 512.
fn is_linear(name: &str, ready: impl Fn() -> Talk, message: impl Fn(usize) -> Vec<u8>, from_client: bool) {
    let count = |length: usize| {
        let (message, talk) = (message(length), ready());
        steps::taken();
        let _said = if from_client { talk.from_client(&message) } else { talk.from_server(&message) };
        steps::taken()
    };
    let counts = [60, 120, 240, 480].map(|length| (length, count(length)));
    assert!(counts.iter().all(|(length, steps)| *steps <= PER_BYTE * length + BESIDES), "{name}: {counts:?}");
    let [.., (_, half), (_, whole)] = counts;
    assert!(whole <= 2 * half + BESIDES, "{name}: {counts:?}");
}

/// `head`, then `repeated` up to `length`.
fn filled(head: &str, repeated: &str, length: usize) -> String {
    let mut text = head.to_owned() + &repeated.repeat(length);
    text.truncate(length);
    text
}

#[test]
fn replies_and_commands_of_ftp() {
    let delimiters = (b'!'..=b'~').filter(|byte| !byte.is_ascii_digit() && *byte != b'(');
    let never_closed: String = delimiters.flat_map(|byte| ['(', char::from(byte)]).collect();
    let replies = [
        ("229 ", &*never_closed),
        ("229 (", "("),
        ("229 ", "(|1|"),
        ("227 ", "1,1,1,1,1,,"),
        ("227 ", "1,"),
        ("227 ", "0"),
        ("227 ", "x"),
    ];
    for (head, repeated) in replies {
        is_linear(repeated, || talk(Ftp), |length| (filled(head, repeated, length) + "\r\n").into_bytes(), false);
    }
    for (head, repeated) in
        [("PORT ", "1,"), ("PORT ", " "), ("EPRT ", "|"), ("EPRT |1|", "1."), ("EPRT |2|::1|", "0"), ("EPSV", " ")]
    {
        is_linear(repeated, || talk(Ftp), |length| (filled(head, repeated, length) + "\r\n").into_bytes(), true);
    }
}

#[test]
fn redirects_of_tns() {
    let redirect = |text: String| {
        let length = |more: usize| u16::try_from(more + text.len()).unwrap().to_be_bytes();
        [&length(10)[..], &[0, 0, 5, 0, 0, 0], &length(0), text.as_bytes()].concat()
    };
    for repeated in ["(", ")", "(A=", "( A = ", "(A=B", "(A=B)", "(A=(", "(HOST=1)", "(PORT=1)", "(HOST=", "( "] {
        is_linear(repeated, || talk(Tns), |length| redirect(filled("", repeated, length)), false);
    }
}

#[test]
fn datagrams() {
    let reply =
        |length, head: &str, repeated| filled(&format!("Amanda 2.6 REP HANDLE 0 SEQ 1\n{head}"), repeated, length).into_bytes();
    for (head, repeated) in [("", "\n"), ("", "CONNECT"), ("CONNECT DATA 1", " "), ("CONNECT DATA ", "0"), ("CONNECT ", "A")] {
        is_linear(repeated, || talk(Amanda), |length| reply(length, head, repeated), false);
    }
    for (head, repeated) in [("LOCATION: ", " "), ("LOCATION: http://1.", "1"), ("LOCATION: http://[", ":"), ("A: B\n", "C\n")] {
        let found = |length| filled(&format!("HTTP/1.1 200 OK\r\n{head}"), repeated, length).into_bytes();
        is_linear(repeated, || talk(Ssdp).over_udp(), found, false);
    }
    for (head, repeated) in [("\0\x01", "f"), ("\0\x01f\0octet\0", "\0"), ("\0\x01f\0", "o")] {
        is_linear(repeated, || talk(Tftp), |length| filled(head, repeated, length).into_bytes(), true);
    }
}
