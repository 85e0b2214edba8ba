//! What is allowed, as data and as pure judgement; and the confinement that makes it so.
//!
//! | module | decides |
//! |---|---|
//! | [`profile`], [`profiles`] | which system calls, files and capabilities a role has, each with its reason |
//! | [`syscall`] | names and numbers of system calls |
//! | [`confine`] | puts a profile around a process, in one documented order |
//! | [`verify`] | whether `/proc/PID/status` agrees that a worker is confined |
//! | [`expect`] | which announced connections the kernel is asked to expect |
//! | [`limits`] | how many and how fast |
//! | [`restart`] | what follows the end of a worker |
//! | [`config`] | what the operator may set |
//! | [`events`] | which events a subscriber gets: the filter language |
//!
//! Nothing but [`confine`] touches the system; time is always an argument.

#[cfg(test)]
mod bpf_machine;
pub mod config;
pub mod confine;
pub mod events;
pub mod expect;
pub mod limits;
pub mod nearest;
pub mod profile;
pub mod profiles;
pub mod restart;
pub mod syscall;
pub mod verify;
