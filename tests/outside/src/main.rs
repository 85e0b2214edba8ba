//! `DIAL 4000`, says the server, and the client connects to that port of it.

use std::borrow::Cow;
use std::process::ExitCode;

use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::types::{Dir, Family, L4s};
use cthelper_worker::scan::{Text, number};
use cthelper_worker::{About, Cx, Helper, Malformed, run, tcp};

static MANIFEST: Manifest = Manifest {
    name: Cow::Borrowed("dial"),
    l4s: L4s::Tcp,
    families: Cow::Borrowed(&Family::ALL),
    classes: Cow::Borrowed(&[Class::new("call", Scope::BothEnds, 2, 30)]),
    state_len: 1,
    ports: Cow::Borrowed(&[4242]),
    source: Cow::Borrowed("this file"),
};

struct Dial;

impl Helper for Dial {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn about(&self) -> About {
        About { rewrites: true, ..About::default() }
    }

    fn message(&mut self, cx: &mut Cx<'_>, line: &[u8]) -> Result<(), Malformed> {
        let mut text = Text::new(line);
        if cx.dir() == Dir::Orig || !text.word(b"DIAL") || !text.eat(b' ') {
            return Ok(());
        }
        let start = text.offset();
        let port = number(&mut text, 65_535).and_then(Result::ok).and_then(|port| u16::try_from(port).ok());
        let port = port.filter(|port| *port > 0).ok_or(Malformed("DIAL port"))?;
        let Ok(grant) = cx.expect(tcp(0, cx.sender(), port)) else { return Ok(()) };
        if grant.port != port { cx.tell(&grant, start..text.offset(), Some(grant.port.to_string())) } else { Ok(()) }
    }
}

fn main() -> ExitCode {
    run::main(|name| (name == "dial").then(|| Box::new(Dial) as Box<dyn Helper>))
}
