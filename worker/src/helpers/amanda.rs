//! Amanda (its security drivers `bsd` and `bsdudp`): `CONNECT DATA n MESG n INDEX n STATE n` in a reply of the client machine, which is the server
//! of this connection, announces the TCP connections the dump comes by.
//!
//! - A packet begins with `Amanda VERSION REP HANDLE …`, a line; `CONNECT` is the first word of another one.
//! - A stream that is not used has port -1 (or 0) and is passed over.
//! - The machine's connections may come late: the master is kept for 300 s after an announcement (the kernel's `master_timeout`).
//! - A service names its streams as it likes: a restore's are `CTL` and `DATA`. amandad forwards any name, and so every one is a stream here.
//! - Four expectations at a time, as in the kernel since 6.x; conntrackd's three would let `STATE` push `DATA` out.
//!
//! Attacks answered here: `CONNECT` in the middle of a line, in a request, or twice; a stream named twice, or a fifth; ports over 65535, or cut. Work per
//! packet is linear in its bytes, with at most four asks.

use std::borrow::Cow;

use cthelper_proto::Malformed;
use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::types::{Dir, Family, L4s};

use crate::helper::{About, Cx, Helper, tcp};
use crate::scan::{Text, number};

/// As conntrackd registers it, but for the number of expectations.
pub static MANIFEST: Manifest = Manifest {
    name: Cow::Borrowed("amanda"),
    l4s: L4s::Udp,
    families: Cow::Borrowed(&Family::ALL),
    classes: Cow::Borrowed(&[Class::new("amanda", Scope::BothEnds, 4, 180).keeping_master(300)]),
    state_len: 0,
    ports: Cow::Borrowed(&[10_080]),
    source: Cow::Borrowed("amanda 3.5, common-src/security-util.c"),
};

/// Streams of a reply; amandad has no more descriptors for them (3.5, `DATA_FD_COUNT`).
const STREAMS: usize = 4;

/// The helper.
#[derive(Clone, Copy, Debug, Default)]
pub struct Amanda;

/// For the registry.
pub fn helper() -> Amanda {
    Amanda
}

impl Helper for Amanda {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn about(&self) -> About {
        About { rewrites: true, attacks: &["CONNECT inside a line, in a request, or twice", "stream named twice, or a fifth", "port over 65535"] }
    }

    fn message(&mut self, cx: &mut Cx<'_>, packet: &[u8]) -> Result<(), Malformed> {
        let mut lines = packet.split(|byte| *byte == b'\n').scan(0, |next, line| {
            let at = *next;
            *next += line.len() + 1;
            Some((at, line))
        });
        let is_reply = cx.dir() == Dir::Reply && lines.next().is_some_and(|(_, line)| is_reply(line));
        let mut connects = lines.filter(|(_, line)| Text::new(line).word(b"CONNECT"));
        let Some((at, line)) = connects.next().filter(|_| is_reply) else { return Ok(()) };
        if connects.next().is_some() {
            return Err(Malformed("two CONNECT lines"));
        }
        if packet.get(at + line.len()).is_none() {
            return Err(Malformed("line without an end"));
        }
        let mut out = Ok(());
        for stream in streams(Text::new(packet.get(..at + line.len()).unwrap_or_default()).at(at))? {
            out = out.and(announce(cx, &stream));
        }
        out
    }
}

/// A stream's port, and where it stands.
type Stream = (u16, std::ops::Range<usize>);

fn is_reply(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == b' ');
    words.next() == Some(b"Amanda") && words.nth(1).is_some_and(|kind| matches!(kind, b"REP" | b"PREP"))
}

/// The streams of a line `CONNECT …`.
fn streams(mut line: Text<'_>) -> Result<Vec<Stream>, Malformed> {
    line.word(b"CONNECT");
    let (mut names, mut found) = (Vec::<&[u8]>::new(), Vec::new());
    loop {
        line.take_while(|byte| byte == b' ');
        if line.rest().is_empty() || line.rest() == b"\r" {
            return Ok(found);
        }
        let name = line.take_while(|byte| byte.is_ascii_uppercase());
        if name.is_empty() {
            return Err(Malformed("stream"));
        } else if !line.eat(b' ') {
            return Err(Malformed("port missing"));
        } else if names.contains(&name) {
            return Err(Malformed("stream named twice"));
        } else if names.len() == STREAMS {
            return Err(Malformed("fifth stream"));
        }
        names.push(name);
        found.extend(port(&mut line)?);
    }
}

/// A port; `None` if the stream is not used.
fn port(text: &mut Text<'_>) -> Result<Option<Stream>, Malformed> {
    let negative = text.eat(b'-');
    let start = text.offset();
    let port = number(text, 65_535).ok_or(Malformed("port missing"))?.map_err(|_| Malformed("port over 65535"))?;
    let port = u16::try_from(port).map_err(|_| Malformed("port over 65535"))?;
    Ok((!negative && port > 0).then(|| (port, start..text.offset())))
}

fn announce(cx: &mut Cx<'_>, (port, span): &Stream) -> Result<(), Malformed> {
    let Ok(grant) = cx.expect(tcp(0, cx.sender(), *port)) else { return Ok(()) };
    if grant.port == *port {
        return Ok(());
    }
    cx.tell(&grant, span.clone(), Some(grant.port.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testkit::{Kernel, Net, Talk, talk, tcp};

    const HEAD: &str = "Amanda 2.6 REP HANDLE 000-00010E5C SEQ 1119041234\n";

    fn reply(body: &str) -> Talk {
        talk(Amanda).from_server(format!("{HEAD}{body}"))
    }

    #[test]
    fn each_stream_is_expected_at_the_server() {
        let ports = ["10.0.2.2:1024", "10.0.2.2:2000", "10.0.2.2:65535", "10.0.2.2:3000"].map(tcp);
        reply("CONNECT DATA 1024 MESG 2000 INDEX 65535\nOPTIONS features=f;\n").expects_all(&ports[..3]).passes_unchanged().well_formed();
        reply("CONNECT DATA 1024 MESG 2000 INDEX 65535 STATE 3000\n").expects_all(&ports);
        reply("CONNECT CTL 1024 DATA 2000\n").expects_all(&ports[..2]).well_formed();
        reply("OPTIONS x;\nCONNECT DATA 1024 MESG 2000 INDEX -1\n").expects_all(&ports[..2]).well_formed();
        talk(Amanda)
            .across(Net::Plain6)
            .from_server(format!("{HEAD}CONNECT DATA 1024\n"))
            .expects(tcp("[2001:db8:2::2]:1024"));
    }

    #[test]
    fn other_ports_are_told_behind_dnat() {
        talk(Amanda)
            .across(Net::Dnat4)
            .before(Kernel::that_grants_from("10.0.1.1").at_port(600))
            .from_server(format!("{HEAD}CONNECT DATA 1024 MESG 2000 INDEX -1\nX\n"))
            .passes_as(format!("{HEAD}CONNECT DATA 600 MESG 600 INDEX -1\nX\n"));
    }

    #[test]
    fn what_is_no_reply_announces_nothing() {
        talk(Amanda).from_client(format!("{HEAD}CONNECT DATA 1024\n")).expects_nothing();
        for packet in [
            "Amanda 2.6 REQ HANDLE 0 SEQ 1\nCONNECT DATA 1024\n",
            "CONNECT DATA 1024\n",
            "XAmanda 2.6 REP HANDLE 0 SEQ 1\nCONNECT DATA 1024\n",
            "Amanda 2.6 REP HANDLE 0 SEQ 1 CONNECT DATA 1024\n",
            "Amanda 2.6 REP HANDLE 0 SEQ 1\nx CONNECT DATA 1024\n",
            "Amanda 2.6 REP HANDLE 0 SEQ 1\nCONNECTED DATA 1024\n",
            "",
            "\n\n\n",
        ] {
            talk(Amanda).from_server(packet).expects_nothing().well_formed();
        }
    }

    #[test]
    fn bad_fields_are_named() {
        reply("CONNECT DATA 65536\n").expects_nothing().malformed("port over 65535");
        reply("CONNECT DATA 1024 MESG\n").expects_nothing().malformed("port missing");
        reply("CONNECT DATA MESG 1024\n").expects_nothing().malformed("port missing");
        reply("CONNECT DATA 1024 DATA 1025\n").expects_nothing().malformed("stream named twice");
        reply("CONNECT DATA 1024 1025\n").expects_nothing().malformed("stream");
        reply("CONNECT A 1 B 2 C 3 D 4 E 5\n").expects_nothing().malformed("fifth stream");
        reply("CONNECT DATA 1024\nCONNECT DATA 1025\n").expects_nothing().malformed("two CONNECT lines");
    }

    #[test]
    fn a_flood_of_lines_asks_for_four_at_most() {
        let flood = "CONNECT DATA 1 MESG 2 INDEX 3 STATE 4 ".to_owned() + &"DATA 5 ".repeat(5000) + "\n";
        reply(&flood).expects_nothing().malformed("stream named twice");
    }

    proptest! {
        #[test]
        fn any_packet_is_read(body in "(CONNECT|DATA|MESG|INDEX| |\n|-|[0-9]{1,7}|\\PC){0,40}", raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(reply(&body).asked().len() <= 4);
            let _ = talk(Amanda).from_server(raw);
        }
    }
}
