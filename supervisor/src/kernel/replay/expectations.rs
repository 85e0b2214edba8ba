//! The table of expectations as the kernel keeps it: `nf_conntrack_expect.c`, Linux 6.1-6.18, without zones and NAT.

use std::net::IpAddr;
use std::time::Duration;

use cthelper_proto::manifest::Class;
use cthelper_proto::types::{FlowId, Tuple};

/// A connection that is expected: how its first packet looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The connection that announced it.
    pub master: FlowId,
    /// Index of its class in the manifest.
    pub class: u8,
    /// IP protocol number.
    pub proto: u8,
    /// Who connects; `None` = anybody (mask zero).
    pub src: Option<IpAddr>,
    /// From which port; `None` = any (mask zero).
    pub sport: Option<u16>,
    /// To which address.
    pub dst: IpAddr,
    /// To which port.
    pub dport: u16,
    /// Not used up by the first connection.
    pub permanent: bool,
    /// Its connection has the same helper.
    pub followed: bool,
}

/// What became of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is new.
    New,
    /// The same one of the same master was there; its time begins anew.
    Refreshed,
    /// It is new, and the oldest of its class had to go.
    Evicting(Expected),
}

/// The kernel's no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// `EBUSY`: another one overlaps.
    Busy,
    /// `EALREADY`: the same one is there, of another master or class.
    Already,
    /// `EMFILE`: the table is full.
    TableFull,
    /// `ENOENT`: the master is not there.
    Gone,
}

/// The table.
#[derive(Debug)]
pub struct Expectations {
    /// In the order of their insertion. It is searched from end to end: it is short, and a capture is no hot path.
    entries: Vec<Entry>,
    max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    expected: Expected,
    expires: Duration,
}

impl Default for Expectations {
    /// `nf_conntrack_expect_max` of a host with 262144 conntrack buckets.
    fn default() -> Self {
        Self::new(4096)
    }
}

impl Expectations {
    /// An empty table for at most `max` entries.
    pub fn new(max: usize) -> Self {
        Self { entries: Vec::new(), max }
    }

    /// Adds one whose class has these limits. Checks in the order of `__nf_ct_expect_check`.
    pub fn insert(&mut self, expected: Expected, class: &Class, now: Duration) -> Result<Inserted, Denied> {
        self.expire(now);
        let refreshed = self.displace_same(&expected)?;
        let mut inserted = if refreshed { Inserted::Refreshed } else { Inserted::New };
        let is_full = self.open(expected.master, expected.class) >= usize::from(class.expect_max);
        if is_full && let Some(oldest) = self.remove_first(|entry| entry.is_of(expected.master, expected.class)) {
            inserted = Inserted::Evicting(oldest);
        }
        if self.entries.len() >= self.max {
            return Err(Denied::TableFull);
        }
        self.entries.push(Entry { expected, expires: now.saturating_add(class.timeout()) });
        Ok(inserted)
    }

    /// Removes the same one of the same master and class, if it is there; nothing else may stand in the way.
    fn displace_same(&mut self, expected: &Expected) -> Result<bool, Denied> {
        if let Some(other) = self.entries.iter().find(|entry| entry.expected.clashes(expected)) {
            if !other.expected.is_same(expected) {
                return Err(Denied::Busy);
            }
            if !other.is_of(expected.master, expected.class) {
                return Err(Denied::Already);
            }
        }
        Ok(self.remove_first(|entry| entry.expected.is_same(expected)).is_some())
    }

    /// The expectation that a new connection fulfils. It is used up, unless permanent.
    pub fn fulfil(&mut self, tuple: &Tuple, now: Duration) -> Option<Expected> {
        self.expire(now);
        let found = self.entries.iter().find(|entry| entry.expected.matches(tuple))?.expected;
        if !found.permanent {
            self.withdraw(&found);
        }
        Some(found)
    }

    /// The one that stands in the way of this one.
    pub fn clash(&self, expected: &Expected) -> Option<Expected> {
        let refreshable = |entry: &Entry| entry.expected.is_same(expected) && entry.is_of(expected.master, expected.class);
        self.entries.iter().find(|entry| entry.expected.clashes(expected) && !refreshable(entry)).map(|entry| entry.expected)
    }

    /// Takes one back; `false` = it was not there any more.
    pub fn withdraw(&mut self, expected: &Expected) -> bool {
        self.remove_first(|entry| entry.expected.is_same(expected) && entry.expected.master == expected.master).is_some()
    }

    /// Removes all of a master that is gone.
    pub fn forget(&mut self, master: FlowId) {
        self.entries.retain(|entry| entry.expected.master != master);
    }

    /// Removes all whose time is over.
    pub fn expire(&mut self, now: Duration) {
        self.entries.retain(|entry| entry.expires > now);
    }

    /// How many a master has open in a class.
    pub fn open(&self, master: FlowId, class: u8) -> usize {
        self.entries.iter().filter(|entry| entry.is_of(master, class)).count()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn remove_first(&mut self, which: impl Fn(&Entry) -> bool) -> Option<Expected> {
        let at = self.entries.iter().position(which)?;
        Some(self.entries.remove(at).expected)
    }
}

impl Entry {
    fn is_of(&self, master: FlowId, class: u8) -> bool {
        self.expected.master == master && self.expected.class == class
    }
}

impl Expected {
    /// Protocol and destination are always compared in full, whatever the mask says.
    fn same_destination(&self, other: &Self) -> bool {
        (self.proto, self.dst, self.dport) == (other.proto, other.dst, other.dport)
    }

    /// Whether tuple and mask are the same (`expect_matches`).
    fn is_same(&self, other: &Self) -> bool {
        self.same_destination(other) && (self.src, self.sport) == (other.src, other.sport)
    }

    /// Whether some packet could match both (`expect_clash`): sources are compared where both masks look.
    fn clashes(&self, other: &Self) -> bool {
        self.same_destination(other) && may_equal(self.src, other.src) && may_equal(self.sport, other.sport)
    }

    /// Whether a packet with this tuple is the expected one.
    fn matches(&self, tuple: &Tuple) -> bool {
        (self.proto, self.dst, self.dport) == (tuple.proto, tuple.dst, tuple.dport)
            && may_equal(self.src, Some(tuple.src))
            && may_equal(self.sport, Some(tuple.sport))
    }
}

fn may_equal<T: PartialEq + Copy>(one: Option<T>, other: Option<T>) -> bool {
    one.is_none() || other.is_none() || one == other
}

#[cfg(test)]
mod tests {
    use super::*;
    use cthelper_proto::manifest::Scope;

    const NOW: Duration = Duration::from_secs(1000);

    fn class(max: u8) -> Class {
        Class::new("data", Scope::BothEnds, max, 300)
    }

    fn expected(master: u32, dport: u16) -> Expected {
        Expected {
            master: FlowId(master),
            class: 0,
            proto: 6,
            src: Some([10, 0, 2, 2].into()),
            sport: None,
            dst: [10, 0, 1, 2].into(),
            dport,
            permanent: false,
            followed: false,
        }
    }

    fn tuple(dport: u16) -> Tuple {
        Tuple { src: [10, 0, 2, 2].into(), dst: [10, 0, 1, 2].into(), proto: 6, sport: 20, dport }
    }

    #[test]
    fn the_first_connection_uses_it_up() {
        let mut table = Expectations::default();
        assert_eq!(table.insert(expected(1, 2000), &class(8), NOW), Ok(Inserted::New));
        assert_eq!(table.fulfil(&tuple(2000), NOW), Some(expected(1, 2000)));
        assert_eq!(table.fulfil(&tuple(2000), NOW), None);
    }

    #[test]
    fn a_permanent_one_stays() {
        let mut table = Expectations::default();
        table.insert(Expected { permanent: true, ..expected(1, 2000) }, &class(8), NOW).unwrap();
        assert!(table.fulfil(&tuple(2000), NOW).is_some() && table.fulfil(&tuple(2000), NOW).is_some());
    }

    #[test]
    fn every_field_of_the_tuple_counts_where_the_mask_looks() {
        let mut table = Expectations::default();
        table.insert(Expected { sport: Some(20), permanent: true, ..expected(1, 2000) }, &class(8), NOW).unwrap();
        let good = tuple(2000);
        let elsewhere = [10, 0, 9, 9].into();
        for bad in [
            Tuple { src: elsewhere, ..good },
            Tuple { dst: elsewhere, ..good },
            Tuple { proto: 17, ..good },
            Tuple { sport: 21, ..good },
            Tuple { dport: 2001, ..good },
            good.inverse(),
        ] {
            assert_eq!(table.fulfil(&bad, NOW), None, "{bad:?}");
        }
        assert!(table.fulfil(&good, NOW).is_some());
    }

    #[test]
    fn anybody_from_any_port_matches_a_zero_mask() {
        let mut table = Expectations::default();
        table.insert(Expected { src: None, ..expected(1, 2000) }, &class(8), NOW).unwrap();
        assert!(table.fulfil(&Tuple { src: [192, 0, 2, 1].into(), sport: 7, ..tuple(2000) }, NOW).is_some());
    }

    #[test]
    fn its_time_ends() {
        let mut table = Expectations::default();
        table.insert(expected(1, 2000), &class(8), NOW).unwrap();
        table.expire(NOW + Duration::from_secs(299));
        assert_eq!(table.len(), 1);
        assert_eq!(table.fulfil(&tuple(2000), NOW + Duration::from_secs(300)), None);
        assert!(table.is_empty());
    }

    #[test]
    fn repeating_it_begins_its_time_anew() {
        let mut table = Expectations::default();
        table.insert(expected(1, 2000), &class(8), NOW).unwrap();
        let later = NOW + Duration::from_secs(200);
        assert_eq!(table.insert(expected(1, 2000), &class(1), later), Ok(Inserted::Refreshed));
        assert_eq!(table.len(), 1);
        assert!(table.fulfil(&tuple(2000), later + Duration::from_secs(299)).is_some());
    }

    #[test]
    fn the_same_one_of_another_master_or_class_is_refused() {
        let mut table = Expectations::default();
        table.insert(expected(1, 2000), &class(8), NOW).unwrap();
        assert_eq!(table.insert(expected(2, 2000), &class(8), NOW), Err(Denied::Already));
        assert_eq!(table.insert(Expected { class: 1, ..expected(1, 2000) }, &class(8), NOW), Err(Denied::Already));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn an_overlapping_one_is_refused_whoever_asks() {
        let mut table = Expectations::default();
        table.insert(expected(1, 2000), &class(8), NOW).unwrap();
        for master in [1, 2] {
            let any_source = Expected { src: None, ..expected(master, 2000) };
            let one_port = Expected { sport: Some(20), ..expected(master, 2000) };
            assert_eq!(table.insert(any_source, &class(8), NOW), Err(Denied::Busy));
            assert_eq!(table.insert(one_port, &class(8), NOW), Err(Denied::Busy));
        }
        let other_source = Expected { src: Some([10, 0, 2, 3].into()), ..expected(2, 2000) };
        assert_eq!(table.insert(other_source, &class(8), NOW), Ok(Inserted::New));
        assert_eq!(table.insert(expected(2, 2001), &class(8), NOW), Ok(Inserted::New));
    }

    #[test]
    fn a_full_class_loses_its_oldest_and_no_other() {
        let mut table = Expectations::default();
        table.insert(expected(2, 1999), &class(2), NOW).unwrap();
        table.insert(Expected { class: 1, ..expected(1, 1998) }, &class(2), NOW).unwrap();
        table.insert(expected(1, 2000), &class(2), NOW).unwrap();
        table.insert(expected(1, 2001), &class(2), NOW).unwrap();
        assert_eq!(table.insert(expected(1, 2002), &class(2), NOW), Ok(Inserted::Evicting(expected(1, 2000))));
        assert_eq!((table.len(), table.open(FlowId(1), 0)), (4, 2));
    }

    #[test]
    fn a_full_table_refuses() {
        let mut table = Expectations::new(2);
        table.insert(expected(1, 2000), &class(8), NOW).unwrap();
        table.insert(expected(1, 2001), &class(8), NOW).unwrap();
        assert_eq!(table.insert(expected(1, 2002), &class(8), NOW), Err(Denied::TableFull));
        assert_eq!(table.insert(expected(1, 2001), &class(8), NOW), Ok(Inserted::Refreshed));
    }

    #[test]
    fn only_its_master_takes_it_back_and_takes_it_along() {
        let mut table = Expectations::default();
        table.insert(expected(1, 2000), &class(8), NOW).unwrap();
        table.insert(expected(2, 2001), &class(8), NOW).unwrap();
        assert!(!table.withdraw(&expected(2, 2000)));
        assert!(table.withdraw(&expected(1, 2000)));
        table.forget(FlowId(2));
        assert!(table.is_empty());
    }

    #[test]
    fn a_time_beyond_all_times_does_not_overflow() {
        let mut table = Expectations::default();
        assert_eq!(table.insert(expected(1, 2000), &class(8), Duration::MAX), Ok(Inserted::New));
    }
}
