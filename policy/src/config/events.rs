//! `[events.queue.N]`: who gets which events of connections and expectations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use cthelper_proto::events_sock::Format;
use cthelper_proto::netlink::conntrack::group;
use cthelper_proto::netlink::entry::Labels;
use cthelper_proto::netlink::report::{Kind, Kinds, Report};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::literal;
use crate::events::filter::Mark;
use crate::events::{Filter, Known, Needs};
use crate::nearest::nearest;

/// One event queue, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Its number.
    pub number: u16,
    /// Which events.
    pub kinds: Kinds,
    /// What must be true of them.
    pub filter: Filter,
    /// What a firewall rule must have set.
    pub select: Option<Select>,
    /// Who may read, besides root.
    pub readers: Readers,
    /// What may wait for one subscriber.
    pub room: Room,
    /// What follows when no more may wait.
    pub when_full: WhenFull,
    /// How events look unless a subscriber asks for another format.
    pub format: Format,
}

/// What a firewall rule sets to choose connections for a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// The connection's mark.
    Mark(Mark),
    /// One of its labels.
    Label(u8),
}

/// Users and groups that may read. Root always may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readers {
    /// Users.
    pub users: Vec<Who>,
    /// Groups; a user's first group counts.
    pub groups: Vec<Who>,
}

/// A user or group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(untagged, expecting = "a name or a number")]
pub enum Who {
    /// By number.
    Id(u32),
    /// By name, looked up when the configuration is applied.
    Name(String),
}

/// Who may read, as numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    uids: BTreeSet<u32>,
    gids: BTreeSet<u32>,
}

impl Access {
    /// Whether a peer with these ids may read.
    pub fn allows(&self, uid: u32, gid: u32) -> bool {
        uid == 0 || self.uids.contains(&uid) || self.gids.contains(&gid)
    }
}

impl Readers {
    /// All that are written as names, `user NAME` or `group NAME`.
    pub fn names(&self) -> BTreeSet<String> {
        let of = |all: &[Who], what: &str| {
            let name = |who: &Who| match who {
                Who::Id(_) => None,
                Who::Name(name) => Some(format!("{what} {name}")),
            };
            all.iter().filter_map(name).collect::<Vec<_>>()
        };
        of(&self.users, "user").into_iter().chain(of(&self.groups, "group")).collect()
    }

    /// As numbers; `user` and `group` look names up.
    ///
    /// # Errors
    /// Names that nobody has.
    pub fn resolve(
        &self,
        user: impl Fn(&str) -> Option<u32>,
        group: impl Fn(&str) -> Option<u32>,
    ) -> Result<Access, UnknownReader> {
        Ok(Access { uids: numbers(&self.users, "user", user)?, gids: numbers(&self.groups, "group", group)? })
    }
}

fn numbers(all: &[Who], what: &'static str, look_up: impl Fn(&str) -> Option<u32>) -> Result<BTreeSet<u32>, UnknownReader> {
    let number = |who: &Who| match who {
        Who::Id(id) => Ok(*id),
        Who::Name(name) => look_up(name).ok_or_else(|| UnknownReader { what, name: name.clone() }),
    };
    all.iter().map(number).collect()
}

/// A reader of a queue is not known to the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownReader {
    what: &'static str,
    name: String,
}

impl fmt::Display for UnknownReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {} is called {:?}", self.what, self.name)
    }
}

impl std::error::Error for UnknownReader {}

/// What may wait for one subscriber: whichever is reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Events.
    pub records: u32,
    /// Bytes, as they will be sent.
    pub bytes: u32,
}

impl Default for Room {
    /// Half a second of 8000 connections a second, each born and ended.
    fn default() -> Self {
        Self { records: 8192, bytes: 4 << 20 }
    }
}

/// What follows when a subscriber is too slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// The oldest events that wait give way, and are told as lost.
    #[default]
    DropOldest,
    /// It is let go of.
    Disconnect,
}

impl QueueConfig {
    /// The defaults: all events, to root, as text.
    pub fn new(number: u16) -> Self {
        Self {
            number,
            kinds: Kinds::ALL,
            filter: Filter::default(),
            select: None,
            readers: Readers::default(),
            room: Room::default(),
            when_full: WhenFull::default(),
            format: Format::default(),
        }
    }

    /// Whether an event belongs into this queue. Allocates nothing.
    pub fn takes(&self, report: &Report<'_>, known: &Known<'_>) -> bool {
        self.kinds.mean(report) && self.select.is_none_or(|select| select.is(report, known)) && self.filter.matches(report, known)
    }

    /// What must be remembered of connections so that [`Self::takes`] can tell.
    pub fn needs(&self) -> Needs {
        let select = Needs { helper: false, labels: matches!(self.select, Some(Select::Label(_))) };
        self.filter.needs().union(select)
    }

    /// The multicast groups that must be joined for it, ascending: those of its events, and those that tell what must be remembered.
    pub fn groups(&self) -> BTreeSet<u32> {
        let memory = [group::CONNTRACK_NEW, group::CONNTRACK_UPDATE, group::CONNTRACK_DESTROY];
        let remembered = self.needs() != Needs::default();
        self.kinds.iter().map(Kind::group).chain(memory.into_iter().filter(|_| remembered)).collect()
    }
}

impl Select {
    /// Whether the rule chose this connection. No rule chooses an expectation.
    pub fn is(self, report: &Report<'_>, known: &Known<'_>) -> bool {
        report.flow().is_some_and(|entry| match self {
            Self::Mark(mark) => mark.is(entry.mark.unwrap_or(0)),
            Self::Label(label) => entry.labels.or(known.labels).is_some_and(|labels| labels.has(label)),
        })
    }
}

/// `[events]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Events {
    flows: Option<bool>,
    buffer: Option<Spanned<u32>>,
    queue: BTreeMap<Number, Table>,
}

/// `[events]` itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventsConfig {
    /// The broker remembers the connections that have a helper; it reads every event for that.
    pub flows: bool,
    /// Bytes of the kernel's events that may wait for the broker.
    pub buffer: usize,
}

impl Default for EventsConfig {
    /// 8 MiB: some 20 000 events with the kernel's bookkeeping.
    fn default() -> Self {
        Self { flows: true, buffer: 8 << 20 }
    }
}

/// A mistake at these bytes of the file.
type Mistake = (Range<usize>, String);

impl Events {
    /// What concerns all queues.
    pub(super) fn config(&self) -> Result<EventsConfig, Mistake> {
        let default = EventsConfig::default();
        let buffer = within(self.buffer.clone(), 4096..=1 << 30, "buffer", u32::try_from(default.buffer).unwrap_or(u32::MAX))?;
        Ok(EventsConfig { flows: self.flows.unwrap_or(default.flows), buffer: usize::try_from(buffer).unwrap_or(usize::MAX) })
    }

    /// All queues by number; `text` is the file.
    pub(super) fn into_queues(self, text: &str) -> Result<BTreeMap<u16, QueueConfig>, Mistake> {
        self.queue.into_iter().map(|(Number(number), table)| Ok((number, table.into_config(number, text)?))).collect()
    }
}

/// 0 to 65535, as a key.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Number(u16);

impl TryFrom<String> for Number {
    type Error = String;

    fn try_from(key: String) -> Result<Self, String> {
        // The one way to write it, so that no queue is there twice.
        let number = key.parse().ok().filter(|number: &u16| number.to_string() == key);
        number.map(Self).ok_or_else(|| format!("event queue {key:?}: a number from 0 to 65535"))
    }
}

/// `[events.queue.N]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    events: Option<Spanned<EventNames>>,
    filter: Option<Spanned<String>>,
    select: Option<SelectTable>,
    users: Vec<Who>,
    groups: Vec<Who>,
    records: Option<Spanned<u32>>,
    bytes: Option<Spanned<u32>>,
    when_full: WhenFull,
    format: Format,
}

impl Table {
    fn into_config(self, number: u16, text: &str) -> Result<QueueConfig, Mistake> {
        let select = self.select.map(SelectTable::into_select);
        let kinds = match (self.events, select) {
            (Some(events), Some(_)) if !events.get_ref().0.is_flows() => {
                return Err((
                    events.span(),
                    "no rule sets a mark or label of an expectation: `select` goes with connections only".into(),
                ));
            }
            (Some(events), _) => events.into_inner().0,
            (None, Some(_)) => Kinds::FLOWS,
            (None, None) => Kinds::ALL,
        };
        Ok(QueueConfig {
            number,
            kinds,
            filter: self.filter.map_or(Ok(Filter::default()), |filter| read_filter(&filter, text))?,
            select,
            readers: Readers { users: self.users, groups: self.groups },
            room: Room {
                records: within(self.records, 1..=1 << 20, "records", Room::default().records)?,
                bytes: within(self.bytes, 1 << 16..=1 << 30, "bytes", Room::default().bytes)?,
            },
            when_full: self.when_full,
            format: self.format,
        })
    }
}

/// The place of a mistake is that of the word inside the string.
fn read_filter(filter: &Spanned<String>, text: &str) -> Result<Filter, Mistake> {
    Filter::parse(filter.get_ref()).map_err(|error| {
        let span = filter.span();
        let at = span.start + literal::offset(text.get(span.clone()).unwrap_or_default(), error.at);
        (at..span.end, format!("filter: {}", error.reason))
    })
}

fn within(number: Option<Spanned<u32>>, range: std::ops::RangeInclusive<u32>, what: &str, default: u32) -> Result<u32, Mistake> {
    match number {
        Some(number) if !range.contains(number.get_ref()) => {
            Err((number.span(), format!("{what}: {} to {}", range.start(), range.end())))
        }
        number => Ok(number.map_or(default, Spanned::into_inner)),
    }
}

/// One kind at least.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Vec<String>")]
struct EventNames(Kinds);

impl TryFrom<Vec<String>> for EventNames {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        let kind = |name: &String| {
            Kind::from_name(name).ok_or_else(|| match nearest(name, Kind::ALL.map(Kind::name)) {
                Some(meant) => format!("unknown event `{}`; did you mean `{meant}`?", name.escape_debug()),
                None => format!("unknown event `{}`; known: {}", name.escape_debug(), Kind::ALL.map(Kind::name).join(", ")),
            })
        };
        let kinds: Kinds = names.iter().map(kind).collect::<Result<_, _>>()?;
        if kinds.is_empty() { Err("events: one at least".into()) } else { Ok(Self(kinds)) }
    }
}

/// `{ mark = "0x10/0xff" }` or `{ label = 5 }`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SelectTable {
    #[serde(deserialize_with = "mark")]
    Mark(Mark),
    #[serde(deserialize_with = "label")]
    Label(u8),
}

impl SelectTable {
    fn into_select(self) -> Select {
        match self {
            Self::Mark(mark) => Select::Mark(mark),
            Self::Label(label) => Select::Label(label),
        }
    }
}

/// A number, or text with a mask. A mark of which no bit is compared would choose every connection.
fn mark<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mark, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a mark: a number, or \"value/mask\"")]
    enum Written {
        Number(u32),
        Text(String),
    }
    let mark = match Written::deserialize(deserializer)? {
        Written::Number(value) => Mark::new(value, u32::MAX),
        Written::Text(text) => text.parse().map_err(serde::de::Error::custom)?,
    };
    if mark.value() == 0 { Err(serde::de::Error::custom("select: a connection no rule has seen has mark 0")) } else { Ok(mark) }
}

fn label<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let label = u8::deserialize(deserializer)?;
    if label < Labels::MAX { Ok(label) } else { Err(serde::de::Error::custom("label: 0 to 127")) }
}

#[cfg(test)]
mod tests;
