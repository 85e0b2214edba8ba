//! Oracle's TNS: a listener's `REDIRECT` announces the dispatcher or node the client is to call instead.
//!
//! - The address is text, `(ADDRESS=(PROTOCOL=TCP)(HOST=10.0.2.2)(PORT=49152))`, in the `REDIRECT` or, where that says nothing but its length, in a
//!   `DATA` behind it. The first `HOST` and the first `PORT` count; what follows a NUL is connect data, which names the client's host.
//! - A `HOST` that is a name is taken for the server's own: an expectation for another host needs its address, and `loose`.
//! - After `ACCEPT` the connection is the session, and is never looked at again.
//! - Where an address is replaced, the lengths of the packet and of the redirect's data are, too.
//!
//! Attacks answered here: lengths that contradict the packet, numbers out of range, an address in a session's data. A packet is at most 4096 bytes
//! (a listener's are below 2048); of a longer one that much is read. Work per packet is linear in its bytes.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;

use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::types::{Dir, Family, L4, L4s};
use cthelper_proto::Malformed;
use cthelper_proto::reader::Reader;

use crate::helper::{About, Cx, Framing, Helper, Mark, tcp};
use crate::scan::{Text, ipv4, ipv6, number};

/// As conntrackd registers it.
pub static MANIFEST: Manifest = Manifest {
    name: Cow::Borrowed("tns"),
    l4s: L4s::Tcp,
    families: Cow::Borrowed(&Family::ALL),
    classes: Cow::Borrowed(&[Class::new("tns", Scope::BothEnds, 1, 300)]),
    state_len: 1,
    ports: Cow::Borrowed(&[1521, 1525, 1536]),
    source: Cow::Borrowed("Wireshark epan/dissectors/packet-tns.c"),
};

const ACCEPT: u8 = 2;
const REDIRECT: u8 = 5;
const DATA: u8 = 6;
/// Where a packet's body starts, and where its text does, behind the length of a redirect's data or the flags of data.
const BODY: usize = 8;
const TEXT: usize = 10;

/// The helper.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tns;

/// For the registry.
pub fn helper() -> Tns {
    Tns
}

impl Helper for Tns {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn about(&self) -> About {
        About { rewrites: true, attacks: &["lengths that contradict the packet", "numbers out of range", "address in a session's data"] }
    }

    fn framing(&self, _: L4) -> Framing {
        Framing::Records { mark: Mark::Length { width: 2, least: 8 }, max: 4096 }
    }

    fn message(&mut self, cx: &mut Cx<'_>, packet: &[u8]) -> Result<(), Malformed> {
        if cx.dir() == Dir::Orig {
            return Ok(());
        }
        let text = match packet.get(4) {
            Some(&ACCEPT) => {
                cx.go_blind();
                return Ok(());
            }
            Some(&REDIRECT) => redirect(packet)?,
            // Before ACCEPT, only a redirect has data behind it.
            Some(&DATA) => packet.get(TEXT..).unwrap_or_default(),
            _ => return Ok(()),
        };
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        match address(text)? {
            Some(address) => announce(cx, packet, &address),
            None => Ok(()),
        }
    }

    fn wants_whole(&self, cx: &Cx<'_>, partial: &[u8]) -> bool {
        cx.dir() == Dir::Reply && partial.get(4).is_none_or(|kind| matches!(*kind, REDIRECT | DATA))
    }
}

/// The data of a redirect; empty if they come in a packet of their own.
fn redirect(packet: &[u8]) -> Result<&[u8], Malformed> {
    let mut reader = Reader::new(packet);
    let whole = usize::from(reader.be16("packet length")?);
    let mut body = Reader::new(packet.get(BODY..).unwrap_or_default());
    let length = usize::from(body.be16("redirect length")?);
    if whole == TEXT {
        return Ok(&[]);
    }
    // Of a packet over the limit only the head is here.
    if length > whole.saturating_sub(TEXT) {
        return Err(Malformed("redirect length"));
    }
    Ok(body.rest().get(..length).unwrap_or(body.rest()))
}

/// The announced address, and where its fields stand in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Address {
    /// `None`: a name.
    addr: Option<IpAddr>,
    host: Range<usize>,
    port: u16,
    port_at: Range<usize>,
}

/// The first address of a text. `None` if it has none, or none of TCP.
fn address(text: &[u8]) -> Result<Option<Address>, Malformed> {
    let (mut host, mut port) = (None, None);
    let mut text = Text::new(text);
    while host.is_none() || port.is_none() {
        let Some((key, value)) = next_pair(&mut text) else { break };
        let value_text = value.of(&text);
        if key.eq_ignore_ascii_case(b"PROTOCOL") && !is_tcp(value_text) {
            return Ok(None);
        } else if key.eq_ignore_ascii_case(b"HOST") {
            host = host.or(Some(value));
        } else if key.eq_ignore_ascii_case(b"PORT") {
            port = port.or(Some((read_port(value_text)?, value)));
        }
    }
    let (Some(host), Some((port, port_at))) = (host, port) else {
        return if host.is_some() || port.is_some() { Err(Malformed("half an address")) } else { Ok(None) };
    };
    Ok(Some(Address { addr: read_host(host.of(&text))?, host: host.range(), port, port_at: port_at.range() }))
}

/// A value's place in its text.
#[derive(Clone, Copy)]
struct Value {
    start: usize,
    end: usize,
}

impl Value {
    fn range(self) -> Range<usize> {
        self.start..self.end
    }

    fn of<'a>(self, text: &Text<'a>) -> &'a [u8] {
        let rest = text.at(self.start).rest();
        rest.get(..self.end - self.start).unwrap_or(rest)
    }
}

/// The next `(KEY=VALUE)`, without the blanks that may stand around both; a value that is a list is entered.
fn next_pair<'a>(text: &mut Text<'a>) -> Option<(&'a [u8], Value)> {
    let blank = |byte: u8| byte.is_ascii_whitespace();
    loop {
        text.until(b'(')?;
        text.take_while(blank);
        let key = text.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        text.take_while(blank);
        if !text.eat(b'=') {
            continue;
        }
        text.take_while(blank);
        let start = text.offset();
        let value = text.take_while(|byte| byte != b'(' && byte != b')');
        if text.peek() == Some(b')') {
            return Some((key, Value { start, end: start + value.trim_ascii_end().len() }));
        }
    }
}

fn is_tcp(protocol: &[u8]) -> bool {
    protocol.eq_ignore_ascii_case(b"TCP") || protocol.eq_ignore_ascii_case(b"TCPS")
}

fn read_port(value: &[u8]) -> Result<u16, Malformed> {
    let mut text = Text::new(value);
    let port = number(&mut text, 65_535).ok_or(Malformed("PORT"))?.map_err(|_| Malformed("port over 65535"))?;
    match u16::try_from(port) {
        Ok(0) => Err(Malformed("port 0")),
        Ok(port) if text.rest().is_empty() => Ok(port),
        _ => Err(Malformed("PORT")),
    }
}

/// An address, with or without brackets, or a name.
fn read_host(value: &[u8]) -> Result<Option<IpAddr>, Malformed> {
    let bare = value.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(value);
    let addr = ipv4(bare).map(IpAddr::V4).or_else(|| ipv6(bare).map(IpAddr::V6));
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    let has_letter = value.iter().any(u8::is_ascii_alphabetic);
    match addr {
        Some(addr) => Ok(Some(addr)),
        None if has_letter && value.iter().all(is_name) => Ok(None),
        None => Err(Malformed("HOST")),
    }
}

fn announce(cx: &mut Cx<'_>, packet: &[u8], address: &Address) -> Result<(), Malformed> {
    let announced = address.addr.unwrap_or_else(|| cx.sender());
    let Ok(grant) = cx.expect(tcp(0, announced, address.port)) else { return Ok(()) };
    // A name is looked up by the client, and so is right on its side.
    let host = address.addr.map(|_| grant.addr).filter(|addr| *addr != announced);
    if host.is_none() && grant.port == address.port {
        return Ok(());
    }
    let end = TEXT + address.host.end.max(address.port_at.end);
    cx.tell(&grant, 0..end, rewritten(packet, address, host, grant.port))
}

/// The packet up to the end of its address, with another one in it. `None` if the lengths, or a checksum, cannot be right then.
fn rewritten(packet: &[u8], address: &Address, host: Option<IpAddr>, port: u16) -> Option<Vec<u8>> {
    let is_summed = packet.get(2..4)? != [0, 0];
    let in_brackets = packet.get(TEXT + address.host.start) == Some(&b'[');
    let host = host.map(|addr| if in_brackets && addr.is_ipv6() { format!("[{addr}]") } else { addr.to_string() });
    let mut fields = [(address.host.clone(), host), (address.port_at.clone(), Some(port.to_string()))];
    fields.sort_by_key(|(place, _)| place.start);
    let (mut out, mut at) = (packet.get(..TEXT)?.to_vec(), TEXT);
    for (place, new) in fields {
        let (start, end) = (TEXT + place.start, TEXT + place.end);
        out.extend_from_slice(packet.get(at..start)?);
        match new {
            Some(new) => out.extend_from_slice(new.as_bytes()),
            None => out.extend_from_slice(packet.get(start..end)?),
        }
        at = end;
    }
    let lengths: &[usize] = if packet.get(4) == Some(&REDIRECT) { &[0, BODY] } else { &[0] };
    for place in lengths {
        let old = usize::from(u16::from_be_bytes(*packet.get(*place..)?.first_chunk()?));
        let new = u16::try_from((old + out.len()).checked_sub(at)?).ok()?;
        out.get_mut(*place..*place + 2)?.copy_from_slice(&new.to_be_bytes());
    }
    (!is_summed).then_some(out)
}

#[cfg(test)]
mod tests;
