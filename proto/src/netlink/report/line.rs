//! The line of an event, byte for byte as conntrack(8) of conntrack-tools with `libnetfilter_conntrack` 1.0.9 prints it.
//!
//! `[tag] proto number timeout state src= dst= <ports> [UNREPLIED] src= dst= <ports> [ASSURED] mark= secctx= zone= delta-time= helper=`
//!
//! It differs in one thing: conntrack(8) looks for the name of the program that caused an event, and adds it when it still runs.

use std::fmt::{self, Write};

use super::super::conntrack::{Event, status};
use super::super::entry::{Counters, Entry};
use super::super::text::{Trimmed, protocol, side};
use super::{Moment, Report, Subject};

/// Nanoseconds in a second.
const NANOS: u64 = 1_000_000_000;

/// See [`Report::line`].
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub(super) report: &'a Report<'a>,
    pub(super) received: Moment,
    pub(super) stamped: bool,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Moment(micros) = self.report.moment(self.received);
        let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
        match &self.report.subject {
            Subject::Flow(entry) => {
                if self.stamped {
                    write!(f, "[{seconds:08}.{rest:06}]\t")?;
                }
                tag(f, self.report.event)?;
                flow(f, entry, self.received)?;
            }
            Subject::Expect(expectation) => {
                if self.stamped {
                    write!(f, "[{seconds:<8}.{rest:<6}]\t")?;
                }
                tag(f, self.report.event)?;
                write!(f, "{expectation}")?;
            }
        }
        match self.report.port_id {
            0 => Ok(()),
            port_id => write!(f, " [USERSPACE] portid={port_id}"),
        }
    }
}

/// Right-aligned to nine columns, and a blank.
fn tag(f: &mut fmt::Formatter<'_>, event: Option<Event>) -> fmt::Result {
    f.write_str(match event {
        Some(Event::New) => "    [NEW] ",
        Some(Event::Update) => " [UPDATE] ",
        Some(Event::Destroy) => "[DESTROY] ",
        None => "",
    })
}

fn flow(f: &mut fmt::Formatter<'_>, entry: &Entry<'_>, now: Moment) -> fmt::Result {
    let out = &mut Trimmed::new(f);
    let proto = entry.orig.proto;
    write!(out, "{:<8} {proto} ", protocol(proto))?;
    if let Some(timeout) = entry.timeout {
        write!(out, "{timeout} ")?;
    }
    if let Some(state) = entry.protoinfo.and_then(|info| info.state()) {
        write!(out, "{state} ")?;
    }
    directions(out, entry)?;
    attributes(out, entry, now)
}

fn directions(out: &mut impl Write, entry: &Entry<'_>) -> fmt::Result {
    let [orig_zone, reply_zone] = entry.zones;
    let [orig_counters, reply_counters] = entry.counters;
    side(out, "", &entry.orig)?;
    zone(out, "zone-orig", orig_zone)?;
    counters(out, orig_counters)?;
    if entry.status.is_some_and(|bits| bits & status::SEEN_REPLY == 0) {
        out.write_str("[UNREPLIED] ")?;
    }
    if let Some(reply) = &entry.reply {
        side(out, "", reply)?;
    }
    zone(out, "zone-reply", reply_zone)?;
    counters(out, reply_counters)
}

fn attributes(out: &mut impl Write, entry: &Entry<'_>, now: Moment) -> fmt::Result {
    let kept = [(status::HW_OFFLOAD, "[HW_OFFLOAD] "), (status::OFFLOAD, "[OFFLOAD] "), (status::ASSURED, "[ASSURED] ")];
    if let Some((_, word)) = kept.into_iter().find(|(bit, _)| entry.has_status(*bit)) {
        out.write_str(word)?;
    }
    if let Some(mark) = entry.mark {
        write!(out, "mark={mark} ")?;
    }
    if let Some(secctx) = entry.secctx {
        write!(out, "secctx={secctx} ")?;
    }
    zone(out, "zone", entry.zone)?;
    if let Some(start) = entry.lifetime.start {
        let stop = entry.lifetime.stop.filter(|stop| *stop != 0).map_or(now.0 / 1_000_000, |stop| stop / NANOS);
        write!(out, "delta-time={} ", stop.wrapping_sub(start / NANOS))?;
    }
    if let Some(helper) = entry.helper {
        write!(out, "helper={helper} ")?;
    }
    match entry.uses {
        Some(uses) => write!(out, "use={uses} "),
        None => Ok(()),
    }
}

fn zone(out: &mut impl Write, name: &str, zone: Option<u16>) -> fmt::Result {
    zone.map_or(Ok(()), |zone| write!(out, "{name}={zone} "))
}

fn counters(out: &mut impl Write, counters: Option<Counters>) -> fmt::Result {
    counters.map_or(Ok(()), |Counters { packets, bytes }| write!(out, "packets={packets} bytes={bytes} "))
}
