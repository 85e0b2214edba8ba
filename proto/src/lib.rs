//! Bytes ⇄ types, and nothing else: no file, socket, clock or thread is touched in this crate.
//!
//! | module | speaks |
//! |---|---|
//! | [`packet`] | IP, TCP and UDP headers, checksums, edits on a payload |
//! | [`netlink`] | nfnetlink: queue, cthelper, conntrack and expectation messages |
//! | [`ipc`] | supervisor ⇄ worker |
//! | [`ctl`] | operator's tool ⇄ supervisor |
//! | [`events`] | audit log and `replay --json` |
//! | [`events_sock`] | broker ⇄ subscribers of conntrack events |

pub mod ctl;
pub mod events;
pub mod events_sock;
pub mod flows;
pub mod ipc;
pub mod manifest;
pub mod netlink;
pub mod packet;
pub mod reader;
pub mod types;
pub mod writer;

pub use reader::Malformed;
