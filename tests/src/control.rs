//! An FTP control connection, one segment at a time, plain or translated, as the kernel would queue it.

use std::net::{IpAddr, SocketAddr};

use cthelper_proto::types::{CtInfo, Dir, Flow, FlowId, Tuple};
use cthelper_supervisor::kernel::Expected;

use crate::packets::{self, flags};

/// Where addresses are translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Net {
    /// Nowhere.
    Plain4,
    /// Nowhere, IPv6.
    Plain6,
    /// The server sees the router's address instead of the client's.
    Snat4,
    /// As `Snat4`, IPv6.
    Snat6,
    /// The client talks to the router's address instead of the server's.
    Dnat4,
}

/// A packet, and what the kernel's conntrack says with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its connection.
    pub flow: Flow,
    /// Where that stands.
    pub info: CtInfo,
    /// Whether it is in the kernel's table.
    pub confirmed: bool,
    /// What is known of it, if another connection announced this one.
    pub expected: Option<Expected>,
    /// From its IP header on, after NAT.
    pub bytes: Vec<u8>,
}

impl Packet {
    /// The application's bytes.
    pub fn payload(&self) -> &[u8] {
        packets::payload(&self.bytes)
    }
}

/// A control connection, and how far its two streams have come.
#[derive(Clone, Debug)]
pub struct Control {
    /// As the kernel's table has it.
    pub flow: Flow,
    next_seq: [u32; 2],
}

impl Control {
    /// The `n`th connection, over `net`; its client has the port 40000 + `n`.
    pub fn over(net: Net, n: u16) -> Self {
        let (client, server): (IpAddr, IpAddr) = match net {
            Net::Plain4 | Net::Snat4 | Net::Dnat4 => ([10, 0, 1, 2].into(), [10, 0, 2, 2].into()),
            Net::Plain6 | Net::Snat6 => ("2001:db8:1::2".parse().unwrap(), "2001:db8:2::2".parse().unwrap()),
        };
        let orig = Tuple { src: client, dst: server, proto: 6, sport: 40_000 + n, dport: 21 };
        let (orig, reply) = match net {
            Net::Plain4 | Net::Plain6 => (orig, orig.inverse()),
            Net::Snat4 => (orig, Tuple { dst: [10, 0, 2, 1].into(), ..orig.inverse() }),
            Net::Snat6 => (orig, Tuple { dst: "2001:db8:2::1".parse().unwrap(), ..orig.inverse() }),
            Net::Dnat4 => (Tuple { dst: [10, 0, 1, 1].into(), ..orig }, orig.inverse()),
        };
        // Close to the end of its range, so that sequence numbers wrap soon.
        Self { flow: Flow { id: FlowId(0x1000 + u32::from(n)), orig, reply }, next_seq: [0xffff_ff00, 77] }
    }

    /// The next segment from the client.
    pub fn client(&mut self, text: impl AsRef<[u8]>) -> Packet {
        self.next(Dir::Orig, text.as_ref())
    }

    /// The next segment from the server.
    pub fn server(&mut self, text: impl AsRef<[u8]>) -> Packet {
        self.next(Dir::Reply, text.as_ref())
    }

    /// A segment without payload from the client.
    pub fn ack(&self) -> Packet {
        self.packet(Dir::Orig, &[])
    }

    /// The three segments that come before all others.
    pub fn handshake(&self) -> [Packet; 3] {
        let mut before = self.clone();
        before.next_seq = before.next_seq.map(|seq| seq.wrapping_sub(1));
        let opening = |dir, flags, of: &Self| Packet { info: CtInfo::New, confirmed: false, ..of.segment(dir, flags, &[]) };
        [opening(Dir::Orig, flags::SYN, &before), opening(Dir::Reply, flags::SYN | flags::ACK, &before), self.ack()]
    }

    fn next(&mut self, dir: Dir, text: &[u8]) -> Packet {
        let packet = self.packet(dir, text);
        let seq = &mut self.next_seq[dir.index()];
        *seq = seq.wrapping_add(u32::try_from(text.len()).unwrap());
        packet
    }

    fn packet(&self, dir: Dir, text: &[u8]) -> Packet {
        self.segment(dir, flags::ACK, text)
    }

    fn segment(&self, dir: Dir, flags: u8, text: &[u8]) -> Packet {
        let (info, other) = match dir {
            Dir::Orig => (CtInfo::Established, &self.flow.reply),
            Dir::Reply => (CtInfo::EstablishedReply, &self.flow.orig),
        };
        // After NAT a packet looks like an answer to what the other end sends.
        let (from, to) = (SocketAddr::new(other.dst, other.dport), SocketAddr::new(other.src, other.sport));
        let bytes = packets::tcp(from, to, self.next_seq[dir.index()], flags, text);
        Packet { flow: self.flow, info, confirmed: true, expected: None, bytes }
    }
}
