//! A nfnetlink socket for requests that are answered: one request out, its acknowledgement and objects back.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use cthelper_proto::netlink::message::{Body, Message, messages};
use netlink_sys::Socket;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

/// `NETLINK_NETFILTER`.
const PROTOCOL: isize = 12;
/// A dump's message is at most this long (`NLMSG_GOODSIZE` is a page; the kernel raises it to 32 KiB for big readers).
const BUFFER: usize = 64 * 1024;
/// The kernel answers inside `send`; a longer silence means that the answer is lost.
const PATIENCE_SECS: i64 = 5;

/// A bound socket to the netfilter subsystems.
pub struct Nfnl {
    socket: Socket,
    seq: u32,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

/// The kernel's no, with its explanation if it gave one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error.
    pub errno: Errno,
    /// Extended acknowledgement.
    pub text: Option<String>,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self { errno, text: None }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.errno.desc())?;
        self.text.as_ref().map_or(Ok(()), |text| write!(f, " ({text})"))
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

impl Nfnl {
    /// Opens and binds; errors come capped and with explanations.
    pub fn open() -> Result<Self, Errno> {
        let mut socket = Socket::new(PROTOCOL).map_err(|e| errno(&e))?;
        socket.bind_auto().map_err(|e| errno(&e))?;
        socket.set_cap_ack(true).map_err(|e| errno(&e))?;
        socket.set_ext_ack(true).map_err(|e| errno(&e))?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE_SECS))?;
        Ok(Self { socket, seq: 0, request: Vec::new(), buffer: vec![0; BUFFER] })
    }

    /// Joins a multicast group; needs `CAP_NET_ADMIN`.
    pub fn join(&mut self, group: u32) -> Result<(), Errno> {
        self.socket.add_membership(group).map_err(|e| errno(&e))
    }

    /// Leaves one again.
    pub fn leave(&mut self, group: u32) -> Result<(), Errno> {
        self.socket.drop_membership(group).map_err(|e| errno(&e))
    }

    /// The next events of the groups joined; `Ok(false)` when none came in time. Losses show as `ENOBUFS`.
    pub fn events(&mut self, mut each: impl FnMut(&Message<'_>)) -> Result<bool, Errno> {
        match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_TRUNC) {
            Ok(length) => {
                let datagram = self.buffer.get(..length).ok_or(Errno::EMSGSIZE)?;
                messages(datagram).flatten().for_each(|message| each(&message));
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends what `build` writes for the given sequence number and waits for the acknowledgement; objects that come before it go
    /// to `each`. The request must ask for one (`NLM_F_ACK`) or be a dump, which ends by itself.
    pub fn request(&mut self, build: impl FnOnce(&mut Vec<u8>, u32), mut each: impl FnMut(&Message<'_>)) -> Result<(), Refusal> {
        self.seq = self.seq.wrapping_add(1).max(1);
        self.request.clear();
        build(&mut self.request, self.seq);
        send(self.socket.as_raw_fd(), &self.request, MsgFlags::empty())?;
        loop {
            let length = match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_TRUNC) {
                Ok(length) if length > self.buffer.len() => return Err(Errno::EMSGSIZE.into()),
                Ok(length) => length,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Err(Errno::ETIMEDOUT.into()),
                Err(error) => return Err(error.into()),
            };
            for message in messages(self.buffer.get(..length).unwrap_or_default()) {
                let message = message.map_err(|_| Errno::EBADMSG)?;
                if message.header.seq != self.seq {
                    continue; // the late answer to a request that timed out, or an event
                }
                match &message.body {
                    Body::Ack(ack) if ack.errno == 0 => return Ok(()),
                    Body::Ack(ack) => {
                        let text = ack.text.map(str::to_owned);
                        return Err(Refusal { errno: Errno::from_raw(ack.errno), text });
                    }
                    Body::Done(0) => return Ok(()),
                    Body::Done(error) => return Err(Errno::from_raw(error.abs()).into()),
                    _ => each(&message),
                }
            }
        }
    }
}

impl AsFd for Nfnl {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
