//! FTP (RFC 959, 1123 §4.1.2, 2428, 4217): `PORT`, `EPRT`, 227 and 229 announce the data connection on the control connection.
//!
//! - Commands come from the client, replies from the server. The server is the replier, unless the first data seen is a greeting from the
//!   originator: a connection picked up in the middle may stand reversed in the kernel's table.
//! - Only the last line of a reply announces (`227 …`, not `227-…`); the lines of a multi-line reply are text, whatever they look like.
//! - After `EPSV ALL` only 229 announces (RFC 2428 §4), unless the server says no to it.
//! - After 234 or 334 the connection is encrypted or about to be (RFC 2228, 4217), and is never looked at again.
//! - A client that begins to speak HTTP is a browser that somebody sent here ("NAT slipstreaming"): nothing it says is read any more.
//!
//! Attacks answered here: an announcement in the middle of a line, of a text or of a form, two announcements in one reply, numbers over 255 and ports
//! over 65535, control bytes. Whether an address may be announced (bounce) is for the supervisor to judge.

mod command;
mod memory;
mod reply;
mod spot;

use std::borrow::Cow;

use cthelper_proto::Malformed;
use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::types::{Dir, Family, L4};

use crate::helper::{Cx, Helper, tcp};
use command::Command;
use memory::Memory;
use reply::Reply;
use spot::Spot;

/// As conntrackd and the kernel register it, so that one can take the other's place.
pub static MANIFEST: Manifest = Manifest {
    name: Cow::Borrowed("ftp"),
    l4: L4::Tcp,
    families: Cow::Borrowed(&Family::ALL),
    classes: Cow::Borrowed(&[Class::new("ftp", Scope::BothEnds, 1, 300)]),
    state_len: 24,
    ports: Cow::Borrowed(&[21]),
    source: Cow::Borrowed("RFC 959, 1123, 2428, 4217"),
};

/// The helper; it keeps nothing between messages but what is in the connection's private bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ftp;

/// For the registry.
pub fn helper() -> Ftp {
    Ftp
}

impl Helper for Ftp {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn message(&mut self, cx: &mut Cx<'_>, line: &[u8]) -> Result<(), Malformed> {
        let mut memory = Memory::load(cx.memory());
        if memory.roles_unknown() {
            memory.set_roles(cx.dir() == Dir::Orig && reply::is_greeting(line));
        }
        let read = if memory.is_server(cx.dir()) { server(cx, &mut memory, line) } else { client(cx, &mut memory, line) };
        memory.store(cx.memory_mut());
        match read? {
            Some(spot) => announce(cx, &spot),
            None => Ok(()),
        }
    }

    fn wants_whole(&self, cx: &Cx<'_>, partial: &[u8]) -> bool {
        let memory = Memory::load(cx.memory());
        if memory.is_server(cx.dir()) {
            memory.inside_reply().is_none() && may_become(partial, &[b"227 ", b"229 "])
        } else {
            may_become(partial, &[b"PORT ", b"EPRT "])
        }
    }
}

/// Whether `partial` may be the beginning of a line that starts with one of `words`.
fn may_become(partial: &[u8], words: &[&[u8]]) -> bool {
    words.iter().any(|word| partial.iter().zip(*word).all(|(byte, wanted)| byte.eq_ignore_ascii_case(wanted)))
}

fn client(cx: &mut Cx<'_>, memory: &mut Memory, line: &[u8]) -> Result<Option<Spot>, Malformed> {
    if command::is_http(line) {
        cx.go_blind();
        return Err(Malformed("HTTP instead of FTP"));
    }
    match command::read(line)? {
        Command::Announce(_) if memory.only_epsv() => Err(Malformed("command after EPSV ALL")),
        Command::Announce(spot) => Ok(Some(spot)),
        Command::EpsvAll => {
            memory.promise_epsv();
            Ok(None)
        }
        Command::Other => Ok(None),
    }
}

fn server(cx: &mut Cx<'_>, memory: &mut Memory, line: &[u8]) -> Result<Option<Spot>, Malformed> {
    match reply::read(line, memory.inside_reply()) {
        Reply::Text => Ok(None),
        Reply::Opens(code) => {
            memory.enter_reply(code);
            Ok(None)
        }
        Reply::Last(code) => {
            memory.leave_reply(code);
            match code {
                234 | 334 => {
                    cx.go_blind();
                    Ok(None)
                }
                227 if memory.only_epsv() => Err(Malformed("reply after EPSV ALL")),
                227 => reply::passive(line),
                229 => reply::extended_passive(line, &[cx.sender(), cx.sender_seen_by_peer()]),
                _ => Ok(None),
            }
        }
    }
}

/// Asks for the announced connection, and tells the peer what was granted. A refusal leaves the line as it is.
fn announce(cx: &mut Cx<'_>, spot: &Spot) -> Result<(), Malformed> {
    let announced = spot.addr.unwrap_or_else(|| cx.sender());
    let Ok(grant) = cx.expect(tcp(0, announced, spot.port)) else { return Ok(()) };
    if (grant.addr, grant.port) == (announced, spot.port) {
        return Ok(());
    }
    match spot.render(grant.addr, grant.port) {
        Some(text) => cx.replace(spot.span.clone(), text),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
