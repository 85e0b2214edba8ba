//! How workers come to be: the warden starts a launcher (this binary again), which confines itself and becomes the worker by `exec`,
//! so that no worker inherits our memory.
//!
//! The launcher is a fresh, single-threaded process; it puts the confinement around itself in plain code, where a hook between
//! fork and exec could not. Three descriptors cross: packet channel, ask channel, log.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
use nix::unistd::pipe2;
use serde::{Deserialize, Serialize};

mod binary;
pub mod identity;
pub mod launcher;
pub(crate) mod role;

pub use binary::worker_binary;
pub use identity::Identity;
pub use role::RoleRecipe;

/// Send buffer of the packet channel, bytes: a full window of ordinary packets fits, so that sending hardly ever waits.
const PACKET_CHANNEL: usize = 4 << 20;

/// How workers of one helper are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// The helper's name, the worker's only argument.
    pub helper: String,
    /// The binary with the launcher's role: this very program, even if its file has been replaced meanwhile.
    pub launcher: PathBuf,
    /// The worker's binary.
    pub worker: PathBuf,
    /// Who the worker is to be.
    pub identity: Identity,
}

impl Recipe {
    /// Workers launched by this program.
    pub fn new(helper: &str, worker: PathBuf, identity: Identity) -> Self {
        Self { helper: helper.to_owned(), launcher: PathBuf::from("/proc/self/exe"), worker, identity }
    }

    /// The launcher's command; its descriptors are the caller's to set.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.launcher);
        command.args(self.identity.launcher_args()).arg(&self.worker).arg(&self.helper).env_clear().current_dir("/");
        command
    }
}

/// Our ends of a worker's channels; none of them blocks.
#[derive(Debug)]
pub struct Channels {
    /// Packets and verdicts.
    pub packets: OwnedFd,
    /// Asks and answers.
    pub asks: OwnedFd,
    /// Reading end of its stderr.
    pub log: File,
}

/// The worker's ends.
pub(crate) struct Theirs {
    pub(crate) packets: OwnedFd,
    pub(crate) asks: OwnedFd,
    pub(crate) log: OwnedFd,
}

/// A new worker's channels.
pub(crate) fn channels() -> io::Result<(Channels, Theirs)> {
    let (packets, their_packets) = channel()?;
    let (asks, their_asks) = channel()?;
    let (log, their_log) = pipe2(OFlag::O_CLOEXEC)?;
    // Root may exceed the limit; without root the default has to do.
    let _ = setsockopt(&packets, sockopt::SndBufForce, &PACKET_CHANNEL)
        .or_else(|_| setsockopt(&packets, sockopt::SndBuf, &PACKET_CHANNEL));
    for fd in [packets.as_fd(), asks.as_fd(), log.as_fd()] {
        fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    Ok((Channels { packets, asks, log: log.into() }, Theirs { packets: their_packets, asks: their_asks, log: their_log }))
}

fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}
