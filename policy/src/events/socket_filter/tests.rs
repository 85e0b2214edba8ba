//! Programs, run on the messages that real kernels sent (tests/vm/capture/events): what any queue takes, and what the mirror must see, passes.

use std::path::Path;

use cthelper_proto::netlink::conntrack::Event;
use cthelper_proto::netlink::message::messages;
use cthelper_proto::netlink::report::{Report, Subject};

use super::*;
use crate::bpf_machine;
use crate::config::Config;
use crate::events::{Filter, Known};

/// What the kernel would do with a message: `SKF_AD_NLATTR` and `SKF_AD_NLATTR_NEST` are `net/core/filter.c:bpf_skb_get_nlattr`.
pub(crate) fn accepts(program: &[Op], message: &[u8]) -> bool {
    let program: Vec<bpf_machine::Op> = program.iter().map(|op| (op.code, op.jt, op.jf, op.k)).collect();
    let verdict = bpf_machine::run(&program, |load| {
        let (a, x) = (usize::try_from(load.a).unwrap(), u16::try_from(load.x).unwrap());
        match load.at.cast_signed() - libc::SKF_AD_OFF {
            libc::SKF_AD_NLATTR => Some(find(message, a, message.len(), x)),
            libc::SKF_AD_NLATTR_NEST => {
                let length = usize::from(u16::from_ne_bytes(message[a..a + 2].try_into().unwrap()));
                Some(find(message, a + 4, a + length, x))
            }
            _ => {
                let at = usize::try_from(load.at).unwrap();
                let bytes = message.get(at..at + usize::from(load.bytes))?;
                Some(bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)))
            }
        }
    });
    verdict != 0
}

/// `nla_find`, as an offset.
fn find(message: &[u8], mut at: usize, end: usize, kind: u16) -> u32 {
    while at + 4 <= end {
        let half = |at: usize| u16::from_ne_bytes(message[at..at + 2].try_into().unwrap());
        let length = usize::from(half(at));
        if length < 4 || at + length > end {
            return 0;
        }
        if half(at + 2) & 0x3fff == kind {
            return u32::try_from(at).unwrap();
        }
        at += length.next_multiple_of(4);
    }
    0
}

/// Each message that was recorded, of all kernels.
pub(crate) fn recorded() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vm/capture/events");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts = files
        .filter(|path| path.extension().is_some_and(|found| found == "hex"))
        .map(|path| std::fs::read_to_string(path).unwrap());
    let lines: Vec<String> = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let bytes =
        |line: &String| (0..line.len() / 2).map(|at| u8::from_str_radix(&line[2 * at..2 * at + 2], 16).unwrap()).collect();
    let all: Vec<Vec<u8>> = lines.iter().filter(|line| !line.starts_with('#')).map(bytes).collect();
    assert!(all.len() > 100);
    all
}

pub(crate) fn report(message: &[u8]) -> Report<'_> {
    Report::parse(&messages(message).next().unwrap().unwrap()).unwrap().unwrap()
}

fn program(queues: &[QueueConfig], flows: bool) -> Option<Vec<Op>> {
    super::program(&queues.iter().collect::<Vec<_>>(), flows)
}

fn queues(text: &str) -> Vec<QueueConfig> {
    Config::parse(&format!("[helper.ftp]\n{text}"), "f").unwrap().queues.into_values().collect()
}

/// Of all that was recorded, how many pass.
fn passing(text: &str, flows: bool) -> (usize, usize) {
    let (queues, all) = (queues(text), recorded());
    let Some(program) = program(&queues, flows) else { return (all.len(), all.len()) };
    let mut wanted = 0;
    let passed = all.iter().filter(|message| {
        let (passes, report) = (accepts(&program, message), report(message));
        let is_wanted = queues.iter().any(|queue| queue.takes(&report, &Known::default()));
        wanted += usize::from(is_wanted);
        assert!(passes || !is_wanted, "{text}\n{report:?}");
        passes
    });
    (passed.count(), wanted)
}

#[test]
fn what_a_queue_takes_passes_and_most_of_the_rest_does_not() {
    let expectations = recorded().iter().filter(|message| matches!(report(message).subject, Subject::Expect(_))).count();
    for exact in [
        "proto udp",
        "not proto tcp",
        "family inet6",
        "proto tcp and dport 21",
        "dst 10.9.0.0/16",
        "not src 10.0.0.0/8",
        "src fd09::/64",
        "dst fd09::1",
        "sport 1024-65535 and not proto tcp,udp",
        "mark 9",
        "not mark 0",
        "assured or proto icmp",
        "not replied",
        "snat",
        "nated",
        "event new,destroy",
        "event update and not (proto tcp or family inet6)",
        "dst 10.9.0.1-10.9.0.9",
        "mark 1/1",
    ] {
        let (passed, wanted) =
            passing(&format!("[events.queue.1]\nevents = [\"new\", \"update\", \"destroy\"]\nfilter = \"{exact}\"\n"), false);
        assert_eq!(passed, wanted + expectations, "{exact}");
    }
    for unknown in
        ["state established", "zone 5", "label 3", "addr 10.9.0.1", "helper ftp", "not helper ftp", "not dst fd09::1-fd09::9"]
    {
        let (passed, wanted) = passing(&format!("[events.queue.1]\nfilter = \"{unknown}\"\n"), false);
        assert!(passed >= wanted, "{unknown}");
    }
}

#[test]
fn queues_add_up_and_one_that_takes_all_needs_no_program() {
    let one = "[events.queue.1]\nevents = [\"new\"]\nfilter = \"proto tcp\"\n";
    let two = "[events.queue.2]\nevents = [\"destroy\"]\nfilter = \"proto udp\"\n";
    let (first, second, both) = (passing(one, false).0, passing(two, false).0, passing(&format!("{one}{two}"), false).0);
    assert!(first < both && second < both);
    assert_eq!(program(&queues("[events.queue.1]\n"), false), None);
    assert_eq!(program(&queues(&format!("{one}{two}[events.queue.3]\n")), true), None);
}

#[test]
fn the_mirror_sees_what_it_remembers_and_every_end() {
    let program = program(&[], true).unwrap();
    let mut dropped = 0;
    for message in recorded() {
        let report = report(&message);
        let must = report.flow().is_none_or(|entry| {
            report.event == Some(Event::Destroy)
                || entry.helper.is_some()
                || entry.master.is_some()
                || entry.has_status(status::EXPECTED)
        });
        assert_eq!(accepts(&program, &message), must, "{report:?}");
        dropped += usize::from(!must);
    }
    assert!(dropped > 50, "{dropped}");
}

#[test]
fn what_must_be_remembered_for_a_filter_passes() {
    let queues = queues("[events.queue.1]\nevents = [\"destroy\"]\nfilter = \"label 3 and helper ftp\"\n");
    let program = program(&queues, false).unwrap();
    for message in recorded() {
        let report = report(&message);
        let Some(entry) = report.flow() else { continue };
        let must = report.event == Some(Event::Destroy) || entry.helper.is_some() || entry.labels.is_some();
        assert!(accepts(&program, &message) || !must, "{report:?}");
    }
}

#[test]
fn long_filters_are_left_to_the_broker() {
    let nets: Vec<String> = (0..200).map(|n| format!("10.{n}.0.0/16")).collect();
    let long = format!("[events.queue.1]\nevents = [\"new\"]\nfilter = \"src {}\"\n", nets.join(","));
    let made = program(&queues(&long), false).unwrap();
    assert!(made.len() < 40, "by kind alone: {}", made.len());
    let (passed, wanted) = passing(&long, false);
    assert!(passed > wanted && wanted > 0);
}

/// `bpf_check_classic`: jumps stay inside, and the last instruction returns.
#[test]
fn the_kernels_checker_would_take_it() {
    let made = program(&queues("[events.queue.1]\nfilter = \"proto tcp and dport 21 or not src 10.0.0.0/8 and mark 3\"\n"), true)
        .unwrap();
    for (at, op) in made.iter().enumerate() {
        if op.code & 7 == 5 {
            let far = if op.code == 5 { usize::try_from(op.k).unwrap() } else { usize::from(op.jt.max(op.jf)) };
            assert!(at + 1 + far < made.len(), "{at}: {op:?}");
        }
    }
    assert_eq!(made.last().map(|op| op.code), Some(6));
    assert!(made.len() < 250, "{}", made.len());
}

#[test]
fn messages_of_others_pass() {
    let program = program(&queues("[events.queue.1]\nevents = [\"new\"]\nfilter = \"proto tcp\"\n"), false).unwrap();
    let mut message = vec![0; 24];
    message[4..6].copy_from_slice(&0x0a00_u16.to_ne_bytes()); // nftables
    assert!(accepts(&program, &message));
    message[4..6].copy_from_slice(&0x0100_u16.to_ne_bytes()); // a connection without a tuple: malformed, to be counted
    message[6..8].copy_from_slice(&0x0400_u16.to_ne_bytes());
    assert!(accepts(&program, &message));
}

#[test]
fn blank_filters_are_always_true() {
    assert_eq!(Filter::default().told(Kind::New), Condition::Always);
}
