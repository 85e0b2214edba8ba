//! The keeper's role: a process that holds sockets and does nothing else.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use cthelper_policy::confine;
use cthelper_policy::profiles::{KEEPER_PEERS, KEEPER_SOCKETS};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::socket::{getsockopt, sockopt};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{SocketFlags, accept_with};
use signal_hook::low_level::exit;

use super::heir::is_netfilter;
use super::protocol::{Record, Word};
use super::wire::{self, Heard};
use crate::spawn::role::{Called, called};
use crate::stderr::tell;

/// First argument of a keeper; uid and gid follow.
pub const ROLE: &str = "keeper";
/// How long it stays with nothing to hold and nobody connected.
const IDLE: Duration = Duration::from_secs(10);
/// How long what comes waits for a successor that was announced. It takes a fraction of a second to start, on a small router a few.
const SUCCESSION: Duration = Duration::from_secs(5);
/// What a socket may hold while nobody reads it, bytes. The kernel rounds up to about 2 kB, so that one packet fits, or three small ones.
const SMALL: usize = 0;

/// Runs the role if the process was started for it; returns the exit code of a start that failed, `None` if this is another process.
pub fn run_if_keeper() -> Option<u8> {
    let Called { uid, gid, more: [] } = match called(ROLE)? {
        Ok(called) => called,
        Err(wrong) => {
            tell(format_args!("keeper: {wrong}"));
            return Some(64);
        }
    };
    let _ = prctl::set_name(c"cthelper-keeper"); // or it would be called `exe`, after the path it was started by
    // Whoever starts it is whom it serves: root.
    let master = nix::unistd::geteuid().as_raw();
    if let Err(error) = confine::keeper(uid, gid) {
        tell(format_args!("keeper: confinement: {error}"));
        return Some(77);
    }
    // From here on it says nothing but answers.
    let ended = Keeper::new(io::stdin(), master).run();
    exit(if ended.is_ok() { 0 } else { 71 })
}

/// A socket that is kept.
struct Held {
    helper: String,
    queue: u16,
    socket: OwnedFd,
}

/// A connection.
struct Peer {
    connection: OwnedFd,
    /// It has given or taken sockets: it reads them, as long as it is there.
    serves: bool,
    /// It has said that another comes after it.
    leaves: bool,
}

/// What comes after an order.
enum Next {
    Stay,
    HangUp,
    End,
}

/// All of the keeper's memory.
pub struct Keeper<L> {
    listener: L,
    master: u32,
    peers: Vec<Peer>,
    held: Vec<Held>,
    idle_since: Instant,
    succession: Duration,
    /// Nobody reads the queues, but somebody is to come by then.
    successor_until: Option<Instant>,
}

impl<L: AsFd> Keeper<L> {
    /// Listens on `listener`, a `SOCK_SEQPACKET` socket, to whoever has the uid `master`.
    pub fn new(listener: L, master: u32) -> Self {
        let (peers, held) = (Vec::new(), Vec::new());
        Self { listener, master, peers, held, idle_since: Instant::now(), succession: SUCCESSION, successor_until: None }
    }

    /// One that waits less long for a successor.
    #[cfg(test)]
    pub(super) fn with_succession(mut self, succession: Duration) -> Self {
        self.succession = succession;
        self
    }

    /// With a peer that is let in already.
    #[cfg(test)]
    pub(super) fn visited_by(&mut self, connection: OwnedFd) {
        self.peers.push(Peer { connection, serves: false, leaves: false });
    }

    /// Serves until `Bye`, or until there has been nothing to do for a while.
    pub fn run(mut self) -> Result<(), Errno> {
        loop {
            let patience = match self.patience() {
                Some(Duration::ZERO) => return Ok(()),
                patience => patience,
            };
            let (knocked, ready) = self.wait(patience)?;
            // From the back, so that a peer that goes does not move those still to be heard.
            for at in ready.into_iter().rev() {
                match self.hear(at) {
                    Next::Stay => {}
                    Next::HangUp => self.part(at),
                    Next::End => return Ok(()),
                }
            }
            if knocked {
                self.admit();
            }
            if self.successor_until.is_some_and(|until| until <= Instant::now()) {
                self.let_pass();
            }
        }
    }

    /// How long it would wait for anything to happen; `None` = for ever.
    fn patience(&self) -> Option<Duration> {
        let idle = self.held.is_empty() && self.peers.is_empty();
        let idle = idle.then(|| IDLE.saturating_sub(self.idle_since.elapsed()));
        // It is not over when the successor is: at least a millisecond is waited for that.
        let successor =
            self.successor_until.map(|until| until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
        idle.into_iter().chain(successor).min()
    }

    fn wait(&self, patience: Option<Duration>) -> Result<(bool, Vec<usize>), Errno> {
        let mut fds: Vec<PollFd<'_>> = vec![PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.peers.iter().map(|peer| PollFd::new(peer.connection.as_fd(), PollFlags::POLLIN)));
        let timeout = patience.map_or(PollTimeout::NONE, |patience| {
            PollTimeout::try_from(patience + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let mut stirred = fds.iter().map(|fd| fd.any().unwrap_or(false));
        let knocked = stirred.next().unwrap_or(false);
        Ok((knocked, stirred.enumerate().filter(|(_, stirred)| *stirred).map(|(at, _)| at).collect()))
    }

    /// Lets a peer in, or closes its connection: another user, or too many.
    fn admit(&mut self) {
        let Ok(connection) = accept_with(&self.listener, SocketFlags::CLOEXEC) else { return };
        let uid = getsockopt(&connection, sockopt::PeerCredentials).map(|peer| peer.uid());
        if uid == Ok(self.master) && self.peers.len() < KEEPER_PEERS {
            self.peers.push(Peer { connection, serves: false, leaves: false });
        }
    }

    /// Hears one record of a peer.
    fn hear(&mut self, at: usize) -> Next {
        let Some(peer) = self.peers.get_mut(at) else { return Next::Stay };
        let (order, descriptors) = match wire::hear(&peer.connection) {
            Heard::Nothing => return Next::Stay,
            Heard::Hangup | Heard::Wrong(_) => return Next::HangUp,
            Heard::Record(order, descriptors) => (order, descriptors),
        };
        peer.serves |= matches!(order.word, Word::Hold | Word::Take);
        peer.leaves |= order.word == Word::Await;
        if peer.serves && !peer.leaves {
            self.successor_until = None;
        }
        let answered = match order.word {
            Word::Hold => {
                let answer = self.hold(&order, descriptors);
                self.answer(at, &answer, None)
            }
            Word::Forget => {
                self.held.retain(|held| held.queue != order.queue);
                self.answer(at, &Record::bare(Word::Done), None)
            }
            Word::Take => self.give(at),
            Word::Bye => return Next::End,
            Word::Await => true,
            Word::Socket | Word::Done | Word::Refused => false,
        };
        if answered { Next::Stay } else { Next::HangUp }
    }

    fn hold(&mut self, order: &Record, mut descriptors: Vec<OwnedFd>) -> Record {
        let refused = |why: &str| Record::new(Word::Refused, order.queue, why);
        let (Some(socket), true) = (descriptors.pop(), descriptors.is_empty()) else { return refused("not one fd") };
        if order.text.is_empty() {
            return refused("no name");
        }
        if !is_netfilter(socket.as_fd()) {
            return refused("no queue");
        }
        self.held.retain(|held| held.queue != order.queue);
        if self.held.len() >= KEEPER_SOCKETS {
            return refused("too many");
        }
        self.held.push(Held { helper: order.text.clone(), queue: order.queue, socket });
        Record::new(Word::Done, order.queue, "")
    }

    /// Sends duplicates of all, and of the listening socket; `false` when the peer does not take them.
    fn give(&self, at: usize) -> bool {
        let sockets = self.held.iter().all(|held| {
            let record = Record::new(Word::Socket, held.queue, &held.helper);
            self.answer(at, &record, Some(held.socket.as_fd()))
        });
        sockets && self.answer(at, &Record::bare(Word::Done), Some(self.listener.as_fd()))
    }

    /// `false` when the peer does not read. One that is gone may have said more before, which is heard first.
    fn answer(&self, at: usize, record: &Record, descriptor: Option<BorrowedFd<'_>>) -> bool {
        self.peers
            .get(at)
            .is_some_and(|peer| matches!(wire::say(&peer.connection, record, descriptor), Ok(()) | Err(rustix::io::Errno::PIPE)))
    }

    /// A peer is gone. If it was the last that read the queues, nobody does: from now on they pass what comes, unless its successor is on
    /// its way.
    fn part(&mut self, at: usize) {
        let Peer { serves, leaves, .. } = self.peers.remove(at);
        self.idle_since = Instant::now();
        if !serves || self.peers.iter().any(|peer| peer.serves) {
            return;
        }
        if leaves {
            self.successor_until = Some(Instant::now() + self.succession);
        } else {
            self.let_pass();
        }
    }

    fn let_pass(&mut self) {
        self.successor_until = None;
        for held in &self.held {
            let _ = set_socket_recv_buffer_size(&held.socket, SMALL); // a socket takes this whatever its state
        }
    }
}
