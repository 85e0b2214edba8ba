//! `flows`: the connections that have a helper, as the broker's mirror has them.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, IsTerminal, Write};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use cthelper_proto::events::Master;
use cthelper_proto::flows::FlowRecord;
use cthelper_supervisor::cli::ctl::flows::Options;

use crate::broker;
use crate::control::unanswered;
use crate::exit::{Exit, Failure};
use crate::text::{columns, printable};

/// Between two showings of `--watch`.
const PAUSE: Duration = Duration::from_secs(2);
/// Clears a terminal and begins at its top.
const CLEAR: &str = "\x1b[H\x1b[2J";
const HEADING: [&str; 9] = ["HELPER", "PROTO", "STATE", "AGE", "NAT", "ANNOUNCED", "EXPECTED", "REFUSED", "CONNECTION"];

/// Shows them, once or for ever.
pub fn run(wanted: Options, runtime_dir: &Path, out: &mut impl Write) -> Result<(), Failure> {
    loop {
        let text = shown(&fetch(runtime_dir)?, wanted)?;
        if wanted.watch && !wanted.json && std::io::stdout().is_terminal() {
            out.write_all(CLEAR.as_bytes())?;
        }
        out.write_all(text.as_bytes())?;
        out.flush()?;
        if !wanted.watch {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}

fn fetch(runtime_dir: &Path) -> Result<Vec<FlowRecord>, Failure> {
    records(broker::ask(runtime_dir, r#"{"flows":{}}"#)?)
}

/// All of them; an answer that is whole ends with a line's end.
fn records(mut answer: impl BufRead) -> Result<Vec<FlowRecord>, Failure> {
    let (mut records, mut line) = (Vec::new(), String::new());
    while broker::next_line(&mut answer, &mut line).map_err(|error| unanswered(&error))? {
        let record = serde_json::from_str(&line);
        records.push(record.map_err(|error| Failure::new(Exit::Software, format!("an answer that cannot be read: {error}")))?);
    }
    Ok(records)
}

fn shown(records: &[FlowRecord], wanted: Options) -> Result<String, Failure> {
    if wanted.json {
        let lines: Result<Vec<String>, _> = records.iter().map(serde_json::to_string).collect();
        let lines = lines.map_err(|error| Failure::new(Exit::Software, error.to_string()))?;
        return Ok(lines.into_iter().map(|line| line + "\n").collect());
    }
    let helped = records.iter().any(|record| record.helper.is_some());
    if !helped {
        return Ok("no connection has a helper\n".to_owned());
    }
    let mut rows = vec![HEADING.map(str::to_owned).to_vec()];
    if wanted.tree {
        rows.extend(tree(records).into_iter().map(|(record, depth)| row(record, depth)));
    } else {
        rows.extend(records.iter().filter(|record| record.helper.is_some()).map(|record| row(record, 0)));
    }
    Ok(columns(&rows))
}

/// Each record with its depth, children behind their master. One whose master is gone stands by itself.
fn tree(records: &[FlowRecord]) -> Vec<(&FlowRecord, usize)> {
    let mut children: HashMap<Key, Vec<&FlowRecord>> = HashMap::new();
    let masters: HashSet<Key> = records.iter().map(Key::of).collect();
    let mut tops = Vec::new();
    for record in records {
        match record.master.map(|master| Key { side: master, zone: record.zone }).filter(|key| masters.contains(key)) {
            Some(master) => children.entry(master).or_default().push(record),
            None => tops.push((record, 0)),
        }
    }
    let mut all = Vec::new();
    let mut next: Vec<(&FlowRecord, usize)> = tops.into_iter().rev().collect();
    // Each stands below one master at most, so none comes twice; a ring of masters has no top and is left out.
    while let Some((record, depth)) = next.pop() {
        all.push((record, depth));
        let below = children.remove(&Key::of(record)).unwrap_or_default();
        next.extend(below.into_iter().rev().map(|child| (child, depth + 1)));
    }
    all
}

/// Names a connection among the records. A master's protocol is not told; ports of two at the same addresses hardly coincide.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    side: Master,
    zone: u16,
}

impl Key {
    fn of(record: &FlowRecord) -> Self {
        Self { side: record.orig, zone: record.zone }
    }
}

fn row(record: &FlowRecord, depth: usize) -> Vec<String> {
    let number = |n: u64| if record.helper.is_some() { n.to_string() } else { "-".to_owned() };
    let nat = match (record.snat, record.dnat) {
        (false, false) => "-",
        (true, false) => "src",
        (false, true) => "dst",
        (true, true) => "src,dst",
    };
    let age = if record.since_birth { String::new() } else { ">".to_owned() } + &age(record.age_ms);
    let branch = if depth == 0 { String::new() } else { format!("{}└ ", "  ".repeat(depth - 1)) };
    vec![
        record.helper.as_deref().map_or_else(|| "-".to_owned(), printable),
        protocol(record.proto),
        record.state.as_deref().map_or_else(|| "-".to_owned(), printable),
        age,
        nat.to_owned(),
        number(record.announcements),
        number(record.used) + &if record.expecting > 0 { format!("+{}", record.expecting) } else { String::new() },
        number(record.refused),
        format!("{branch}{}", connection(record)),
    ]
}

fn protocol(number: u8) -> String {
    match number {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        other => other.to_string(),
    }
}

/// In its largest unit.
fn age(millis: u64) -> String {
    match millis / 1000 {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}min", seconds / 60),
        seconds => format!("{}h", seconds / 3600),
    }
}

/// `10.0.1.2:40000 -> 10.0.2.2:21`, and where it is translated the other end's view.
fn connection(record: &FlowRecord) -> String {
    let Master { src, sport, dst, dport } = record.orig;
    let zone = if record.zone == 0 { String::new() } else { format!(" zone {}", record.zone) };
    let seen = match record.reply {
        Some(reply) if record.snat || record.dnat => {
            format!(" seen as {} -> {}", end(reply.dst, reply.dport), end(reply.src, reply.sport))
        }
        _ => String::new(),
    };
    format!("{} -> {}{seen}{zone}", end(src, sport), end(dst, dport))
}

fn end(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

#[cfg(test)]
mod tests;
