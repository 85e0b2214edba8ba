//! A protocol in three steps, as RAS, Q.931 and H.245 are: in each connection a host says where it listens for the next one. For the VM
//! rung, named in a configuration by `worker = "…/chain"`.
//!
//! | helper | connection | announces |
//! |---|---|---|
//! | `admit` | UDP to port 1719, attached by a rule | connections that `call` reads |
//! | `call` | TCP or UDP | TCP connections that `media` reads |
//! | `media` | TCP | TCP connections that nobody reads |
//!
//! `LISTEN tcp 4000` says either host, in a line or a datagram, of a port of its own. `THEN LISTEN …` counts only after an `OPEN` in the same
//! connection, which is remembered in its private bytes.

use std::borrow::Cow;
use std::process::ExitCode;

use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::types::{Family, L4s};
use cthelper_worker::scan::{Text, number};
use cthelper_worker::{Cx, Helper, Malformed, run, tcp, udp};

static LINKS: [Manifest; 3] = [
    Manifest {
        name: Cow::Borrowed("admit"),
        l4s: L4s::Udp,
        ports: Cow::Borrowed(&[1719]),
        classes: Cow::Borrowed(&[Class::new("call", Scope::BothEnds, 4, 60).tcp_or_udp().helped_by("call")]),
        ..LINK
    },
    Manifest {
        name: Cow::Borrowed("call"),
        l4s: L4s::Both,
        classes: Cow::Borrowed(&[
            Class::new("unused", Scope::BothEnds, 1, 30).udp(),
            Class::new("media", Scope::BothEnds, 2, 40).helped_by("media"),
        ]),
        ..LINK
    },
    Manifest { name: Cow::Borrowed("media"), classes: Cow::Borrowed(&[Class::new("data", Scope::BothEnds, 2, 50)]), ..LINK },
];

const LINK: Manifest = Manifest {
    name: Cow::Borrowed(""),
    l4s: L4s::Tcp,
    families: Cow::Borrowed(&Family::ALL),
    classes: Cow::Borrowed(&[]),
    state_len: 2,
    ports: Cow::Borrowed(&[]),
    source: Cow::Borrowed("this file"),
};

struct Link(&'static Manifest);

impl Helper for Link {
    fn manifest(&self) -> &'static Manifest {
        self.0
    }

    fn message(&mut self, cx: &mut Cx<'_>, message: &[u8]) -> Result<(), Malformed> {
        let mut text = Text::new(message);
        if text.word(b"OPEN") {
            if let Some(open) = cx.memory_mut().first_mut() {
                *open = 1;
            }
            return Ok(());
        }
        let is_open = cx.memory().first() == Some(&1);
        let counts = if text.word(b"THEN") { text.eat(b' ') && is_open } else { true };
        if !counts || !text.word(b"LISTEN") || !text.eat(b' ') {
            return Ok(());
        }
        let datagrams = text.word(b"UDP");
        if !datagrams && !text.word(b"TCP") || !text.eat(b' ') {
            return Err(Malformed("LISTEN protocol"));
        }
        let start = text.offset();
        let port = number(&mut text, 65_535).and_then(Result::ok).and_then(|port| u16::try_from(port).ok());
        let port = port.filter(|port| *port > 0).ok_or(Malformed("LISTEN port"))?;
        let class = u8::try_from(self.0.classes.len() - 1).unwrap_or_default();
        let wanted = if datagrams { udp(class, cx.sender(), port) } else { tcp(class, cx.sender(), port) };
        let Ok(grant) = cx.expect(wanted) else { return Ok(()) };
        if grant.port == port { Ok(()) } else { cx.tell(&grant, start..text.offset(), Some(grant.port.to_string())) }
    }
}

fn main() -> ExitCode {
    run::main(|name| {
        let manifest = LINKS.iter().find(|manifest| manifest.name == name)?;
        Some(Box::new(Link(manifest)) as Box<dyn Helper>)
    })
}
