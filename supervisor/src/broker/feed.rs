//! The kernel's event socket and the one for dumps: the supervisor opens them, joins groups and asks; the broker reads.
//!
//! Joining a group takes `CAP_NET_ADMIN` once, reading takes nothing. A socket filter (`policy::events::socket_filter`) keeps what nobody wants
//! from being queued at all. A dump's request is looked at by its sender's capabilities
//! (`nfnetlink_rcv`); what answers it is written into the socket when somebody reads it (`netlink_recvmsg`, `netlink_dump`), whoever that is.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use cthelper_policy::events::socket_filter::Op;
use cthelper_proto::netlink::{conntrack, expect};
use nix::errno::Errno;
use nix::sys::socket::NetlinkAddr;
use nix::sys::socket::{MsgFlags, getsockname, send, setsockopt, sockopt};
use socket2::{SockFilter, SockRef};

use super::protocol::Table;
use crate::kernel::netfilter::socket::Nfnl;

/// `NETLINK_NETFILTER`, as /proc/net/netlink shows it.
const PROTOCOL: &str = "12";

/// Both sockets.
pub struct Feed {
    events: Nfnl,
    dump: Nfnl,
    joined: BTreeSet<u32>,
}

impl Feed {
    /// Opens both; `buffer` bytes of events may wait for the broker.
    pub fn open(buffer: usize) -> Result<Self, Errno> {
        let (events, dump) = (Nfnl::open()?, Nfnl::open()?);
        setsockopt(&events.as_fd(), sockopt::RcvBufForce, &buffer)
            .or_else(|_| setsockopt(&events.as_fd(), sockopt::RcvBuf, &buffer))?;
        Ok(Self { events, dump, joined: BTreeSet::new() })
    }

    /// Joins what is wanted and not joined yet, leaves what is not wanted any more.
    pub fn join(&mut self, groups: &BTreeSet<u32>) -> Result<(), Errno> {
        for group in groups.difference(&self.joined) {
            self.events.join(*group)?;
        }
        for group in self.joined.difference(groups) {
            self.events.leave(*group)?;
        }
        self.joined.clone_from(groups);
        Ok(())
    }

    /// From the next event on the kernel delivers what this program accepts; `None`: all.
    pub fn filter(&self, program: Option<&[Op]>) -> io::Result<()> {
        let events = self.events.as_fd();
        let socket = SockRef::from(&events);
        match program {
            Some(program) => {
                let program: Vec<SockFilter> = program.iter().map(|op| SockFilter::new(op.code, op.jt, op.jf, op.k)).collect();
                socket.attach_filter(&program)
            }
            None => match socket.detach_filter() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()), // there was none
                done => done,
            },
        }
    }

    /// Has the kernel tell of everything in a table.
    pub fn ask(&self, table: Table, seq: u32) -> Result<(), Errno> {
        let mut request = Vec::new();
        match table {
            Table::Flows => conntrack::dump(&mut request, seq, 0),
            Table::Expectations => expect::dump(&mut request, seq, 0),
        }
        send(self.dump.as_fd().as_raw_fd(), &request, MsgFlags::MSG_DONTWAIT).map(drop)
    }

    /// Events that the kernel has dropped because the broker did not read in time, by `/proc/net/netlink` of this thread's network.
    pub fn dropped(&self) -> io::Result<u64> {
        let port = getsockname::<NetlinkAddr>(self.events.as_fd().as_raw_fd())?.pid();
        let table = std::fs::read_to_string("/proc/thread-self/net/netlink")?;
        drops(&table, port).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What the kernel tells all.
    pub fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// What it tells because it was asked.
    pub fn dump(&self) -> BorrowedFd<'_> {
        self.dump.as_fd()
    }
}

/// `sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode`, a socket a line.
fn drops(table: &str, port: u32) -> Option<u64> {
    let port = port.to_string();
    table.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_ours = columns.get(1) == Some(&PROTOCOL) && columns.get(2) == Some(&port.as_str());
        is_ours.then(|| columns.get(8)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_count_is_found_by_protocol_and_port() {
        let table = "\
sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
0000000000000000 0   4711       00000111 0        0        0     2        9        17042
0000000000000000 12  4711       0000003f 4352     0        0     2        12       17043
";
        assert_eq!((drops(table, 4711), drops(table, 1)), (Some(12), None));
    }
}
