//! The connections that have a helper, as the kernel tells of them: from a dump and from events, right again after every gap.
//!
//! Also those that were announced, so that each stands below its master, and, for filters that ask for labels, those that have some.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use cthelper_policy::events::{Known, Needs};
use cthelper_proto::events::Master;
use cthelper_proto::flows::FlowRecord;
use cthelper_proto::netlink::conntrack::{Event, status};
use cthelper_proto::netlink::entry::{Entry, Labels};
use cthelper_proto::netlink::expect::Expectation;
use cthelper_proto::netlink::report::{Report, Subject};
use cthelper_proto::types::{Family, Tuple};

use super::protocol::{Closed, News, What};

/// Connections remembered at most. One takes some 470 bytes, with its places in the tables: 60 MiB; 80 MiB when all have been replaced.
const FLOWS: usize = 1 << 17;
/// A connection that a lane has told of and the kernel has not is forgotten after this time.
const UNCONFIRMED: Duration = Duration::from_secs(60);

/// Names a connection; the id says whether it is still that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    orig: Tuple,
    zone: u16,
}

impl Key {
    fn of(entry: &Entry<'_>) -> Self {
        Self { orig: entry.orig, zone: entry.zone.or(entry.zones.first().copied().flatten()).unwrap_or(0) }
    }
}

/// How far a list of all connections has come, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    after: u64,
    /// The last that was there when the list began.
    last: u64,
}

/// What is remembered of one.
#[derive(Clone, Debug)]
struct Flow {
    /// The how-manieth it is that was ever remembered.
    number: u64,
    id: Option<u32>,
    helper: Option<Rc<str>>,
    /// A lane has said so; the kernel may name the master's helper.
    is_read: bool,
    labels: Option<Labels>,
    master: Option<Tuple>,
    reply: Option<Tuple>,
    status: u32,
    state: Option<&'static str>,
    /// When it was first heard of, and whether that was its birth.
    since: (Instant, bool),
    /// The kernel has told of it.
    is_confirmed: bool,
    /// The last dump that showed it, or that has begun when an event did.
    seen: u64,
    granted: u64,
    refused: u64,
    used: u64,
    expecting: u32,
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    flows: HashMap<Key, Box<Flow>>,
    /// Their numbers, ascending, and those of some that are forgotten: twice as many as there are connections at most, or 64.
    order: Vec<(u64, Key)>,
    /// The last number that was given.
    number: u64,
    needs: Needs,
    dump: u64,
    /// Connections that ended while a dump runs, which may show them all the same.
    ended: Option<HashSet<(Key, Option<u32>)>>,
    overflow: u64,
    /// Connections that the kernel had not told of when they were last counted, at most.
    unconfirmed: usize,
}

impl Mirror {
    /// What filters want to be remembered besides.
    pub(super) fn needs(&mut self, needs: Needs) {
        self.needs = needs;
    }

    /// How many connections there was no room for.
    pub(super) fn overflow(&self) -> u64 {
        self.overflow
    }

    /// What is remembered of the connection that a report is about.
    pub(super) fn known(&self, report: &Report<'_>) -> Known<'_> {
        let flow = report.flow().and_then(|entry| self.flows.get(&Key::of(entry)).filter(|flow| flow.is(entry.id)));
        flow.map_or(Known::default(), |flow| Known { helper: flow.helper.as_deref(), labels: flow.labels })
    }

    /// How many connections have each helper.
    pub(super) fn counts(&self) -> Vec<(Rc<str>, u64)> {
        let mut counts: HashMap<Rc<str>, u64> = HashMap::new();
        for helper in self.flows.values().filter_map(|flow| flow.helper.clone()) {
            *counts.entry(helper).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort();
        counts
    }

    /// Takes a report in; returns the helped connection that has ended by it.
    pub(super) fn take(&mut self, report: &Report<'_>, now: Instant) -> Option<Closed> {
        match (&report.subject, report.event) {
            (Subject::Flow(entry), Some(Event::Destroy)) => self.end(Key::of(entry), entry.id),
            (Subject::Flow(entry), event) => self.update(entry, event, now),
            (Subject::Expect(expectation), event) => {
                self.expect(expectation, event);
                None
            }
        }
    }

    fn end(&mut self, key: Key, id: Option<u32>) -> Option<Closed> {
        if let Some(ended) = self.ended.as_mut().filter(|ended| ended.len() < FLOWS) {
            ended.insert((key, id));
        }
        self.flows.get(&key).filter(|flow| flow.is(id))?;
        self.flows.remove(&key)?.closed(key)
    }

    /// A connection that is new, changed, or shown by a dump (`event` is none).
    fn update(&mut self, entry: &Entry<'_>, event: Option<Event>, now: Instant) -> Option<Closed> {
        let key = Key::of(entry);
        if event.is_none() && self.ended.as_ref().is_some_and(|ended| ended.contains(&(key, entry.id))) {
            return None;
        }
        // The same addresses and another id: the end of the one before was not told.
        let other = self.flows.get(&key).is_some_and(|flow| !flow.is(entry.id));
        let closed = if other { self.flows.remove(&key).and_then(|flow| flow.closed(key)) } else { None };
        let is_known = self.flows.contains_key(&key);
        let is_wanted = entry.helper.is_some() || entry.master.is_some() || (self.needs.labels && entry.labels.is_some());
        if !is_known && !is_wanted {
            return closed;
        }
        if !is_known && self.flows.len() >= FLOWS {
            self.overflow += 1;
            return closed;
        }
        let dump = self.dump;
        let flow = self.remembered(key, entry.id, (now, event == Some(Event::New)));
        let is_first = !flow.is_confirmed;
        flow.read(entry);
        (flow.is_confirmed, flow.seen) = (true, dump);
        if let (true, Some(Event::New), Some(master)) = (is_first, event, entry.master)
            && let Some(master) = self.flows.get_mut(&Key { orig: master, zone: key.zone })
        {
            master.used += 1;
        }
        closed
    }

    fn expect(&mut self, expectation: &Expectation, event: Option<Event>) {
        let key = Key { orig: expectation.master, zone: expectation.zone };
        let Some(flow) = self.flows.get_mut(&key) else { return };
        flow.expecting = match event {
            Some(Event::Destroy) => flow.expecting.saturating_sub(1),
            Some(Event::Update) => flow.expecting,
            Some(Event::New) | None => flow.expecting.saturating_add(1),
        };
    }

    /// A dump of connections begins: what it does not show will be gone.
    pub(super) fn dump_begins(&mut self) {
        self.dump += 1;
        self.ended = Some(HashSet::new());
    }

    /// It is complete; returns the helped connections that have ended meanwhile.
    pub(super) fn dump_ends(&mut self) -> Vec<Closed> {
        self.ended = None;
        let dump = self.dump;
        let gone: Vec<Key> =
            self.flows.iter().filter(|(_, flow)| flow.is_confirmed && flow.seen != dump).map(|(key, _)| *key).collect();
        gone.into_iter().filter_map(|key| self.flows.remove(&key)?.closed(key)).collect()
    }

    /// A dump of expectations begins: they are counted anew.
    pub(super) fn expectations_begin(&mut self) {
        for flow in self.flows.values_mut() {
            flow.expecting = 0;
        }
    }

    /// A lane tells of an announcement. The connection may be so new that the kernel has not told of it.
    pub(super) fn hear(&mut self, news: &News, now: Instant) {
        let key = Key { orig: news.orig, zone: news.zone };
        if self.flows.get(&key).is_some_and(|flow| !flow.is(Some(news.id))) {
            self.flows.remove(&key);
        }
        if !self.flows.contains_key(&key) && self.flows.len() >= FLOWS {
            self.overflow += 1;
            return;
        }
        self.unconfirmed += usize::from(!self.flows.contains_key(&key));
        let flow = self.remembered(key, Some(news.id), (now, false));
        if flow.helper.is_none() {
            flow.helper = Some(news.helper.as_str().into());
        }
        match news.what {
            What::Granted => flow.granted += 1,
            What::Refused => flow.refused += 1,
            What::Read => {
                flow.helper = Some(news.helper.as_str().into());
                flow.is_read = true;
            }
        }
    }

    /// Whether it waits for the kernel to tell of a connection.
    pub(super) fn is_waiting(&self) -> bool {
        self.unconfirmed > 0
    }

    /// Forgets connections that lanes have told of and that never came to be.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.unconfirmed == 0 {
            return;
        }
        self.flows.retain(|_, flow| flow.is_confirmed || now.duration_since(flow.since.0) < UNCONFIRMED);
        self.unconfirmed = self.flows.values().filter(|flow| !flow.is_confirmed).count();
    }

    /// What is remembered of a connection; one that is new is remembered from now on.
    fn remembered(&mut self, key: Key, id: Option<u32>, since: (Instant, bool)) -> &mut Flow {
        let Self { flows, order, number, .. } = self;
        if order.len() >= (2 * flows.len()).max(64) {
            order.retain(|(number, key)| flows.get(key).is_some_and(|flow| flow.number == *number));
        }
        flows.entry(key).or_insert_with(|| {
            *number += 1;
            order.push((*number, key));
            Box::new(Flow::new(*number, id, since))
        })
    }

    /// The beginning of a list of all that there is now.
    pub(super) fn list(&self) -> Cursor {
        Cursor { after: 0, last: self.number }
    }

    /// The rest of a list, oldest first: each helped and each announced connection that was there when it began and has not ended, as it
    /// is now. With each comes where the list goes on behind it.
    pub(super) fn records(&self, from: Cursor, now: Instant) -> impl Iterator<Item = (FlowRecord, Cursor)> {
        let begin = self.order.partition_point(|(number, _)| *number <= from.after);
        let rest = self.order.iter().skip(begin).take_while(move |(number, _)| *number <= from.last);
        rest.filter_map(move |(number, key)| {
            let flow = self.flows.get(key).filter(|flow| flow.number == *number)?;
            let is_shown = flow.helper.is_some() || flow.master.is_some();
            is_shown.then(|| (flow.record(*key, now), Cursor { after: *number, ..from }))
        })
    }
}

impl Flow {
    fn new(number: u64, id: Option<u32>, since: (Instant, bool)) -> Self {
        Self {
            number,
            id,
            helper: None,
            is_read: false,
            labels: None,
            master: None,
            reply: None,
            status: 0,
            state: None,
            since,
            is_confirmed: false,
            seen: 0,
            granted: 0,
            refused: 0,
            used: 0,
            expecting: 0,
        }
    }

    /// Whether it is the connection with this id, as far as anybody knows.
    fn is(&self, id: Option<u32>) -> bool {
        self.id.is_none() || id.is_none() || self.id == id
    }

    fn read(&mut self, entry: &Entry<'_>) {
        self.id = entry.id.or(self.id);
        let is_news = |known: Option<&str>| entry.helper.is_some_and(|helper| !known.is_some_and(|known| helper.is(known)));
        if let Some(helper) = entry.helper.filter(|_| !self.is_read && is_news(self.helper.as_deref())) {
            self.helper = Some((*helper.shown()).into());
        }
        self.labels = entry.labels.or(self.labels);
        self.master = entry.master.or(self.master);
        self.reply = entry.reply.or(self.reply);
        self.status = entry.status.unwrap_or(self.status);
        self.state = entry.protoinfo.and_then(|info| info.state()).or(self.state);
    }

    fn closed(&self, key: Key) -> Option<Closed> {
        let (helper, id) = (self.helper.as_ref()?, self.id?);
        Some(Closed { helper: helper.to_string(), id, orig: key.orig })
    }

    fn record(&self, key: Key, now: Instant) -> FlowRecord {
        let has = |bit: u32| self.status & bit != 0;
        FlowRecord {
            helper: self.helper.as_deref().map(str::to_owned),
            id: self.id,
            family: Family::of(key.orig.src),
            proto: key.orig.proto,
            state: self.state.map(str::to_owned),
            age_ms: u64::try_from(now.duration_since(self.since.0).as_millis()).unwrap_or(u64::MAX),
            since_birth: self.since.1,
            orig: Master::from(&key.orig),
            reply: self.reply.as_ref().map(Master::from),
            snat: has(status::SRC_NAT),
            dnat: has(status::DST_NAT),
            assured: has(status::ASSURED),
            zone: key.zone,
            announcements: self.granted + self.refused,
            granted: self.granted,
            refused: self.refused,
            used: self.used,
            expecting: self.expecting,
            master: self.master.as_ref().map(Master::from),
        }
    }
}

#[cfg(test)]
mod tests;
