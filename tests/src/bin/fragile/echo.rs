//! A protocol of datagrams, such as TFTP, without its announcements: every datagram crosses to the worker and back.

use std::borrow::Cow;

use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::types::{Family, L4s};
use cthelper_worker::{Cx, Helper, Malformed};

static MANIFEST: Manifest = Manifest {
    name: Cow::Borrowed("echo"),
    l4s: L4s::Udp,
    families: Cow::Borrowed(&Family::ALL),
    classes: Cow::Borrowed(&[Class::new("echo", Scope::BothEnds, 1, 10).udp()]),
    state_len: 4,
    ports: Cow::Borrowed(&[69]),
    source: Cow::Borrowed("RFC 862, on TFTP's port"),
};

pub(crate) struct Echo;

impl Helper for Echo {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    /// Counts the connection's datagrams in its private bytes, so that every verdict changes something in the kernel.
    fn message(&mut self, cx: &mut Cx<'_>, datagram: &[u8]) -> Result<(), Malformed> {
        if let Some(harm) = crate::harm::of(datagram) {
            harm();
        }
        if let Some(count) = cx.memory_mut().first_chunk_mut::<4>() {
            *count = u32::from_ne_bytes(*count).wrapping_add(1).to_ne_bytes();
        }
        Ok(())
    }
}
