//! The calls without an answer, in the connection's private bytes: five bytes each.

use cthelper_proto::types::L4;

use super::message::Asked;

/// Calls remembered; over TCP 15 bytes are ours.
const CALLS: usize = 3;
const ENTRY: usize = 5;

/// The newest last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pending {
    calls: [Option<(u32, Asked)>; CALLS],
}

impl Pending {
    pub(super) fn load(memory: &[u8]) -> Self {
        let mut calls = [None; CALLS];
        for (call, entry) in calls.iter_mut().zip(memory.chunks_exact(ENTRY)) {
            if let [kind, xid @ ..] = entry
                && let Ok(xid) = xid.try_into()
            {
                *call = asked(*kind).map(|asked| (u32::from_be_bytes(xid), asked));
            }
        }
        Self { calls }
    }

    pub(super) fn store(&self, memory: &mut [u8]) {
        for (call, entry) in self.calls.iter().zip(memory.chunks_exact_mut(ENTRY)) {
            let (kind, xid) = call.map_or((0, 0), |(xid, asked)| (kind(asked), xid));
            for (byte, value) in entry.iter_mut().zip(std::iter::once(kind).chain(xid.to_be_bytes())) {
                *byte = value;
            }
        }
    }

    /// Remembers a call, in the place of an earlier one with its xid, or else of the oldest.
    pub(super) fn add(&mut self, xid: u32, asked: Asked) {
        self.forget(xid);
        let place = self.calls.iter().rposition(Option::is_none).unwrap_or(0);
        if let Some(shifted) = self.calls.get_mut(place..) {
            shifted.rotate_left(1);
        }
        if let Some(last) = self.calls.last_mut() {
            *last = Some((xid, asked));
        }
    }

    pub(super) fn find(&self, xid: u32) -> Option<Asked> {
        self.calls.iter().flatten().find(|(known, _)| *known == xid).map(|(_, asked)| *asked)
    }

    pub(super) fn forget(&mut self, xid: u32) {
        for call in &mut self.calls {
            *call = call.filter(|(known, _)| *known != xid);
        }
    }

    /// Whether an answer would announce something.
    pub(super) fn awaits_place(&self) -> bool {
        self.calls.iter().flatten().any(|(_, asked)| *asked != Asked::Other)
    }
}

fn kind(asked: Asked) -> u8 {
    match asked {
        Asked::Port(L4::Tcp) => 1,
        Asked::Port(L4::Udp) => 2,
        Asked::Address => 3,
        Asked::Other => 4,
    }
}

fn asked(kind: u8) -> Option<Asked> {
    Some(match kind {
        1 => Asked::Port(L4::Tcp),
        2 => Asked::Port(L4::Udp),
        3 => Asked::Address,
        4 => Asked::Other,
        _ => return None,
    })
}
