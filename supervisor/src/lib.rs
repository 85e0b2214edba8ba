//! The privileged side: owns every netlink socket, registers helpers, judges, restarts, audits. It copies application payload
//! and never looks inside it, and it does not link the crate that does.
//!
//! [`boot`] brings it up with a [`configuration`] · [`lane`] carries packets · [`kernel`] is what a lane needs of the kernel · [`spawn`] and [`warden`] make workers ·
//! [`control`] answers the operator, [`broker`] everybody else · [`keeper`] outlives it · [`audit`] and [`quarantine`] keep evidence ·
//! [`seqpacket`] is how these processes speak · [`replay`] runs all this on a capture · [`cli`] is how all of it is called · [`import`] reads what an operator had before ·
//! [`stderr`] is where it speaks.

#![warn(clippy::print_stderr, clippy::print_stdout, reason = "they panic when the reader is gone")]

pub mod audit;
pub mod boot;
pub mod broker;
pub mod cli;
pub mod configuration;
pub mod control;
pub mod evidence;
pub mod import;
pub mod keeper;
pub mod kernel;
pub mod lane;
pub mod quarantine;
pub mod replay;
pub(crate) mod seqpacket;
pub mod spawn;
pub mod stderr;
pub mod warden;
