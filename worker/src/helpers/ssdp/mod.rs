//! SSDP, the discovery of Universal Plug and Play (its Device Architecture 2.0, §1 and §4): a search that goes to many is answered by each device from its own
//! address to the port that asked; the answer's `LOCATION` leads to the device over TCP; a subscription's `CALLBACK` leads back.
//!
//! - Over UDP, `M-SEARCH` to a group or by broadcast: answers of anybody to the port that asked.
//! - `HTTP/1.1 200` with a `LOCATION` on the device itself: TCP connections from the searcher; with `loose` on another host, too. Answers are connections of their own, which
//!   were expected and are read here, too.
//! - Over TCP, `SUBSCRIBE` with a `CALLBACK` on the subscriber itself: TCP connections from the device. Here the whole request must stand
//!   in one segment, from its first byte to its empty line: no private bytes are kept, as conntrackd keeps none.
//!
//! Attacks answered here: requests that look like one in the middle of something, subscriptions by a web page, searches without what makes them one, locations that
//! are names or have no port, ports below 1024 for callbacks. Whether an address may be announced is for the supervisor to judge.

mod head;
#[cfg(test)]
mod tests;
mod url;

use std::borrow::Cow;
use std::net::IpAddr;

use cthelper_proto::Malformed;
use cthelper_proto::ipc::{Expect, Source};
use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::types::{Dir, Family, L4, L4s};

use crate::helper::{About, Cx, Framing, Helper, answers, tcp};
use head::Head;
use url::{Spot, spot};

/// Where a device's description may lie besides, below 1024.
const HTTP: u16 = 80;

static MANIFEST: Manifest = Manifest {
    name: Cow::Borrowed("ssdp"),
    l4s: L4s::Both,
    families: Cow::Borrowed(&Family::ALL),
    classes: Cow::Borrowed(&[Class::new("ssdp", Scope::AnyToEnd, 8, 300)
        .tcp_or_udp()
        .staying()
        .to_own_port()
        .to_reserved(HTTP)
        .helped_by("ssdp")]),
    state_len: 0,
    ports: Cow::Borrowed(&[1900]),
    source: Cow::Borrowed("UPnP Device Architecture 2.0"),
};

/// The helper; it keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ssdp;

/// For the registry.
pub fn helper() -> Ssdp {
    Ssdp
}

impl Helper for Ssdp {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn about(&self) -> About {
        About { rewrites: true, attacks: &["request in the middle of something", "subscription by a web page", "search without MAN or ST", "bad address or port", "callback below 1024"] }
    }

    fn framing(&self, _l4: L4) -> Framing {
        Framing::Datagram
    }

    fn message(&mut self, cx: &mut Cx<'_>, message: &[u8]) -> Result<(), Malformed> {
        let udp = cx.flow().orig.proto == L4::Udp.number();
        if udp && message.starts_with(b"M-SEARCH") {
            return search(cx, &Head::new(message));
        }
        if udp && message.starts_with(b"HTTP/1.") {
            return answer(cx, &Head::new(message));
        }
        if !udp && cx.dir() == Dir::Orig && message.starts_with(b"SUBSCRIBE ") {
            return subscribe(cx, &Head::new(message));
        }
        Ok(())
    }
}

/// `M-SEARCH * HTTP/1.1` with `MAN: "ssdp:discover"` and an `ST`. Some leave the quotes out.
fn search(cx: &mut Cx<'_>, head: &Head<'_>) -> Result<(), Malformed> {
    if !matches!(head.first(), b"M-SEARCH * HTTP/1.1" | b"M-SEARCH * HTTP/1.0") {
        return Err(Malformed("ssdp request"));
    }
    let man = head.value(b"MAN").ok_or(Malformed("ssdp MAN"))?;
    if man.of(head).trim_ascii() != b"\"ssdp:discover\"" && man.of(head).trim_ascii() != b"ssdp:discover" {
        return Err(Malformed("ssdp MAN"));
    }
    head.value(b"ST").filter(|st| !st.of(head).trim_ascii().is_empty()).ok_or(Malformed("ssdp ST"))?;
    if cx.dir() == Dir::Orig && cx.asks_many() {
        // A refusal is counted by the supervisor.
        let _granted = cx.expect(answers(0, cx));
    }
    Ok(())
}

/// A device that says where its description is. Over other protocols than HTTP, or by name, it announces nothing that could be expected.
fn answer(cx: &mut Cx<'_>, head: &Head<'_>) -> Result<(), Malformed> {
    let Some((b"HTTP/1.", b" 200")) = head.first().split_at_checked(7).map(|(http, rest)| (http, rest.get(1..5).unwrap_or_default()))
    else {
        return Ok(());
    };
    let Some(location) = head.value(b"LOCATION") else { return Ok(()) };
    match spot(head, &location).map_err(|_| Malformed("ssdp LOCATION"))? {
        Some(spot) => announce(cx, &spot, from(cx, spot.addr)),
        None => Ok(()),
    }
}

/// Who connects to the place a device names: the searcher. One that a link-local address names has another for a place outside the link;
/// nobody knows which, and only with `loose` is that taken.
fn from(cx: &Cx<'_>, place: IpAddr) -> Source {
    let is_link_local = |addr| matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
    if cx.settings().loose && is_link_local(cx.peer()) && !is_link_local(place) { Source::Anyone } else { Source::Peer }
}

/// A subscriber that says where events are to go: the first URL of several. A web page can have a browser subscribe, with fields of its choice, but
/// not without `Origin`, which goes with every method but GET and HEAD (Fetch standard, "append a request `Origin` header"). No subscriber says it.
fn subscribe(cx: &mut Cx<'_>, head: &Head<'_>) -> Result<(), Malformed> {
    let Some(callback) = head.value(b"CALLBACK") else { return Ok(()) }; // a renewal has none
    if !head.is_whole() {
        return Err(Malformed("ssdp request without an end"));
    }
    if head.value(b"ORIGIN").is_some() {
        return Err(Malformed("ssdp Origin"));
    }
    let urls = callback.within(head, b'<', b'>').ok_or(Malformed("ssdp CALLBACK"))?;
    match spot(head, &urls).map_err(|_| Malformed("ssdp CALLBACK"))? {
        Some(spot) if spot.port < 1024 => Err(Malformed("ssdp CALLBACK")),
        Some(spot) => announce(cx, &spot, Source::Peer),
        None => Ok(()),
    }
}

/// Connections to this place, and where that is called otherwise at the other end, the place in its words.
fn announce(cx: &mut Cx<'_>, spot: &Spot, src: Source) -> Result<(), Malformed> {
    let Ok(grant) = cx.expect(Expect { src, permanent: true, ..tcp(0, spot.addr, spot.port) }) else { return Ok(()) };
    if (grant.addr, grant.port) == (spot.addr, spot.port) {
        return Ok(());
    }
    cx.tell(&grant, spot.range.clone(), Some(url::authority(grant.addr, grant.port)))
}
