//! A worker of one's own, outside the registry: it expects nothing, and panics or opens a file on demand.
//! `tests/process.rs` looks at how it dies.

use std::borrow::Cow;

use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::types::{Family, L4s};
use cthelper_worker::{Cx, Helper, Malformed, run};

static MANIFEST: Manifest = Manifest {
    name: Cow::Borrowed("brittle"),
    l4s: L4s::Udp,
    families: Cow::Borrowed(&[Family::Inet]),
    classes: Cow::Borrowed(&[Class::new("none", Scope::BothEnds, 1, 1)]),
    state_len: 0,
    ports: Cow::Borrowed(&[]),
    source: Cow::Borrowed("a test"),
};

struct Brittle;

impl Helper for Brittle {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    #[allow(clippy::panic, reason = "that is what it is for")]
    fn message(&mut self, _: &mut Cx<'_>, message: &[u8]) -> Result<(), Malformed> {
        match message {
            b"panic" => panic!("asked\nto"),
            b"open" => std::fs::read("/etc/hostname").map(drop).map_err(|_| Malformed("file")),
            _ => Ok(()),
        }
    }
}

fn main() {
    run::main(|name| (name == "brittle").then(|| Box::new(Brittle) as Box<dyn Helper>))
}
