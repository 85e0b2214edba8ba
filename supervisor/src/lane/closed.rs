//! Connections that the broker says have ended: what is cached of them is forgotten, here and in the worker. Only hints: a broker that lies
//! costs an unfinished line, and what a packet carries from the kernel is right all the same.

use std::os::fd::AsFd;

use cthelper_proto::ipc::{MAX_FRAMES, ToWorker};
use cthelper_proto::types::{FlowId, Tuple};

use super::Lane;
use crate::kernel::Kernel;

/// Hints that a lane takes at a time; what is beyond stays cached until it is the oldest.
pub const HINTS: usize = 64;

impl<K: Kernel> Lane<K> {
    /// Forgets connections, but for those of which a packet is under way.
    pub(super) fn forget(&mut self, ended: &[(FlowId, Tuple)]) {
        let idle = |(id, orig): &&(FlowId, Tuple)| !self.tickets.holds(*id, orig);
        let ended: Vec<(FlowId, Tuple)> = ended.iter().take(HINTS).filter(idle).copied().collect();
        for (id, orig) in &ended {
            self.flows.forget(*id, *orig);
        }
        let Some(session) = self.crew.serving() else { return };
        for some in ended.chunks(MAX_FRAMES) {
            let messages = some.iter().map(|(id, _)| (ToWorker::FlowClosed(*id), [].as_slice()));
            let _ = self.records.send(session.channels.packets.as_fd(), messages); // a full channel has no room for hints
        }
    }
}
