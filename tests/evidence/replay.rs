//! `cthelperd replay` of a packet from the quarantine: the same end in the same confinement.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use cthelper_proto::types::State;
use cthelper_supervisor::evidence::exhibit::Exhibit;
use cthelper_supervisor::evidence::pcapng;
use cthelper_tests::binaries::binary;
use cthelper_tests::control::{Control, Net, Packet};
use cthelper_tests::program::{Said, Temporary, cthelperd};
use serde_json::Value;

use crate::{Kept, death, ends};

/// Replays a file with imposters as the workers of helper `imposter`.
fn replay(file: &Path) -> (Said, Vec<Value>) {
    let worker = binary("imposter");
    let config = format!("[helper.imposter]\nworker = \"{}\"\n", worker.display());
    let config = Temporary::new("imposter.toml", config.as_bytes());
    let said = cthelperd(&["replay", "--json", "--config", config.path(), file.to_str().unwrap()]);
    let lines = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (said, lines)
}

fn line<'a>(lines: &'a [Value], event: &str) -> &'a Value {
    lines.iter().find(|line| line["event"] == event).unwrap_or_else(|| panic!("no {event} in {lines:?}"))
}

/// A file as the quarantine writes it.
fn exhibit(packet: &Packet, helper: &str, state: &[u8]) -> Vec<u8> {
    let exhibit = Exhibit {
        crash: format!("{helper}-19a000000ff-3"),
        helper: helper.to_owned(),
        cause: "signal SIGABRT".to_owned(),
        flow: packet.flow,
        info: packet.info,
        confirmed: packet.confirmed,
        state: State::new(state).unwrap(),
    };
    pcapng::file(&packet.bytes, SystemTime::now(), &[exhibit.words(), exhibit.comment()])
}

#[test]
fn a_packet_of_the_quarantine_ends_another_worker_in_the_same_way() {
    let kept = Kept::new();
    let mut flow = Control::over(Net::Snat4, 1);
    flow.client("in the middle of a connection, and translated");
    let packets = vec![flow.server("DO abort"), Control::over(Net::Plain6, 2).client("DO socket")];
    let events = ends(&kept.0, packets);
    let crashes: Vec<_> = events.iter().filter_map(death).collect();
    assert_eq!(crashes.len(), 2);
    for crash in crashes {
        let file = crash.in_hand.as_ref().unwrap().file.as_ref().unwrap();
        assert_eq!(std::fs::metadata(file).unwrap().mode() & 0o777, 0o600);
        let (said, lines) = replay(Path::new(file));
        assert_eq!(said.code, 70, "{}", said.err);
        let told = line(&lines, "crash");
        assert_eq!((told["cause"].as_str(), told["packet"].as_u64()), (Some(crash.cause.as_str()), Some(1)));
        assert_eq!(told["repeats"]["crash"], crash.id.as_str());
        assert_eq!(told["repeats"]["same"], true);
        assert_eq!(line(&lines, "summary")["crashes"], 1);
    }
}

#[test]
fn a_worker_that_lives_now_is_said_to_live() {
    let packet = Control::over(Net::Dnat4, 1).client("harmless");
    let file = Temporary::new("mended.pcapng", &exhibit(&packet, "imposter", &[0; 8]));
    let (said, lines) = replay(Path::new(file.path()));
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert_eq!(line(&lines, "survived")["repeats"]["crash"], "imposter-19a000000ff-3");
    assert_eq!(line(&lines, "summary")["helped"], 1);
}

#[test]
fn the_helper_gets_the_private_bytes_and_the_translation_of_then() {
    let mut flow = Control::over(Net::Dnat4, 1);
    let packet = flow.server("DO third-party");
    let file = Temporary::new("asks.pcapng", &exhibit(&packet, "imposter", &[7; 8]));
    let (said, lines) = replay(Path::new(file.path()));
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(line(&lines, "refused")["master"]["sport"], packet.flow.orig.sport);
    let ftp = Control::over(Net::Snat4, 3).client("PORT 10,0,1,2,7,208\r\n");
    for (opaque, wanted) in [(0, 1), (1, 0)] {
        let file = Temporary::new("ftp.pcapng", &exhibit(&ftp, "ftp", &ftp_state(opaque == 1)));
        let (said, lines) = replay(Path::new(file.path()));
        assert_eq!(said.code, 0, "{}", said.err);
        assert_eq!(line(&lines, "summary")["expectations"], wanted, "after EPSV ALL: {opaque}");
    }
}

/// The private bytes of an FTP connection, after `EPSV ALL` or not, as a worker wrote them.
fn ftp_state(epsv_all: bool) -> Vec<u8> {
    use cthelper_supervisor::lane::Ended;
    use cthelper_tests::stage::Play;
    let stage = Play::ftp().start();
    let mut flow = Control::over(Net::Snat4, 3);
    stage.kernel.carries(flow.client(if epsv_all { "EPSV ALL\r\n" } else { "NOOP\r\n" }));
    let bytes = stage.kernel.state(&flow.flow).map_or_else(|| vec![0; 24], |state| state.as_bytes().to_vec());
    assert!(matches!(stage.stop(), Ended::Orderly));
    bytes
}

#[test]
fn a_damaged_exhibit_is_an_error_that_says_what_is_wrong() {
    let packet = Control::over(Net::Plain4, 1).client("harmless");
    let whole = exhibit(&packet, "imposter", &[0; 8]);
    let text = b"\"confirmed\":true";
    let at = whole.windows(text.len()).position(|window| window == text).unwrap();
    let block = |at: usize| at + usize::try_from(u32::from_le_bytes(whole[at + 4..at + 8].try_into().unwrap())).unwrap();
    let offset = block(block(0)); // behind section header and interface
    let mut damaged = whole.clone();
    damaged[at + 1] = b'k';
    for (name, file, words) in [
        ("damaged", damaged, format!("offset {offset}: cthelperd's comment: unknown field")),
        (
            "misfit",
            exhibit(&packet, "imposter", &[0; 5]),
            format!("offset {offset}: kept with 5 private bytes, and helper imposter has 8"),
        ),
        ("cut", whole[..whole.len() - 8].to_vec(), format!("offset {offset}: the file ends inside this record")),
    ] {
        let file = Temporary::new(name, &file);
        // A file of which not even the first packet can be read names no helper.
        let worker = binary("imposter");
        let config =
            Temporary::new("imposter.toml", format!("[helper.imposter]\nworker = \"{}\"\n", worker.display()).as_bytes());
        let said = cthelperd(&["replay", "--config", config.path(), "--helper", "imposter", file.path()]);
        assert_eq!(said.code, 65, "{name}: {}", said.err);
        assert!(said.err.contains(&words), "{name}: {}", said.err);
    }
}

#[test]
fn a_helper_without_a_worker_says_which_option_names_one() {
    let packet = Control::over(Net::Plain4, 1).client("harmless");
    let file = Temporary::new("stranger.pcapng", &exhibit(&packet, "imposter", &[0; 8]));
    let said = cthelperd(&["replay", file.path()]);
    assert_eq!(said.code, 69, "{}", said.err);
    assert!(said.err.contains("unknown helper: imposter") && said.err.contains("--config"), "{}", said.err);
}
