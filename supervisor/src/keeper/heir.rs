//! A queue socket of an earlier life: recognised, and either taken over or wound up.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use cthelper_proto::netlink::queue::{Decision, verdict_batch};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, NetlinkAddr, getsockname, send};
use rustix::net::netlink::NETFILTER;
use rustix::net::sockopt::socket_protocol;

use super::store;
use crate::kernel::netfilter::numbers;

/// A socket as it was kept.
#[derive(Debug)]
pub struct Kept {
    /// Whose queue it is said to be.
    pub helper: String,
    /// Which queue it is said to have.
    pub queue: u16,
    /// The socket.
    pub socket: OwnedFd,
}

/// A socket of which the kernel says that it has the queue.
#[derive(Debug)]
pub struct Heir {
    /// Whose queue it is.
    pub helper: String,
    /// Which queue it has.
    pub queue: u16,
    /// The socket's netlink port id.
    pub port_id: u32,
    /// The socket.
    pub socket: OwnedFd,
}

/// Whether a descriptor is a socket to netfilter.
pub fn is_netfilter(socket: BorrowedFd<'_>) -> bool {
    port_id(socket).is_some() && socket_protocol(socket).is_ok_and(|protocol| protocol == Some(NETFILTER))
}

/// The netlink port id; `None` if it is no bound netlink socket.
pub fn port_id(socket: BorrowedFd<'_>) -> Option<u32> {
    getsockname::<NetlinkAddr>(socket.as_raw_fd()).ok().map(|address| address.pid()).filter(|port_id| *port_id != 0)
}

impl Kept {
    /// Asks the kernel whether the socket has the queue.
    ///
    /// # Errors
    /// It has not, in words.
    pub fn recognise(self) -> Result<Heir, String> {
        let Self { helper, queue, socket } = self;
        let port_id = port_id(socket.as_fd()).filter(|_| is_netfilter(socket.as_fd()));
        let Some(port_id) = port_id else { return Err(format!("what was kept as queue {queue} is no netfilter socket")) };
        match numbers::bound().into_iter().find(|bound| bound.queue == queue) {
            Some(bound) if bound.port_id == port_id => Ok(Heir { helper, queue, port_id, socket }),
            Some(bound) => Err(format!("queue {queue} belongs to netlink port {}, the socket kept is {port_id}", bound.port_id)),
            None => Err(format!("queue {queue} is bound no more")),
        }
    }
}

impl Heir {
    /// Packets that wait in the queue.
    pub fn waiting(&self) -> u64 {
        self.bound().map_or(0, |bound| bound.waiting)
    }

    fn bound(&self) -> Option<numbers::Bound> {
        numbers::bound().into_iter().find(|bound| bound.queue == self.queue && bound.port_id == self.port_id)
    }

    /// Lets all packets that wait go as they came, and closes the socket. The helper must be disabled, or sent elsewhere, by now.
    ///
    /// # Errors
    /// The kernel's; the packets are lost with the last duplicate of the socket.
    pub fn wind_up(self) -> Result<(), Errno> {
        let Some(bound) = self.bound().filter(|bound| bound.waiting > 0) else { return Ok(()) };
        let mut verdict = Vec::new();
        verdict_batch(&mut verdict, 0, self.queue, bound.last_id, Decision::Accept);
        send(self.socket.as_raw_fd(), &verdict, MsgFlags::empty()).map(drop)
    }
}

/// What was kept, sorted.
#[derive(Default)]
pub struct Recognised {
    /// Of which the kernel says that they have their queue; each queue once.
    pub heirs: Vec<Heir>,
    /// Their names.
    pub outstanding: Vec<(String, u16)>,
    /// Queues of the others.
    pub useless: Vec<u16>,
}

/// Asks the kernel about each; what it does not know leaves the store.
pub fn recognise(kept: Vec<Kept>) -> Recognised {
    let mut sorted = Recognised::default();
    for kept in kept {
        let (helper, queue) = (kept.helper.clone(), kept.queue);
        match kept.recognise() {
            Ok(heir) if sorted.heirs.iter().all(|other| other.queue != heir.queue) => {
                sorted.outstanding.push((helper, queue));
                sorted.heirs.push(heir);
            }
            Ok(_) => {} // the store's and the keeper's are the same socket
            Err(reason) => {
                tracing::warn!(%helper, %reason, "what was kept for us is of no use");
                let _ = store::remove(&helper, queue);
                sorted.useless.push(queue);
            }
        }
    }
    sorted
}
