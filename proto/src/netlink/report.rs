//! What the kernel reports of connections and expectations, in events and in dumps: read, and shown as line or as JSON.

use std::fmt;

use super::conntrack::{self, Event};
use super::entry::Entry;
use super::expect::Expectation;
use super::message::{Body, Message, flag, op, subsystem};
use crate::Malformed;

mod json;
mod line;

pub use json::Json;
pub use line::Line;

/// One message about one connection or expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// What became of it; `None` = it is there, says a dump.
    pub event: Option<Event>,
    /// The port id of the socket that caused it; 0 = traffic, or the kernel's clock.
    pub port_id: u32,
    /// What it is about.
    pub subject: Subject<'a>,
}

/// What a report is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A connection.
    Flow(Entry<'a>),
    /// An expectation.
    Expect(Expectation),
}

/// Kinds of events, as a queue asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A connection came to be.
    New,
    /// A connection changed.
    Update,
    /// A connection ended.
    Destroy,
    /// An expectation came to be.
    ExpectNew,
    /// An expectation ended: used up, withdrawn, expired.
    ExpectDestroy,
}

impl Kind {
    /// All, in the order of their multicast groups.
    pub const ALL: [Self; 5] = [Self::New, Self::Update, Self::Destroy, Self::ExpectNew, Self::ExpectDestroy];

    /// As a configuration spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Update => "update",
            Self::Destroy => "destroy",
            Self::ExpectNew => "expect-new",
            Self::ExpectDestroy => "expect-destroy",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The multicast group that delivers it.
    pub fn group(self) -> u32 {
        use conntrack::group;
        match self {
            Self::New => group::CONNTRACK_NEW,
            Self::Update => group::CONNTRACK_UPDATE,
            Self::Destroy => group::CONNTRACK_DESTROY,
            Self::ExpectNew => group::EXPECT_NEW,
            Self::ExpectDestroy => group::EXPECT_DESTROY,
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::New => 1,
            Self::Update => 2,
            Self::Destroy => 4,
            Self::ExpectNew => 8,
            Self::ExpectDestroy => 16,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of [`Kind`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Kinds(u8);

impl Kinds {
    /// Every kind.
    pub const ALL: Self = Self(31);
    /// Those of connections.
    pub const FLOWS: Self = Self(7);

    /// Whether it is one of them.
    pub fn has(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all are of connections.
    pub fn is_flows(self) -> bool {
        self.0 & !Self::FLOWS.0 == 0
    }

    /// Those of either set.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// In the order of [`Kind::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }

    /// Whether a report of this event about such a subject is meant. What a dump shows is meant where its birth or a change would be.
    pub fn mean(self, report: &Report<'_>) -> bool {
        match (&report.subject, report.event) {
            (_, Some(_)) => report.kind().is_some_and(|kind| self.has(kind)),
            (Subject::Flow(_), None) => self.has(Kind::New) || self.has(Kind::Update),
            (Subject::Expect(_), None) => self.has(Kind::ExpectNew),
        }
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |set, kind| set | kind.bit()))
    }
}

/// Microseconds since 1970: when a report was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl<'a> Report<'a> {
    /// What a message says; `None` if it is about something else. A part of a dump is told by its `MULTI` flag.
    ///
    /// # Errors
    /// A connection without its original tuple, or an expectation that cannot be read.
    pub fn parse(message: &Message<'a>) -> Result<Option<Self>, Malformed> {
        let Body::Nf { subsystem, op, family, attrs, .. } = message.body else { return Ok(None) };
        let event = match op {
            op::NEW if message.header.flags & flag::MULTI != 0 => None,
            _ => match conntrack::event(op, message.header.flags) {
                None => return Ok(None),
                event => event,
            },
        };
        let subject = match subsystem {
            subsystem::CONNTRACK => Subject::Flow(Entry::parse(attrs)?),
            subsystem::EXPECT => Subject::Expect(Expectation::parse(attrs, family)?),
            _ => return Ok(None),
        };
        let port_id = if event.is_some() { message.header.pid } else { 0 };
        Ok(Some(Self { event, port_id, subject }))
    }

    /// What kind of event it is; `None` for what a dump shows, and for a change of an expectation, which no kernel reports.
    pub fn kind(&self) -> Option<Kind> {
        match (&self.subject, self.event?) {
            (Subject::Flow(_), Event::New) => Some(Kind::New),
            (Subject::Flow(_), Event::Update) => Some(Kind::Update),
            (Subject::Flow(_), Event::Destroy) => Some(Kind::Destroy),
            (Subject::Expect(_), Event::New) => Some(Kind::ExpectNew),
            (Subject::Expect(_), Event::Destroy) => Some(Kind::ExpectDestroy),
            (Subject::Expect(_), Event::Update) => None,
        }
    }

    /// The connection, if it is about one.
    pub fn flow(&self) -> Option<&Entry<'a>> {
        match &self.subject {
            Subject::Flow(entry) => Some(entry),
            Subject::Expect(_) => None,
        }
    }

    /// The expectation, if it is about one.
    pub fn expectation(&self) -> Option<&Expectation> {
        match &self.subject {
            Subject::Flow(_) => None,
            Subject::Expect(expectation) => Some(expectation),
        }
    }

    /// When it happened: the kernel's word if it gave one, else when it was received.
    pub fn moment(&self, received: Moment) -> Moment {
        self.flow().and_then(|entry| entry.event_time).map_or(received, |nanos| Moment(nanos / 1000))
    }

    /// As `conntrack -E` and `conntrack -E expect` print it, without the newline; with `stamped` as with `-o timestamp`. What a dump
    /// shows is printed as by `conntrack -L`.
    pub fn line(&self, received: Moment, stamped: bool) -> Line<'_> {
        Line { report: self, received, stamped }
    }

    /// As one JSON object; supervisor/EVENTS.md has its keys.
    pub fn json(&self, received: Moment) -> Json<'_> {
        Json { report: self, received }
    }
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests;
