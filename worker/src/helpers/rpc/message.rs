//! Calls and replies (RFC 5531 §9), as far as they matter, and what portmapper and rpcbind answer.

use std::net::IpAddr;
use std::ops::Range;

use cthelper_proto::Malformed;
use cthelper_proto::reader::Reader;
use cthelper_proto::types::L4;

use crate::scan::{Text, ipv4, ipv6, number};

const CALL: u32 = 0;
const REPLY: u32 = 1;
const PORTMAPPER: u32 = 100_000;
/// Longest opaque body of credentials or verifier, bytes (RFC 5531 §8.2).
const AUTH_MAX: u32 = 400;
/// Longest universal address: an IPv6 text and two numbers, bytes.
const ADDRESS_MAX: u32 = 45 + 8;

/// What the client wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A port of this protocol.
    Port(L4),
    /// A universal address.
    Address,
    /// Nothing that is announced.
    Other,
}

/// A message; the rest of it is read only if it is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Call {
        xid: u32,
        asked: Result<Asked, Malformed>,
    },
    Reply {
        xid: u32,
        /// Where the results start, if the call was carried out.
        results: Result<Option<usize>, Malformed>,
    },
}

/// An announced place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// `None`: the server's own.
    pub(super) addr: Option<IpAddr>,
    pub(super) port: u16,
    /// What is to be replaced.
    pub(super) span: Range<usize>,
}

pub(super) fn read(bytes: &[u8]) -> Result<Message, Malformed> {
    let mut reader = Reader::new(bytes);
    let xid = reader.be32("xid")?;
    match reader.be32("message type")? {
        CALL => Ok(Message::Call { xid, asked: call(&mut reader) }),
        REPLY => Ok(Message::Reply { xid, results: reply(&mut reader, bytes.len()) }),
        _ => Err(Malformed("message type")),
    }
}

fn call(reader: &mut Reader<'_>) -> Result<Asked, Malformed> {
    if reader.be32("RPC version")? != 2 {
        return Err(Malformed("RPC version"));
    }
    let (program, version, procedure) = (reader.be32("program")?, reader.be32("version")?, reader.be32("procedure")?);
    auth(reader, "credentials")?;
    auth(reader, "verifier")?;
    match (program, version, procedure) {
        (PORTMAPPER, 2, 3) => {
            let (_, _, protocol) = (reader.be32("program")?, reader.be32("version")?, reader.be32("protocol")?);
            let l4 = u8::try_from(protocol).ok().and_then(L4::from_number);
            Ok(l4.map_or(Asked::Other, Asked::Port))
        }
        (PORTMAPPER, 3, 3) | (PORTMAPPER, 4, 3 | 9) => Ok(Asked::Address),
        _ => Ok(Asked::Other),
    }
}

/// `MSG_ACCEPTED` and `SUCCESS`, or else no results.
fn reply(reader: &mut Reader<'_>, len: usize) -> Result<Option<usize>, Malformed> {
    match reader.be32("reply status")? {
        0 => {}
        1 => return Ok(None),
        _ => return Err(Malformed("reply status")),
    }
    auth(reader, "verifier")?;
    let accepted = reader.be32("accept status")? == 0;
    Ok(accepted.then(|| len - reader.rest().len()))
}

fn auth(reader: &mut Reader<'_>, what: &'static str) -> Result<(), Malformed> {
    reader.be32(what)?;
    let length = reader.be32(what)?;
    opaque(reader, length, AUTH_MAX, what).map(|_| ())
}

/// Opaque bytes with their padding (RFC 4506 §4.10).
fn opaque<'a>(reader: &mut Reader<'a>, length: u32, max: u32, what: &'static str) -> Result<&'a [u8], Malformed> {
    let length = usize::try_from(length).ok().filter(|_| length <= max).ok_or(Malformed(what))?;
    let body = reader.take(length, what)?;
    reader.take(length.next_multiple_of(4) - length, what)?;
    Ok(body)
}

/// The answer to `GETPORT`; 0 means that there is no such program.
pub(super) fn port(bytes: &[u8], at: usize) -> Result<Option<Answer>, Malformed> {
    let mut reader = Reader::new(bytes.get(at..).unwrap_or_default());
    let port = reader.be32("port")?;
    if !reader.is_empty() {
        return Err(Malformed("bytes behind the port"));
    }
    let port = u16::try_from(port).map_err(|_| Malformed("port over 65535"))?;
    Ok((port != 0).then_some(Answer { addr: None, port, span: at..at + 4 }))
}

/// The answer to `GETADDR` and `GETVERSADDR`; an empty string means that there is no such program.
pub(super) fn address(bytes: &[u8], at: usize) -> Result<Option<Answer>, Malformed> {
    let mut reader = Reader::new(bytes.get(at..).unwrap_or_default());
    let length = reader.be32("address length")?;
    let text = opaque(&mut reader, length, ADDRESS_MAX, "address length")?;
    if !reader.is_empty() {
        return Err(Malformed("bytes behind the address"));
    }
    if text.is_empty() {
        return Ok(None);
    }
    let (addr, port) = universal(text).ok_or(Malformed("universal address"))?;
    Ok((port != 0).then_some(Answer { addr: Some(addr), port, span: at..bytes.len() }))
}

/// `h1.h2.h3.h4.p1.p2`, or an IPv6 address and `.p1.p2` (RFC 5665 §5.2.3.3, §5.2.3.4).
fn universal(text: &[u8]) -> Option<(IpAddr, u16)> {
    let mut dots = text.iter().enumerate().rev().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at);
    let (low, high) = (dots.next()?, dots.next()?);
    let octet = |range: Range<usize>| {
        let mut text = Text::new(text.get(range)?);
        let value = number(&mut text, 255)?.ok()?;
        text.rest().is_empty().then(|| u8::try_from(value).ok())?
    };
    let host = text.get(..high)?;
    let addr = ipv4(host).map(IpAddr::V4).or_else(|| ipv6(host).map(IpAddr::V6))?;
    Some((addr, u16::from_be_bytes([octet(high + 1..low)?, octet(low + 1..text.len())?])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn universal_addresses() {
        assert_eq!(universal(b"10.0.2.2.3.33"), Some(("10.0.2.2".parse().unwrap(), 801)));
        assert_eq!(universal(b"2001:db8::2.8.1"), Some(("2001:db8::2".parse().unwrap(), 2049)));
        assert_eq!(universal(b"::ffff:10.0.2.2.8.1"), Some(("::ffff:10.0.2.2".parse().unwrap(), 2049)));
        for bad in ["10.0.2.2", "10.0.2.2.3", "10.0.2.2.3.256", "10.0.2.2.3.3 ", "10.0.2.2.-3.3", ".3.33", "..", "fe80::1%lo.3.3", ""] {
            assert_eq!(universal(bad.as_bytes()), None, "{bad}");
        }
    }
}
