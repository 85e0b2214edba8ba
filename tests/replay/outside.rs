//! Helpers out of the tree, in Rust (`tests/outside`) and in C (`tests/outside-c`): built by themselves, named by one line of a
//! configuration, served in the same confinement, and saying the same of the same captures.

use std::path::{Path, PathBuf};
use std::process::Command;

use cthelper_proto::manifest::Listing;
use cthelper_tests::capture::{Link, pcap};
use cthelper_tests::control::Net;
use cthelper_tests::outside::{golden_in_c, in_c, in_rust, tested_in_rust};
use cthelper_tests::program::{Said, Temporary, cthelperctl, cthelperd};

use super::{C, Line, S, is_transcript, talk};

fn configured(worker: &Path) -> Temporary {
    Temporary::new("dial.toml", format!("[helper.dial]\nworker = {:?}\nports = [21]\n", worker.to_str().unwrap()).as_bytes())
}

fn dialled(worker: &Path, lines: &[Line]) -> Said {
    let capture = Temporary::new("dial.pcap", &pcap(Link::Ethernet, &talk(Net::Plain4, lines)));
    cthelperd(&["replay", "--json", "--config", configured(worker).path(), capture.path()])
}

const CALLS: &[Line] =
    &[S("DIAL 4000\r\n"), S("DIAL 22\r\n"), S("DIAL 70000\r\n"), S("dial 04001 now\r\n"), S("DIALLED 4002\r\n")];
/// Lines that segments cut, several in one, and an announcement in the middle of another line.
const PIECES: &[Line] =
    &[S("DI"), S("AL 40"), S("00\r"), S("\nhello DIAL 1\nDIAL 4001\n\r\nDIAL "), C("DIAL 4002\r\n"), S("4003\r\n"), S("D")];

fn is_served_alike(worker: &Path) {
    let said = dialled(worker, &[C("hello\r\n"), S("DIAL 4000\r\n"), C("DIAL 4001\r\n"), S("DIAL 70000\r\n"), S("DIAL 22\r\n")]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    is_transcript("outside", &said.out);
    for (name, lines) in [("outside-calls", CALLS), ("outside-pieces", PIECES)] {
        let said = dialled(worker, lines);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{name}");
        is_transcript(name, &said.out);
    }
}

#[test]
fn a_helper_of_ones_own_is_built_alone_and_served_by_a_line_of_configuration() {
    is_served_alike(&in_rust());
}

#[test]
fn one_in_another_language_says_the_same_of_the_same_captures() {
    is_served_alike(&in_c(&[]));
}

#[test]
fn what_was_recorded_of_a_live_run_is_said_again_by_both() {
    tested_in_rust();
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("outside/tests/call.pcap");
    let config = Temporary::new("dial.toml", format!("[helper.dial]\nworker = {:?}\n", in_c(&[]).to_str().unwrap()).as_bytes());
    let said = cthelperd(&["replay", "--json", "--config", config.path(), recorded.to_str().unwrap()]);
    assert_eq!(said.out, std::fs::read_to_string(recorded.with_extension("jsonl")).unwrap());
}

#[test]
fn the_codec_in_c_has_the_golden_bytes_of_every_message_it_uses() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/golden/worker.hex");
    let said = Command::new(golden_in_c()).arg(golden).output().unwrap();
    assert_eq!((said.status.code(), String::from_utf8_lossy(&said.stdout).as_ref()), (Some(0), "21 messages, 0 wrong\n"));
}

#[test]
fn both_are_listed_with_what_they_announce_and_it_is_what_they_say_in_hello() {
    let listed = |worker: PathBuf| {
        let said = cthelperctl(&["helpers", "--config", configured(&worker).path(), "--json"]);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        let all: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
        let dial = all.into_iter().find(|helper| helper["name"] == "dial").expect("dial is listed");
        assert_eq!(dial["worker"], worker.to_str().unwrap());
        serde_json::from_value::<Listing>(dial).unwrap()
    };
    assert_eq!(listed(in_c(&[])), listed(in_rust()));
}
