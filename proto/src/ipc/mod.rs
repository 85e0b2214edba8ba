//! Supervisor ⇄ worker: `SOCK_SEQPACKET` records, so the kernel keeps the boundary. A record of the packet channel may hold several
//! messages, one of the ask channel holds one.
//!
//! | fd of the worker | carries |
//! |---|---|
//! | 0 | *packet channel*: [`ToWorker`] in, [`FromWorker`] out |
//! | 1 | *ask channel*: the worker asks ([`Ask`]), the supervisor answers ([`Answer`]); never the reverse |
//! | 2 | log lines, plain text |
//!
//! Start: the launcher says `Launched`, becomes the worker; the worker says `Hello`, hears `Welcome`, confines itself, says `Ready`,
//! and hears `Go` once the supervisor has verified it. Then packets flow. [`VERSION`] is part of `Hello`. worker/PROTOCOL.md is the whole of it
//! for other languages, and `proto/golden/worker.hex` its bytes.

mod ask;
mod frame;
mod packet;

pub use ask::{
    Answer, Ask, Confined, Enforcement, Expect, ExpectId, Grant, Holds, Launched, Namespace, Namespaces, QUESTION_CLASS,
    QUESTION_MARK, Question, Rule, Settings, Source, To, hello_version,
};
pub use frame::{FrameError, MAX_FRAMES, MAX_HEADER, MAX_RECORD, append, decode, encode, encode_into, frames};
pub use packet::{Edit, FromWorker, PacketHeader, Ruling, Segment, Ticket, ToWorker, Verdict};

/// Version of everything in this module; a worker that speaks another is refused. Another one whenever a line of `golden/worker.hex` changes.
pub const VERSION: u16 = 3;
