//! A connection of datagrams to one port, as the kernel would queue it.

use std::net::{IpAddr, SocketAddr};

use cthelper_proto::types::{CtInfo, Dir, Flow};

use crate::control::{Control, Net, Packet};
use crate::packets;

/// The connection.
#[derive(Clone, Copy, Debug)]
pub struct Datagrams {
    /// As the kernel's table has it.
    pub flow: Flow,
}

impl Datagrams {
    /// The `n`th one to `port`, over `net`; its client has the port 40000 + `n`.
    pub fn over(net: Net, n: u16, port: u16) -> Self {
        let mut flow = Control::over(net, n).flow;
        for tuple in [&mut flow.orig, &mut flow.reply] {
            tuple.proto = 17;
        }
        (flow.orig.dport, flow.reply.sport) = (port, port);
        Self { flow }
    }

    /// The client speaks to another address, such as a group.
    #[must_use]
    pub fn to(mut self, group: &str) -> Self {
        let group: IpAddr = group.parse().unwrap();
        (self.flow.orig.dst, self.flow.reply.src) = (group, group);
        self
    }

    /// Its first packet: the kernel's table does not have it yet.
    pub fn first(&self, payload: impl AsRef<[u8]>) -> Packet {
        Packet { info: CtInfo::New, confirmed: false, ..self.packet(Dir::Orig, payload.as_ref()) }
    }

    /// Another packet from the client, to which nobody has answered yet.
    pub fn client(&self, payload: impl AsRef<[u8]>) -> Packet {
        Packet { info: CtInfo::New, ..self.packet(Dir::Orig, payload.as_ref()) }
    }

    /// A packet from the server.
    pub fn server(&self, payload: impl AsRef<[u8]>) -> Packet {
        self.packet(Dir::Reply, payload.as_ref())
    }

    fn packet(&self, dir: Dir, payload: &[u8]) -> Packet {
        let (info, other) = match dir {
            Dir::Orig => (CtInfo::Established, &self.flow.reply),
            Dir::Reply => (CtInfo::EstablishedReply, &self.flow.orig),
        };
        // After NAT a packet looks like an answer to what the other end sends.
        let (from, to) = (SocketAddr::new(other.dst, other.dport), SocketAddr::new(other.src, other.sport));
        Packet { flow: self.flow, info, confirmed: true, expected: None, bytes: packets::udp(from, to, payload) }
    }
}
