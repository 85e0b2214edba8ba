//! Which helper reads an announced connection, where its class names one; shared by all lanes.
//!
//! What the kernel itself makes of the name in an expectation (`CTA_EXPECT_HELP_NAME`) depends on its version:
//!
//! | Linux | the announced connection gets | source |
//! |---|---|---|
//! | up to 6.1.167, 6.12.80 | the helper named, beside a verdict and through ctnetlink | `ctnetlink_alloc_expect` |
//! | 6.1.168 to .182, 6.12.81 to .102 | its master's, whatever is named | `ctnetlink_alloc_expect`, `init_conntrack` |
//! | from 6.1.183, 6.12.103, 7.1 | the helper named, beside a verdict only; else none | `ctnetlink_glue_attach_expect` |
//!
//! Where it is the master's, the packets come to the master's queue, and are handed on to the right one by their verdict (`NF_QUEUE`),
//! unconfirmed and in order. With the supervisor it is forgotten who was to read what. The next one asks the kernel for the masters above
//! ([`lineage`]) and their helpers' manifests for what they announce: where all classes of the connection's protocol name the same helper, step by step,
//! that one reads it; where they leave a choice, or a master is gone, nobody does.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cthelper_proto::manifest::Manifest;
use cthelper_proto::types::{Family, Tuple};

use super::lineage::Lineage;
use crate::kernel::Expected;

/// Announced connections of which it is remembered who reads them; past it those not seen for longest go, half at a time.
const LINKS: usize = 8192;

/// What becomes of a packet of an announced connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The lane it came to sees it.
    Here(Expected),
    /// It goes on to this queue.
    Queue(u16),
    /// The helper that was to read it is switched off: it passes.
    Nowhere,
}

/// The helpers of this supervisor, and the connections announced to be read by one of them.
#[derive(Debug, Default)]
pub struct Chains {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    served: HashMap<String, Served>,
    links: HashMap<Key, Link>,
    clock: u64,
    /// A connection has come with another helper than it was announced for: this kernel attaches the master's.
    attaches_masters: bool,
}

#[derive(Debug)]
struct Served {
    manifest: Manifest,
    queue: u16,
    enabled: bool,
}

/// What the first packet of an announced connection is told by; no two expectations overlap in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    zone: u16,
    proto: u8,
    dst: std::net::IpAddr,
    dport: u16,
}

#[derive(Debug)]
struct Link {
    master: Tuple,
    /// `None`: an earlier life announced it, and it cannot be told for whom.
    helper: Option<String>,
    seen: u64,
}

impl Chains {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This helper is registered, and its queue bound.
    pub(super) fn serve(&self, manifest: &Manifest, queue: u16, enabled: bool) {
        let served = Served { manifest: manifest.clone(), queue, enabled };
        self.lock().served.insert(manifest.name.clone().into_owned(), served);
    }

    /// The kernel sends packets to the helper's queue, or does not.
    pub(super) fn enable(&self, helper: &str, enabled: bool) {
        if let Some(served) = self.lock().served.get_mut(helper) {
            served.enabled = enabled;
        }
    }

    /// The helper's lane is over.
    pub fn retire(&self, helper: &str) {
        self.lock().served.remove(helper);
    }

    /// Whether the helper is served for connections of this family and protocol.
    pub(super) fn serves(&self, helper: &str, family: Family, proto: u8) -> bool {
        let inner = self.lock();
        let served = inner.served.get(helper).map(|served| &served.manifest);
        served.is_some_and(|manifest| manifest.families.contains(&family) && manifest.l4s.contains_number(proto))
    }

    /// The connection that `expected` describes was announced by `master`, to be read by this helper, or by none.
    pub(super) fn link(&self, zone: u16, expected: &Tuple, master: Tuple, helper: Option<&str>) {
        let mut inner = self.lock();
        match helper {
            Some(helper) => inner.remember(Key::of(zone, expected), master, Some(helper.to_owned())),
            None => drop(inner.links.remove(&Key::of(zone, expected))),
        }
    }

    /// Whether it is unknown who reads this connection, and can be told by its lineage: the helper whose queue it came to announces
    /// connections that others read.
    pub(super) fn is_to_be_asked(&self, zone: u16, orig: &Tuple, master: Tuple, here: &str) -> bool {
        let inner = self.lock();
        let is_known = inner.links.get(&Key::of(zone, orig)).is_some_and(|link| link.master == master);
        let manifest = inner.served.get(here).map(|served| &served.manifest);
        let mut named =
            manifest.into_iter().flat_map(|manifest| manifest.classes.iter()).filter_map(|class| class.helped_by.as_deref());
        !is_known && named.any(|helper| helper != here)
    }

    /// What an earlier life announced: who reads it is told by its lineage, if that leaves no choice.
    pub(super) fn relearn(&self, zone: u16, orig: &Tuple, master: Tuple, lineage: Option<&Lineage>, attached: Option<&str>) {
        let mut inner = self.lock();
        let helper = match lineage {
            // The kernel has attached what was named beside the verdict.
            Some(lineage) if attached != Some(lineage.helper.as_str()) => {
                Ok(attached.filter(|attached| inner.is_named(attached)).map(str::to_owned))
            }
            Some(lineage) => inner.reader(lineage),
            None => Ok(None),
        };
        if let Ok(helper) = helper {
            inner.remember(Key::of(zone, orig), master, helper);
        }
    }

    /// Whether an announced connection is known to get its master's helper, whatever the kernel is told.
    pub(super) fn attaches_masters(&self) -> bool {
        self.lock().attaches_masters
    }

    /// Where a packet of an announced connection belongs that came to the queue of `here`, while the kernel says that its helper is
    /// `attached`.
    pub(super) fn place(&self, zone: u16, orig: &Tuple, master: Option<Tuple>, here: &str, attached: Option<&str>) -> Place {
        let mut inner = self.lock();
        inner.see(&Key::of(zone, orig));
        let link = inner.links.get(&Key::of(zone, orig)).filter(|link| Some(link.master) == master);
        let Some(link) = link else {
            // What an earlier life announced: it is read if it may be ours.
            return Place::Here(Expected { ours: attached == Some(here) && inner.is_named(here), counted_as: None });
        };
        let Some(helper) = link.helper.clone() else { return Place::Here(Expected::default()) };
        let other = attached.filter(|attached| *attached != helper);
        inner.attaches_masters |= other.is_some();
        if helper == here {
            let counts = other.and_then(|name| inner.served.get(name)).map(|other| roomiest(&other.manifest));
            return Place::Here(Expected { ours: true, counted_as: counts });
        }
        match inner.served.get(&helper) {
            Some(served) if served.enabled => Place::Queue(served.queue),
            _ => Place::Nowhere,
        }
    }
}

/// One of the helpers above is not served yet, so it is not known what it announces.
#[derive(Debug)]
struct NotServed;

impl Inner {
    /// Who reads the last connection of a lineage; nobody, if a class of its protocol leaves a choice.
    fn reader(&self, lineage: &Lineage) -> Result<Option<String>, NotServed> {
        let mut reader = lineage.helper.as_str();
        for tuple in &lineage.announced {
            let manifest = &self.served.get(reader).ok_or(NotServed)?.manifest;
            let classes = manifest.classes.iter().filter(|class| class.l4s.contains_number(tuple.proto));
            let mut named = classes.map(|class| class.helped_by.as_deref());
            let next = named.next().flatten();
            match next.filter(|next| named.all(|other| other == Some(*next))) {
                Some(next) => reader = next,
                None => return Ok(None),
            }
        }
        Ok(Some(reader.to_owned()))
    }

    fn remember(&mut self, key: Key, master: Tuple, helper: Option<String>) {
        if self.links.len() >= LINKS {
            let mut ages: Vec<u64> = self.links.values().map(|link| link.seen).collect();
            let middle = ages.len() / 2;
            let (_, median, _) = ages.select_nth_unstable(middle);
            let median = *median;
            self.links.retain(|_, link| link.seen > median);
        }
        self.clock += 1;
        self.links.insert(key, Link { master, helper, seen: self.clock });
    }

    fn see(&mut self, key: &Key) {
        self.clock += 1;
        if let Some(link) = self.links.get_mut(key) {
            link.seen = self.clock;
        }
    }

    fn is_named(&self, helper: &str) -> bool {
        let classes = self.served.values().flat_map(|served| served.manifest.classes.iter());
        classes.filter_map(|class| class.helped_by.as_deref()).any(|named| named == helper)
    }
}

impl Key {
    fn of(zone: u16, tuple: &Tuple) -> Self {
        Self { zone, proto: tuple.proto, dst: tuple.dst, dport: tuple.dport }
    }
}

/// The class with the most room: it counts for helpers whose own classes the kernel does not know on that connection.
fn roomiest(manifest: &Manifest) -> u8 {
    (0_u8..).zip(manifest.classes.iter()).max_by_key(|(_, class)| class.expect_max).map_or(0, |(index, _)| index)
}

#[cfg(test)]
mod tests;
