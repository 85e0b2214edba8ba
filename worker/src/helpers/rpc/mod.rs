//! ONC RPC's portmapper and rpcbind (RFC 1833): the answer to "where is this program?" announces the connection to it.
//!
//! - `GETPORT` (version 2) is answered by a port, of the protocol the call asked for; `GETADDR` and `GETVERSADDR` (3 and 4) by a universal
//!   address (RFC 5665), of the protocol the call came by: rpcbind does not look at the call's own `netid`.
//! - Calls are matched to answers by their xid; the last three of a connection are remembered in its private bytes. The expectation stays
//!   until its timeout, because a client binds more than once.
//! - The other procedures announce nothing. `CALLIT` and `INDIRECT` are carried out by the portmapper itself.
//!
//! Attacks answered here: answers without a call, lengths that contradict the message, ports over 65535, universal addresses that are none. A
//! call is at most 1024 bytes; of a longer record that much is read. Work per packet is linear in its bytes.

mod message;
mod pending;

use std::borrow::Cow;
use std::net::IpAddr;

use cthelper_proto::Malformed;
use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::types::{Dir, Family, L4, L4s};

use crate::helper::{About, Cx, Framing, Helper, Mark, tcp};
use message::{Answer, Asked, Message};
use pending::Pending;

/// As conntrackd registers it: both protocols, 16 private bytes.
pub static MANIFEST: Manifest = Manifest {
    name: Cow::Borrowed("rpc"),
    l4s: L4s::Both,
    families: Cow::Borrowed(&Family::ALL),
    classes: Cow::Borrowed(&[Class::new("rpc", Scope::BothEnds, 1, 300).tcp_or_udp().staying()]),
    state_len: 16,
    ports: Cow::Borrowed(&[111]),
    source: Cow::Borrowed("RFC 1833, 5531, 5665"),
};

/// Longest message that is read whole, bytes: a call has up to 400 of credentials and as many of a verifier (RFC 5531 §8.2).
const MAX: usize = 1024;

/// The helper.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rpc;

/// For the registry.
pub fn helper() -> Rpc {
    Rpc
}

impl Helper for Rpc {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn about(&self) -> About {
        About { rewrites: true, attacks: &["answer without a call", "lengths that contradict the message", "port over 65535", "bad universal address"] }
    }

    fn framing(&self, l4: L4) -> Framing {
        match l4 {
            L4::Tcp => Framing::Records { mark: Mark::Fragments, max: MAX },
            L4::Udp => Framing::Datagram,
        }
    }

    fn message(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) -> Result<(), Malformed> {
        match (message::read(bytes)?, cx.dir()) {
            (Message::Call { xid, asked }, Dir::Orig) => {
                let mut pending = Pending::load(cx.memory());
                pending.add(xid, asked?);
                pending.store(cx.memory_mut());
                Ok(())
            }
            (Message::Reply { xid, results }, Dir::Reply) => {
                let mut pending = Pending::load(cx.memory());
                let asked = pending.find(xid).ok_or(Malformed("answer without a call"))?;
                // A datagram may be sent again, and must then be changed in the same way; TCP's repetitions are the SDK's matter.
                if protocol(cx) == L4::Tcp {
                    pending.forget(xid);
                    pending.store(cx.memory_mut());
                }
                match results? {
                    Some(at) => answer(cx, asked, bytes, at),
                    None => Ok(()),
                }
            }
            (Message::Call { .. }, Dir::Reply) => Err(Malformed("call from the server")),
            (Message::Reply { .. }, Dir::Orig) => Err(Malformed("answer from the client")),
        }
    }

    fn wants_whole(&self, cx: &Cx<'_>, _: &[u8]) -> bool {
        cx.dir() == Dir::Reply && Pending::load(cx.memory()).awaits_place()
    }
}

fn protocol(cx: &Cx<'_>) -> L4 {
    L4::from_number(cx.flow().orig.proto).unwrap_or(L4::Udp)
}

/// Reads the results from offset `at` on, and asks for what they announce.
fn answer(cx: &mut Cx<'_>, asked: Asked, bytes: &[u8], at: usize) -> Result<(), Malformed> {
    let (l4, Some(answer)) = (match asked {
        Asked::Port(l4) => (l4, message::port(bytes, at)?),
        Asked::Address => (protocol(cx), message::address(bytes, at)?),
        Asked::Other => return Ok(()),
    }) else {
        return Ok(());
    };
    let Answer { addr, port, span } = answer;
    let announced = addr.unwrap_or_else(|| cx.sender());
    let mut expect = tcp(0, announced, port);
    (expect.proto, expect.permanent) = (l4.number(), true);
    let Ok(grant) = cx.expect(expect) else { return Ok(()) };
    if (grant.addr, grant.port) == (announced, port) {
        return Ok(());
    }
    let text = match addr {
        None => Some(u32::from(grant.port).to_be_bytes().to_vec()),
        Some(addr) => (addr.is_ipv4() == grant.addr.is_ipv4()).then(|| universal(grant.addr, grant.port)),
    };
    // Only the port may be told, and the address differs: the client knows the server by it already.
    cx.tell(&grant, span, text)
}

/// A universal address as XDR string (RFC 5665 §5.2.3, RFC 4506 §4.11).
fn universal(addr: IpAddr, port: u16) -> Vec<u8> {
    let text = format!("{addr}.{}.{}", port >> 8, port & 0xff);
    let mut out = u32::try_from(text.len()).unwrap_or(0).to_be_bytes().to_vec();
    out.extend_from_slice(text.as_bytes());
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

#[cfg(test)]
mod tests;
