//! Follows TCP and UDP connections through a capture, as far as a helper needs it: who is the originator, has the other end
//! answered, when is it over. Time is the capture's. No NAT, so `reply` is always the inverse of `orig`; no sequence window.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use cthelper_proto::packet::{Dissected, Tcp, Transport};
use cthelper_proto::types::{CtInfo, Dir, Flow, FlowId, L4, State, Tuple};

/// Connections followed at once; above it the one that would expire first is given up.
pub const MAX_FLOWS: usize = 65_536;

/// The connections of a capture.
#[derive(Debug)]
pub struct Tracker {
    flows: HashMap<FlowId, Entry>,
    tuples: HashMap<Tuple, (FlowId, Dir)>,
    /// Every flow by the time it expires.
    deadlines: BTreeSet<(Duration, FlowId)>,
    closed: Vec<FlowId>,
    last_id: u32,
    max: usize,
}

/// What the tracker knows when it has seen a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its connection.
    pub flow: Flow,
    /// Where the connection stands.
    pub info: CtInfo,
    /// It is the connection's first packet in the capture.
    pub first: bool,
    /// The connection was under way when the capture began.
    pub picked_up: bool,
    /// The connection that announced this one.
    pub master: Option<FlowId>,
}

impl Seen {
    /// Whether the kernel would have the connection in its table while it holds this packet.
    pub fn confirmed(&self) -> bool {
        !self.first || self.picked_up
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    flow: Flow,
    phase: Phase,
    /// The replier has sent something.
    answered: bool,
    picked_up: bool,
    master: Option<FlowId>,
    expires: Duration,
    state: Option<State>,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// UDP.
    Datagrams,
    /// TCP before the handshake is done.
    Opening,
    /// TCP after it.
    Open,
    /// One end has sent its last byte.
    HalfClosed(Dir),
    /// Both ends have.
    Closing,
    /// One end has aborted.
    Aborted,
}

impl Default for Tracker {
    fn default() -> Self {
        Self::new(MAX_FLOWS)
    }
}

impl Tracker {
    /// Follows at most `max` connections at once.
    pub fn new(max: usize) -> Self {
        let (flows, tuples) = (HashMap::new(), HashMap::new());
        Self { flows, tuples, deadlines: BTreeSet::new(), closed: Vec::new(), last_id: 0, max }
    }

    /// Looks at a packet; `None` = it belongs to no connection (another protocol, a fragment, an abort of nothing).
    ///
    /// `served` says for which originator's tuples there is a helper: a connection that was under way is turned to fit.
    /// `fulfil` is asked once for each new connection which master has announced it.
    pub fn track(
        &mut self,
        packet: &Dissected<'_>,
        now: Duration,
        served: &dyn Fn(&Tuple) -> bool,
        fulfil: &mut dyn FnMut(&Tuple) -> Option<FlowId>,
    ) -> Option<Seen> {
        let tuple = packet.tuple()?;
        let tcp = match &packet.transport {
            Transport::Tcp(tcp) => Some(tcp),
            _ => None,
        };
        if tcp.is_some_and(opens) {
            self.make_way(&tuple);
        }
        let known = self.tuples.get(&tuple).copied();
        let (id, dir) = match known {
            Some(found) => found,
            None => self.open(tuple, tcp, served, fulfil)?,
        };
        let entry = self.flows.get_mut(&id)?;
        entry.advance(dir, tcp);
        self.deadlines.remove(&(entry.expires, id));
        entry.expires = now.saturating_add(entry.timeout());
        self.deadlines.insert((entry.expires, id));
        Some(entry.seen(dir, known.is_none()))
    }

    /// Begins to follow a connection as it stood when a packet of it was in a worker's hands, NAT included; one with the same tuples ends.
    pub fn adopt(&mut self, flow: &Flow, info: CtInfo, confirmed: bool, state: State, now: Duration) -> Seen {
        for tuple in [flow.orig, flow.reply] {
            if let Some(&(id, _)) = self.tuples.get(&tuple) {
                self.close(id);
            }
        }
        self.make_room();
        let flow = Flow { id: self.next_id(), ..*flow };
        let phase = if flow.orig.proto == L4::Tcp.number() { Phase::Open } else { Phase::Datagrams };
        let answered = !matches!(info, CtInfo::New | CtInfo::Related);
        let mut entry =
            Entry { flow, phase, answered, picked_up: confirmed, master: None, expires: Duration::ZERO, state: Some(state) };
        entry.expires = now.saturating_add(entry.timeout());
        self.deadlines.insert((entry.expires, flow.id));
        self.insert(entry);
        Seen { flow, info, first: true, picked_up: confirmed, master: None }
    }

    /// Ends the connections whose time is over.
    pub fn expire(&mut self, now: Duration) {
        while let Some(&(expires, id)) = self.deadlines.first() {
            if expires > now {
                break;
            }
            self.close(id);
        }
    }

    /// The connections that have ended since the last call.
    pub fn take_closed(&mut self) -> Vec<FlowId> {
        std::mem::take(&mut self.closed)
    }

    /// Whether this connection is followed.
    pub fn holds(&self, id: FlowId) -> bool {
        self.flows.contains_key(&id)
    }

    /// The helper's private bytes, if any were stored.
    pub fn state(&self, id: FlowId) -> Option<State> {
        self.flows.get(&id)?.state
    }

    /// Stores the helper's private bytes; nothing happens when the connection has ended.
    pub fn set_state(&mut self, id: FlowId, state: State) {
        if let Some(entry) = self.flows.get_mut(&id) {
            entry.state = Some(state);
        }
    }

    /// A new handshake on the ports of a connection that is over begins another connection.
    fn make_way(&mut self, tuple: &Tuple) {
        if let Some(&(id, _)) = self.tuples.get(tuple) {
            let phase = self.flows.get(&id).map(|entry| entry.phase);
            if matches!(phase, Some(Phase::Closing | Phase::Aborted)) {
                self.close(id);
            }
        }
    }

    /// Begins to follow the connection of a packet that belongs to none yet.
    fn open(
        &mut self,
        tuple: Tuple,
        tcp: Option<&Tcp<'_>>,
        served: &dyn Fn(&Tuple) -> bool,
        fulfil: &mut dyn FnMut(&Tuple) -> Option<FlowId>,
    ) -> Option<(FlowId, Dir)> {
        if tcp.is_some_and(Tcp::is_rst) {
            return None;
        }
        let picked_up = tcp.is_some_and(|tcp| !opens(tcp));
        let answers = tcp.is_some_and(|tcp| tcp.is_syn() && tcp.is_ack());
        let turned = answers || (picked_up && !served(&tuple) && served(&tuple.inverse()));
        let (orig, dir) = if turned { (tuple.inverse(), Dir::Reply) } else { (tuple, Dir::Orig) };
        self.make_room();
        let id = self.next_id();
        let flow = Flow { id, orig, reply: orig.inverse() };
        let phase = match tcp {
            None => Phase::Datagrams,
            Some(_) if picked_up && !answers => Phase::Open,
            Some(_) => Phase::Opening,
        };
        let master = fulfil(&orig);
        let entry = Entry { flow, phase, answered: picked_up, picked_up, master, expires: Duration::ZERO, state: None };
        self.insert(entry);
        Some((id, dir))
    }

    fn next_id(&mut self) -> FlowId {
        self.last_id = self.last_id.wrapping_add(1);
        FlowId(self.last_id)
    }

    fn insert(&mut self, entry: Entry) {
        let flow = entry.flow;
        self.flows.insert(flow.id, entry);
        // In this order: a connection from a port to itself has one tuple, and its packets go the original way.
        self.tuples.insert(flow.reply, (flow.id, Dir::Reply));
        self.tuples.insert(flow.orig, (flow.id, Dir::Orig));
    }

    fn make_room(&mut self) {
        while self.flows.len() >= self.max {
            let Some(&(_, id)) = self.deadlines.first() else { return };
            self.close(id);
        }
    }

    fn close(&mut self, id: FlowId) {
        if let Some(entry) = self.flows.remove(&id) {
            self.deadlines.remove(&(entry.expires, id));
            self.tuples.remove(&entry.flow.orig);
            self.tuples.remove(&entry.flow.reply);
            self.closed.push(id);
        }
    }
}

/// Whether a segment is the first of a handshake.
fn opens(tcp: &Tcp<'_>) -> bool {
    tcp.is_syn() && !tcp.is_ack() && !tcp.is_rst()
}

impl Entry {
    fn advance(&mut self, dir: Dir, tcp: Option<&Tcp<'_>>) {
        self.answered |= dir == Dir::Reply;
        let Some(tcp) = tcp else { return };
        self.phase = match self.phase {
            _ if tcp.is_rst() => Phase::Aborted,
            Phase::Opening | Phase::Open if tcp.is_fin() => Phase::HalfClosed(dir),
            Phase::HalfClosed(first) if tcp.is_fin() && first != dir => Phase::Closing,
            Phase::Opening if self.answered && tcp.is_ack() && !tcp.is_syn() => Phase::Open,
            phase => phase,
        };
    }

    /// How long the connection is kept without a packet: the kernel's defaults (`nf_conntrack_proto_tcp.c`, `_udp.c`).
    fn timeout(&self) -> Duration {
        Duration::from_secs(match self.phase {
            Phase::Datagrams if self.answered => 120,
            Phase::Datagrams => 30,
            Phase::Opening | Phase::HalfClosed(_) | Phase::Closing => 120,
            Phase::Open => 5 * 24 * 60 * 60,
            Phase::Aborted => 10,
        })
    }

    fn seen(&self, dir: Dir, first: bool) -> Seen {
        let info = match dir {
            Dir::Reply => CtInfo::EstablishedReply,
            Dir::Orig if self.answered => CtInfo::Established,
            Dir::Orig if self.master.is_some() => CtInfo::Related,
            Dir::Orig => CtInfo::New,
        };
        Seen { flow: self.flow, info, first, picked_up: self.picked_up, master: self.master }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{self, ACK, FIN, RST, SYN};
    use super::*;
    use cthelper_proto::packet::dissect;

    const T0: Duration = Duration::from_secs(1_700_000_000);

    fn at(seconds: u64) -> Duration {
        T0 + Duration::from_secs(seconds)
    }

    fn ftp(tuple: &Tuple) -> bool {
        tuple.dport == 21
    }

    fn see(tracker: &mut Tracker, packet: &[u8], seconds: u64) -> Option<Seen> {
        tracker.expire(at(seconds));
        tracker.track(&dissect(packet).unwrap(), at(seconds), &ftp, &mut |_| None)
    }

    fn to_server(flags: u8) -> Vec<u8> {
        sample::tcp4(40_000, 21, flags, b"")
    }

    fn to_client(flags: u8) -> Vec<u8> {
        sample::tcp4(40_000, 21, flags | sample::BACK, b"")
    }

    #[test]
    fn a_handshake_is_new_then_established() {
        let mut tracker = Tracker::default();
        let syn = see(&mut tracker, &to_server(SYN), 0).unwrap();
        assert_eq!((syn.info, syn.first, syn.confirmed()), (CtInfo::New, true, false));
        assert_eq!(syn.flow.orig.dport, 21);
        assert!(!syn.flow.is_translated());
        let again = see(&mut tracker, &to_server(SYN), 1).unwrap();
        assert_eq!((again.info, again.first, again.confirmed()), (CtInfo::New, false, true));
        assert_eq!(see(&mut tracker, &to_client(SYN | ACK), 2).unwrap().info, CtInfo::EstablishedReply);
        let ack = see(&mut tracker, &to_server(ACK), 3).unwrap();
        assert_eq!((ack.info, ack.flow.id, ack.picked_up), (CtInfo::Established, syn.flow.id, false));
    }

    #[test]
    fn a_connection_under_way_is_picked_up_the_way_its_helper_wants_it() {
        let mut tracker = Tracker::default();
        let seen = see(&mut tracker, &to_client(ACK), 0).unwrap();
        assert_eq!((seen.info, seen.picked_up, seen.confirmed()), (CtInfo::EstablishedReply, true, true));
        assert_eq!(seen.flow.orig.dport, 21);
        assert_eq!(see(&mut tracker, &to_server(ACK), 1).unwrap().info, CtInfo::Established);
    }

    #[test]
    fn without_a_helper_the_first_sender_is_the_originator() {
        let mut tracker = Tracker::default();
        let seen = see(&mut tracker, &sample::tcp4(80, 40_000, ACK, b"x"), 0).unwrap();
        assert_eq!((seen.flow.orig.sport, seen.info), (80, CtInfo::Established));
    }

    #[test]
    fn an_answer_to_an_unseen_handshake_tells_who_began() {
        let mut tracker = Tracker::default();
        let seen = see(&mut tracker, &sample::tcp4(40_000, 80, SYN | ACK | sample::BACK, b""), 0).unwrap();
        assert_eq!((seen.flow.orig.dport, seen.info), (80, CtInfo::EstablishedReply));
    }

    #[test]
    fn an_abort_of_nothing_begins_nothing() {
        assert_eq!(see(&mut Tracker::default(), &to_server(RST), 0), None);
    }

    #[test]
    fn ports_are_used_again_only_after_an_end() {
        let mut tracker = Tracker::default();
        let first = see(&mut tracker, &to_server(SYN), 0).unwrap().flow.id;
        see(&mut tracker, &to_client(SYN | ACK), 0);
        see(&mut tracker, &to_server(ACK), 0);
        assert_eq!(see(&mut tracker, &to_server(SYN), 1).unwrap().flow.id, first);
        see(&mut tracker, &to_server(FIN | ACK), 2);
        see(&mut tracker, &to_server(FIN | ACK), 3);
        assert_eq!(see(&mut tracker, &to_server(SYN), 4).unwrap().flow.id, first, "half closed is not over");
        see(&mut tracker, &to_client(FIN | ACK), 5);
        assert_eq!(see(&mut tracker, &to_server(ACK), 6).unwrap().flow.id, first);
        assert!(tracker.take_closed().is_empty());
        let second = see(&mut tracker, &to_server(SYN), 7).unwrap();
        assert!(second.first && second.flow.id != first);
        assert_eq!(tracker.take_closed(), [first]);
        see(&mut tracker, &to_client(RST | ACK), 8);
        assert!(see(&mut tracker, &to_server(SYN), 9).unwrap().first);
    }

    #[test]
    fn idle_connections_expire_by_their_phase() {
        let udp = sample::udp4(5000, 69, b"x");
        let cases: [(&[Vec<u8>], u64); 5] = [
            (&[udp], 30),
            (&[to_server(SYN)], 120),
            (&[to_server(ACK)], 432_000),
            (&[to_server(ACK), to_server(RST)], 10),
            (&[to_server(FIN | ACK), to_client(FIN | ACK)], 120),
        ];
        for (packets, timeout) in cases {
            let mut tracker = Tracker::default();
            let id = packets.iter().filter_map(|packet| see(&mut tracker, packet, 0)).last().unwrap().flow.id;
            tracker.expire(at(timeout - 1));
            assert!(tracker.holds(id), "{timeout}");
            tracker.expire(at(timeout));
            assert!(!tracker.holds(id), "{timeout}");
            assert_eq!(tracker.take_closed(), [id]);
        }
    }

    #[test]
    fn an_announced_connection_is_related_until_it_is_answered() {
        let mut tracker = Tracker::default();
        let packet = sample::tcp4(50_000, 2000, SYN, b"");
        let mut asked = 0;
        for _ in 0..2 {
            let mut fulfil = |tuple: &Tuple| {
                asked += 1;
                (tuple.dport == 2000).then_some(FlowId(77))
            };
            let seen = tracker.track(&dissect(&packet).unwrap(), T0, &ftp, &mut fulfil).unwrap();
            assert_eq!((seen.info, seen.master), (CtInfo::Related, Some(FlowId(77))));
        }
        assert_eq!(asked, 1);
        see(&mut tracker, &sample::tcp4(50_000, 2000, SYN | ACK | sample::BACK, b""), 0);
        assert_eq!(see(&mut tracker, &packet, 0).unwrap().info, CtInfo::Established);
    }

    #[test]
    fn a_full_table_gives_up_what_would_expire_first() {
        let mut tracker = Tracker::new(2);
        let lasting = see(&mut tracker, &to_server(ACK), 0).unwrap().flow.id;
        let short = see(&mut tracker, &sample::udp4(1, 69, b""), 1).unwrap().flow.id;
        for port in 2..100 {
            see(&mut tracker, &sample::udp4(port, 69, b""), u64::from(port)).unwrap();
            assert!(tracker.flows.len() <= 2 && tracker.tuples.len() <= 4 && tracker.deadlines.len() <= 2);
        }
        assert!(tracker.holds(lasting) && !tracker.holds(short));
    }

    #[test]
    fn private_bytes_live_as_long_as_their_connection() {
        let mut tracker = Tracker::default();
        let id = see(&mut tracker, &sample::udp4(1, 69, b""), 0).unwrap().flow.id;
        assert_eq!(tracker.state(id), None);
        tracker.set_state(id, State::new(b"abc").unwrap());
        assert_eq!(tracker.state(id).unwrap().as_bytes(), b"abc");
        tracker.expire(at(30));
        tracker.set_state(id, State::zeroed(1));
        assert_eq!(tracker.state(id), None);
    }

    #[test]
    fn a_connection_is_adopted_as_it_stood() {
        let mut tracker = Tracker::default();
        let known = see(&mut tracker, &to_server(ACK), 0).unwrap().flow;
        let reply = Tuple { dst: [10, 0, 2, 1].into(), dport: 40_001, ..known.reply };
        let (flow, state) = (Flow { reply, ..known }, State::new(b"abc").unwrap());
        let seen = tracker.adopt(&flow, CtInfo::EstablishedReply, true, state, at(1));
        assert_eq!(tracker.take_closed(), [known.id]);
        assert_eq!((seen.flow.orig, seen.flow.reply, seen.info), (flow.orig, reply, CtInfo::EstablishedReply));
        assert!(seen.confirmed() && seen.first && tracker.holds(seen.flow.id));
        assert_eq!(tracker.state(seen.flow.id), Some(state));
        assert_eq!(see(&mut tracker, &to_server(ACK), 2).unwrap().flow, seen.flow);
        assert!(!tracker.adopt(&flow, CtInfo::New, false, state, at(3)).confirmed());
    }

    #[test]
    fn a_connection_from_a_port_to_itself_has_one_direction() {
        let mut packet = sample::udp4(69, 69, b"");
        packet.copy_within(12..16, 16);
        let mut tracker = Tracker::default();
        for _ in 0..2 {
            assert_eq!(see(&mut tracker, &packet, 0).unwrap().info, CtInfo::New);
        }
        tracker.expire(at(1000));
        assert!(tracker.tuples.is_empty());
    }
}
