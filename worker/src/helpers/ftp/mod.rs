//! FTP (RFC 959, 1123 §4.1.2, 2428, 4217): `PORT`, `EPRT`, 227 and 229 announce the data connection on the control connection.
//!
//! - Commands come from the client, replies from the server. The server is the replier, unless the first data seen is a greeting from the
//!   originator: a connection picked up in the middle may stand reversed in the kernel's table.
//! - Only the last line of a reply announces (`227 …`, not `227-…`); the lines of a multi-line reply are text, whatever they look like.
//! - A client that says `PASV`, `EPSV` or `AUTH` has read all replies before: one that is still open has ended unseen. (A client that
//!   does not wait may so have the text of a reply read as the answer; the supervisor judges what that announces as anything else.)
//! - After `EPSV ALL` only 229 announces (RFC 2428 §4), unless the server says no to it, and until `REIN` or a greeting.
//! - After 234 or 334 the connection is encrypted or about to be (RFC 2228, 4217), and is never looked at again.
//! - A client that speaks HTTP (the head of a line is enough) is a browser that somebody sent here ("NAT slipstreaming"), one whose first
//!   line holds a control byte speaks TLS or the like: nothing on that connection is read any more.
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
use cthelper_proto::types::{Dir, Family, L4s};

use crate::helper::{About, Cx, Helper, tcp};
use command::Command;
use memory::Memory;
use reply::Reply;
use spot::Spot;

/// As conntrackd and the kernel register it, so that one can take the other's place.
pub static MANIFEST: Manifest = Manifest {
    name: Cow::Borrowed("ftp"),
    l4s: L4s::Tcp,
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

    fn about(&self) -> About {
        About { rewrites: true, attacks: &["announcement inside a line, a text or a form (slipstreaming)", "two announcements in one reply", "numbers out of range", "control bytes", "data after EPSV ALL", "announcements on an encrypted connection"] }
    }

    fn message(&mut self, cx: &mut Cx<'_>, line: &[u8]) -> Result<(), Malformed> {
        match with_memory(cx, line, |cx, memory, from_server| {
            if from_server { server(cx, memory, line) } else { client(cx, memory, line) }
        })? {
            Some(spot) => announce(cx, &spot),
            None => Ok(()),
        }
    }

    /// The code of a reply and the first word of a client are known from the head; nothing is announced in such a line.
    fn overlong(&mut self, cx: &mut Cx<'_>, head: &[u8]) {
        with_memory(cx, head, |cx, memory, from_server| {
            if from_server {
                reply_ends(cx, memory, head);
            } else {
                let _blind = foreign(cx, memory, head);
            }
        });
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

/// Reads a line with what is known of the connection, and keeps what has changed. `read` is told whether the server speaks.
fn with_memory<T>(cx: &mut Cx<'_>, line: &[u8], read: impl FnOnce(&mut Cx<'_>, &mut Memory, bool) -> T) -> T {
    let mut memory = Memory::load(cx.memory());
    if memory.roles_unknown() {
        memory.set_roles(cx.dir() == Dir::Orig && reply::is_greeting(line));
    }
    let from_server = memory.is_server(cx.dir());
    let out = read(cx, &mut memory, from_server);
    memory.store(cx.memory_mut());
    out
}

/// Goes blind if the client does not speak FTP.
fn foreign(cx: &mut Cx<'_>, memory: &mut Memory, head: &[u8]) -> Result<(), Malformed> {
    let first = memory.is_first_of_client();
    let what = if command::is_http(head) {
        Malformed("HTTP instead of FTP")
    } else if first && command::is_foreign(head) {
        Malformed("control byte in a command")
    } else {
        return Ok(());
    };
    cx.go_blind();
    Err(what)
}

fn client(cx: &mut Cx<'_>, memory: &mut Memory, line: &[u8]) -> Result<Option<Spot>, Malformed> {
    foreign(cx, memory, line)?;
    match command::read(line)? {
        Command::Announce(_) if memory.only_epsv() => return Err(Malformed("command after EPSV ALL")),
        Command::Announce(spot) => return Ok(Some(spot)),
        Command::EpsvAll => {
            memory.close_reply();
            memory.promise_epsv();
        }
        Command::Asks => memory.close_reply(),
        Command::Reinitialize => memory.forget_promise(),
        Command::Other => {}
    }
    Ok(None)
}

fn server(cx: &mut Cx<'_>, memory: &mut Memory, line: &[u8]) -> Result<Option<Spot>, Malformed> {
    match reply_ends(cx, memory, line) {
        Some(227) if memory.only_epsv() => Err(Malformed("reply after EPSV ALL")),
        Some(227) => reply::passive(line),
        Some(229) => reply::extended_passive(line, &[cx.sender(), cx.sender_seen_by_peer()]),
        _ => Ok(None),
    }
}

/// Follows the server's replies by the head of a line; the code of the reply that ends with it.
fn reply_ends(cx: &mut Cx<'_>, memory: &mut Memory, head: &[u8]) -> Option<u16> {
    match reply::read(head, memory.inside_reply()) {
        Reply::Text => None,
        Reply::Opens(code) => {
            memory.enter_reply(code);
            None
        }
        Reply::Last(code) => {
            memory.leave_reply(code);
            if matches!(code, 234 | 334) {
                cx.go_blind();
            }
            Some(code)
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
    cx.tell(&grant, spot.span.clone(), spot.render(grant.addr, grant.port))
}

#[cfg(test)]
mod tests;
