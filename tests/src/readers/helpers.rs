//! Every helper there is, over each protocol it serves: segments and datagrams with damaged payload, in both directions, cut anywhere.

use cthelper_proto::ipc::{PacketHeader, Segment, Settings, Ticket, Verdict};
use cthelper_proto::manifest::Manifest;
use cthelper_proto::types::{CtInfo, Dir, Flow, FlowId, L4, State, Tuple};
use cthelper_worker::helpers;
use cthelper_worker::serve::Server;
use cthelper_worker::stream::end_of;
use cthelper_worker::testkit::Kernel;

use super::{Reader, Target, seeds};

pub(super) fn all() -> Vec<Target> {
    protocols().map(|(manifest, l4)| target(manifest, l4)).collect()
}

/// Every helper of the registry, with each protocol that it serves.
pub(super) fn protocols() -> impl Iterator<Item = (&'static Manifest, L4)> {
    helpers::all().into_iter().flat_map(|helper| {
        let manifest = helper.manifest();
        let l4s: Vec<L4> = manifest.l4s.iter().collect();
        l4s.into_iter().map(move |l4| (manifest, l4))
    })
}

fn target(manifest: &Manifest, l4: L4) -> Target {
    let (name, state_len) = (manifest.name.to_string(), manifest.state_len);
    let seeds = seeds::corpus(&name);
    let shown = format!("{name}/{l4}");
    let reader = move || -> Reader {
        let mut talk = Talk::new(&name, state_len, l4);
        Box::new(move |bytes| talk.hear(bytes))
    };
    Target { name: shown, seeds, reader: Box::new(reader) }
}

/// A worker's inside, with who judges and what is kept of the connection.
pub(super) struct Worker {
    server: Server,
    kernel: Kernel,
    l4: L4,
    state: State,
    tickets: u64,
}

impl Worker {
    pub(super) fn new(name: &str, state_len: u8, l4: L4, settings: Settings, kernel: Kernel) -> Self {
        let server = Server::new(helpers::find(name).unwrap(), settings);
        Self { server, kernel, l4, state: State::zeroed(state_len), tickets: 0 }
    }

    /// Another one in its place, who knows only what is kept.
    pub(super) fn restart(&mut self, name: &str, settings: Settings) {
        self.server = Server::new(helpers::find(name).unwrap(), settings);
    }

    /// Nothing is kept any more.
    fn forget(&mut self) {
        self.state = State::zeroed(u8::try_from(self.state.as_bytes().len()).unwrap());
    }

    /// One packet; the verdict must be one that a supervisor takes.
    pub(super) fn hear(&mut self, flow: Flow, info: CtInfo, segment: Segment, payload: &[u8]) {
        self.tickets += 1;
        let header = PacketHeader {
            ticket: Ticket(self.tickets),
            flow,
            info,
            state: Some(self.state),
            tcp: (self.l4 == L4::Tcp).then_some(segment),
        };
        let verdict = self.server.packet(&header, payload, &mut self.kernel);
        is_sound(&verdict, payload);
        self.state = verdict.state.unwrap_or(self.state);
    }
}

/// Connections that go on.
struct Talk {
    worker: Worker,
    l4: L4,
    next: [u32; 2],
    count: u64,
}

impl Talk {
    fn new(name: &str, state_len: u8, l4: L4) -> Self {
        let worker = Worker::new(name, state_len, l4, Settings::default(), Kernel::default());
        Self { worker, l4, next: [u32::MAX - 40, 1000], count: 0 }
    }

    /// One input is a packet of either direction, or two that follow one another; every 64th begins another connection.
    fn hear(&mut self, bytes: &[u8]) {
        self.count += 1;
        if self.count.is_multiple_of(64) {
            self.worker.forget();
        }
        let dir = if self.count.is_multiple_of(3) { Dir::Reply } else { Dir::Orig };
        let cut = bytes.len() * usize::try_from(self.count % 5).unwrap() / 4;
        for part in bytes.split_at_checked(cut).map_or([bytes, &[]], |(one, other)| [one, other]) {
            self.packet(dir, part);
        }
    }

    fn packet(&mut self, dir: Dir, payload: &[u8]) {
        let next = &mut self.next[dir.index()];
        let segment = Segment { seq: *next, last: false };
        *next = end_of(*next, payload.len());
        let info = match (dir, self.l4, self.count % 7) {
            (Dir::Orig, L4::Udp, 0) => CtInfo::New,
            (Dir::Orig, _, _) => CtInfo::Established,
            (Dir::Reply, _, _) => CtInfo::EstablishedReply,
        };
        let flow = flow(FlowId(u32::try_from(self.count / 64).unwrap()), self.l4);
        self.worker.hear(flow, info, segment, payload);
    }
}

/// What a worker is ended for, if its verdict has it.
fn is_sound(verdict: &Verdict, payload: &[u8]) {
    let mut end = 0;
    for edit in &verdict.edits {
        assert!(usize::from(edit.at) >= end, "edits are in order");
        end = usize::from(edit.at) + usize::from(edit.cut);
        assert!(end <= payload.len(), "edits stay within the payload");
    }
}

fn flow(id: FlowId, l4: L4) -> Flow {
    let orig = Tuple { src: [10, 0, 1, 2].into(), dst: [10, 0, 2, 2].into(), proto: l4.number(), sport: 40000, dport: 21 };
    Flow { id, orig, reply: orig.inverse() }
}

/// A header for each protocol.
pub(super) fn headers() -> Vec<PacketHeader> {
    [L4::Tcp, L4::Udp]
        .map(|l4| PacketHeader {
            ticket: Ticket(7),
            flow: flow(FlowId(9), l4),
            info: CtInfo::Established,
            state: Some(State::zeroed(4)),
            tcp: (l4 == L4::Tcp).then_some(Segment { seq: 1, last: false }),
        })
        .to_vec()
}
