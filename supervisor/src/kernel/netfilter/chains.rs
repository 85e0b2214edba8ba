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
//! unconfirmed and in order. All of this is forgotten with the supervisor: such connections then pass without a helper.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cthelper_proto::manifest::Manifest;
use cthelper_proto::types::{Family, Tuple};

use crate::kernel::Expected;

/// Announced connections with a helper that are remembered; past it those not seen for longest go, half at a time.
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
    helper: String,
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
            Some(helper) => inner.remember(Key::of(zone, expected), master, helper),
            None => drop(inner.links.remove(&Key::of(zone, expected))),
        }
    }

    /// Where a packet of an announced connection belongs that came to the queue of `here`, while the kernel says that its helper is
    /// `attached`.
    pub(super) fn place(&self, zone: u16, orig: &Tuple, master: Option<Tuple>, here: &str, attached: Option<&str>) -> Place {
        let mut inner = self.lock();
        inner.see(&Key::of(zone, orig));
        let link = inner.links.get(&Key::of(zone, orig)).filter(|link| Some(link.master) == master);
        match link.map(|link| link.helper.as_str()) {
            Some(helper) if helper == here => {
                let other = attached.filter(|attached| *attached != here).and_then(|name| inner.served.get(name));
                Place::Here(Expected { ours: true, counted_as: other.map(|other| roomiest(&other.manifest)) })
            }
            Some(helper) => match inner.served.get(helper) {
                Some(served) if served.enabled => Place::Queue(served.queue),
                _ => Place::Nowhere,
            },
            // What an earlier life announced is not remembered: it is read if it may be ours.
            None => Place::Here(Expected { ours: attached == Some(here) && inner.is_named(here), counted_as: None }),
        }
    }
}

impl Inner {
    fn remember(&mut self, key: Key, master: Tuple, helper: &str) {
        if self.links.len() >= LINKS {
            let mut ages: Vec<u64> = self.links.values().map(|link| link.seen).collect();
            let middle = ages.len() / 2;
            let (_, median, _) = ages.select_nth_unstable(middle);
            let median = *median;
            self.links.retain(|_, link| link.seen > median);
        }
        self.clock += 1;
        self.links.insert(key, Link { master, helper: helper.to_owned(), seen: self.clock });
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
