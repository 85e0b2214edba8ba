//! What must be known of a control connection from one line to the next: byte 0 flags, bytes 1 and 2 the code of an open multi-line
//! reply (little-endian, 0 = none). The rest of the private area is unused.

use cthelper_proto::types::Dir;

const ROLES: u8 = 1;
const SERVER_IS_ORIGINATOR: u8 = 2;
const ONLY_EPSV: u8 = 4;
const EPSV_ALL_UNANSWERED: u8 = 8;
const CLIENT_SPOKE: u8 = 16;

/// A copy of the helper's private bytes, in words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    flags: u8,
    reply: u16,
}

impl Memory {
    /// From the private bytes; missing ones are zero.
    pub(super) fn load(bytes: &[u8]) -> Self {
        let byte = |index: usize| bytes.get(index).copied().unwrap_or(0);
        Self { flags: byte(0), reply: u16::from_le_bytes([byte(1), byte(2)]) }
    }

    /// Into the private bytes, as far as they reach.
    pub(super) fn store(self, bytes: &mut [u8]) {
        let [low, high] = self.reply.to_le_bytes();
        for (place, byte) in bytes.iter_mut().zip([self.flags, low, high]) {
            *place = byte;
        }
    }

    /// Whether no line has been seen yet.
    pub(super) fn roles_unknown(self) -> bool {
        self.flags & ROLES == 0
    }

    /// The first line decides who is the server.
    pub(super) fn set_roles(&mut self, server_is_originator: bool) {
        self.flags |= ROLES | if server_is_originator { SERVER_IS_ORIGINATOR } else { 0 };
    }

    /// Whether the server speaks in this direction.
    pub(super) fn is_server(self, dir: Dir) -> bool {
        (dir == Dir::Orig) == (self.flags & SERVER_IS_ORIGINATOR != 0)
    }

    /// The client has said `EPSV ALL`.
    pub(super) fn promise_epsv(&mut self) {
        self.flags |= ONLY_EPSV | EPSV_ALL_UNANSWERED;
    }

    /// Whether only `EPSV` may be used.
    pub(super) fn only_epsv(self) -> bool {
        self.flags & ONLY_EPSV != 0
    }

    /// The promise is over: the session starts anew.
    pub(super) fn forget_promise(&mut self) {
        self.flags &= !(ONLY_EPSV | EPSV_ALL_UNANSWERED);
    }

    /// Whether this is the client's first line; it is not from now on.
    pub(super) fn is_first_of_client(&mut self) -> bool {
        let first = self.flags & CLIENT_SPOKE == 0;
        self.flags |= CLIENT_SPOKE;
        first
    }

    /// What the client asks now cannot be answered within a reply: one that is still open has ended where it was not seen (in a gap, or in
    /// a packet that passed without the helper).
    pub(super) fn close_reply(&mut self) {
        self.reply = 0;
    }

    /// The code of the multi-line reply that is open.
    pub(super) fn inside_reply(self) -> Option<u16> {
        (self.reply != 0).then_some(self.reply)
    }

    /// A multi-line reply begins.
    pub(super) fn enter_reply(&mut self, code: u16) {
        self.reply = code;
    }

    /// A reply is complete. If it answers `EPSV ALL` with a no, the promise is void; a greeting starts the session anew.
    pub(super) fn leave_reply(&mut self, code: u16) {
        self.reply = 0;
        if code == 220 {
            self.forget_promise();
        }
        if self.flags & EPSV_ALL_UNANSWERED != 0 && code >= 200 {
            self.flags &= !EPSV_ALL_UNANSWERED;
            if code >= 400 {
                self.flags &= !ONLY_EPSV;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded_and_short_areas_do_no_harm() {
        let mut memory = Memory::default();
        memory.set_roles(true);
        memory.enter_reply(220);
        let mut bytes = [0; 23];
        memory.store(&mut bytes);
        assert_eq!(Memory::load(&bytes), memory);
        memory.store(&mut []);
        assert_eq!(Memory::load(&[]), Memory::default());
    }

    #[test]
    fn a_refused_promise_is_void_and_a_kept_one_is_not() {
        let mut memory = Memory::default();
        memory.promise_epsv();
        memory.leave_reply(150);
        assert!(memory.only_epsv());
        let mut refused = memory;
        refused.leave_reply(502);
        assert!(!refused.only_epsv());
        memory.leave_reply(200);
        memory.leave_reply(550);
        assert!(memory.only_epsv());
    }
}
