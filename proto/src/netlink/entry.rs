//! A connection with all that an event or a dump tells of it. Helpers need less: [`super::conntrack::Conntrack`].
//!
//! Sources: `ctnetlink_conntrack_event`, `ctnetlink_fill_info`, `enum ctattr_type`. Which attributes come depends on the event: the
//! helper in NEW and UPDATE only, labels only when they changed, counters and times in DESTROY only.

use super::attrs::{Attr, Attrs};
use super::conntrack::{
    CTA_HELP, CTA_ID, CTA_MARK, CTA_PROTOINFO, CTA_SEQ_ADJ_ORIG, CTA_SEQ_ADJ_REPLY, CTA_STATUS, CTA_TIMEOUT, CTA_TUPLE_MASTER,
    CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_ZONE, HELP_NAME,
};
use super::name::Name;
use super::{conntrack, tuple};
use crate::Malformed;
use crate::types::{Dir, Family, Tuple};

mod protoinfo;

pub use protoinfo::{Directions, ProtoInfo};

const CTA_COUNTERS_ORIG: u16 = 9;
const CTA_COUNTERS_REPLY: u16 = 10;
const CTA_USE: u16 = 11;
const CTA_SECCTX: u16 = 19;
const CTA_TIMESTAMP: u16 = 20;
/// Its labels.
pub const CTA_LABELS: u16 = 22;
const CTA_SYNPROXY: u16 = 24;
const CTA_TIMESTAMP_EVENT: u16 = 27;
const COUNTERS_PACKETS: u16 = 1;
const COUNTERS_BYTES: u16 = 2;
const SECCTX_NAME: u16 = 1;
const TIMESTAMP_START: u16 = 1;
const TIMESTAMP_STOP: u16 = 2;

/// A connection; what was not told is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// As the originator sees it.
    pub orig: Tuple,
    /// As the replier sees it.
    pub reply: Option<Tuple>,
    /// `CTA_ID`, the same from creation to end.
    pub id: Option<u32>,
    /// Bits of [`conntrack::status`].
    pub status: Option<u32>,
    /// Seconds left.
    pub timeout: Option<u32>,
    /// What its protocol remembers.
    pub protoinfo: Option<ProtoInfo>,
    /// Its helper's name; never told when the connection ends.
    pub helper: Option<Name<'a>>,
    /// Its zone, if both directions share one other than 0.
    pub zone: Option<u16>,
    /// Zones of single directions, by [`Dir::index`].
    pub zones: [Option<u16>; 2],
    /// Its mark; an event tells it when it is not 0 or was changed.
    pub mark: Option<u32>,
    /// Its labels: bit 0 is the lowest bit of the first byte on a little-endian machine; see [`Labels`].
    pub labels: Option<Labels>,
    /// Traffic, by [`Dir::index`]; needs `net.netfilter.nf_conntrack_acct`.
    pub counters: [Option<Counters>; 2],
    /// Birth and death, nanoseconds since 1970; need `net.netfilter.nf_conntrack_timestamp`.
    pub lifetime: Lifetime,
    /// The original tuple of the connection that expected it.
    pub master: Option<Tuple>,
    /// Its security context.
    pub secctx: Option<Name<'a>>,
    /// References to it; dumps only.
    pub uses: Option<u32>,
    /// When the kernel saw the event, nanoseconds since 1970; Linux 6.14.
    pub event_time: Option<u64>,
    /// Attributes that were unknown, broken or not to be shown, and were skipped.
    pub skipped: u16,
}

/// Traffic of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
}

/// Birth and death of a connection, nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// When it was confirmed.
    pub start: Option<u64>,
    /// When it ended.
    pub stop: Option<u64>,
}

/// The 128 labels of a connection (`struct nf_conn_labels`): an array of `unsigned long` as it lies in the kernel's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(u128);

impl Labels {
    /// How many there can be.
    pub const MAX: u8 = 128;

    /// From `CTA_LABELS`: 16 bytes.
    fn parse(attr: &Attr<'_>) -> Result<Self, Malformed> {
        let bytes: [u8; 16] = attr.array("labels")?;
        if cfg!(target_endian = "little") {
            return Ok(Self(u128::from_le_bytes(bytes)));
        }
        // Each word is in the host's order, the first word has the lowest labels.
        let [low, high] = [u128::from_be_bytes(bytes) >> 64, u128::from_be_bytes(bytes) & u128::from(u64::MAX)];
        Ok(Self(low | high << 64))
    }

    /// With these set; numbers of 128 and above are not there.
    pub fn with(labels: impl IntoIterator<Item = u8>) -> Self {
        Self(labels.into_iter().filter(|label| *label < Self::MAX).fold(0, |set, label| set | 1 << label))
    }

    /// Whether this one is set.
    pub fn has(self, label: u8) -> bool {
        label < Self::MAX && self.0 >> label & 1 == 1
    }

    /// Those that are set, ascending.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..Self::MAX).filter(move |label| self.has(*label))
    }
}

impl<'a> Entry<'a> {
    /// With the original tuple alone.
    pub fn new(orig: Tuple) -> Self {
        Self {
            orig,
            reply: None,
            id: None,
            status: None,
            timeout: None,
            protoinfo: None,
            helper: None,
            zone: None,
            zones: [None; 2],
            mark: None,
            labels: None,
            counters: [None; 2],
            lifetime: Lifetime::default(),
            master: None,
            secctx: None,
            uses: None,
            event_time: None,
            skipped: 0,
        }
    }

    /// From an event or a dump; allocates nothing. What cannot be read is skipped and counted, except the original tuple, which must be
    /// there.
    pub fn parse(attrs: Attrs<'a>) -> Result<Self, Malformed> {
        let orig = attrs.iter().flatten().find(|attr| attr.kind == CTA_TUPLE_ORIG).ok_or(Malformed("conntrack tuple"))?;
        let (orig, zone) = tuple::parse_zoned(orig.nested())?;
        let mut entry = Self { zones: [zone, None], ..Self::new(orig) };
        for attr in attrs {
            let taken = attr.and_then(|attr| entry.take(&attr));
            entry.skipped = entry.skipped.saturating_add(u16::from(taken.is_err()));
        }
        Ok(entry)
    }

    fn take(&mut self, attr: &Attr<'a>) -> Result<(), Malformed> {
        let [orig_counters, reply_counters] = &mut self.counters;
        match attr.kind {
            CTA_TUPLE_REPLY => {
                let (tuple, zone) = tuple::parse_zoned(attr.nested())?;
                self.reply = Some(tuple);
                self.zones = [self.zones[0], zone];
            }
            CTA_STATUS => self.status = Some(attr.be32("conntrack status")?),
            CTA_PROTOINFO => self.protoinfo = protoinfo::parse(attr.nested())?,
            CTA_HELP => self.helper = parse_name(attr.nested(), HELP_NAME)?,
            CTA_TIMEOUT => self.timeout = Some(attr.be32("conntrack timeout")?),
            CTA_MARK => self.mark = Some(attr.be32("conntrack mark")?),
            CTA_COUNTERS_ORIG => *orig_counters = parse_counters(attr.nested())?,
            CTA_COUNTERS_REPLY => *reply_counters = parse_counters(attr.nested())?,
            CTA_USE => self.uses = Some(attr.be32("conntrack use")?),
            CTA_ID => self.id = Some(attr.be32("conntrack id")?),
            CTA_TUPLE_MASTER => self.master = Some(tuple::parse(attr.nested())?),
            CTA_ZONE => self.zone = Some(attr.be16("conntrack zone")?),
            CTA_SECCTX => self.secctx = parse_name(attr.nested(), SECCTX_NAME)?,
            CTA_TIMESTAMP => self.lifetime = parse_lifetime(attr.nested())?,
            CTA_LABELS => self.labels = Some(Labels::parse(attr)?),
            CTA_TIMESTAMP_EVENT => self.event_time = Some(attr.be64("event time")?),
            // Read already, and what nobody asks for.
            CTA_TUPLE_ORIG | CTA_SEQ_ADJ_ORIG | CTA_SEQ_ADJ_REPLY | CTA_SYNPROXY => {}
            _ => return Err(Malformed("conntrack attribute")),
        }
        Ok(())
    }

    /// Its family.
    pub fn family(&self) -> Family {
        Family::of(self.orig.src)
    }

    /// Whether one of these bits of [`conntrack::status`] is set.
    pub fn has_status(&self, bits: u32) -> bool {
        self.status.unwrap_or(0) & bits != 0
    }

    /// Whether its source, its destination or either is translated, by the status where that was told, else by the tuples.
    pub fn is_translated(&self) -> bool {
        self.has_status(conntrack::status::NAT)
            || self.status.is_none() && self.reply.is_some_and(|reply| reply.inverse() != self.orig)
    }

    /// Its zone in one direction, 0 by default.
    pub fn zone_of(&self, dir: Dir) -> u16 {
        self.zones.get(dir.index()).copied().flatten().or(self.zone).unwrap_or(0)
    }
}

/// The name inside a nest.
fn parse_name(attrs: Attrs<'_>, kind: u16) -> Result<Option<Name<'_>>, Malformed> {
    for attr in attrs {
        let attr = attr?;
        if attr.kind == kind {
            return Ok(Some(attr.name()));
        }
    }
    Ok(None)
}

fn parse_counters(attrs: Attrs<'_>) -> Result<Option<Counters>, Malformed> {
    let (mut packets, mut bytes) = (None, None);
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            COUNTERS_PACKETS => packets = Some(attr.be64("packet counter")?),
            COUNTERS_BYTES => bytes = Some(attr.be64("byte counter")?),
            _ => {}
        }
    }
    Ok(packets.zip(bytes).map(|(packets, bytes)| Counters { packets, bytes }))
}

fn parse_lifetime(attrs: Attrs<'_>) -> Result<Lifetime, Malformed> {
    let mut lifetime = Lifetime::default();
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            TIMESTAMP_START => lifetime.start = Some(attr.be64("start time")?),
            TIMESTAMP_STOP => lifetime.stop = Some(attr.be64("stop time")?),
            _ => {}
        }
    }
    Ok(lifetime)
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests;
