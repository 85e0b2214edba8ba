//! Connections (`enum ctattr_type` of `linux/netfilter/nfnetlink_conntrack.h`): in events, dumps and packets, and what may be changed.

use super::attrs::Attrs;
use super::message::{flag, op, request, subsystem};
use super::name::Name;
use super::tuple;
use crate::Malformed;
use crate::types::{Dir, Family, Tuple};
use crate::writer::Writer;

/// The connection as its originator sees it.
pub const CTA_TUPLE_ORIG: u16 = 1;
pub(super) const CTA_TUPLE_REPLY: u16 = 2;
/// Bits of [`status`].
pub const CTA_STATUS: u16 = 3;
pub(super) const CTA_PROTOINFO: u16 = 4;
/// Its helper.
pub const CTA_HELP: u16 = 5;
pub(super) const CTA_TIMEOUT: u16 = 7;
/// Its mark.
pub const CTA_MARK: u16 = 8;
pub(super) const CTA_ID: u16 = 12;
pub(super) const CTA_TUPLE_MASTER: u16 = 14;
pub(super) const CTA_SEQ_ADJ_ORIG: u16 = 15;
pub(super) const CTA_SEQ_ADJ_REPLY: u16 = 16;
pub(super) const CTA_ZONE: u16 = 18;
pub(super) const HELP_NAME: u16 = 1;
const HELP_INFO: u16 = 2;
const SEQADJ_CORRECTION_POS: u16 = 1;
const SEQADJ_OFFSET_BEFORE: u16 = 2;
const SEQADJ_OFFSET_AFTER: u16 = 3;
const PROTOINFO_TCP: u16 = 1;
const PROTOINFO_TCP_STATE: u16 = 1;

/// Bits of [`Conntrack::status`] (`enum ip_conntrack_status`).
pub mod status {
    /// It was expected, and has a master.
    pub const EXPECTED: u32 = 1;
    /// Packets went both ways.
    pub const SEEN_REPLY: u32 = 2;
    /// Not evicted early.
    pub const ASSURED: u32 = 4;
    /// In the table: the first packet left.
    pub const CONFIRMED: u32 = 8;
    /// The source is translated.
    pub const SRC_NAT: u32 = 0x10;
    /// The destination is translated.
    pub const DST_NAT: u32 = 0x20;
    /// Sequence numbers are adjusted.
    pub const SEQ_ADJUST: u32 = 0x40;
    /// Source translation was decided.
    pub const SRC_NAT_DONE: u32 = 0x80;
    /// Destination translation was decided.
    pub const DST_NAT_DONE: u32 = 0x100;
    /// On its way out.
    pub const DYING: u32 = 0x200;
    /// The timeout cannot be changed.
    pub const FIXED_TIMEOUT: u32 = 0x400;
    /// A template, not a connection.
    pub const TEMPLATE: u32 = 0x800;
    /// Not tracked.
    pub const UNTRACKED: u32 = 0x1000;
    /// A rule or a request attached its helper. Where an expectation brought the helper, 6.1 sets it and 6.12 does not.
    pub const HELPER: u32 = 0x2000;
    /// In a flow table.
    pub const OFFLOAD: u32 = 0x4000;
    /// In hardware.
    pub const HW_OFFLOAD: u32 = 0x8000;
    /// Any translation.
    pub const NAT: u32 = SRC_NAT | DST_NAT;
}

/// Multicast groups (`enum nfnetlink_groups`), as `NETLINK_ADD_MEMBERSHIP` numbers them.
pub mod group {
    /// New connections.
    pub const CONNTRACK_NEW: u32 = 1;
    /// Changes of connections.
    pub const CONNTRACK_UPDATE: u32 = 2;
    /// Ends of connections.
    pub const CONNTRACK_DESTROY: u32 = 3;
    /// New expectations.
    pub const EXPECT_NEW: u32 = 4;
    /// No kernel sends to it.
    pub const EXPECT_UPDATE: u32 = 5;
    /// Ends of expectations: used up, withdrawn, expired.
    pub const EXPECT_DESTROY: u32 = 6;
}

/// TCP states ([`Conntrack::tcp_state`], `enum tcp_conntrack`).
pub mod tcp_state {
    /// The handshake is complete.
    pub const ESTABLISHED: u8 = 3;
}

/// What an event says of its object, a connection or an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// It came to be.
    New,
    /// It changed.
    Update,
    /// It ended.
    Destroy,
}

/// What kind of event a message of subsystem `CONNTRACK` or `EXPECT` is, by its operation and header flags. The entries of a dump and
/// the answer to a GET carry the operation of an event too; ask only of what a multicast group delivered.
pub fn event(op: u8, flags: u16) -> Option<Event> {
    match op {
        op::NEW if flags & flag::CREATE != 0 => Some(Event::New),
        op::NEW => Some(Event::Update),
        op::DELETE => Some(Event::Destroy),
        _ => None,
    }
}

/// A connection, as far as helpers need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conntrack<'a> {
    /// As the originator sees it.
    pub orig: Tuple,
    /// As the replier sees it.
    pub reply: Option<Tuple>,
    /// `CTA_ID`, the same from creation to end.
    pub id: Option<u32>,
    /// Bits of [`status`].
    pub status: u32,
    /// Seconds left.
    pub timeout: Option<u32>,
    /// Its helper; never told when the connection ends.
    pub help: Option<Help<'a>>,
    /// Its zone in the original direction, 0 by default.
    pub zone: u16,
    /// Its mark.
    pub mark: u32,
    /// The original tuple of the connection that expected it.
    pub master: Option<Tuple>,
    /// Adjustment of sequence numbers, by [`Dir::index`].
    pub seqadj: [Option<SeqAdj>; 2],
    /// See [`tcp_state`].
    pub tcp_state: Option<u8>,
}

/// `CTA_HELP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Help<'a> {
    /// The helper's name.
    pub name: Name<'a>,
    /// The private data; absent if the helper has none, or is dead (7.x).
    pub info: Option<&'a [u8]>,
}

/// How sequence numbers of one direction are shifted (`struct nf_ct_seqadj`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqAdj {
    /// Sequence number, in the sender's own counting, of the packet whose length changed last.
    pub pos: u32,
    /// Shift up to there, bytes.
    pub before: i32,
    /// Shift after it, bytes.
    pub after: i32,
}

impl<'a> Conntrack<'a> {
    /// From an event, a dump, or `NFQA_CT`; allocates nothing. Only the original tuple must be there.
    pub fn parse(attrs: Attrs<'a>) -> Result<Self, Malformed> {
        let (mut orig, mut zone) = (None, None);
        let mut ct = Partial::default();
        for attr in attrs {
            let attr = attr?;
            match attr.kind {
                CTA_TUPLE_ORIG => orig = Some(tuple::parse_zoned(attr.nested())?),
                CTA_TUPLE_REPLY => ct.reply = Some(tuple::parse(attr.nested())?),
                CTA_STATUS => ct.status = attr.be32("conntrack status")?,
                CTA_PROTOINFO => ct.tcp_state = parse_tcp_state(attr.nested())?,
                CTA_HELP => ct.help = parse_help(attr.nested())?,
                CTA_TIMEOUT => ct.timeout = Some(attr.be32("conntrack timeout")?),
                CTA_MARK => ct.mark = attr.be32("conntrack mark")?,
                CTA_ID => ct.id = Some(attr.be32("conntrack id")?),
                CTA_TUPLE_MASTER => ct.master = Some(tuple::parse(attr.nested())?),
                CTA_SEQ_ADJ_ORIG => ct.seqadj[0] = Some(parse_seqadj(attr.nested())?),
                CTA_SEQ_ADJ_REPLY => ct.seqadj[1] = Some(parse_seqadj(attr.nested())?),
                CTA_ZONE => zone = Some(attr.be16("conntrack zone")?),
                _ => {}
            }
        }
        let (orig, orig_zone) = orig.ok_or(Malformed("conntrack tuple"))?;
        Ok(ct.complete(orig, zone.or(orig_zone).unwrap_or(0)))
    }
}

/// A connection whose tuple has not been read yet.
#[derive(Default)]
struct Partial<'a> {
    reply: Option<Tuple>,
    id: Option<u32>,
    status: u32,
    timeout: Option<u32>,
    help: Option<Help<'a>>,
    mark: u32,
    master: Option<Tuple>,
    seqadj: [Option<SeqAdj>; 2],
    tcp_state: Option<u8>,
}

impl<'a> Partial<'a> {
    fn complete(self, orig: Tuple, zone: u16) -> Conntrack<'a> {
        let Self { reply, id, status, timeout, help, mark, master, seqadj, tcp_state } = self;
        Conntrack { orig, reply, id, status, timeout, help, zone, mark, master, seqadj, tcp_state }
    }
}

/// A nest without a name is as good as none.
fn parse_help(attrs: Attrs<'_>) -> Result<Option<Help<'_>>, Malformed> {
    let (mut name, mut info) = (None, None);
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            HELP_NAME => name = Some(attr.name()),
            HELP_INFO => info = Some(attr.value),
            _ => {}
        }
    }
    Ok(name.map(|name| Help { name, info }))
}

fn parse_seqadj(attrs: Attrs<'_>) -> Result<SeqAdj, Malformed> {
    let mut seqadj = SeqAdj { pos: 0, before: 0, after: 0 };
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            SEQADJ_CORRECTION_POS => seqadj.pos = attr.be32("seqadj position")?,
            SEQADJ_OFFSET_BEFORE => seqadj.before = attr.be32("seqadj offset before")?.cast_signed(),
            SEQADJ_OFFSET_AFTER => seqadj.after = attr.be32("seqadj offset after")?.cast_signed(),
            _ => {}
        }
    }
    Ok(seqadj)
}

fn parse_tcp_state(attrs: Attrs<'_>) -> Result<Option<u8>, Malformed> {
    for attr in attrs {
        let attr = attr?;
        if attr.kind == PROTOINFO_TCP {
            for attr in attr.nested() {
                let attr = attr?;
                if attr.kind == PROTOINFO_TCP_STATE {
                    return attr.u8("tcp state").map(Some);
                }
            }
        }
    }
    Ok(None)
}

/// What [`update`] changes; by default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Update<'a> {
    /// The attached helper's name and its new private data. EBUSY for another helper's name.
    pub help: Option<(&'a str, &'a [u8])>,
    /// Adjustment of one direction. Ignored without an error if the connection has no room for it, as one without NAT has not.
    pub seqadj: Option<(Dir, SeqAdj)>,
    /// Seconds to live from now.
    pub timeout: Option<u32>,
}

/// Changes a confirmed connection; never creates one. ENOENT if there is none.
/// Source: `ctnetlink_change_conntrack`, Linux 5.10 to 7.2.
pub fn update(out: &mut Vec<u8>, seq: u32, tuple: &Tuple, zone: u16, update: &Update<'_>) {
    about(out, op::NEW, seq, tuple, zone, |w| {
        if let Some((name, info)) = update.help {
            write_help(w, name, info);
        }
        if let Some((dir, seqadj)) = update.seqadj {
            write_seqadj(w, dir, &seqadj);
        }
        if let Some(timeout) = update.timeout {
            w.be32(CTA_TIMEOUT, timeout);
        }
    });
}

/// Asks for one connection, by the tuple of either direction. ENOENT if there is none.
pub fn get(out: &mut Vec<u8>, seq: u32, tuple: &Tuple, zone: u16) {
    about(out, op::GET, seq, tuple, zone, |_| ());
}

/// Asks for all connections of a family (2, 10, or 0 for both).
pub fn dump(out: &mut Vec<u8>, seq: u32, family: u8) {
    request(out, subsystem::CONNTRACK, op::GET, flag::DUMP, seq, family, 0, |_| ());
}

/// Ends one connection; with an id only if it is still that one. ENOENT if not.
pub fn delete(out: &mut Vec<u8>, seq: u32, tuple: &Tuple, zone: u16, id: Option<u32>) {
    about(out, op::DELETE, seq, tuple, zone, |w| {
        if let Some(id) = id {
            w.be32(CTA_ID, id);
        }
    });
}

/// A request about one connection, acknowledged. The tuple is always there: without one a DELETE would empty the table.
fn about(out: &mut Vec<u8>, op: u8, seq: u32, tuple: &Tuple, zone: u16, rest: impl FnOnce(&mut Writer<'_>)) {
    let family = Family::of(tuple.src).number();
    request(out, subsystem::CONNTRACK, op, flag::ACK, seq, family, 0, |w| {
        tuple::write(w, CTA_TUPLE_ORIG, tuple);
        if zone != 0 {
            w.be16(CTA_ZONE, zone);
        }
        rest(w);
    });
}

/// `CTA_HELP`, also within `NFQA_CT`.
pub(super) fn write_help(w: &mut Writer<'_>, name: &str, info: &[u8]) {
    w.nest(CTA_HELP, |w| {
        w.name(HELP_NAME, name);
        w.attr(HELP_INFO, info);
    });
}

/// `CTA_TIMEOUT`, also within `NFQA_CT`.
pub(super) fn write_timeout(w: &mut Writer<'_>, seconds: u32) {
    w.be32(CTA_TIMEOUT, seconds);
}

/// `CTA_MARK`, also within `NFQA_CT`.
pub(super) fn write_mark(w: &mut Writer<'_>, mark: u32) {
    w.be32(CTA_MARK, mark);
}

fn write_seqadj(w: &mut Writer<'_>, dir: Dir, seqadj: &SeqAdj) {
    let kind = match dir {
        Dir::Orig => CTA_SEQ_ADJ_ORIG,
        Dir::Reply => CTA_SEQ_ADJ_REPLY,
    };
    w.nest(kind, |w| {
        w.be32(SEQADJ_CORRECTION_POS, seqadj.pos);
        w.be32(SEQADJ_OFFSET_BEFORE, seqadj.before.cast_unsigned());
        w.be32(SEQADJ_OFFSET_AFTER, seqadj.after.cast_unsigned());
    });
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests;
