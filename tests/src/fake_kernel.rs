//! A kernel that does as a test says. It keeps what the real one keeps: a queue, each flow's private bytes (copied into a packet when it
//! is queued), a table of expectations; and it writes down everything a lane does to it, also what a lane must not do.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use cthelper_proto::manifest::Manifest;
use cthelper_proto::types::{CtInfo, Dir, Family, Flow, FlowId, State};
use cthelper_supervisor::kernel::{
    Arrived, Change, Denied, Fault, Incoming, Intake, Kernel, Made, PacketId, Received, Release, Wish,
};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::control::Packet;
use crate::{eventually, packets};

/// How a packet came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// At once, without having been held.
    AtIntake,
    /// As it came.
    Accepted,
    /// Not at all.
    Dropped,
    /// Changed.
    Changed {
        /// The whole new packet; `None` = as it came.
        packet: Option<Vec<u8>>,
        /// Bytes by which the payload grew.
        grown: i32,
        /// New private bytes.
        state: Option<State>,
    },
}

/// A packet that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// Its id.
    pub id: u32,
    /// What it was.
    pub packet: Packet,
    /// How it came back.
    pub how: How,
}

impl Released {
    /// The payload that goes on its way.
    pub fn payload(&self) -> &[u8] {
        match &self.how {
            How::Changed { packet: Some(packet), .. } => packets::payload(packet),
            _ => self.packet.payload(),
        }
    }

    /// Whether packet and private bytes are as they came.
    pub fn is_as_it_came(&self) -> bool {
        matches!(self.how, How::Accepted | How::AtIntake)
    }
}

/// A call of [`Kernel::expect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The master.
    pub flow: Flow,
    /// Who may connect.
    pub src: Option<IpAddr>,
    /// Where to.
    pub dst: IpAddr,
    /// To the port tried.
    pub port: u16,
    /// The port announced.
    pub saved: u16,
    /// Direction under NAT.
    pub nat: Option<Dir>,
    /// Whether it was agreed to, and whether that made a new expectation.
    pub answer: Result<bool, Denied>,
    /// It went out beside the verdict of a first packet.
    pub beside: bool,
    /// Its connection is to have a helper.
    pub helped: bool,
    /// Another helper's class counts it.
    pub counted_as: Option<u8>,
}

#[derive(Default)]
struct Inner {
    manifest: Option<Manifest>,
    enabled: Vec<bool>,
    queue: VecDeque<(u32, Packet, State)>,
    held: BTreeMap<u32, Packet>,
    decided: Vec<(u32, How)>,
    released: Vec<Released>,
    /// When each packet was released, by its id.
    verdicts: HashMap<u32, Instant>,
    unqueued: Vec<Packet>,
    states: HashMap<FlowId, State>,
    scripted: VecDeque<Denied>,
    swallowed: VecDeque<Result<Made, Denied>>,
    asked: Vec<Asked>,
    withdrawn: usize,
    served: Vec<String>,
    kept: Vec<(u32, u32)>,
    updated: Vec<bool>,
    refuses: bool,
    after_drain: Option<Packet>,
    trespasses: Vec<String>,
    last_id: u32,
}

struct Shared {
    inner: Mutex<Inner>,
    readable: EventFd,
    /// Passed by every flush while the lane holds packets.
    gate: Mutex<()>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn queue(&self, inner: &mut Inner, packet: Packet) -> u32 {
        inner.last_id += 1;
        let id = inner.last_id;
        let state_len = inner.manifest.as_ref().unwrap().state_len;
        let state = *inner.states.entry(packet.flow.id).or_insert_with(|| State::zeroed(state_len));
        inner.queue.push_back((id, packet, state));
        self.readable.write(1).unwrap();
        id
    }
}

/// The lane's side.
pub struct FakeKernel {
    shared: Arc<Shared>,
}

/// The test's side of the same kernel.
#[derive(Clone)]
pub struct Script {
    shared: Arc<Shared>,
}

/// A new kernel, seen from both sides.
pub fn fake_kernel() -> (FakeKernel, Script) {
    let readable = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap();
    let shared = Arc::new(Shared { inner: Mutex::default(), readable, gate: Mutex::default() });
    (FakeKernel { shared: shared.clone() }, Script { shared })
}

impl Script {
    /// A packet of a helped connection arrives. Queues it, or lets it pass when the helper is disabled. Returns its id, 0 if not queued.
    pub fn arrives(&self, packet: Packet) -> u32 {
        self.arrive([packet])[0]
    }

    /// Several packets arrive in one moment: a lane that fetches one of them fetches all.
    pub fn arrive(&self, packets: impl IntoIterator<Item = Packet>) -> Vec<u32> {
        let mut inner = self.shared.lock();
        let mut arrives = |packet| {
            if inner.enabled.last() == Some(&true) {
                return self.shared.queue(&mut inner, packet);
            }
            inner.unqueued.push(packet);
            0
        };
        packets.into_iter().map(&mut arrives).collect()
    }

    /// This packet is queued right after the next time the lane has emptied the queue: before what it has decided by then is flushed.
    pub fn arrives_after_drain(&self, packet: Packet) {
        self.shared.lock().after_drain = Some(packet);
    }

    /// Until this is dropped, the lane stands still at the end of a turn in which it holds packets: they are with the worker by then.
    pub fn hold_flush(&self) -> MutexGuard<'_, ()> {
        self.shared.gate.lock().unwrap()
    }

    /// Waits until the lane has taken this many packets that it has not given back.
    pub fn has_fetched(&self, count: usize) {
        eventually("the lane to fetch packets", || (self.held() == count).then_some(()));
    }

    /// The next expectations asked for are refused in this way, one each.
    pub fn denies(&self, denied: impl IntoIterator<Item = Denied>) {
        self.shared.lock().scripted.extend(denied);
    }

    /// This becomes of the next expectations that go out beside a verdict, one each.
    pub fn swallows(&self, made: impl IntoIterator<Item = Result<Made, Denied>>) {
        self.shared.lock().swallowed.extend(made);
    }

    /// Waits until this packet has come back.
    pub fn comes_back(&self, id: u32) -> Released {
        eventually("a packet to come back", || self.released().into_iter().find(|released| released.id == id))
    }

    /// Waits until all these packets have come back, and gives them in the order in which they did.
    pub fn come_back(&self, ids: &[u32]) -> Vec<Released> {
        eventually("all packets to come back", || {
            let released: Vec<_> = self.released().into_iter().filter(|released| ids.contains(&released.id)).collect();
            (released.len() >= ids.len()).then_some(released)
        })
    }

    /// A packet makes the whole journey.
    pub fn carries(&self, packet: Packet) -> Released {
        let id = self.arrives(packet);
        assert_ne!(id, 0, "the helper is disabled");
        self.comes_back(id)
    }

    /// What has come back so far, in order.
    pub fn released(&self) -> Vec<Released> {
        self.shared.lock().released.clone()
    }

    /// When this packet's verdict reached the kernel, if it has.
    pub fn verdict_at(&self, id: u32) -> Option<Instant> {
        self.shared.lock().verdicts.get(&id).copied()
    }

    /// Packets that passed without being queued.
    pub fn unqueued(&self) -> Vec<Packet> {
        self.shared.lock().unqueued.clone()
    }

    /// Every expectation asked for.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.lock().asked.clone()
    }

    /// Packets whose verdict told how long their connection is to be kept, seconds.
    pub fn kept(&self) -> Vec<(u32, u32)> {
        self.shared.lock().kept.clone()
    }

    /// The supervisor serves this helper, too.
    pub fn also_serves(&self, helper: &str) {
        self.shared.lock().served.push(helper.to_owned());
    }

    /// Expectations taken back.
    pub fn withdrawn(&self) -> usize {
        self.shared.lock().withdrawn
    }

    /// What the kernel was told: send packets, or not.
    pub fn enabled(&self) -> Vec<bool> {
        self.shared.lock().enabled.clone()
    }

    /// From now on it does not let the helper be enabled, because of what another program made of it; or does again.
    pub fn refuses(&self, refuses: bool) {
        self.shared.lock().refuses = refuses;
    }

    /// As what the helper was registered anew: enabled or not.
    pub fn updated(&self) -> Vec<bool> {
        self.shared.lock().updated.clone()
    }

    /// Packets that the lane holds or has not fetched.
    pub fn open(&self) -> usize {
        let inner = self.shared.lock();
        inner.queue.len() + inner.held.len()
    }

    /// Packets that the lane has fetched and not given back.
    pub fn held(&self) -> usize {
        self.shared.lock().held.len()
    }

    /// A flow's private bytes.
    pub fn state(&self, flow: &Flow) -> Option<State> {
        self.shared.lock().states.get(&flow.id).copied()
    }

    /// # Panics
    /// A packet was released twice or without having been handed out, or packets of a direction overtook one another, or some never
    /// came back.
    pub fn is_in_order(&self) {
        let inner = self.shared.lock();
        assert_eq!(inner.trespasses, Vec::<String>::new());
        assert!(inner.queue.is_empty() && inner.held.is_empty(), "{} waiting, {} held", inner.queue.len(), inner.held.len());
        assert_eq!(inner.released.len(), usize::try_from(inner.last_id).unwrap());
        let mut last: HashMap<(FlowId, Dir), u32> = HashMap::new();
        for Released { id, packet, .. } in inner.released.iter().filter(|released| !released.packet.payload().is_empty()) {
            let before = last.insert((packet.flow.id, packet.info.dir()), *id).unwrap_or(0);
            assert!(before < *id, "packet {id} came back after {before}");
        }
    }
}

impl Inner {
    fn apply(&mut self, id: u32, how: How) {
        let Some(packet) = self.held.remove(&id) else {
            self.trespasses.push(format!("packet {id} released, which the lane does not hold: {how:?}"));
            return;
        };
        if let How::Changed { state: Some(state), .. } = &how {
            self.states.insert(packet.flow.id, *state);
        }
        self.verdicts.insert(id, Instant::now());
        self.released.push(Released { id, packet, how });
    }

    fn judge(&self, asked: &Asked) -> Result<bool, Denied> {
        let mut overlapping = self
            .asked
            .iter()
            .filter(|other| other.answer.is_ok() && (other.src, other.dst, other.port) == (asked.src, asked.dst, asked.port));
        match overlapping.next() {
            None => Ok(true),
            Some(other) if other.flow == asked.flow => Ok(false),
            Some(_) => Err(Denied::Busy),
        }
    }

    fn check(&mut self, id: u32, change: &Change<'_>) {
        let Some(packet) = self.held.get(&id) else { return };
        if (*change.flow, change.dir) != (packet.flow, packet.info.dir()) {
            self.trespasses.push(format!("packet {id} changed in the name of another flow or direction"));
        }
        if change.packet.is_some_and(|packet| !packets::checksums_are_right(packet)) {
            self.trespasses.push(format!("packet {id} changed with a wrong checksum"));
        }
    }
}

impl Kernel for FakeKernel {
    fn start(&mut self, manifest: &Manifest) -> Result<(), Fault> {
        let mut inner = self.shared.lock();
        inner.manifest = Some(manifest.clone());
        inner.enabled.push(true);
        Ok(())
    }

    fn enable(&mut self, enabled: bool) -> Result<(), Fault> {
        let mut inner = self.shared.lock();
        if enabled && inner.refuses {
            return Err(Fault::new("change helper", Errno::EBUSY));
        }
        inner.enabled.push(enabled);
        Ok(())
    }

    fn update(&mut self, manifest: &Manifest, enabled: bool, _queue_length: u32) -> Result<(), Fault> {
        let mut inner = self.shared.lock();
        inner.manifest = Some(manifest.clone());
        inner.updated.push(enabled);
        Ok(())
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.shared.readable.as_fd())
    }

    fn receive(&mut self, room: usize, each: &mut dyn FnMut(Incoming<'_>) -> Intake) -> Result<Received, Fault> {
        let mut packets = 0;
        while packets < room {
            // Not locked during the call: the lane may do to us what it likes meanwhile.
            let Some((id, packet, state)) = self.shared.lock().queue.pop_front() else { break };
            let Packet { flow, info, confirmed, expected, ref bytes } = packet;
            let arrived = Arrived { id: PacketId(id), flow, info, confirmed, expected, zone: 0, state, packet: bytes };
            let intake = each(Incoming::Packet(arrived));
            let mut inner = self.shared.lock();
            inner.held.insert(id, packet);
            if intake == Intake::Accept {
                inner.decided.push((id, How::AtIntake));
            }
            packets += 1;
        }
        let mut inner = self.shared.lock();
        let drained = inner.queue.is_empty();
        if drained {
            let _ = self.shared.readable.read();
            if let Some(packet) = inner.after_drain.take() {
                self.shared.queue(&mut inner, packet);
            }
        }
        Ok(Received { packets, drained, ended: false })
    }

    fn release(&mut self, id: PacketId, release: Release<'_>) -> Result<(), Fault> {
        let mut inner = self.shared.lock();
        let how = match release {
            Release::Accept => How::Accepted,
            Release::Drop => How::Dropped,
            Release::Change(change) => {
                inner.check(id.0, &change);
                inner.kept.extend(change.timeout_secs.map(|seconds| (id.0, seconds)));
                How::Changed { packet: change.packet.map(<[u8]>::to_vec), grown: change.grown, state: change.state }
            }
        };
        inner.decided.push((id.0, how));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Fault> {
        if !self.shared.lock().held.is_empty() {
            drop(self.shared.gate.lock().unwrap());
        }
        let mut inner = self.shared.lock();
        for (id, how) in std::mem::take(&mut inner.decided) {
            inner.apply(id, how);
        }
        Ok(())
    }

    fn release_announcing(&mut self, id: PacketId, change: &Change<'_>, wish: &Wish<'_>) -> Result<Made, Denied> {
        self.release(id, Release::Change(*change)).unwrap();
        self.flush().unwrap();
        let mut inner = self.shared.lock();
        let is_first = !inner.released.iter().any(|released| released.id == id.0 && released.packet.confirmed);
        if !is_first && !wish.permit.helped {
            inner.trespasses.push(format!("an expectation beside packet {}, whose connection is in the table", id.0));
        }
        let made = inner.swallowed.pop_front().unwrap_or(Ok(Made::Seen));
        let mut asked = asked(wish, true);
        asked.answer = made.and_then(|_| inner.judge(&asked));
        inner.asked.push(asked);
        asked.answer.and(made)
    }

    fn may_expect(&mut self, wish: &Wish<'_>) -> Result<(), Denied> {
        let mut inner = self.shared.lock();
        match inner.scripted.pop_front() {
            Some(denied) => Err(denied),
            None => inner.judge(&asked(wish, true)).map(drop),
        }
    }

    fn expect(&mut self, wish: &Wish<'_>) -> Result<(), Denied> {
        let mut inner = self.shared.lock();
        let mut asked = asked(wish, false);
        asked.answer = inner.scripted.pop_front().map_or_else(|| inner.judge(&asked), Err);
        inner.asked.push(asked);
        asked.answer.map(drop)
    }

    fn serves(&self, helper: &str, _family: Family, _proto: u8) -> bool {
        let inner = self.shared.lock();
        let itself = inner.manifest.as_ref().is_some_and(|manifest| manifest.name == helper);
        itself || inner.served.iter().any(|served| served == helper)
    }

    fn withdraw(&mut self, _wish: &Wish<'_>) {
        self.shared.lock().withdrawn += 1;
    }

    fn queue(&self) -> u16 {
        7
    }

    fn trouble(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

fn asked(wish: &Wish<'_>, beside: bool) -> Asked {
    Asked {
        flow: *wish.flow,
        src: wish.permit.src,
        dst: wish.permit.dst,
        port: wish.port,
        saved: wish.permit.saved,
        nat: wish.permit.nat,
        answer: Ok(true),
        beside,
        helped: wish.permit.helped,
        counted_as: wish.counted_as,
    }
}

/// What of `info` is a first packet.
pub fn first(packet: Packet) -> Packet {
    Packet { info: CtInfo::New, confirmed: false, ..packet }
}
