//! `crashes list`: a line for each.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use cthelper_proto::events::InHand;
use cthelper_supervisor::audit::entry;
use cthelper_supervisor::cli::ctl::crashes::Listing;

use super::log::{Death, Log};
use crate::exit::Failure;
use crate::text::{columns, printable};

const HEADING: [&str; 7] = ["TIME", "ID", "PID", "SERVED", "END", "IN HAND", "THEN"];

/// Widest cell for the end of a worker, characters.
const END: usize = 60;

pub fn run(log: &Log, options: &Listing, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let is_wanted = |death: &&Death| options.helper.as_ref().is_none_or(|helper| death.crash.helper == *helper);
    let mut deaths: Vec<&Death> = log.deaths.iter().rev().filter(is_wanted).take(options.newest).collect();
    deaths.reverse();
    if json {
        for death in deaths {
            writeln!(out, "{}", death.line)?;
        }
        return Ok(());
    }
    if deaths.is_empty() {
        writeln!(out, "no worker has ended, says {}", log.place())?;
        return Ok(());
    }
    let mut rows = vec![HEADING.map(str::to_owned).to_vec()];
    rows.extend(deaths.into_iter().map(row));
    out.write_all(columns(&rows).as_bytes())?;
    Ok(())
}

fn row(death: &Death) -> Vec<String> {
    let crash = &death.crash;
    let detail = entry::detail(crash.panic.as_ref(), crash.fault.as_ref()).map(|detail| format!(" ({detail})"));
    vec![
        time(death.time),
        printable(&crash.id),
        crash.pid.to_string(),
        format!("{} in {:.1} s", crash.packets, crash.uptime),
        cut(&printable(&format!("{}{}", crash.cause, detail.unwrap_or_default())), END),
        crash.in_hand.as_ref().map_or_else(|| "-".to_owned(), |in_hand| format!("{} ({} bytes)", way(in_hand), in_hand.length)),
        printable(&crash.decision),
    ]
}

/// RFC 3339, UTC, whole seconds.
pub fn time(seconds: f64) -> String {
    /// The first second of the year 10000, which has no such form.
    const END: f64 = 253_402_300_800.0;
    let since = Duration::try_from_secs_f64(seconds).ok().filter(|_| seconds < END).unwrap_or_default();
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}

/// Who sent it to whom, as its connection's originator knows them.
pub fn way(in_hand: &InHand) -> String {
    let flow = &in_hand.flow;
    let (orig, reply) = (end(flow.src, flow.sport), end(flow.dst, flow.dport));
    if in_hand.direction == "reply" { format!("{reply} > {orig}") } else { format!("{orig} > {reply}") }
}

fn end(addr: std::net::IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(addr, port).to_string()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}
