//! Packets in, verdicts out (`linux/netfilter/nfnetlink_queue.h`).

use super::attrs::Attrs;
use super::conntrack::{self, Conntrack};
use super::expect::{self, Expectation};
use super::message::{flag, op, request, subsystem};
use crate::Malformed;
use crate::reader::Reader;
use crate::types::CtInfo;
use crate::writer::Writer;

const NFQA_PACKET_HDR: u16 = 1;
const NFQA_VERDICT_HDR: u16 = 2;
const NFQA_MARK: u16 = 3;
const NFQA_IFINDEX_INDEV: u16 = 5;
const NFQA_IFINDEX_OUTDEV: u16 = 6;
const NFQA_PAYLOAD: u16 = 10;
const NFQA_CT: u16 = 11;
const NFQA_CT_INFO: u16 = 12;
const NFQA_CAP_LEN: u16 = 13;
const NFQA_SKB_INFO: u16 = 14;
const NFQA_EXP: u16 = 15;
const NFQA_CFG_CMD: u16 = 1;
const NFQA_CFG_PARAMS: u16 = 2;
const NFQA_CFG_QUEUE_MAXLEN: u16 = 3;
const NFQA_CFG_MASK: u16 = 4;
const NFQA_CFG_FLAGS: u16 = 5;
const CMD_BIND: u8 = 1;
const CMD_UNBIND: u8 = 2;
const COPY_PACKET: u8 = 2;

/// Longest packet the kernel hands out or takes back, bytes.
pub const MAX_PAYLOAD: usize = Writer::MAX_VALUE;

/// Bits of [`Config::flags`].
pub mod config {
    /// A full queue accepts what it cannot hold.
    pub const FAIL_OPEN: u32 = 1;
    /// Packets come with their connection. EOPNOTSUPP: the kernel is built without it.
    pub const CONNTRACK: u32 = 2;
    /// Large packets come whole, with unfinished checksums.
    pub const GSO: u32 = 4;
    /// Packets of local sockets come with the owner's ids.
    pub const UID_GID: u32 = 8;
    /// Packets of local sockets come with a security label.
    pub const SECCTX: u32 = 0x10;
}

/// Bits of [`Packet::skb_info`].
pub mod skb_info {
    /// Checksums in the payload are unfinished.
    pub const CSUM_NOT_READY: u32 = 1;
    /// Larger than the path takes; the kernel will cut it.
    pub const GSO: u32 = 2;
    /// Nobody has verified the checksums yet.
    pub const CSUM_NOT_VERIFIED: u32 = 4;
}

/// Hooks where helpers' packets are queued ([`Packet::hook`], `enum nf_inet_hooks`).
pub mod hook {
    /// Addressed to this machine.
    pub const LOCAL_IN: u8 = 1;
    /// About to leave it.
    pub const POST_ROUTING: u8 = 4;
}

/// Settings of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of each packet to hand out; 0 or more than [`MAX_PAYLOAD`] means that.
    pub copy_range: u32,
    /// Packets that may wait.
    pub max_len: u32,
    /// Bits of [`config`] to set.
    pub flags: u32,
    /// Bits of [`config`] to set or clear.
    pub mask: u32,
}

/// Takes a queue for this socket. EBUSY: it has it already. EPERM: another socket has it. Until [`configure`] every packet is dropped.
pub fn bind(out: &mut Vec<u8>, seq: u32, queue: u16) {
    command(out, seq, queue, CMD_BIND);
}

/// Gives a queue up; packets waiting in it are dropped.
pub fn unbind(out: &mut Vec<u8>, seq: u32, queue: u16) {
    command(out, seq, queue, CMD_UNBIND);
}

fn command(out: &mut Vec<u8>, seq: u32, queue: u16, command: u8) {
    request(out, subsystem::QUEUE, op::QUEUE_CONFIG, flag::ACK, seq, 0, queue, |w| w.attr(NFQA_CFG_CMD, &[command, 0, 0, 0]));
}

/// Settings of a bound queue (ENODEV if it is not); packets are handed out from now on.
pub fn configure(out: &mut Vec<u8>, seq: u32, queue: u16, config: &Config) {
    request(out, subsystem::QUEUE, op::QUEUE_CONFIG, flag::ACK, seq, 0, queue, |w| {
        let [a, b, c, d] = config.copy_range.to_be_bytes();
        w.attr(NFQA_CFG_PARAMS, &[a, b, c, d, COPY_PACKET]);
        w.be32(NFQA_CFG_QUEUE_MAXLEN, config.max_len);
        w.be32(NFQA_CFG_MASK, config.mask);
        w.be32(NFQA_CFG_FLAGS, config.flags);
    });
}

/// Another length for a bound queue that is in use. Not acknowledged, because packets come on the same socket; a refusal is.
pub fn set_length(out: &mut Vec<u8>, seq: u32, queue: u16, max_len: u32) {
    request(out, subsystem::QUEUE, op::QUEUE_CONFIG, 0, seq, 0, queue, |w| w.be32(NFQA_CFG_QUEUE_MAXLEN, max_len));
}

/// A queued packet. It waits in the kernel until its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Queue it waits in.
    pub queue: u16,
    /// Names it in the verdict; per queue, ascending from 1.
    pub id: u32,
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// Ethernet type: 0x0800 or 0x86dd.
    pub hw_protocol: u16,
    /// See [`hook`].
    pub hook: u8,
    /// Where its connection stands; absent without a connection, or if the kernel says what we do not know.
    pub info: Option<CtInfo>,
    /// Its connection, as it was when the packet was queued.
    pub ct: Option<Conntrack<'a>>,
    /// Whole length, if `payload` is cut.
    pub cap_len: Option<u32>,
    /// See [`skb_info`].
    pub skb_info: u32,
    /// Its mark.
    pub mark: u32,
    /// Interface it came by.
    pub indev: Option<u32>,
    /// Interface it leaves by.
    pub outdev: Option<u32>,
    /// From the IP header on.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// From a message `QUEUE_PACKET`; allocates nothing. If this fails the packet still waits: see [`id_of`](Self::id_of).
    pub fn parse(family: u8, res_id: u16, attrs: Attrs<'a>) -> Result<Self, Malformed> {
        let mut packet = Self {
            queue: res_id,
            id: 0,
            family,
            hw_protocol: 0,
            hook: 0,
            info: None,
            ct: None,
            cap_len: None,
            skb_info: 0,
            mark: 0,
            indev: None,
            outdev: None,
            payload: &[],
        };
        let mut has_header = false;
        for attr in attrs {
            let attr = attr?;
            match attr.kind {
                NFQA_PACKET_HDR => {
                    (packet.id, packet.hw_protocol, packet.hook) = packet_header(attr.value)?;
                    has_header = true;
                }
                NFQA_MARK => packet.mark = attr.be32("packet mark")?,
                NFQA_IFINDEX_INDEV => packet.indev = Some(attr.be32("packet indev")?),
                NFQA_IFINDEX_OUTDEV => packet.outdev = Some(attr.be32("packet outdev")?),
                NFQA_PAYLOAD => packet.payload = attr.value,
                NFQA_CT => packet.ct = Some(Conntrack::parse(attr.nested())?),
                NFQA_CT_INFO => packet.info = CtInfo::from_number(attr.be32("packet ct info")?),
                NFQA_CAP_LEN => packet.cap_len = Some(attr.be32("packet cap len")?),
                NFQA_SKB_INFO => packet.skb_info = attr.be32("packet skb info")?,
                _ => {}
            }
        }
        if has_header { Ok(packet) } else { Err(Malformed("packet header")) }
    }

    /// The id alone, from a message that is otherwise malformed: to let the packet go.
    pub fn id_of(attrs: Attrs<'_>) -> Option<u32> {
        let header = attrs.iter().map_while(Result::ok).filter(|attr| attr.kind == NFQA_PACKET_HDR).last()?;
        packet_header(header.value).ok().map(|(id, ..)| id)
    }
}

/// `struct nfqnl_msg_packet_hdr`: id, Ethernet type, hook; 7 bytes.
fn packet_header(bytes: &[u8]) -> Result<(u32, u16, u8), Malformed> {
    let mut reader = Reader::new(bytes);
    Ok((reader.be32("packet header")?, reader.be16("packet header")?, reader.u8("packet header")?))
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is gone.
    Drop,
    /// It goes on behind the hook, its connection confirmed.
    Accept,
    /// It passes the hook again, and is queued again.
    Repeat,
    /// It is handed to another queue.
    Queue(u16),
}

impl Decision {
    /// The kernel's number (`NF_DROP` and so on).
    pub fn number(self) -> u32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Queue(queue) => u32::from(queue) << 16 | 3,
            Self::Repeat => 4,
        }
    }
}

/// What a verdict changes besides deciding; by default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerdictParts<'a> {
    /// The whole packet anew, from the IP header on, lengths and checksums done; at most [`MAX_PAYLOAD`] bytes.
    pub payload: Option<&'a [u8]>,
    /// Changes of the connection. Present but empty it still matters: with it the kernel adjusts sequence numbers when the
    /// payload's length changed, and wrongly so for IPv6.
    pub ct: Option<CtUpdate<'a>>,
    /// Creates an expectation although the connection is not yet in the table; only for such a first packet, since any error is
    /// swallowed. The kernel looks at it only beside an `NFQA_CT`, which is therefore written even if `ct` is `None`.
    pub expect: Option<&'a Expectation>,
    /// The packet's new mark.
    pub mark: Option<u32>,
    /// Ask for an acknowledgement. An error is reported in any case.
    pub ack: bool,
}

/// What a verdict changes of its connection. Deliberately without the status: an outdated one makes the kernel skip the expectation
/// and the sequence adjustment without a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CtUpdate<'a> {
    /// The attached helper's name and its new private data.
    pub help: Option<(&'a str, &'a [u8])>,
    /// The connection's new mark.
    pub mark: Option<u32>,
    /// How long it is kept without traffic from now on, seconds; its next packet sets what its protocol says.
    /// Source: `ctnetlink_glue_parse_ct`, `__nf_ct_set_timeout`, Linux 6.1 to 7.2, also for a connection that is not in the table yet.
    pub timeout_secs: Option<u32>,
}

/// Lets one packet go. ENOENT: it is no longer there. Never echoed: the kernel would report to a port id it reads from the packet.
/// Source: `nfqnl_recv_verdict`, Linux 5.10 to 7.2.
pub fn verdict(out: &mut Vec<u8>, seq: u32, queue: u16, id: u32, decision: Decision, parts: &VerdictParts<'_>) {
    let flags = if parts.ack { flag::ACK } else { 0 };
    request(out, subsystem::QUEUE, op::QUEUE_VERDICT, flags, seq, 0, queue, |w| {
        verdict_header(w, id, decision);
        if let Some(mark) = parts.mark {
            w.be32(NFQA_MARK, mark);
        }
        if parts.ct.is_some() || parts.expect.is_some() {
            w.nest(NFQA_CT, |w| connection(w, &parts.ct.unwrap_or_default()));
        }
        if let Some(expectation) = parts.expect {
            w.nest(NFQA_EXP, |w| expect::write_attached(w, expectation));
        }
        if let Some(payload) = parts.payload {
            w.attr(NFQA_PAYLOAD, payload);
        }
    });
}

/// Lets all packets of the queue go whose id is `max_id` or older. ENOENT: there is none.
pub fn verdict_batch(out: &mut Vec<u8>, seq: u32, queue: u16, max_id: u32, decision: Decision) {
    request(out, subsystem::QUEUE, op::QUEUE_VERDICT_BATCH, 0, seq, 0, queue, |w| verdict_header(w, max_id, decision));
}

fn verdict_header(w: &mut Writer<'_>, id: u32, decision: Decision) {
    w.be64(NFQA_VERDICT_HDR, u64::from(decision.number()) << 32 | u64::from(id));
}

fn connection(w: &mut Writer<'_>, update: &CtUpdate<'_>) {
    if let Some(seconds) = update.timeout_secs {
        conntrack::write_timeout(w, seconds);
    }
    if let Some((name, info)) = update.help {
        conntrack::write_help(w, name, info);
    }
    if let Some(mark) = update.mark {
        conntrack::write_mark(w, mark);
    }
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests;
