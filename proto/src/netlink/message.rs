//! Framing of nfnetlink messages (`linux/netlink.h`, `linux/netfilter/nfnetlink.h`).
//!
//! ```text
//! nlmsghdr  16  u32 length | u16 kind | u16 flags | u32 seq | u32 port id      host order
//! nfgenmsg   4  u8 family  | u8 version 0 | u16 res_id                         res_id big-endian
//! attributes    each padded to 4
//! ```
//! `kind` is `subsystem << 8 | operation`; the kinds below 16 are netlink's own.

use super::attrs::Attrs;
use crate::Malformed;
use crate::reader::Reader;
use crate::writer::Writer;

/// The `nlmsghdr`, bytes.
const HEADER: usize = 16;

/// Bit of an attribute's kind: attributes inside.
pub const NLA_F_NESTED: u16 = 0x8000;
/// The bits of an attribute's kind that number it.
pub const NLA_TYPE_MASK: u16 = 0x3fff;

/// nfnetlink's parts; the high byte of a message's kind.
pub mod subsystem {
    /// Connections (`NFNL_SUBSYS_CTNETLINK`).
    pub const CONNTRACK: u8 = 1;
    /// Expectations (`NFNL_SUBSYS_CTNETLINK_EXP`).
    pub const EXPECT: u8 = 2;
    /// Packets and verdicts (`NFNL_SUBSYS_QUEUE`).
    pub const QUEUE: u8 = 3;
    /// Timeout policies (`NFNL_SUBSYS_CTNETLINK_TIMEOUT`).
    pub const CTTIMEOUT: u8 = 8;
    /// Registry of helpers (`NFNL_SUBSYS_CTHELPER`).
    pub const CTHELPER: u8 = 9;
}

/// Operations; the low byte of a message's kind.
pub mod op {
    /// Create or change; also what a dump, a reply and a creation event carry. Conntrack, expectations, helpers.
    pub const NEW: u8 = 0;
    /// Show.
    pub const GET: u8 = 1;
    /// Remove; also what a destruction event carries.
    pub const DELETE: u8 = 2;
    /// A queued packet.
    pub const QUEUE_PACKET: u8 = 0;
    /// The decision on one packet.
    pub const QUEUE_VERDICT: u8 = 1;
    /// Binding and settings of a queue.
    pub const QUEUE_CONFIG: u8 = 2;
    /// The decision on all packets up to an id.
    pub const QUEUE_VERDICT_BATCH: u8 = 3;
    /// Change a protocol's own timeouts; also what an answer to the next carries.
    pub const TIMEOUT_DEFAULT_SET: u8 = 3;
    /// Show a protocol's own timeouts.
    pub const TIMEOUT_DEFAULT_GET: u8 = 4;
}

/// Bits of `nlmsghdr.flags`.
pub mod flag {
    /// A request; the kernel ignores what lacks it.
    pub const REQUEST: u16 = 1;
    /// One of several answers. A single GET's answer carries it too, and no DONE follows.
    pub const MULTI: u16 = 2;
    /// Acknowledge success as well as failure.
    pub const ACK: u16 = 4;
    /// Send the event to the requester too.
    pub const ECHO: u16 = 8;
    /// Show all (`ROOT | MATCH`).
    pub const DUMP: u16 = 0x300;
    /// Fail with EEXIST if it exists.
    pub const EXCL: u16 = 0x200;
    /// Create if it does not exist.
    pub const CREATE: u16 = 0x400;
    /// On an acknowledgement: only the request's header is quoted.
    pub const CAPPED: u16 = 0x100;
    /// On an acknowledgement: attributes follow the quotation.
    pub const ACK_TLVS: u16 = 0x200;
}

/// Kind of a message that says nothing.
pub const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Kinds below are netlink's own.
const NLMSG_MIN_TYPE: u16 = 0x10;
/// Attributes of an extended acknowledgement (`enum nlmsgerr_attrs`).
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSGERR_ATTR_OFFS: u16 = 2;

/// What precedes every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// `subsystem << 8 | operation`, or one of netlink's own below 16.
    pub kind: u16,
    /// See [`flag`].
    pub flags: u16,
    /// The request's number, repeated in its answers; 0 in events and packets.
    pub seq: u32,
    /// Port id: of the addressee in answers, of the causing socket in events (0 = traffic caused it).
    pub pid: u32,
}

/// One message from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What precedes it.
    pub header: Header,
    /// What it says.
    pub body: Body<'a>,
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// `NLMSG_ERROR`: the answer to one request, good or bad.
    Ack(Ack<'a>),
    /// The end of a dump; 0 or a positive errno.
    Done(i32),
    /// A message of a subsystem.
    Nf {
        /// See [`subsystem`].
        subsystem: u8,
        /// See [`op`].
        op: u8,
        /// `AF_INET`, `AF_INET6` or 0.
        family: u8,
        /// The queue's number, else 0.
        res_id: u16,
        /// The rest.
        attrs: Attrs<'a>,
    },
    /// `NLMSG_NOOP`: what stands behind the header. No kernel sends it; the broker's notices are of this kind.
    Noop(&'a [u8]),
    /// Netlink's own business: batch marks, overruns.
    Other,
}

/// The answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// 0, or the positive errno.
    pub errno: i32,
    /// The kernel's words, if it had any.
    pub text: Option<&'a str>,
    /// Offset in the request of the attribute it complains about, bytes.
    pub offset: Option<u32>,
}

/// Appends one complete request. [`flag::REQUEST`] is always set, `flags` adds to it.
#[allow(clippy::too_many_arguments, reason = "they are the fields of the two headers, in their order")]
pub fn request(
    out: &mut Vec<u8>,
    subsystem: u8,
    op: u8,
    flags: u16,
    seq: u32,
    family: u8,
    res_id: u16,
    body: impl FnOnce(&mut Writer<'_>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(u16::from(subsystem) << 8 | u16::from(op)).to_ne_bytes());
    out.extend_from_slice(&(flags | flag::REQUEST).to_ne_bytes());
    out.extend_from_slice(&seq.to_ne_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[family, 0]);
    out.extend_from_slice(&res_id.to_be_bytes());
    body(&mut Writer::new(out));
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_ne_bytes());
    }
}

/// The messages of one datagram. A message whose length is wrong ends the iteration; one that is broken inside does not.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Malformed>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut reader = Reader::new(rest);
        let body = body(&mut reader);
        let length = rest.len() - reader.rest().len();
        // The last message need not be padded.
        let next = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        rest = if body.is_ok() { next } else { &[] };
        Some(body.and_then(message))
    })
}

/// The next message behind its length.
fn body<'a>(reader: &mut Reader<'a>) -> Result<Reader<'a>, Malformed> {
    let length = usize::try_from(reader.ne32("netlink header")?).map_err(|_| Malformed("netlink length"))?;
    if length < HEADER {
        return Err(Malformed("netlink length"));
    }
    reader.take(length - 4, "netlink length").map(Reader::new)
}

/// Reads on behind the length.
fn message(mut reader: Reader<'_>) -> Result<Message<'_>, Malformed> {
    let header = header(&mut reader)?;
    let body = match header.kind {
        NLMSG_ERROR => Body::Ack(ack(header.flags, reader)?),
        NLMSG_DONE => Body::Done(errno(&mut reader)?),
        NLMSG_NOOP => Body::Noop(reader.rest()),
        kind if kind < NLMSG_MIN_TYPE || kind >> 8 == 0 => Body::Other,
        kind => {
            let [op, subsystem] = kind.to_le_bytes();
            let family = reader.u8("nfgenmsg")?;
            reader.u8("nfgenmsg")?;
            Body::Nf { subsystem, op, family, res_id: reader.be16("nfgenmsg")?, attrs: Attrs::new(reader.rest()) }
        }
    };
    Ok(Message { header, body })
}

fn header(reader: &mut Reader<'_>) -> Result<Header, Malformed> {
    Ok(Header {
        kind: reader.ne16("netlink header")?,
        flags: reader.ne16("netlink header")?,
        seq: reader.ne32("netlink header")?,
        pid: reader.ne32("netlink header")?,
    })
}

/// The kernel says 0 or a negative errno.
fn errno(reader: &mut Reader<'_>) -> Result<i32, Malformed> {
    let value = reader.ne32("errno")?.cast_signed();
    value.checked_neg().filter(|errno| *errno >= 0).ok_or(Malformed("errno"))
}

/// `struct nlmsgerr`: errno, the request's header, and unless capped the rest of the request; then attributes (`netlink_ack`).
/// Attributes that cannot be read cost the words, not the answer.
fn ack(flags: u16, mut reader: Reader<'_>) -> Result<Ack<'_>, Malformed> {
    let mut ack = Ack { errno: errno(&mut reader)?, text: None, offset: None };
    let quoted = reader.ne32("acknowledged header")?;
    header(&mut reader)?;
    if flags & flag::CAPPED == 0 {
        let rest = usize::try_from(quoted).unwrap_or(usize::MAX).saturating_sub(HEADER);
        let padded = rest.checked_next_multiple_of(4).unwrap_or(rest);
        if reader.take(padded, "acknowledged request").is_err() {
            return Ok(ack);
        }
    }
    if flags & flag::ACK_TLVS != 0 {
        for attr in Attrs::new(reader.rest()).iter().flatten() {
            match attr.kind {
                NLMSGERR_ATTR_MSG => ack.text = attr.str("acknowledgement text").ok(),
                NLMSGERR_ATTR_OFFS => ack.offset = attr.ne32("acknowledgement offset").ok(),
                _ => {}
            }
        }
    }
    Ok(ack)
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests;
