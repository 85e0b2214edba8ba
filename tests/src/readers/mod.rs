//! Everything of ours that reads bytes of others, one target each: what the rung `fuzz` damages, and what `tests/guided` is guided by.

mod conversations;
mod helpers;
mod seeds;

use cthelper_policy::config::Config;
use cthelper_policy::events::{Filter, Known};
use cthelper_proto::events_sock::{Answer, Notice, Request};
use cthelper_proto::ipc::{self, Ask, Edit, FromWorker, ToWorker};
use cthelper_proto::netlink::conntrack::Conntrack;
use cthelper_proto::netlink::cthelper::Helper;
use cthelper_proto::netlink::message::{Body, messages};
use cthelper_proto::netlink::queue::Packet;
use cthelper_proto::netlink::report::{Moment, Report};
use cthelper_proto::netlink::{Attrs, tuple};
use cthelper_proto::packet::{dissect, edit};
use cthelper_proto::types::Tuple;
use cthelper_supervisor::import;
use cthelper_supervisor::kernel::replay::{Capture, Replay};

use crate::capture::{Link, pcap, pcapng};

/// Reads one input.
pub type Reader = Box<dyn FnMut(&[u8])>;

/// Something that reads bytes.
pub struct Target {
    /// What it is called; a helper's has its protocol behind a `/`.
    pub name: String,
    /// Inputs to begin with.
    pub seeds: Vec<Vec<u8>>,
    /// Makes a reader that has read nothing yet, in the thread that is to read.
    pub reader: Box<dyn Fn() -> Reader + Send>,
}

/// All there are.
pub fn all() -> Vec<Target> {
    let mut all = vec![
        target("netlink", seeds::netlink(), netlink),
        target("packet", packets(), packet),
        target("ipc", frames(), ipc),
        target("filter", seeds::corpus("filter"), filter),
        target("config", configs(), |bytes| drop(Config::parse(&String::from_utf8_lossy(bytes), "fuzz"))),
        target("import", seeds::files("vm/guest/tools/conntrackd"), import),
        target("capture", captures(), capture),
        target("events-sock", seeds::corpus("events-sock"), |bytes| {
            let _ = serde_json::from_slice::<Request>(bytes);
            let _ = serde_json::from_slice::<Answer>(bytes);
        }),
    ];
    all.extend(helpers::all());
    all.extend(conversations::all());
    all
}

fn target(name: &str, seeds: Vec<Vec<u8>>, read: fn(&[u8])) -> Target {
    Target { name: name.to_owned(), seeds, reader: Box::new(move || Box::new(read)) }
}

/// Everything anybody reads of a message, whatever it is.
fn netlink(bytes: &[u8]) {
    for message in messages(bytes).flatten() {
        let _ = Notice::from_raw(&message);
        if let Ok(Some(report)) = Report::parse(&message) {
            let line = report.line(Moment(1), true).to_string();
            assert_eq!(line.lines().count(), 1, "{line:?}");
            serde_json::to_string(&report.json(Moment(1))).unwrap();
            Filter::parse("addr ::/0 or port 1 or not state established or label 1 or helped")
                .unwrap()
                .matches(&report, &Known::default());
        }
        if let Body::Nf { family, res_id, attrs, .. } = message.body {
            attributes(family, res_id, attrs);
        }
    }
}

fn attributes(family: u8, res_id: u16, attrs: Attrs<'_>) {
    let _ = Conntrack::parse(attrs);
    let _ = Helper::parse(attrs);
    let _ = tuple::parse_zoned(attrs);
    if let Ok(queued) = Packet::parse(family, res_id, attrs) {
        packet(queued.payload);
    }
}

/// A packet, read and edited.
fn packet(bytes: &[u8]) {
    let Ok(dissected) = dissect(bytes) else { return };
    let _: Option<Tuple> = dissected.tuple();
    let mut out = Vec::new();
    for edit in [
        Edit { at: 0, cut: 0, put: b"1234".to_vec() },
        Edit { at: 3, cut: 9, put: vec![] },
        Edit { at: u16::MAX, cut: 1, put: vec![0; 9] },
    ] {
        out.clear();
        if edit::apply(bytes, &[edit], &mut out).is_ok() {
            assert!(dissect(&out).is_ok(), "what was edited can be read");
        }
    }
}

/// The payloads of queued packets, and a few more.
fn packets() -> Vec<Vec<u8>> {
    let all = seeds::netlink();
    let queued = all.iter().flat_map(|datagram| messages(datagram)).flatten().filter_map(|message| match message.body {
        Body::Nf { family, res_id, attrs, .. } => Some(Packet::parse(family, res_id, attrs).ok()?.payload.to_vec()),
        _ => None,
    });
    queued.collect()
}

/// Records of the channels, as either end reads them.
fn ipc(bytes: &[u8]) {
    let _ = ipc::frames::<ToWorker>(bytes).count();
    let _ = ipc::frames::<FromWorker>(bytes).count();
    let _ = ipc::frames::<Ask>(bytes).count();
    let _ = ipc::frames::<ipc::Answer>(bytes).count();
}

fn frames() -> Vec<Vec<u8>> {
    helpers::headers()
        .iter()
        .map(|header| {
            let mut record = Vec::new();
            ipc::append(&ToWorker::Packet(*header), b"PASV\r\n", &mut record).unwrap();
            record
        })
        .collect()
}

/// A filter is what it prints as, or a mistake that has a place.
fn filter(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Filter::parse(&text) {
        Ok(filter) => assert_eq!(Filter::parse(&filter.to_string()), Ok(filter)),
        Err(error) => assert!(error.at <= text.len() && !error.reason.is_empty()),
    }
}

/// The packaged example, as it is and with every key uncommented.
fn configs() -> Vec<Vec<u8>> {
    let example = include_str!("../../../packaging/examples/cthelperd.toml");
    let keys: Vec<&str> = example
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|key| key.starts_with('[') || key.contains(" = "))
        .collect();
    vec![example.as_bytes().to_vec(), format!("[helper.ftp]\n{}", keys.join("\n")).into_bytes()]
}

/// What is imported is a configuration, or the file is wrong at a place.
fn import(bytes: &[u8]) {
    match import::import(&String::from_utf8_lossy(bytes), "c.conf") {
        Ok(imported) => {
            drop(Config::parse(&imported.toml, "result").unwrap_or_else(|error| panic!("{error}: {}", imported.toml)));
        }
        Err(wrong) => assert!(wrong.line("c.conf").starts_with("c.conf:")),
    }
}

/// A capture file to its end, as `cthelperd replay` reads it.
fn capture(bytes: &[u8]) {
    let Ok(capture) = Capture::new(std::io::Cursor::new(bytes.to_vec())) else { return };
    let mut replay = Replay::new(capture, Box::new(|orig| [21, 69, 111].contains(&orig.dport)));
    let mut records = 0;
    while let Ok(Some(_)) = replay.next_packet() {
        records += 1;
        replay.take_closed();
    }
    assert!(records <= bytes.len(), "no record of nothing");
}

/// Files of both formats, a link type each, with the packets that kernels queued.
fn captures() -> Vec<Vec<u8>> {
    let packets: Vec<Vec<u8>> = packets().into_iter().filter(|packet| !packet.is_empty()).collect();
    let links = [Link::Ethernet, Link::Vlan, Link::Raw, Link::Cooked, Link::Cooked2];
    let few = packets.chunks(packets.len().div_ceil(links.len()).clamp(1, 8));
    links.iter().zip(few).flat_map(|(link, packets)| [pcap(*link, packets), pcapng(*link, packets)]).collect()
}
