//! One NFQUEUE socket: packets in batches, verdicts in batches.
//!
//! A batch verdict accepts *every* packet up to an id, so it may only cover a run in which each is accepted as it came; `Run`
//! knows which are.

use std::collections::VecDeque;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use cthelper_proto::netlink::attrs::Attrs;
use cthelper_proto::netlink::message::{Body, messages};
use cthelper_proto::netlink::queue::{self, Config, Decision, VerdictParts, config};
use netlink_sys::Socket;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, NetlinkAddr, recvmmsg, send, setsockopt, sockopt};

use super::numbers;
use crate::keeper::heir::Heir;
use crate::kernel::Fault;

const NETLINK_NETFILTER: isize = 12;
/// Datagrams per system call.
const BATCH: usize = 32;
/// The largest IP packet and its attributes.
const DATAGRAM: usize = 65_535 + 4096;
/// What the socket may hold, bytes: 4096 packets of 1500 bytes with the kernel's bookkeeping (about 4 KiB each).
const RECEIVE_BUFFER: usize = 32 << 20;
/// What one send may hold, bytes: the collected verdicts and the largest packet, with room to spare.
const SEND_BUFFER: usize = 512 * 1024;
/// Bytes of verdicts collected before they are sent in any case; a send may not exceed the socket's send buffer.
const OUTBOX: usize = 64 * 1024;

/// A bound queue. Its packets live as long as this socket does.
pub struct Queue {
    socket: OwnedFd,
    number: u16,
    /// What our messages on this socket are told by; the answers to an earlier life's have another. Settings have the next.
    seq: u32,
    /// Of a socket that is taken over: the id of the last packet put into it by then, until the packets are settled that were read and
    /// not answered before.
    legacy: Option<u32>,
    /// The kernel's no to the settings of a socket that is taken over.
    refused: Option<Errno>,
    headers: MultiHeaders<NetlinkAddr>,
    inbox: Vec<Vec<u8>>,
    outbox: Vec<u8>,
    run: Run,
    /// Datagrams the next call is prepared for; preparing for many costs more than receiving one.
    expected: usize,
    /// Verdicts the kernel refused: the packet was gone (a flush, a device down).
    pub late: u64,
    /// Datagrams that are no message of this queue.
    pub malformed: u64,
    /// Times the socket's buffer was full; the kernel then passed what it could not hold.
    pub overruns: u64,
}

/// What becomes of a packet as it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Its verdict will follow.
    Held,
    /// It goes back as it came.
    Accepted,
    /// Another queue gets it.
    HandedOn(u16),
}

/// A packet message: family, queue, attributes.
pub type Message<'a> = (u8, u16, Attrs<'a>);

impl Queue {
    /// Opens a socket, binds the queue and configures it, in this order: a bound queue without a copy mode drops every packet.
    pub fn open(number: u16, length: u32) -> Result<Self, Fault> {
        let doing = || format!("open queue {number}");
        let io = |error: std::io::Error| Fault::new(doing(), error.raw_os_error().map_or(Errno::EIO, Errno::from_raw));
        let mut socket = Socket::new(NETLINK_NETFILTER).map_err(io)?;
        socket.bind_auto().map_err(io)?;
        socket.set_cap_ack(true).map_err(io)?;
        // Without this one overrun makes the kernel drop everything until the socket has been drained completely.
        socket.set_no_enobufs(true).map_err(io)?;
        // A duplicate is as good, and has an owner whom a socket of another origin can have too.
        let socket = socket.as_fd().try_clone_to_owned().map_err(io)?;
        let queue = Self::new(socket, number)?;
        queue.bind(length)?;
        Ok(queue)
    }

    /// Takes over the socket of an earlier life, which has the queue. Packets in it are handed out as ever; those which that life has read
    /// and not answered are accepted as soon as it is known which they are.
    pub fn adopt(heir: Heir, length: u32) -> Result<Self, Fault> {
        let number = heir.queue;
        let fault = |errno| Fault::new(format!("take queue {number} over"), errno);
        let last = numbers::bound().into_iter().find(|bound| bound.queue == number && bound.port_id == heir.port_id);
        let last = last.ok_or_else(|| fault(Errno::ENODEV))?.last_id;
        let mut queue = Self::new(heir.socket, number)?;
        queue.legacy = Some(last);
        // Its answer comes behind the packets that wait in the socket.
        queue::configure(&mut queue.outbox, queue.seq.wrapping_add(1), number, &settings(length));
        queue.send().map_err(fault)?;
        Ok(queue)
    }

    /// With buffers of our size: those of a socket that waited for us are small.
    fn new(socket: OwnedFd, number: u16) -> Result<Self, Fault> {
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)
            .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER))
            .map_err(|errno| Fault::new(format!("open queue {number}"), errno))?;
        let _ = setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER)
            .or_else(|_| setsockopt(&socket, sockopt::SndBuf, &SEND_BUFFER));
        Ok(Self {
            socket,
            number,
            seq: life(),
            legacy: None,
            refused: None,
            headers: MultiHeaders::preallocate(BATCH, None),
            inbox: (0..BATCH).map(|_| vec![0; DATAGRAM]).collect(),
            outbox: Vec::with_capacity(OUTBOX),
            run: Run::default(),
            expected: BATCH,
            late: 0,
            malformed: 0,
            overruns: 0,
        })
    }

    fn bind(&self, length: u32) -> Result<(), Fault> {
        let (number, seq) = (self.number, self.seq);
        self.ask(&format!("bind queue {number}"), |out| queue::bind(out, seq, number)).map_err(|fault| match fault.errno {
            Errno::EPERM => fault.remedy("another process has this queue, or CAP_NET_ADMIN is missing; see: cthelperctl doctor"),
            _ => fault,
        })?;
        let wanted = settings(length);
        self.ask(&format!("configure queue {number}"), |out| queue::configure(out, seq, number, &wanted)).map_err(|fault| {
            match fault.errno {
                Errno::EOPNOTSUPP => fault.lacks("this kernel is built without NETFILTER_NETLINK_GLUE_CT"),
                _ => fault,
            }
        })
    }

    /// One request before packets flow; its acknowledgement is the only thing that can come back.
    fn ask(&self, doing: &str, build: impl FnOnce(&mut Vec<u8>)) -> Result<(), Fault> {
        let mut request = Vec::new();
        build(&mut request);
        let fault = |errno| Fault::new(doing, errno);
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty()).map_err(fault)?;
        let mut buffer = vec![0; DATAGRAM];
        let length = nix::sys::socket::recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).map_err(fault)?;
        for message in messages(buffer.get(..length).unwrap_or_default()) {
            if let Ok(Body::Ack(ack)) = message.map(|message| message.body) {
                return if ack.errno == 0 { Ok(()) } else { Err(fault(Errno::from_raw(ack.errno))) };
            }
        }
        Err(fault(Errno::EBADMSG))
    }

    /// Another length, while packets flow; a refusal is counted as trouble.
    pub fn set_length(&mut self, length: u32) -> Result<(), Errno> {
        queue::set_length(&mut self.outbox, 0, self.number, length);
        self.flush()
    }

    /// The queue's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Takes up to `room` datagrams without waiting; `each` returns a packet's id and what becomes of it. Returns how many there were,
    /// and whether the socket is empty now.
    pub fn receive(
        &mut self,
        room: usize,
        mut each: impl FnMut(Message<'_>) -> Option<(u32, Taken)>,
    ) -> Result<(usize, bool), Errno> {
        let wanted = self.expected.min(room).max(1);
        let mut lengths = [0_usize; BATCH];
        let mut count = 0;
        {
            let mut slices: Vec<[IoSliceMut<'_>; 1]> =
                self.inbox.iter_mut().take(wanted).map(|buffer| [IoSliceMut::new(buffer)]).collect();
            let flags = MsgFlags::MSG_DONTWAIT;
            let results = match recvmmsg(self.socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None) {
                Ok(results) => results,
                Err(Errno::EAGAIN) => {
                    self.settle(None);
                    return Ok((0, true));
                }
                Err(Errno::EINTR) => return Ok((0, false)),
                Err(Errno::ENOBUFS) => {
                    self.overruns += 1;
                    return Ok((0, false));
                }
                Err(error) => return Err(error),
            };
            for (length, result) in lengths.iter_mut().zip(results) {
                // Only the kernel's own port id is believed.
                let from_kernel = result.address.is_none_or(|address| address.pid() == 0);
                *length = if from_kernel { result.bytes } else { 0 };
                count += 1;
            }
        }
        self.expected = (2 * count).clamp(4, BATCH);
        let (mut first, mut handed_on) = (None, Vec::new());
        for (buffer, length) in self.inbox.iter().zip(lengths).take(count) {
            for message in messages(buffer.get(..length).unwrap_or_default()) {
                let Ok(message) = message else {
                    self.malformed += 1;
                    continue;
                };
                match message.body {
                    Body::Nf { subsystem: 3, op: 0, family, res_id, attrs } => {
                        if let Some((id, taken)) = each((family, res_id, attrs)) {
                            first = first.or(Some(id));
                            self.run.arrived(id, taken != Taken::Accepted);
                            if let Taken::HandedOn(queue) = taken {
                                handed_on.push((id, queue));
                            }
                        } else {
                            self.malformed += 1;
                        }
                    }
                    Body::Ack(ack) if ack.errno == 0 => {}
                    Body::Ack(_) if message.header.seq == self.seq => self.late += 1,
                    Body::Ack(ack) if message.header.seq == self.seq.wrapping_add(1) => {
                        self.refused = Some(Errno::from_raw(ack.errno));
                    }
                    _ => {} // an answer to an earlier life
                }
            }
        }
        let drained = count < wanted;
        if first.is_some() || drained {
            self.settle(first);
        }
        for (id, queue) in handed_on {
            self.verdict(id, Decision::Queue(queue), &VerdictParts::default())?;
        }
        match self.refused.take() {
            Some(errno) => Err(errno),
            None => Ok((count, drained)),
        }
    }

    /// Accepts what an earlier life has read and not answered. Ids ascend in the socket, so these are all before the `first` that it has
    /// not read; if there is none, all that had been put into the queue when we took it over.
    fn settle(&mut self, first: Option<u32>) {
        let Some(last) = self.legacy.take() else { return };
        queue::verdict_batch(&mut self.outbox, self.seq, self.number, last_read(first, last), Decision::Accept);
    }

    /// The packet goes back as it came; sent with the next [`Self::flush`].
    pub fn accept(&mut self, id: u32) {
        self.run.accepted(id);
    }

    /// The packet goes back otherwise; sent with the next [`Self::flush`].
    pub fn verdict(&mut self, id: u32, decision: Decision, parts: &VerdictParts<'_>) -> Result<(), Errno> {
        self.decide(); // in the order of the packets: TCP takes it amiss otherwise
        self.run.settled(id);
        queue::verdict(&mut self.outbox, self.seq, self.number, id, decision, parts);
        if self.outbox.len() > OUTBOX / 2 {
            return self.send();
        }
        Ok(())
    }

    /// Sends what has been decided: runs of accepted packets as one batch verdict.
    pub fn flush(&mut self) -> Result<(), Errno> {
        self.decide();
        self.send()
    }

    fn decide(&mut self) {
        let Self { run, outbox, number, seq, .. } = self;
        run.drain(|decided| match decided {
            Decided::UpTo(id) => queue::verdict_batch(outbox, *seq, *number, id, Decision::Accept),
            Decided::One(id) => queue::verdict(outbox, *seq, *number, id, Decision::Accept, &VerdictParts::default()),
        });
    }

    fn send(&mut self) -> Result<(), Errno> {
        if self.outbox.is_empty() {
            return Ok(());
        }
        match send(self.socket.as_raw_fd(), &self.outbox, MsgFlags::empty()) {
            Err(error @ (Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR)) => Err(error), // kept for the next flush
            done => {
                self.outbox.clear();
                done.map(drop)
            }
        }
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The id up to which an earlier life has read: that before the `first` in the socket, or of the `last` put into the queue.
fn last_read(first: Option<u32>, last: u32) -> u32 {
    first.map_or(last, |first| first.wrapping_sub(1))
}

/// GSO stays off: the kernel then cuts large packets and finishes their checksums before they are queued.
fn settings(length: u32) -> Config {
    Config {
        copy_range: 0xffff,
        max_len: length,
        flags: config::FAIL_OPEN | config::CONNTRACK,
        mask: config::FAIL_OPEN | config::CONNTRACK | config::GSO,
    }
}

/// A number that another life of ours on the same socket has not had: the time, even, so that the next one is free.
fn life() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = now.as_micros() & u128::from(u32::MAX - 1);
    u32::try_from(micros).unwrap_or_default().max(2)
}

/// The packets this socket has been handed and has not answered, oldest first.
#[derive(Debug, Default)]
struct Run {
    packets: VecDeque<(u32, Standing)>,
    decided: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Held,
    Accepted,
    Settled,
}

/// What to tell the kernel.
#[derive(Debug, PartialEq, Eq)]
enum Decided {
    UpTo(u32),
    One(u32),
}

impl Run {
    fn arrived(&mut self, id: u32, held: bool) {
        self.decided += usize::from(!held);
        self.packets.push_back((id, if held { Standing::Held } else { Standing::Accepted }));
    }

    fn accepted(&mut self, id: u32) {
        self.stand(id, Standing::Accepted);
    }

    fn settled(&mut self, id: u32) {
        self.stand(id, Standing::Settled);
    }

    fn stand(&mut self, id: u32, standing: Standing) {
        let Some(first) = self.packets.front().map(|(first, _)| *first) else { return };
        // Ids ascend modulo 2³², so their distances from the oldest ascend.
        let at = self.packets.binary_search_by_key(&id.wrapping_sub(first), |(id, _)| id.wrapping_sub(first));
        if let Some(packet) = at.ok().and_then(|at| self.packets.get_mut(at)) {
            self.decided += 1;
            packet.1 = standing;
        }
    }

    /// Everything decided, in the order of ids. Behind the first packet that is still held, accepts go out one by one.
    fn drain(&mut self, mut tell: impl FnMut(Decided)) {
        if self.decided == 0 {
            return;
        }
        let mut run: Option<(u32, u32)> = None; // last id, how many
        while let Some((id, standing)) = self.packets.front().copied() {
            match standing {
                Standing::Held => break,
                Standing::Accepted => run = Some((id, run.map_or(1, |(_, n)| n + 1))),
                Standing::Settled => {}
            }
            self.packets.pop_front();
        }
        match run {
            Some((id, 1)) => tell(Decided::One(id)),
            Some((id, _)) => tell(Decided::UpTo(id)),
            None => {}
        }
        self.packets.retain(|(id, standing)| {
            if *standing == Standing::Accepted {
                tell(Decided::One(*id));
            }
            *standing == Standing::Held
        });
        self.decided = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(run: &mut Run) -> Vec<Decided> {
        let mut told = Vec::new();
        run.drain(|decided| told.push(decided));
        told
    }

    #[test]
    fn a_batch_never_reaches_past_a_held_packet() {
        let mut run = Run::default();
        for id in 1..=6 {
            run.arrived(id, true);
        }
        for id in [1, 2, 4, 6] {
            run.accepted(id);
        }
        assert_eq!(told(&mut run), [Decided::UpTo(2), Decided::One(4), Decided::One(6)]);
        run.settled(3);
        run.accepted(5);
        assert_eq!(told(&mut run), [Decided::One(5)]);
        assert_eq!(told(&mut run), []);
    }

    #[test]
    fn an_earlier_life_has_read_what_is_before_the_first_in_the_socket() {
        assert_eq!(last_read(Some(42), 57), 41);
        assert_eq!(last_read(None, 57), 57);
        assert_eq!(last_read(Some(0), 3), u32::MAX, "ids go round");
    }

    #[test]
    fn lives_that_follow_each_other_have_numbers_of_their_own() {
        let first = life();
        std::thread::sleep(std::time::Duration::from_micros(5));
        let second = life();
        assert!(first.is_multiple_of(2) && second.is_multiple_of(2) && first != second && first > 0);
    }

    #[test]
    fn a_changed_packet_does_not_break_the_run_it_has_left() {
        let mut run = Run::default();
        for id in [u32::MAX, 0, 1, 2] {
            run.arrived(id, true);
        }
        run.settled(0);
        for id in [u32::MAX, 1, 2] {
            run.accepted(id);
        }
        assert_eq!(told(&mut run), [Decided::UpTo(2)]);
    }
}
