//! `http://ADDRESS[:PORT]/…`, and where address and port stand in it.

use std::net::IpAddr;
use std::ops::Range;

use super::head::{Head, Value};
use crate::scan::{Text, ipv4, ipv6, number};

/// What a URL without a port means (RFC 9110 §4.2.1).
const DEFAULT: u16 = 80;

/// An address and port, and the bytes of the message that say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) addr: IpAddr,
    pub(super) port: u16,
    pub(super) range: Range<usize>,
}

/// An address, a port or the brackets are wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadUrl;

/// The place a URL names; `None` = it is of another scheme, or names its host by name.
pub(super) fn spot(head: &Head<'_>, url: &Value) -> Result<Option<Spot>, BadUrl> {
    const SCHEME: &[u8] = b"http://";
    let bytes = url.of(head);
    let mut text = Text::new(bytes);
    text.take_while(|byte| byte == b' ' || byte == b'\t');
    if !text.rest().get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME)) {
        return Ok(None);
    }
    let mut text = text.at(text.offset() + SCHEME.len());
    let start = text.offset();
    let addr = if text.eat(b'[') {
        let inside = text.until(b']').ok_or(BadUrl)?;
        // The zone of a link-local address is the sender's own (RFC 6874).
        let addr = inside.split(|byte| *byte == b'%').next().and_then(ipv6).ok_or(BadUrl)?;
        IpAddr::V6(addr)
    } else {
        let host = text.take_while(|byte| !matches!(byte, b':' | b'/' | b'?' | b'#' | b' ' | b'\t'));
        if !host.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
            return Ok(None);
        }
        IpAddr::V4(ipv4(host).ok_or(BadUrl)?)
    };
    let port = if text.eat(b':') {
        let port = number(&mut text, u32::from(u16::MAX)).and_then(Result::ok).ok_or(BadUrl)?;
        u16::try_from(port).ok().filter(|port| *port > 0).ok_or(BadUrl)?
    } else {
        DEFAULT
    };
    if !matches!(text.peek(), None | Some(b'/' | b'?' | b'#' | b' ' | b'\t')) {
        return Err(BadUrl);
    }
    let range = url.0.start + start..url.0.start + text.offset();
    Ok(Some(Spot { addr, port, range }))
}

/// An address and port as a URL has them.
pub(super) fn authority(addr: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(addr, port).to_string()
}
