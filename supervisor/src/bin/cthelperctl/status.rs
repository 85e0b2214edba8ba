//! `status`: the helpers in a table, and below it what deserves a word.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use cthelper_proto::ctl::{BrokerState, BrokerStatus, HelperStatus, LaneState, Status};

use cthelper_supervisor::cli::ctl::status::Options;

use crate::control;
use crate::exit::{Exit, Failure};
use crate::text::{printable, styled};

const HEADING: [&str; 11] =
    ["HELPER", "L4", "FAMILIES", "QUEUE", "STATE", "PACKETS", "EXPECTED", "REFUSED", "RESTARTS", "WORKER", "LANDLOCK"];

/// Where [`LaneState`] stands.
const STATE: usize = 4;
/// Where refusals are counted.
const REFUSED: usize = 7;

/// Prints the status, once or again and again until interrupted. Colours are left out where they are not wanted: no terminal, `NO_COLOR`.
pub fn run(wanted: &Options, runtime_dir: &Path) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    let Some(seconds) = wanted.watch else {
        return Ok(out.write_all(text(&control::status(runtime_dir)?, wanted.json)?.as_bytes())?);
    };
    let screen = !wanted.json && io::stdout().is_terminal();
    loop {
        let text = match control::status(runtime_dir).and_then(|status| text(&status, wanted.json)) {
            Ok(text) => text,
            // A restart of the daemon is part of what a person watches. Elsewhere stdout is for the status alone.
            Err(failure) if failure.exit == Exit::Unavailable && screen => format!("{failure}\n"),
            Err(failure) => return Err(failure),
        };
        // To the upper left corner, and what was there is cleared.
        let head = if screen { "\u{1b}[H\u{1b}[2J" } else { "" };
        // Not through the filter of colours: this is for terminals only, whatever they think of colours.
        io::stdout().write_all(head.as_bytes())?;
        out.write_all(text.as_bytes())?;
        out.flush()?;
        thread::sleep(Duration::from_secs(seconds));
    }
}

fn text(status: &Status, for_programs: bool) -> Result<String, Failure> {
    if for_programs { json(status) } else { Ok(table(status)) }
}

/// For people.
pub fn table(status: &Status) -> String {
    if status.helpers.is_empty() {
        return "no helper is served\n".to_owned();
    }
    let mut rows = vec![HEADING.map(str::to_owned).to_vec()];
    rows.extend(status.helpers.iter().map(row));
    let mut out = styled(&rows, |row, column| match row.checked_sub(1).and_then(|at| status.helpers.get(at)) {
        None => Style::new().bold(),
        Some(helper) if column == STATE => colour(helper.state),
        Some(helper) if column == REFUSED && helper.refused.values().any(|count| *count > 0) => YELLOW,
        Some(_) => Style::new(),
    });
    for remark in status.helpers.iter().flat_map(remarks).chain(broker(&status.broker)).chain(version(&status.version)) {
        out.push_str(&remark);
        out.push('\n');
    }
    out
}

const YELLOW: Style = AnsiColor::Yellow.on_default();

fn colour(state: LaneState) -> Style {
    match state {
        LaneState::Serving => AnsiColor::Green.on_default(),
        LaneState::Restarting | LaneState::Disabled => YELLOW,
        LaneState::Tripped => AnsiColor::Red.on_default().bold(),
    }
}

/// A daemon that was not restarted after an upgrade.
fn version(daemon: &str) -> Option<String> {
    let ours = env!("CARGO_PKG_VERSION");
    (!daemon.is_empty() && daemon != ours).then(|| format!("cthelperd is of version {}, this is {ours}", printable(daemon)))
}

/// For programs: one object on one line, its fields in the order of [`Status`].
pub fn json(status: &Status) -> Result<String, Failure> {
    let line = serde_json::to_string(status).map_err(|error| Failure::new(Exit::Software, error.to_string()))?;
    Ok(line + "\n")
}

fn state(state: LaneState) -> &'static str {
    match state {
        LaneState::Serving => "serving",
        LaneState::Restarting => "restarting",
        LaneState::Tripped => "tripped",
        LaneState::Disabled => "disabled",
    }
}

fn row(helper: &HelperStatus) -> Vec<String> {
    let families: Vec<&str> = helper.families.iter().map(|family| family.name()).collect();
    let worker = helper.workers.iter().find(|worker| !worker.spare);
    vec![
        printable(&helper.name),
        helper.l4.to_string(),
        families.join(","),
        helper.queue.to_string(),
        state(helper.state).to_owned(),
        helper.packets.to_string(),
        helper.expectations.to_string(),
        helper.refused.values().sum::<u64>().to_string(),
        helper.restarts.to_string(),
        worker.map_or_else(|| "none".to_owned(), |worker| format!("pid {}", worker.pid)),
        worker.map_or_else(|| "-".to_owned(), |worker| printable(&worker.landlock)),
    ]
}

/// What becomes of packets that no worker reads, unless the operator switched the helper off.
pub fn unserved(helper: &HelperStatus) -> &'static str {
    if helper.on_down == "drop" { "packets are dropped (on_down)" } else { "packets pass without it" }
}

/// What becomes of packets until the next worker is there.
pub fn between_workers(helper: &HelperStatus) -> String {
    let first = if helper.on_down == "hold" { "packets wait for it; past `hold` " } else { "" };
    format!("{first}{}", unserved(helper))
}

/// What is not as it is most of the time.
fn remarks(helper: &HelperStatus) -> Vec<String> {
    let name = printable(&helper.name);
    let mut remarks = Vec::new();
    match helper.state {
        LaneState::Serving => {}
        LaneState::Restarting => {
            remarks.push(format!("{name}: no worker yet; {}", between_workers(helper)));
        }
        LaneState::Tripped => {
            remarks.push(format!("{name}: too many crashes, {}; `cthelperctl restart {name}` tries again", unserved(helper)));
        }
        LaneState::Disabled => {
            remarks.push(format!("{name}: packets pass without it; `cthelperctl enable {name}` serves it again"));
        }
    }
    if let count @ 1.. = helper.left_alone.len() {
        let most = helper.left_alone.iter().map(|flow| flow.for_secs).max().unwrap_or(0);
        let whose = if count == 1 { "connection ended workers and is" } else { "connections ended workers and are" };
        remarks.push(format!("{name}: {count} {whose} left alone, the last for {most} s; see cthelperctl crashes"));
    }
    for (what, counts) in [("refused", &helper.refused), ("malformed", &helper.malformed), ("trouble", &helper.trouble)] {
        remarks.extend(counted(counts).map(|list| format!("{name}: {what}: {list}")));
    }
    remarks
}

/// What deserves a word of the broker.
fn broker(broker: &BrokerStatus) -> Option<String> {
    let restarts = broker.restarts;
    match broker.state {
        BrokerState::Restarting if restarts > 0 => {
            Some(format!("broker: none at the moment, {restarts} have ended; events.sock answers when the next one is there"))
        }
        _ if broker.lost > 0 => Some(format!("broker: slow subscribers have lost {} records", broker.lost)),
        _ => None,
    }
}

/// `rule 3, other 1`; `None` when all are zero.
fn counted(counts: &BTreeMap<String, u64>) -> Option<String> {
    let list: Vec<String> =
        counts.iter().filter(|(_, count)| **count > 0).map(|(name, count)| format!("{} {count}", printable(name))).collect();
    (!list.is_empty()).then(|| list.join(", "))
}

#[cfg(test)]
mod tests {
    use cthelper_proto::ctl::{LeftAlone, WorkerStatus};
    use cthelper_proto::types::{Family, L4s};

    use super::*;

    /// As a pipe gets it.
    fn table(status: &Status) -> String {
        anstream::adapter::strip_str(&super::table(status)).to_string()
    }

    #[test]
    fn states_have_colours() {
        let status = Status { helpers: vec![ftp()], ..Status::default() };
        assert!(super::table(&status).contains("\u{1b}[32mserving"), "{:?}", super::table(&status));
        let tripped = Status { helpers: vec![HelperStatus { state: LaneState::Tripped, ..ftp() }], ..Status::default() };
        assert!(super::table(&tripped).contains("\u{1b}[1m\u{1b}[31mtripped"), "{:?}", super::table(&tripped));
    }

    #[test]
    fn a_daemon_of_another_version_is_named() {
        let status = Status { helpers: vec![ftp()], version: "9.9.9".to_owned(), ..Status::default() };
        assert!(table(&status).contains("\ncthelperd is of version 9.9.9, this is "));
        let same = Status { version: env!("CARGO_PKG_VERSION").to_owned(), ..status };
        assert!(!table(&same).contains("version"));
    }

    fn ftp() -> HelperStatus {
        let worker = WorkerStatus {
            pid: 412,
            uid: 990,
            generation: 2,
            spare: false,
            landlock: "enforced (ABI 2)".to_owned(),
            namespaces: "network, ipc".to_owned(),
            write_xor_execute: true,
        };
        HelperStatus {
            name: "ftp".to_owned(),
            l4: L4s::Tcp,
            families: Family::ALL.to_vec(),
            ports: vec![21],
            queue: 6,
            state: LaneState::Serving,
            on_down: "hold".to_owned(),
            classes: Vec::new(),
            packets: 1204,
            verdicts: 1204,
            expectations: 31,
            refused: BTreeMap::from([("foreign-address".to_owned(), 3), ("privileged-port".to_owned(), 0)]),
            malformed: BTreeMap::new(),
            trouble: BTreeMap::new(),
            restarts: 1,
            workers: vec![WorkerStatus { pid: 500, spare: true, ..worker.clone() }, worker],
            left_alone: Vec::new(),
        }
    }

    #[test]
    fn the_table_shows_the_serving_worker_and_what_was_refused() {
        let expected = "\
HELPER  L4   FAMILIES    QUEUE  STATE    PACKETS  EXPECTED  REFUSED  RESTARTS  WORKER   LANDLOCK
ftp     tcp  inet,inet6  6      serving  1204     31        3        1         pid 412  enforced (ABI 2)
ftp: refused: foreign-address 3
";
        assert_eq!(table(&Status { helpers: vec![ftp()], ..Status::default() }), expected);
    }

    #[test]
    fn connections_that_are_left_alone_are_counted() {
        let helper = HelperStatus { left_alone: vec![LeftAlone { id: 7, for_secs: 90 }], ..ftp() };
        let text = table(&Status { helpers: vec![helper], ..Status::default() });
        assert!(text.contains("\nftp: 1 connection ended workers and is left alone, the last for 90 s"), "{text}");
    }

    #[test]
    fn a_tripped_helper_says_what_to_do() {
        let tripped = HelperStatus { state: LaneState::Tripped, workers: Vec::new(), refused: BTreeMap::new(), ..ftp() };
        let out = table(&Status { helpers: vec![tripped], ..Status::default() });
        assert!(
            out.contains("tripped") && out.contains("none") && out.contains("`cthelperctl restart ftp` tries again"),
            "{out}"
        );
        let dropping = HelperStatus { state: LaneState::Tripped, on_down: "drop".to_owned(), ..ftp() };
        let out = table(&Status { helpers: vec![dropping], ..Status::default() });
        assert!(out.contains("\nftp: too many crashes, packets are dropped (on_down); "), "{out}");
    }

    #[test]
    fn a_helper_between_workers_says_what_becomes_of_its_packets() {
        for (on_down, expected) in [
            ("hold", "packets wait for it; past `hold` packets pass without it"),
            ("pass", "packets pass without it"),
            ("drop", "packets are dropped (on_down)"),
        ] {
            let on_down = on_down.to_owned();
            let between = HelperStatus { state: LaneState::Restarting, on_down, refused: BTreeMap::new(), ..ftp() };
            let out = table(&Status { helpers: vec![between], ..Status::default() });
            assert!(out.ends_with(&format!("\nftp: no worker yet; {expected}\n")), "{out}");
        }
    }

    #[test]
    fn a_broker_that_ended_and_one_with_slow_subscribers_are_told() {
        let with = |broker: BrokerStatus| table(&Status { helpers: vec![ftp()], broker, ..Status::default() });
        let gone = BrokerStatus { restarts: 2, ..BrokerStatus::default() };
        assert!(with(gone).contains("\nbroker: none at the moment, 2 have ended"));
        let slow = BrokerStatus { state: BrokerState::Serving, restarts: 2, lost: 7, ..BrokerStatus::default() };
        assert!(with(slow).ends_with("\nbroker: slow subscribers have lost 7 records\n"));
    }

    #[test]
    fn names_from_others_are_escaped_in_the_table() {
        let odd = HelperStatus { name: "x\x1b[1m".to_owned(), ..ftp() };
        assert!(table(&Status { helpers: vec![odd], ..Status::default() }).contains("x\\u{1b}[1m"));
    }

    #[test]
    fn json_keeps_the_contracts_names() {
        let line = json(&Status { helpers: vec![ftp()], ..Status::default() }).unwrap();
        assert!(
            line.starts_with(
                r#"{"helpers":[{"name":"ftp","l4":"tcp","families":["inet","inet6"],"ports":[21],"queue":6,"state":"serving","#
            ),
            "{line}"
        );
        assert!(
            line.contains("}]}],\"broker\":{\"state\":\"restarting\",")
                && line.ends_with(",\"version\":\"\"}\n")
                && line.contains(r#""refused":{"foreign-address":3,"#),
            "{line}"
        );
        let both = json(&Status { helpers: vec![HelperStatus { l4: L4s::Both, ..ftp() }], ..Status::default() }).unwrap();
        assert!(both.contains(r#""l4":"tcp,udp","#), "{both}");
    }

    #[test]
    fn no_helpers_are_said_so() {
        assert_eq!(table(&Status::default()), "no helper is served\n");
    }
}
