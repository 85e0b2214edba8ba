//! Every counter of the daemon, with its name, unit and meaning. packaging/METRICS.md is this table for people; a test keeps both, and
//! packaging/grafana/cthelperd.json, equal.

mod text;

use cthelper_proto::ctl::{HelperStatus, LaneState};
use cthelper_proto::netlink::report::Kind;

pub use text::text;

use super::protocol::Daemon;

/// All that is known at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The supervisor's last word of each helper.
    pub helpers: Vec<HelperStatus>,
    /// And of itself.
    pub daemon: Daemon,
    /// Seconds since that word.
    pub age: f64,
    /// What the broker has counted.
    pub broker: Counts,
}

/// The broker's own counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Clients that are connected.
    pub clients: u64,
    /// Clients that were sent away or dropped, by why, in the order of [`Dropped`].
    pub dropped: [u64; Dropped::ALL.len()],
    /// Times the metrics were fetched.
    pub scrapes: u64,
    /// Clients that get events.
    pub subscribers: u64,
    /// Events of the kernel, by kind, in the order of [`Kind::ALL`].
    pub events: [u64; Kind::ALL.len()],
    /// Events put before subscribers, each counted for each.
    pub queued: u64,
    /// Of these, those that slow subscribers lost.
    pub lost: u64,
    /// Times the kernel said that it had dropped events.
    pub gaps: u64,
    /// Events it has dropped, by its own count.
    pub dropped_by_kernel: u64,
    /// Dumps of everything there is.
    pub dumps: u64,
    /// Dumps that failed and were begun again.
    pub dumps_failed: u64,
    /// Messages of the kernel that could not be read.
    pub malformed: u64,
    /// Attributes that are unknown or broken and were left out.
    pub skipped: u64,
    /// Connections by helper.
    pub flows: Vec<(String, u64)>,
    /// Connections for which the mirror had no room.
    pub overflow: u64,
}

impl Counts {
    pub(super) fn dropped(&mut self, why: Dropped) {
        if let Some(count) = self.dropped.get_mut(why as usize) {
            *count += 1;
        }
    }
}

/// Why a client was sent away or dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// There were too many, of this user or in all.
    TooMany,
    /// It said nothing, or half a request, for too long.
    Silent,
    /// Its request was too long or not understood.
    Garbage,
    /// It did not read its answer in time.
    Slow,
}

impl Dropped {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 4] = [Self::TooMany, Self::Silent, Self::Garbage, Self::Slow];

    /// As a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooMany => "too-many",
            Self::Silent => "silent",
            Self::Garbage => "garbage",
            Self::Slow => "slow",
        }
    }
}

/// What a metric does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Only grows, until the daemon or the broker starts again. Its sample's name ends with `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One metric.
pub struct Metric {
    /// Its name without unit and `_total`.
    pub name: &'static str,
    /// Its unit, with which its name ends; empty for a number of things that have none.
    pub unit: &'static str,
    /// What it does.
    pub kind: Type,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
    read: fn(&Snapshot) -> Vec<Sample>,
}

impl Metric {
    /// The name of its samples.
    pub fn full_name(&self) -> String {
        let unit = if self.unit.is_empty() { String::new() } else { format!("_{}", self.unit) };
        let total = if self.kind == Type::Counter { "_total" } else { "" };
        format!("{}{unit}{total}", self.name)
    }
}

/// One value, and what its labels are.
struct Sample {
    labels: Vec<String>,
    value: Value,
}

#[derive(Clone, Copy)]
enum Value {
    Whole(u64),
    Real(f64),
}

fn one(value: u64) -> Vec<Sample> {
    vec![Sample { labels: Vec::new(), value: Value::Whole(value) }]
}

fn each(snapshot: &Snapshot, read: fn(&HelperStatus) -> u64) -> Vec<Sample> {
    let sample = |helper: &HelperStatus| Sample { labels: vec![helper.name.clone()], value: Value::Whole(read(helper)) };
    snapshot.helpers.iter().map(sample).collect()
}

fn counts(snapshot: &Snapshot, read: fn(&HelperStatus) -> &std::collections::BTreeMap<String, u64>) -> Vec<Sample> {
    let of = |helper: &HelperStatus| {
        let name = helper.name.clone();
        let sample = move |(what, count): (&String, &u64)| Sample {
            labels: vec![name.clone(), what.clone()],
            value: Value::Whole(*count),
        };
        read(helper).iter().map(sample).collect::<Vec<_>>()
    };
    snapshot.helpers.iter().flat_map(of).collect()
}

fn states(snapshot: &Snapshot) -> Vec<Sample> {
    const STATES: [(LaneState, &str); 4] = [
        (LaneState::Serving, "serving"),
        (LaneState::Restarting, "restarting"),
        (LaneState::Tripped, "tripped"),
        (LaneState::Disabled, "disabled"),
    ];
    let of = |helper: &HelperStatus| {
        STATES.map(|(state, name)| Sample {
            labels: vec![helper.name.clone(), name.to_owned()],
            value: Value::Whole(u64::from(helper.state == state)),
        })
    };
    snapshot.helpers.iter().flat_map(of).collect()
}

fn workers(helper: &HelperStatus, spare: bool) -> u64 {
    u64::try_from(helper.workers.iter().filter(|worker| worker.spare == spare).count()).unwrap_or(u64::MAX)
}

const HELPER: &[&str] = &["helper"];

/// Every metric, in the order they are printed.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "cthelperd_build",
        unit: "info",
        kind: Type::Gauge,
        labels: &["version"],
        help: "1; the version is a label",
        read: |s| vec![Sample { labels: vec![s.daemon.version.clone()], value: Value::Whole(1) }],
    },
    Metric {
        name: "cthelperd_uptime",
        unit: "seconds",
        kind: Type::Gauge,
        labels: &[],
        help: "Time since the daemon serves",
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of 285 000 years fit")]
        read: |s| vec![Sample { labels: Vec::new(), value: Value::Real(s.daemon.uptime_ms as f64 / 1000.0) }],
    },
    Metric {
        name: "cthelperd_status_age",
        unit: "seconds",
        kind: Type::Gauge,
        labels: &[],
        help: "Age of the figures of helpers below; more than a few seconds means that the supervisor does not answer the broker",
        read: |s| vec![Sample { labels: Vec::new(), value: Value::Real(s.age) }],
    },
    Metric {
        name: "cthelperd_helper_state",
        unit: "",
        kind: Type::Gauge,
        labels: &["helper", "state"],
        help: "1 for the state the helper is in: serving, restarting (no worker yet), tripped (packets pass without it) or disabled",
        read: states,
    },
    Metric {
        name: "cthelperd_helper",
        unit: "packets",
        kind: Type::Counter,
        labels: HELPER,
        help: "Packets the kernel queued for the helper",
        read: |s| each(s, |helper| helper.packets),
    },
    Metric {
        name: "cthelperd_helper",
        unit: "verdicts",
        kind: Type::Counter,
        labels: HELPER,
        help: "Packets given back to the kernel",
        read: |s| each(s, |helper| helper.verdicts),
    },
    Metric {
        name: "cthelperd_helper",
        unit: "expectations",
        kind: Type::Counter,
        labels: HELPER,
        help: "Announced connections that the kernel was made to expect",
        read: |s| each(s, |helper| helper.expectations),
    },
    Metric {
        name: "cthelperd_helper",
        unit: "refusals",
        kind: Type::Counter,
        labels: &["helper", "rule"],
        help: "Announcements and edits that policy or the kernel refused, by rule",
        read: |s| counts(s, |helper| &helper.refused),
    },
    Metric {
        name: "cthelperd_helper_malformed",
        unit: "payloads",
        kind: Type::Counter,
        labels: &["helper", "field"],
        help: "Payloads that broke their protocol and passed, by the field that was wrong",
        read: |s| counts(s, |helper| &helper.malformed),
    },
    Metric {
        name: "cthelperd_helper",
        unit: "troubles",
        kind: Type::Counter,
        labels: &["helper", "kind"],
        help: "What else went wrong: packets the queue lost, refused verdicts, records that could not be kept, by name",
        read: |s| counts(s, |helper| &helper.trouble),
    },
    Metric {
        name: "cthelperd_helper_worker",
        unit: "ends",
        kind: Type::Counter,
        labels: HELPER,
        help: "Workers that crashed, hung or were replaced",
        read: |s| each(s, |helper| helper.restarts),
    },
    Metric {
        name: "cthelperd_helper",
        unit: "workers",
        kind: Type::Gauge,
        labels: &["helper", "role"],
        help: "Verified workers: the one that serves, and spares",
        read: |s| {
            let of = |helper: &HelperStatus| {
                [("serving", false), ("spare", true)].map(|(role, spare)| Sample {
                    labels: vec![helper.name.clone(), role.to_owned()],
                    value: Value::Whole(workers(helper, spare)),
                })
            };
            s.helpers.iter().flat_map(of).collect()
        },
    },
    Metric {
        name: "cthelperd_broker",
        unit: "restarts",
        kind: Type::Counter,
        labels: &[],
        help: "Brokers that ended and were replaced; the broker's own counters below began anew each time",
        read: |s| one(s.daemon.broker_restarts),
    },
    Metric {
        name: "cthelperd_broker_link_lost",
        unit: "messages",
        kind: Type::Counter,
        labels: &[],
        help: "Messages of the supervisor to the broker for which there was no room",
        read: |s| one(s.daemon.link_lost),
    },
    Metric {
        name: "cthelperd_broker",
        unit: "clients",
        kind: Type::Gauge,
        labels: &[],
        help: "Connections to events.sock and to the port for metrics",
        read: |s| one(s.broker.clients),
    },
    Metric {
        name: "cthelperd_broker_dropped",
        unit: "clients",
        kind: Type::Counter,
        labels: &["reason"],
        help: "Clients that were sent away or dropped: too-many, silent, garbage, slow",
        read: |s| {
            let sample =
                |(why, count): (Dropped, u64)| Sample { labels: vec![why.name().to_owned()], value: Value::Whole(count) };
            Dropped::ALL.into_iter().zip(s.broker.dropped).map(sample).collect()
        },
    },
    Metric {
        name: "cthelperd_broker",
        unit: "scrapes",
        kind: Type::Counter,
        labels: &[],
        help: "Times these metrics were asked for",
        read: |s| one(s.broker.scrapes),
    },
    Metric {
        name: "cthelperd_broker",
        unit: "subscribers",
        kind: Type::Gauge,
        labels: &[],
        help: "Clients that get events",
        read: |s| one(s.broker.subscribers),
    },
    Metric {
        name: "cthelperd_broker",
        unit: "events",
        kind: Type::Counter,
        labels: &["kind"],
        help: "Events of the kernel that were read (it keeps back what no queue and no mirror can want): new, update, destroy, expect-new, expect-destroy",
        read: |s| {
            let sample = |(kind, count): (Kind, u64)| Sample { labels: vec![kind.name().to_owned()], value: Value::Whole(count) };
            Kind::ALL.into_iter().zip(s.broker.events).map(sample).collect()
        },
    },
    Metric {
        name: "cthelperd_broker_queued",
        unit: "events",
        kind: Type::Counter,
        labels: &[],
        help: "Events put before subscribers, each counted for each subscriber",
        read: |s| one(s.broker.queued),
    },
    Metric {
        name: "cthelperd_broker_lost",
        unit: "events",
        kind: Type::Counter,
        labels: &[],
        help: "Of these, those that subscribers lost because they were slow; each is told how many",
        read: |s| one(s.broker.lost),
    },
    Metric {
        name: "cthelperd_broker",
        unit: "gaps",
        kind: Type::Counter,
        labels: &[],
        help: "Times the kernel said that it had dropped events; each is followed by a dump",
        read: |s| one(s.broker.gaps),
    },
    Metric {
        name: "cthelperd_broker_kernel_dropped",
        unit: "messages",
        kind: Type::Counter,
        labels: &[],
        help: "Events the kernel has dropped since this broker's start, by its own count (/proc/net/netlink)",
        read: |s| one(s.broker.dropped_by_kernel),
    },
    Metric {
        name: "cthelperd_broker",
        unit: "dumps",
        kind: Type::Counter,
        labels: &[],
        help: "Complete readings of the kernel's tables: at the start, after gaps, for subscribers that ask",
        read: |s| one(s.broker.dumps),
    },
    Metric {
        name: "cthelperd_broker_failed",
        unit: "dumps",
        kind: Type::Counter,
        labels: &[],
        help: "Readings that failed and were begun again",
        read: |s| one(s.broker.dumps_failed),
    },
    Metric {
        name: "cthelperd_broker_malformed",
        unit: "messages",
        kind: Type::Counter,
        labels: &[],
        help: "Messages of the kernel that could not be read",
        read: |s| one(s.broker.malformed),
    },
    Metric {
        name: "cthelperd_broker_skipped",
        unit: "attributes",
        kind: Type::Counter,
        labels: &[],
        help: "Attributes of events that are unknown or broken and were left out",
        read: |s| one(s.broker.skipped),
    },
    Metric {
        name: "cthelperd",
        unit: "flows",
        kind: Type::Gauge,
        labels: HELPER,
        help: "Connections that have the helper now",
        read: |s| {
            let sample = |(helper, count): &(String, u64)| Sample { labels: vec![helper.clone()], value: Value::Whole(*count) };
            s.broker.flows.iter().map(sample).collect()
        },
    },
    Metric {
        name: "cthelperd_mirror_overflow",
        unit: "flows",
        kind: Type::Counter,
        labels: &[],
        help: "Connections of which nothing could be remembered, because there were too many",
        read: |s| one(s.broker.overflow),
    },
];

#[cfg(test)]
mod tests;
