//! The supervisor's end of the keeper: finds one that lives, or has one started.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cthelper_policy::verify::{Expected, verify};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};

use super::heir::Kept;
use super::protocol::{Record, Word};
use super::wire::{self, Heard};
use crate::spawn::Identity;
use crate::warden::{News, Post};

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
}

/// It has hung up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl Keeper {
    /// Connects to the keeper of this runtime folder, if one lives.
    pub fn find(runtime_dir: &Path) -> io::Result<Self> {
        let path = runtime_dir.join(SOCKET);
        // A keeper that accepts nobody must not make us wait: with the backlog full this fails at once.
        let connection = seqpacket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        connect(&connection, &SocketAddrUnix::new(path.as_path())?)?;
        // Of a connected socket these are the credentials of whoever bound the other.
        let bound_by = getsockopt(&connection, sockopt::PeerCredentials)?.uid();
        if bound_by != nix::unistd::geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} belongs to uid {bound_by}", path.display())));
        }
        Ok(Self { connection, path })
    }

    /// One at the other end of a connection.
    #[cfg(test)]
    pub(super) fn over(connection: OwnedFd) -> Self {
        Self { connection, path: PathBuf::new() }
    }

    /// Has the warden start one on this listening socket, and asks the kernel whether it is confined. Waits for it, for a bounded time.
    ///
    /// # Errors
    /// In words. What is left of it then holds nothing, and ends by itself.
    pub fn start(
        runtime_dir: &Path,
        listener: BorrowedFd<'_>,
        post: &Post,
        order: u64,
        identity: Identity,
    ) -> Result<Self, String> {
        post.keeper(order, listener).map_err(|error| error.to_string())?;
        let pid = spawned(post, order)?;
        let keeper = Self::find(runtime_dir).map_err(|error| error.to_string())?;
        keeper.take()?; // it answers when it is confined, and not before
        let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| format!("its status: {error}"))?;
        let worker = identity.expected(post.warden());
        let expected = Expected { filters_min: worker.filters_min.saturating_sub(1), ..worker }; // it has no launcher
        match verify(&status, &expected) {
            Ok(_) => Ok(keeper),
            Err(deviation) => {
                keeper.bye();
                Err(format!("it is not confined as it must be: {deviation}"))
            }
        }
    }

    /// Duplicates of all it holds, and of the socket it listens on.
    ///
    /// # Errors
    /// It does not answer as it should, in words.
    pub fn take(&self) -> Result<(Vec<Kept>, OwnedFd), String> {
        wire::say(&self.connection, &Record::bare(Word::Take), None).map_err(|errno| errno.to_string())?;
        let mut kept = Vec::new();
        let until = Instant::now() + PATIENCE;
        loop {
            match wire::wait(&self.connection, until) {
                Heard::Record(record, mut sockets) if record.word == Word::Socket => {
                    let socket = sockets.pop().filter(|_| sockets.is_empty()).ok_or("a record without a socket")?;
                    kept.push(Kept { helper: record.text, queue: record.queue, socket });
                }
                Heard::Record(record, mut sockets) if record.word == Word::Done => {
                    let listener = sockets.pop().filter(|_| sockets.is_empty()).ok_or("no listening socket")?;
                    return Ok((kept, listener));
                }
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

    /// Has it let what comes wait, for a while, when this connection ends: a successor is about to start.
    pub fn expect_successor(&self) -> io::Result<()> {
        Ok(wire::say(&self.connection, &Record::bare(Word::Await), None)?)
    }

    /// An orderly end: it closes all it holds and ends. Returns when it has, or does not answer.
    pub fn bye(self) {
        let _ = fs::remove_file(&self.path);
        if wire::say(&self.connection, &Record::bare(Word::Bye), None).is_ok() {
            let until = Instant::now() + PATIENCE;
            while matches!(wire::wait(&self.connection, until), Heard::Record(..) | Heard::Wrong(_)) {}
        }
    }
}

impl AsFd for Keeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

fn seqpacket(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// A listening socket in the runtime folder, by our umask for our user alone; one left over by a keeper that is gone is replaced.
pub fn listener(runtime_dir: &Path) -> io::Result<OwnedFd> {
    let path = runtime_dir.join(SOCKET);
    let _ = fs::remove_file(&path);
    let socket = seqpacket(SocketFlags::CLOEXEC)?;
    bind(&socket, &SocketAddrUnix::new(path.as_path())?)?;
    listen(&socket, BACKLOG)?; // nobody can connect before
    Ok(socket)
}

/// Waits for the warden's word of this order.
fn spawned(post: &Post, order: u64) -> Result<u32, String> {
    let until = Instant::now() + PATIENCE;
    loop {
        match post.news().map_err(|error| format!("the warden: {error}"))? {
            Some(News::Spawned { generation, pid }) if generation == order => return Ok(pid),
            Some(News::Failed { generation, reason }) if generation == order => return Err(reason),
            Some(_) => continue, // the end of an earlier one
            None => {}
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("the warden does not answer".to_owned());
        }
        let _ =
            poll(&mut [PollFd::new(post.as_fd(), PollFlags::POLLIN)], PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
    }
}
