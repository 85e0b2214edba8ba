//! The supervisor's end of the keeper: finds one that lives, or starts one.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cthelper_policy::verify::{Expected, verify};
use nix::sys::socket::{getsockopt, sockopt};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};

use super::heir::Kept;
use super::protocol::{Record, Word};
use super::run::ROLE;
use super::wire::{self, Heard};
use crate::spawn::Identity;

/// Its socket in the runtime folder.
const SOCKET: &str = "keeper.sock";
/// How long it may take to answer at the start and at the end. It does nothing that takes time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 8;

/// A connection to a living keeper.
#[derive(Debug)]
pub struct Keeper {
    connection: OwnedFd,
    path: PathBuf,
    /// If it is our child: to be waited for when it ends before us.
    child: Option<Child>,
}

/// It has hung up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl Keeper {
    /// Connects to the keeper of this runtime folder, if one lives.
    pub fn find(runtime_dir: &Path) -> io::Result<Self> {
        let path = runtime_dir.join(SOCKET);
        let connection = seqpacket()?;
        connect(&connection, &SocketAddrUnix::new(path.as_path())?)?;
        // Of a connected socket these are the credentials of whoever bound the other.
        let bound_by = getsockopt(&connection, sockopt::PeerCredentials)?.uid();
        if bound_by != nix::unistd::geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} belongs to uid {bound_by}", path.display())));
        }
        set_socket_timeout(&connection, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self { connection, path, child: None })
    }

    /// Starts one, and asks the kernel whether it is confined. To be called while this process may still make sockets and processes.
    ///
    /// # Errors
    /// In words; nothing is left of it then.
    pub fn start(runtime_dir: &Path, program: &Path, identity: Identity) -> Result<Self, String> {
        let listener = listener(&runtime_dir.join(SOCKET)).map_err(|error| format!("bind {SOCKET}: {error}"))?;
        let mut child = Command::new(program)
            .args([ROLE.to_owned(), identity.uid.to_string(), identity.gid.to_string()])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(listener))
            .stdout(Stdio::null())
            .stderr(Stdio::null()) // it outlives whoever reads our log
            .spawn()
            .map_err(|error| format!("exec: {error}"))?;
        let keeper = Self::find(runtime_dir).map_err(|error| error.to_string()).and_then(|keeper| {
            keeper.take()?; // it answers when it is confined, and not before
            confined(child.id(), identity)?;
            Ok(keeper)
        });
        match keeper {
            Ok(keeper) => Ok(Self { child: Some(child), ..keeper }),
            Err(reason) => {
                let _ = child.kill();
                let ended = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(format!("{reason} ({ended})"))
            }
        }
    }

    /// Duplicates of all it holds.
    ///
    /// # Errors
    /// It does not answer as it should, in words.
    pub fn take(&self) -> Result<Vec<Kept>, String> {
        wire::say(&self.connection, &Record::bare(Word::Take), None).map_err(|errno| errno.to_string())?;
        let mut kept = Vec::new();
        loop {
            match wire::wait(&self.connection) {
                Heard::Record(record, mut sockets) if record.word == Word::Socket => {
                    let socket = sockets.pop().filter(|_| sockets.is_empty()).ok_or("a record without a socket")?;
                    kept.push(Kept { helper: record.text, queue: record.queue, socket });
                }
                Heard::Record(record, _) if record.word == Word::Done => return Ok(kept),
                Heard::Record(record, _) => return Err(format!("{:?} in answer to Take", record.word)),
                Heard::Nothing => return Err("it does not answer".to_owned()),
                Heard::Hangup => return Err("it has hung up".to_owned()),
                Heard::Wrong(wrong) => return Err(wrong.to_string()),
            }
        }
    }

    /// Has it keep a duplicate; does not wait for the answer, which [`Self::heed`] reads.
    pub fn hold(&self, helper: &str, queue: u16, socket: BorrowedFd<'_>) -> io::Result<()> {
        Ok(wire::say(&self.connection, &Record::new(Word::Hold, queue, helper), Some(socket))?)
    }

    /// Has it close its duplicate; does not wait for the answer.
    pub fn forget(&self, queue: u16) -> io::Result<()> {
        Ok(wire::say(&self.connection, &Record::new(Word::Forget, queue, ""), None)?)
    }

    /// Reads what it has answered by now: the refusals, in words.
    pub fn heed(&self) -> Result<Vec<String>, Gone> {
        let mut refusals = Vec::new();
        loop {
            match wire::hear(&self.connection) {
                Heard::Nothing => return Ok(refusals),
                Heard::Record(record, _) if record.word == Word::Done => {}
                Heard::Record(record, _) => refusals.push(format!("queue {}: {:?} {}", record.queue, record.word, record.text)),
                Heard::Hangup | Heard::Wrong(_) => return Err(Gone),
            }
        }
    }

    /// An orderly end: it closes all it holds and ends. Returns when it has, or does not answer.
    pub fn bye(mut self) {
        let _ = fs::remove_file(&self.path);
        if wire::say(&self.connection, &Record::bare(Word::Bye), None).is_ok() {
            while matches!(wire::wait(&self.connection), Heard::Record(..) | Heard::Wrong(_)) {}
        }
        self.reap();
    }

    /// Lets go of one that has ended.
    pub fn reap(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.try_wait();
        }
    }
}

impl AsFd for Keeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

fn seqpacket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// The keeper's listening socket, for its starter's user alone; one left over by a keeper that is gone is replaced.
pub fn listener(path: &Path) -> io::Result<OwnedFd> {
    let _ = fs::remove_file(path);
    let socket = seqpacket()?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listen(&socket, BACKLOG)?; // nobody can connect before
    Ok(socket)
}

fn confined(pid: u32, identity: Identity) -> Result<(), String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| format!("its status: {error}"))?;
    let expected = Expected { filters_min: 1, ..identity.expected() };
    verify(&status, &expected).map(drop).map_err(|deviation| format!("it is not confined as it must be: {deviation}"))
}
