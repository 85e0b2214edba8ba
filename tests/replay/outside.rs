//! A helper out of the tree (`tests/outside`): built by itself, named by one line of a configuration, served in the same confinement.

use std::path::{Path, PathBuf};
use std::process::Command;

use cthelper_tests::binaries::binary;
use cthelper_tests::capture::{Link, pcap};
use cthelper_tests::control::Net;
use cthelper_tests::program::{Said, Temporary, cthelperd};

use super::{C, Line, S, is_transcript, talk};

/// Builds it into a folder of its own, beside this workspace's programs.
fn build() -> PathBuf {
    let target = binary("cthelperd").parent().unwrap().join("outside");
    let mut cargo = Command::new(std::env::var_os("CARGO").expect("cargo runs this test"));
    cargo.args(["build", "--quiet", "--locked", "--manifest-path"]);
    cargo.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("outside/Cargo.toml")).arg("--target-dir").arg(&target);
    let built = cargo.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join("debug/cthelper-dial")
}

fn dialled(worker: &Path, lines: &[Line]) -> Said {
    let config = format!("[helper.dial]\nworker = {:?}\nports = [21]\n", worker.to_str().unwrap());
    let config = Temporary::new("dial.toml", config.as_bytes());
    let capture = Temporary::new("dial.pcap", &pcap(Link::Ethernet, &talk(Net::Plain4, lines)));
    cthelperd(&["replay", "--json", "--config", config.path(), capture.path()])
}

#[test]
fn a_helper_of_ones_own_is_built_alone_and_served_by_a_line_of_configuration() {
    let worker = build();
    let said = dialled(&worker, &[C("hello\r\n"), S("DIAL 4000\r\n"), C("DIAL 4001\r\n"), S("DIAL 70000\r\n"), S("DIAL 22\r\n")]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    is_transcript("outside", &said.out);
}
