//! FTP as it is shipped, with an ear for `SITE`.

use cthelper_proto::manifest::Manifest;
use cthelper_proto::types::L4;
use cthelper_worker::helpers::ftp::Ftp;
use cthelper_worker::{Cx, Framing, Helper, Malformed};

/// The shipped helper behind the ear.
#[derive(Default)]
pub(crate) struct Fragile(Ftp);

impl Helper for Fragile {
    fn manifest(&self) -> &'static Manifest {
        self.0.manifest()
    }

    fn framing(&self, l4: L4) -> Framing {
        self.0.framing(l4)
    }

    fn message(&mut self, cx: &mut Cx<'_>, line: &[u8]) -> Result<(), Malformed> {
        if let Some(harm) = line.strip_prefix(b"SITE ").and_then(crate::harm::of) {
            harm();
        }
        self.0.message(cx, line)
    }

    fn overlong(&mut self, cx: &mut Cx<'_>, head: &[u8]) {
        self.0.overlong(cx, head);
    }

    fn wants_whole(&self, cx: &Cx<'_>, partial: &[u8]) -> bool {
        self.0.wants_whole(cx, partial)
    }
}
