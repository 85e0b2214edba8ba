//! Puts a worker's edits into a packet: nothing but the payload, the lengths and the checksums changes.
//!
//! Options and extension headers are copied as they are; Linux 7.x drops a replaced packet in which they differ
//! (`nfqnl_mangle`), and every version expects lengths and checksums to be right, whatever state they came in.

use std::fmt;

use super::checksum::Sum;
use super::{Dissected, Ip, Ipv4, Ipv6, Tcp, Transport, Udp, dissect};
use crate::ipc::Edit;
use crate::reader::Malformed;
use crate::types::L4;

/// What the edits did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// By how much the payload is longer now, bytes; negative = shorter.
    pub grown: i32,
}

/// Why a packet cannot be edited that way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError {
    /// An edit begins before the one in front of it ends.
    OutOfOrder,
    /// An edit reaches beyond the end of the payload.
    OutOfPayload,
    /// More than [`Edit::MAX`] edits.
    TooMany,
    /// An edit puts more than [`Edit::MAX_PUT`] bytes, or the packet would be larger than 65535 bytes.
    TooLarge,
    /// The packet has no payload that could be edited; the text names what is in the way.
    NotEditable(Malformed),
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfOrder => f.write_str("edits out of order"),
            Self::OutOfPayload => f.write_str("edit outside the payload"),
            Self::TooMany => f.write_str("too many edits"),
            Self::TooLarge => f.write_str("packet too large after the edits"),
            Self::NotEditable(Malformed(what)) => write!(f, "packet cannot be edited: {what}"),
        }
    }
}

impl std::error::Error for EditError {}

/// Replaces `out` by `packet` with `edits` applied to its payload; link padding is left out. After an error `out` is empty.
pub fn apply(packet: &[u8], edits: &[Edit], out: &mut Vec<u8>) -> Result<Applied, EditError> {
    out.clear();
    let dissected = dissect(packet).map_err(EditError::NotEditable)?;
    let parts = Parts::of(&dissected).map_err(EditError::NotEditable)?;
    check(edits, parts.payload.len())?;
    let (cut, put) = edits.iter().fold((0, 0), |(cut, put), edit| (cut + usize::from(edit.cut), put + edit.put.len()));
    let len = dissected.ip.header_len() + dissected.ip.payload().len();
    let total = u16::try_from(len - cut + put).map_err(|_| EditError::TooLarge)?;
    out.reserve(usize::from(total));
    parts.write(total, edits, out);
    // Both are far below 2^31: at most 16 × 65535 and 16 × 512.
    let grown = i32::try_from(put).unwrap_or(0) - i32::try_from(cut).unwrap_or(0);
    Ok(Applied { grown })
}

/// Whether the edits are few, small, ascending, apart, and inside a payload of `len` bytes.
fn check(edits: &[Edit], len: usize) -> Result<(), EditError> {
    if edits.len() > Edit::MAX {
        return Err(EditError::TooMany);
    }
    let mut done = 0;
    for edit in edits {
        let at = usize::from(edit.at);
        let end = at + usize::from(edit.cut);
        if at < done {
            return Err(EditError::OutOfOrder);
        }
        if end > len {
            return Err(EditError::OutOfPayload);
        }
        if edit.put.len() > Edit::MAX_PUT {
            return Err(EditError::TooLarge);
        }
        done = end;
    }
    Ok(())
}

/// An editable packet.
struct Parts<'a> {
    ip: Ip<'a>,
    transport: Editable<'a>,
    payload: &'a [u8],
    /// What lies between the end of a datagram and the end of its packet (RFC 9868 keeps options there).
    surplus: &'a [u8],
}

/// A transport whose lengths and checksum we can set.
#[derive(Clone, Copy)]
enum Editable<'a> {
    Tcp(Tcp<'a>),
    Udp(Udp<'a>),
}

impl<'a> Parts<'a> {
    fn of(dissected: &Dissected<'a>) -> Result<Self, Malformed> {
        if let Ip::V6(v6) = dissected.ip {
            if v6.is_on_the_way() {
                return Err(Malformed("ipv6 segments left"));
            }
            if v6.is_authenticated() {
                return Err(Malformed("ipv6 authentication header"));
            }
        }
        let transport = match dissected.transport {
            Transport::Tcp(tcp) => Editable::Tcp(tcp),
            Transport::Udp(udp) => Editable::Udp(udp),
            Transport::Other(_) => return Err(Malformed("transport protocol")),
            Transport::Fragment => return Err(Malformed("ip fragment")),
        };
        let used = dissected.transport.header_len() + dissected.payload.len();
        let surplus = dissected.ip.payload().get(used..).unwrap_or_default();
        Ok(Self { ip: dissected.ip, transport, payload: dissected.payload, surplus })
    }

    /// Appends the edited packet of `total` bytes.
    fn write(&self, total: u16, edits: &[Edit], out: &mut Vec<u8>) {
        match &self.ip {
            Ip::V4(v4) => write_ipv4(v4, total, out),
            Ip::V6(v6) => write_ipv6(v6, total, out),
        }
        let start = out.len();
        let length = usize::from(total).saturating_sub(start + self.surplus.len());
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        match &self.transport {
            Editable::Tcp(tcp) => write_tcp(tcp, out),
            Editable::Udp(udp) => write_udp(udp, length, out),
        }
        write_payload(self.payload, edits, out);
        self.write_checksum(out.split_at_mut(start).1, length);
        out.extend_from_slice(self.surplus);
    }

    /// Sets the checksum of the transport `segment`, in which its field is zero.
    fn write_checksum(&self, segment: &mut [u8], length: u16) {
        let (l4, at) = match &self.transport {
            Editable::Tcp(_) => (L4::Tcp, 16),
            Editable::Udp(udp) if self.may_lack_checksum(udp) => return,
            Editable::Udp(_) => (L4::Udp, 6),
        };
        let sum = Sum::new().pseudo(self.ip.src(), self.ip.dst(), l4.number(), length).bytes(segment).finish();
        // RFC 768: a computed zero is sent as all ones, because zero says that there is none.
        let sum = if sum == 0 && l4 == L4::Udp { 0xffff } else { sum };
        if let Some(field) = segment.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *field = sum.to_be_bytes();
        }
    }

    fn may_lack_checksum(&self, udp: &Udp<'_>) -> bool {
        matches!(self.ip, Ip::V4(_)) && !udp.has_checksum()
    }
}

fn write_ipv4(v4: &Ipv4<'_>, total: u16, out: &mut Vec<u8>) {
    let mut header = *v4.header();
    [header[2], header[3]] = total.to_be_bytes();
    [header[10], header[11]] = [0, 0];
    [header[10], header[11]] = Sum::new().bytes(&header).bytes(v4.options()).finish().to_be_bytes();
    out.extend_from_slice(&header);
    out.extend_from_slice(v4.options());
}

fn write_ipv6(v6: &Ipv6<'_>, total: u16, out: &mut Vec<u8>) {
    let mut header = *v6.header();
    [header[4], header[5]] = total.saturating_sub(40).to_be_bytes();
    out.extend_from_slice(&header);
    out.extend_from_slice(v6.extensions());
}

fn write_tcp(tcp: &Tcp<'_>, out: &mut Vec<u8>) {
    let mut header = *tcp.header();
    [header[16], header[17]] = [0, 0];
    out.extend_from_slice(&header);
    out.extend_from_slice(tcp.options());
}

fn write_udp(udp: &Udp<'_>, length: u16, out: &mut Vec<u8>) {
    let mut header = *udp.header();
    [header[4], header[5]] = length.to_be_bytes();
    [header[6], header[7]] = [0, 0];
    out.extend_from_slice(&header);
}

/// Appends the payload with `edits`, which [`check`] has passed.
fn write_payload(payload: &[u8], edits: &[Edit], out: &mut Vec<u8>) {
    let mut done = 0;
    for edit in edits {
        let at = usize::from(edit.at);
        out.extend_from_slice(payload.get(done..at).unwrap_or_default());
        out.extend_from_slice(&edit.put);
        done = at + usize::from(edit.cut);
    }
    out.extend_from_slice(payload.get(done..).unwrap_or_default());
}
