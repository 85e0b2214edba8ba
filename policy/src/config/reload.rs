//! What a changed configuration means for a daemon that runs: what is applied at once, and what waits until it is started again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cthelper_proto::types::Family;

use super::{Config, Daemon, HelperConfig, QueueConfig};

/// A setting that takes effect while packets flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Live {
    /// `[helper.NAME.restart]`: the history is kept and judged by the new policy.
    Restart,
    /// `loose`, `privileged_ports`, `rate`: the next announcement is judged by them.
    Rules,
    /// `loose` and the options, which a worker is told at its start: new workers take over.
    Worker,
    /// `queue_length`: the kernel is told the new length.
    QueueLength,
    /// Limits of classes: updated in place in the kernel.
    Classes,
    /// `ports`: the daemon needs nothing; rules printed by `cthelperctl rules` change.
    Ports,
}

impl fmt::Display for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restart => "restart policy",
            Self::Rules => "rules of announcements",
            Self::Worker => "worker settings: new workers take over",
            Self::QueueLength => "queue_length",
            Self::Classes => "limits of classes",
            Self::Ports => "ports: load the output of cthelperctl rules again",
        })
    }
}

/// A setting that takes effect when the daemon is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Boot {
    /// `enabled`: lanes are made at boot.
    Enabled,
    /// `queue`: rules and the kernel's helper refer to it.
    Queue,
    /// `families`: a helper of the kernel is registered for each.
    Families,
    /// `worker`: binaries are opened at boot.
    Binary,
    /// A helper that was not there: lanes are made at boot.
    Added,
    /// A helper that is there no more.
    Removed,
    /// `[daemon] user`: identities are looked up at boot.
    User,
    /// `[daemon] group`.
    Group,
    /// `[daemon] uids`.
    Uids,
    /// `[metrics] listen`: the port is bound at boot.
    Metrics,
    /// `[events] flows` and `buffer`: the kernel's sockets are opened for them.
    Events,
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enabled => "enabled",
            Self::Queue => "queue",
            Self::Families => "families",
            Self::Binary => "worker",
            Self::Added => "the helper is new",
            Self::Removed => "the helper is gone",
            Self::User => "user",
            Self::Group => "group",
            Self::Uids => "uids",
            Self::Metrics => "metrics",
            Self::Events => "flows or buffer of events",
        })
    }
}

/// What is different in one helper's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Applied at once.
    pub live: BTreeSet<Live>,
    /// Waits for the next start of the daemon.
    pub boot: BTreeSet<Boot>,
}

impl Changes {
    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.boot.is_empty()
    }
}

/// What became of an event queue. All of it is applied at once: the broker is told the queues anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueueChange {
    /// It was not there.
    Added,
    /// It is there no more: its subscribers are let go of.
    Removed,
    /// Events, filter, selection or format: its subscribers stay.
    Selection,
    /// Who may read: those who may no more are let go of.
    Readers,
    /// What may wait, and what follows when it is full.
    Room,
}

impl fmt::Display for QueueChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Added => "the queue is new",
            Self::Removed => "the queue is gone",
            Self::Selection => "which events, and how they look",
            Self::Readers => "who may read",
            Self::Room => "what may wait",
        })
    }
}

/// Readers of event queues that were not named at the start, when names are looked up; a line for each, in words for the operator.
pub fn late_readers(at_start: &BTreeMap<u16, QueueConfig>, new: &BTreeMap<u16, QueueConfig>) -> Vec<String> {
    let known: BTreeSet<String> = at_start.values().flat_map(|queue| queue.readers.names()).collect();
    let mut lines = Vec::new();
    for (number, queue) in new {
        for name in queue.readers.names().difference(&known) {
            lines.push(format!("events.queue.{number}: {name} is new: names are looked up at the start, a number would do now"));
        }
    }
    lines
}

/// What is different in a whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigChanges {
    /// `[daemon]`: waits for the next start.
    pub daemon: BTreeSet<Boot>,
    /// By helper; only those with a difference.
    pub helpers: BTreeMap<String, Changes>,
    /// By event queue; only those with a difference.
    pub queues: BTreeMap<u16, BTreeSet<QueueChange>>,
}

impl ConfigChanges {
    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.daemon.is_empty() && self.helpers.is_empty() && self.queues.is_empty()
    }

    /// What waits for the next start of the daemon, a line for each, in words for the operator.
    pub fn waiting(&self) -> Vec<String> {
        let daemon = self.daemon.iter().map(|boot| format!("daemon: {boot}"));
        let helpers =
            self.helpers.iter().flat_map(|(name, changes)| changes.boot.iter().map(move |boot| format!("helper {name}: {boot}")));
        daemon.chain(helpers).collect()
    }

    /// What is applied at once, likewise.
    pub fn applied(&self) -> Vec<String> {
        let helpers = self.helpers.iter();
        let helpers = helpers.flat_map(|(name, changes)| changes.live.iter().map(move |live| format!("helper {name}: {live}")));
        let queues = self.queues.iter();
        let queues = queues.flat_map(|(n, changes)| changes.iter().map(move |change| format!("event queue {n}: {change}")));
        helpers.chain(queues).collect()
    }
}

/// What is different between one helper's settings and its new ones.
pub fn difference(old: &HelperConfig, new: &HelperConfig) -> Changes {
    // Taken apart, so that a setting cannot be added and forgotten here.
    let HelperConfig {
        name: _,
        enabled,
        queue,
        queue_length,
        families,
        ports,
        rules,
        classes,
        options,
        question,
        worker,
        restart,
    } = old;
    let live = [
        (Live::Restart, *restart != new.restart),
        (Live::Rules, *rules != new.rules),
        (Live::Worker, rules.loose != new.rules.loose || *options != new.options || *question != new.question),
        (Live::QueueLength, *queue_length != new.queue_length),
        (Live::Classes, *classes != new.classes),
        (Live::Ports, *ports != new.ports),
    ];
    let boot = [
        (Boot::Enabled, *enabled != new.enabled),
        (Boot::Queue, *queue != new.queue),
        (Boot::Families, set(families.as_deref()) != set(new.families.as_deref())),
        (Boot::Binary, *worker != new.worker),
    ];
    Changes { live: different(live), boot: different(boot) }
}

/// What is different between a whole configuration and a new one.
pub fn differences(old: &Config, new: &Config) -> ConfigChanges {
    let Daemon { user, group, uids } = &old.daemon;
    let daemon = [
        (Boot::User, *user != new.daemon.user),
        (Boot::Group, *group != new.daemon.group),
        (Boot::Uids, *uids != new.daemon.uids),
        (Boot::Metrics, old.metrics != new.metrics),
        (Boot::Events, old.events != new.events),
    ];
    let names = old.helpers.keys().chain(new.helpers.keys());
    let helpers = names.map(|name| (name.clone(), of_helper(old.helpers.get(name), new.helpers.get(name))));
    let numbers = old.queues.keys().chain(new.queues.keys());
    let queues = numbers.map(|number| (*number, of_queue(old.queues.get(number), new.queues.get(number))));
    ConfigChanges {
        daemon: different(daemon),
        helpers: helpers.filter(|(_, changes)| !changes.is_empty()).collect(),
        queues: queues.filter(|(_, changes)| !changes.is_empty()).collect(),
    }
}

fn of_queue(old: Option<&QueueConfig>, new: Option<&QueueConfig>) -> BTreeSet<QueueChange> {
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) => (old, new),
        (None, _) => return [QueueChange::Added].into(),
        (Some(_), None) => return [QueueChange::Removed].into(),
    };
    // Taken apart, so that a setting cannot be added and forgotten here.
    let QueueConfig { number: _, kinds, filter, select, readers, room, when_full, format } = old;
    let is_selected_anew = *kinds != new.kinds || *filter != new.filter || *select != new.select || *format != new.format;
    different([
        (QueueChange::Selection, is_selected_anew),
        (QueueChange::Readers, *readers != new.readers),
        (QueueChange::Room, *room != new.room || *when_full != new.when_full),
    ])
}

fn of_helper(old: Option<&HelperConfig>, new: Option<&HelperConfig>) -> Changes {
    let boot = match (old, new) {
        (Some(old), Some(new)) => return difference(old, new),
        (None, _) => Boot::Added,
        (Some(_), None) => Boot::Removed,
    };
    Changes { boot: [boot].into(), ..Changes::default() }
}

/// The new settings as far as they take effect at once: what a lane is served by after a reload.
pub fn live_part(old: &HelperConfig, new: &HelperConfig) -> HelperConfig {
    HelperConfig {
        name: old.name.clone(),
        enabled: old.enabled,
        queue: old.queue,
        families: old.families.clone(),
        worker: old.worker.clone(),
        ..new.clone()
    }
}

/// The whole configuration likewise: what the next reload is compared with.
pub fn live_part_of_all(old: &Config, new: &Config) -> Config {
    let helpers = old.helpers.iter().map(|(name, old)| {
        let served = new.helpers.get(name).map_or_else(|| old.clone(), |new| live_part(old, new));
        (name.clone(), served)
    });
    Config {
        daemon: old.daemon.clone(),
        metrics: old.metrics,
        events: old.events,
        helpers: helpers.collect(),
        queues: new.queues.clone(),
    }
}

/// Which families, in whatever order.
fn set(families: Option<&[Family]>) -> Option<BTreeSet<Family>> {
    families.map(|families| families.iter().copied().collect())
}

fn different<T: Ord, const N: usize>(all: [(T, bool); N]) -> BTreeSet<T> {
    all.into_iter().filter_map(|(what, is_different)| is_different.then_some(what)).collect()
}

#[cfg(test)]
mod tests;
