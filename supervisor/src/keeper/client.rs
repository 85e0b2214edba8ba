//! The supervisor's end of the keeper: finds one that lives, or has one started.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cthelper_policy::profiles::KEEPER_SOCKETS;
use cthelper_policy::verify::{Expected, verify};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};

use super::heir::Kept;
use super::protocol::{Record, Word};
use super::wire::{self, Heard};
use crate::spawn::Identity;
use crate::warden::{News, Post};

/// Names of its socket in the runtime folder. It has the first, but for the moments in which an earlier life's has that still.
const NAMES: [&str; 3] = ["keeper.sock", "keeper-2.sock", "keeper-3.sock"];
/// How long it may take to answer at the start and at the end. It does nothing that takes time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 8;
/// Answers read at one look. It owes one for each order, and a lane gives two at most; one with more to say is out of its mind.
const ANSWERS: usize = 256;

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
    /// Connects to the keepers of this runtime folder that live. There is one, unless a supervisor was killed while it replaced it.
    pub fn find(runtime_dir: &Path) -> Vec<Self> {
        NAMES.iter().filter_map(|name| Self::at(runtime_dir.join(name)).ok()).collect()
    }

    fn at(path: PathBuf) -> io::Result<Self> {
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

    /// Has the warden start one on a socket of its own, beside those of `formers`, and asks the kernel whether it is confined. Waits for it,
    /// for a bounded time.
    ///
    /// # Errors
    /// In words. What is left of it is ended.
    pub fn start(runtime_dir: &Path, formers: &[Self], post: &Post, order: u64, identity: Identity) -> Result<Self, String> {
        let mut names = NAMES.iter().map(|name| runtime_dir.join(name));
        let free = names.find(|path| formers.iter().all(|former| former.path != *path));
        let path = free.ok_or("too many keepers of earlier lives")?;
        let listener = listener(&path).map_err(|error| format!("a socket for it: {error}"))?;
        post.keeper(order, listener.as_fd()).map_err(|error| error.to_string())?;
        drop(listener); // should it end at once, nobody is to wait for an answer
        let started = Self::started(path, post, order, identity);
        if started.is_err() {
            let _ = post.kill(order);
        }
        started
    }

    /// The one that was ordered, when it is confined. Nobody else listens at that path.
    fn started(path: PathBuf, post: &Post, order: u64, identity: Identity) -> Result<Self, String> {
        let pid = spawned(post, order)?;
        let keeper = Self::at(path).map_err(|error| error.to_string())?;
        keeper.take()?; // it answers when it is confined, and not before
        let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| format!("its status: {error}"))?;
        let worker = identity.expected(post.warden());
        let expected = Expected { filters_min: worker.filters_min.saturating_sub(1), ..worker }; // it has no launcher
        verify(&status, &expected).map_err(|deviation| format!("it is not confined as it must be: {deviation}"))?;
        Ok(keeper)
    }

    /// Gives its socket the first of the names, when no other keeper has that any more. Under another, a successor finds it as well, but one
    /// of an older version does not.
    pub(super) fn take_name(&mut self, runtime_dir: &Path) -> io::Result<()> {
        let path = runtime_dir.join(NAMES[0]);
        if self.path != path {
            fs::rename(&self.path, &path)?;
            self.path = path;
        }
        Ok(())
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
            let (record, mut sockets) = self.answer(until)?;
            let socket = sockets.pop().filter(|_| sockets.is_empty());
            match record.word {
                Word::Socket if kept.len() < KEEPER_SOCKETS => {
                    let socket = socket.ok_or("a record without a socket")?;
                    kept.push(Kept { helper: record.text, queue: record.queue, socket });
                }
                Word::Socket => return Err(format!("more than {KEEPER_SOCKETS} sockets")),
                Word::Done => return Ok((kept, socket.ok_or("no listening socket")?)),
                word => return Err(format!("{word:?} in answer to Take")),
            }
        }
    }

    /// Has it keep duplicates, and waits until it says that it does.
    ///
    /// # Errors
    /// It does not, in words.
    pub fn entrust<'a>(&self, sockets: impl IntoIterator<Item = (&'a str, u16, BorrowedFd<'a>)>) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        for (helper, queue, socket) in sockets {
            self.hold(helper, queue, socket).map_err(|error| error.to_string())?;
            let (record, _) = self.answer(until)?;
            if record.word != Word::Done {
                return Err(format!("queue {queue}: {:?} {}", record.word, record.text));
            }
        }
        Ok(())
    }

    /// What it says next.
    fn answer(&self, until: Instant) -> Result<(Record, Vec<OwnedFd>), String> {
        match wire::wait(&self.connection, until) {
            Heard::Record(record, sockets) => Ok((record, sockets)),
            Heard::Nothing => Err("it does not answer".to_owned()),
            Heard::Hangup => Err("it has hung up".to_owned()),
            Heard::Wrong(wrong) => Err(wrong.to_string()),
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
        for _ in 0..ANSWERS {
            match wire::hear(&self.connection) {
                Heard::Nothing => return Ok(refusals),
                Heard::Record(record, _) if record.word == Word::Done => {}
                Heard::Record(record, _) => refusals.push(format!("queue {}: {:?} {}", record.queue, record.word, record.text)),
                Heard::Hangup | Heard::Wrong(_) => return Err(Gone),
            }
        }
        Err(Gone)
    }

    /// Has it let what comes wait, for a while, when this connection ends: a successor is about to start.
    pub fn expect_successor(&self) -> io::Result<()> {
        Ok(wire::say(&self.connection, &Record::bare(Word::Await), None)?)
    }

    /// An orderly end: it closes all it holds and ends. Waits for that, for a bounded time; `false` if it has not ended by then. As long as
    /// this connection stays, one that is stopped ends when it goes on.
    pub fn bye(&self) -> bool {
        if !self.dismiss() {
            return true; // it has ended already
        }
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Heard::Hangup = wire::wait(&self.connection, until) {
                return true;
            }
        }
        false
    }

    /// The same without waiting; `false` if it is gone.
    pub(super) fn dismiss(&self) -> bool {
        let _ = fs::remove_file(&self.path);
        !matches!(wire::say(&self.connection, &Record::bare(Word::Bye), None), Err(Errno::PIPE | Errno::CONNRESET))
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

/// A listening socket, by our umask for our user alone; one left over by a keeper that is gone is replaced.
pub(super) fn listener(path: &Path) -> io::Result<OwnedFd> {
    let _ = fs::remove_file(path);
    let socket = seqpacket(SocketFlags::CLOEXEC)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
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
