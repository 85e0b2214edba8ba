//! Our lines, and those that conntrack(8) printed of the same events of a real kernel: tests/vm/capture/events has both.
#![cfg(target_endian = "little")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may say what it means")]

use std::collections::BTreeMap;
use std::path::Path;

use cthelper_proto::netlink::message::messages;
use cthelper_proto::netlink::report::{Moment, Report, Subject};

/// The text of all files of the folder with this ending, by their names without it.
fn files(ending: &str) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vm/capture/events");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let named = paths.filter(|path| path.extension().is_some_and(|found| found == ending));
    named.map(|path| (path.with_extension("").display().to_string(), std::fs::read_to_string(path).unwrap())).collect()
}

/// The lines of one recording, those of connections first, each kind in the order of the events.
fn lines(recording: &str) -> Vec<String> {
    let mut lines = [vec![], vec![]];
    for text in recording.lines().filter(|line| !line.starts_with('#')) {
        let digits: Vec<char> = text.chars().collect();
        let datagram: Vec<u8> =
            digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect();
        for message in messages(&datagram) {
            let report = Report::parse(&message.unwrap()).unwrap().unwrap();
            assert_eq!(report.flow().map_or(0, |entry| entry.skipped), 0, "{report:?}");
            let [flows, expects] = &mut lines;
            let of_its_kind = if matches!(report.subject, Subject::Flow(_)) { flows } else { expects };
            of_its_kind.push(report.line(Moment(0), false).to_string());
        }
    }
    lines.concat()
}

#[test]
fn every_line_is_byte_for_byte_what_conntrack_printed() {
    let printed = files("lines");
    let recorded = files("hex");
    assert!(recorded.keys().eq(printed.keys()) && !recorded.is_empty(), "{:?} {:?}", recorded.keys(), printed.keys());
    for (kernel, recording) in &recorded {
        // Events of two processors reach two readers in two orders.
        let mut ours = lines(recording);
        let mut theirs: Vec<String> = printed.get(kernel).unwrap().lines().map(str::to_owned).collect();
        ours.sort_unstable();
        theirs.sort_unstable();
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{kernel}");
        }
        assert_eq!(ours.len(), theirs.len(), "{kernel}");
        assert!(ours.len() > 50, "{kernel}: {}", ours.len());
    }
}
