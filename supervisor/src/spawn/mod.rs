//! Makes workers: supervisor → launcher (this binary again) → `exec` of the worker, so that no worker inherits our memory.
//!
//! The launcher is a fresh, single-threaded process; it puts the confinement around itself in plain code, where a hook between
//! fork and exec could not. Three descriptors cross: packet channel, ask channel, log.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use cthelper_proto::ipc::{ToWorker, encode};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, setsockopt, socketpair, sockopt};
use nix::unistd::Pid;

mod binary;
pub mod identity;
pub mod launcher;

pub use binary::worker_binary;
pub use identity::Identity;

/// Send buffer of the packet channel, bytes: a full window of ordinary packets fits, so that sending hardly ever waits.
const PACKET_CHANNEL: usize = 4 << 20;
/// How long a killed worker may take to be gone before we go on without its exit status.
const REAP_PATIENCE: Duration = Duration::from_millis(200);

/// How workers of one helper are made.
#[derive(Clone, Debug)]
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

/// A started worker and our ends of its channels.
pub struct Spawned {
    child: Child,
    /// Our end of the packet channel, not blocking.
    pub packets: OwnedFd,
    /// Our end of the ask channel, not blocking.
    pub asks: OwnedFd,
    /// Reading end of its stderr, not blocking.
    pub log: ChildStderr,
}

impl Recipe {
    /// Workers launched by this program.
    pub fn new(helper: &str, worker: PathBuf, identity: Identity) -> Self {
        Self { helper: helper.to_owned(), launcher: PathBuf::from("/proc/self/exe"), worker, identity }
    }

    /// Starts a launcher, which will become the worker. Returns as soon as the process exists.
    pub fn spawn(&self) -> io::Result<Spawned> {
        let (packets, packets_theirs) = channel()?;
        let (asks, asks_theirs) = channel()?;
        // Root may exceed the limit; without root the default has to do.
        let _ = setsockopt(&packets, sockopt::SndBufForce, &PACKET_CHANNEL)
            .or_else(|_| setsockopt(&packets, sockopt::SndBuf, &PACKET_CHANNEL));
        let mut child = Command::new(&self.launcher)
            .args(self.identity.launcher_args())
            .arg(&self.worker)
            .arg(&self.helper)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(packets_theirs))
            .stdout(Stdio::from(asks_theirs))
            .stderr(Stdio::piped())
            .spawn()?;
        let log = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
        for fd in [packets.as_fd(), asks.as_fd(), log.as_fd()] {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(Spawned { child, packets, asks, log })
    }
}

fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

impl Spawned {
    /// The worker's process id; ours until it is reaped.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells the worker to end, and closes the channels, which says the same; it is killed if it does not.
    pub fn dismiss(self) {
        let Self { mut child, packets, asks, log } = self;
        if let Ok(record) = encode(&ToWorker::Drain) {
            let _ = send(packets.as_raw_fd(), &record, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
        }
        drop((packets, asks, log));
        if reap(&mut child, REAP_PATIENCE).is_none() {
            slay(&mut child);
        }
    }

    /// Kills the worker if it still lives and waits, for a bounded time, for what the kernel says of its end.
    pub fn bury(mut self) -> Option<ExitStatus> {
        slay(&mut self.child)
    }

    /// Waits, for a bounded time, for a worker that is ending by itself.
    pub fn ended(&mut self, patience: Duration) -> Option<ExitStatus> {
        reap(&mut self.child, patience)
    }
}

fn slay(child: &mut Child) -> Option<ExitStatus> {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL); // not reaped yet, so the number is still its own
    }
    reap(child, REAP_PATIENCE)
}

fn reap(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_micros(100)),
            _ => return None,
        }
    }
}
