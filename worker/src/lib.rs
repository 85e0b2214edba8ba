//! SDK and built-in helpers of cthelperd: the unprivileged side, which parses strangers' bytes.
//!
//! A *helper* reads the control connection of a protocol, finds announcements of further connections in it and asks the supervisor
//! to expect them. It has no I/O, no clock and no `unsafe`; it is a pure function of packet, flow and private state. The worker
//! process around it may be killed at any moment: what must survive lies in the kernel's private area of the connection.
//!
//! | module | does |
//! |---|---|
//! | [`helper`] | what a helper implements ([`Helper`]) and what it is given ([`Cx`]) |
//! | [`serve`] | one packet in, one verdict out; no I/O |
//! | [`stream`] | lines and records out of TCP segments: bounded reassembly, retransmissions, gaps |
//! | [`flows`] | bounded cache of what is known of each flow |
//! | [`scan`] | checked readers for numbers and addresses in text |
//! | [`channel`], [`run`] | the process: records in and out, start, loop, end |
//! | [`helpers`] | the built-in helpers and their registry |
//! | [`testkit`] | conversations with a helper, for tests |
//!
//! `HELPERS.md` shows how a helper is written:
#![doc = include_str!("../HELPERS.md")]

pub mod channel;
pub mod flows;
pub mod helper;
pub mod helpers;
pub mod log;
pub mod run;
pub mod scan;
pub mod serve;
pub mod stream;
pub mod testkit;

pub use cthelper_proto::Malformed;
pub use helper::{About, Cx, Framing, Helper, Judge, Mark, Refused, answers, tcp, udp};
