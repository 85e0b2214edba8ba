//! Every helper there is, over each protocol it serves: an input is a whole conversation, from its first packet to its last.
//!
//! The first byte says where it takes place (net, what the supervisor answers); then come packets: a byte of [`flag`]s, the payload's length as two
//! bytes, the payload.

use cthelper_proto::ipc::{Rule, Segment, Settings};
use cthelper_proto::manifest::Manifest;
use cthelper_proto::types::{CtInfo, Dir, Flow, FlowId, L4};
use cthelper_worker::stream::end_of;
use cthelper_worker::testkit::{Kernel, Net};

use super::helpers::{Worker, protocols};
use super::{Reader, Target, seeds};

/// What a packet's first byte says.
mod flag {
    /// It comes from the server.
    pub(super) const REPLY: u8 = 1;
    /// It is the first of its connection.
    pub(super) const FIRST: u8 = 2;
    /// It comes twice.
    pub(super) const TWICE: u8 = 4;
    /// A new worker reads it.
    pub(super) const NEW_WORKER: u8 = 8;
    /// A segment before it was lost.
    pub(super) const GAP: u8 = 16;
    /// Part of it has come before.
    pub(super) const AGAIN: u8 = 32;
    /// The sender sends nothing more.
    pub(super) const LAST: u8 = 64;
}

/// What the first byte of all says, beside the net.
mod place {
    /// The supervisor grants another address and port.
    pub(super) const MOVES: u8 = 8;
    /// It refuses everything.
    pub(super) const REFUSES: u8 = 16;
    /// The client asks a group.
    pub(super) const GROUP: u8 = 32;
    /// Addresses of third parties may be announced.
    pub(super) const LOOSE: u8 = 64;
}

const NETS: [Net; 6] = [Net::Plain4, Net::Snat4, Net::Dnat4, Net::Plain6, Net::Snat6, Net::Dnat6];

pub(super) fn all() -> Vec<Target> {
    protocols().map(|(manifest, l4)| target(manifest, l4)).collect()
}

fn target(manifest: &Manifest, l4: L4) -> Target {
    let (name, state_len, port) = (manifest.name.to_string(), manifest.state_len, manifest.ports.first().copied().unwrap_or(1));
    Target {
        name: format!("{name}/{l4}/conversation"),
        seeds: conversations(&seeds::corpus(&name)),
        reader: Box::new(move || -> Reader {
            let name = name.clone();
            Box::new(move |bytes| {
                let Some((place, packets)) = bytes.split_first() else { return };
                Conversation::new(&name, state_len, l4, port, *place).hear(packets);
            })
        }),
    }
}

/// What is said, by both ends in turn and by each alone, asked of one and of many, without translation and with it.
fn conversations(said: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for place in [0, 1 | place::MOVES, 2 | place::MOVES, 3 | place::GROUP, 5 | place::MOVES, place::GROUP | place::LOOSE] {
        for by in [&[0, flag::REPLY][..], &[0], &[flag::FIRST | flag::REPLY], &[flag::FIRST]] {
            let packets = said.iter().flat_map(|payload| by.iter().map(move |flags| packet(*flags, payload)));
            all.push([vec![place], packets.flatten().collect()].concat());
        }
    }
    all
}

fn packet(flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[flags], &length[..], payload].concat()
}

/// A connection, and the worker who reads it.
struct Conversation {
    name: String,
    settings: Settings,
    worker: Worker,
    flow: Flow,
    next: [u32; 2],
}

impl Conversation {
    fn new(name: &str, state_len: u8, l4: L4, port: u16, place: u8) -> Self {
        let net = NETS[usize::from(place & 7) % NETS.len()];
        let settings = Settings { loose: place & place::LOOSE != 0, ..Settings::default() };
        let mut flow = net.flow(l4, port);
        let v4 = flow.orig.src.is_ipv4();
        if place & place::GROUP != 0 {
            flow.orig.dst = if v4 { [239, 255, 255, 250].into() } else { [0xff02, 0, 0, 0, 0, 0, 0, 0xc].into() };
        }
        let kernel = match (place & place::MOVES != 0, place & place::REFUSES != 0) {
            (_, true) => Kernel::that_refuses(Rule::ForeignAddress),
            (true, _) => Kernel::that_grants_from(if v4 { "198.51.100.254" } else { "2001:db8::fe" }).at_port(60_001),
            _ => Kernel::default(),
        };
        let worker = Worker::new(name, state_len, l4, settings.clone(), kernel);
        let flow = Flow { id: FlowId(7), ..flow };
        Self { name: name.to_owned(), settings, worker, flow, next: [u32::MAX - 40, 1000] }
    }

    fn hear(&mut self, mut packets: &[u8]) {
        while let Some(([flags, high, low], rest)) = packets.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
            let (payload, behind) = rest.split_at(length);
            packets = behind;
            self.packet(*flags, payload);
        }
    }

    fn packet(&mut self, flags: u8, payload: &[u8]) {
        let has = |flag: u8| flags & flag != 0;
        if has(flag::NEW_WORKER) {
            self.worker.restart(&self.name, self.settings.clone());
        }
        let dir = if has(flag::REPLY) { Dir::Reply } else { Dir::Orig };
        let next = &mut self.next[dir.index()];
        if has(flag::GAP) {
            *next = end_of(*next, 700);
        }
        if has(flag::AGAIN) {
            *next = next.wrapping_sub(u32::try_from(payload.len() / 2).unwrap());
        }
        let segment = Segment { seq: *next, last: has(flag::LAST) };
        *next = end_of(*next, payload.len());
        for _ in 0..=u8::from(has(flag::TWICE)) {
            self.show(dir, has(flag::FIRST), segment, payload);
        }
    }

    fn show(&mut self, dir: Dir, first: bool, segment: Segment, payload: &[u8]) {
        let info = match (dir, first) {
            (Dir::Orig, true) => CtInfo::New,
            (Dir::Orig, false) => CtInfo::Established,
            (Dir::Reply, true) => CtInfo::RelatedReply,
            (Dir::Reply, false) => CtInfo::EstablishedReply,
        };
        self.worker.hear(self.flow, info, segment, payload);
    }
}
