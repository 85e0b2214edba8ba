//! What stands in for the kernel in `cthelperd replay FILE`: packets come from a capture, expectations go into a table that
//! keeps the kernel's rules. A packet that was in a worker's hands when that ended is shown to its helper as it was then. [`capture`] reads the file · [`link`] finds IP in a frame · [`tracker`] follows the connections ·
//! [`expectations`] is the table · [`Replay`] ties them together. No worker is known here.

pub mod capture;
mod crashes;
pub mod expectations;
pub mod lane;
pub mod link;
#[cfg(test)]
mod sample;
pub mod tracker;

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use cthelper_proto::Malformed;
use cthelper_proto::manifest::Class;
use cthelper_proto::packet::{Transport, dissect};
use cthelper_proto::types::{FlowId, State, Tuple};

use crate::evidence::exhibit::Exhibit;

pub use capture::{Capture, CaptureError, CapturedPacket, Record};
pub use expectations::{Denied, Expectations, Expected, Inserted};
pub use link::Skip;
pub use tracker::{Seen, Tracker};

/// Says for which connections, named by the originator's tuple, there is a helper.
pub type Served = Box<dyn Fn(&Tuple) -> bool + Send>;

/// A capture being replayed, and the kernel's tables at this point of it.
///
/// The tables stand at the time of the packet that was given last, so its expectations belong in before the next is asked for.
pub struct Replay {
    capture: Capture,
    tracker: Tracker,
    expectations: Expectations,
    served: Served,
    helper: String,
    counts: Counts,
    now: Duration,
    closed: Vec<FlowId>,
    /// Connections that have the helper because they were expected with it.
    followed: HashSet<FlowId>,
}

/// One packet record of the capture, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Number of the record, from 1.
    pub number: u64,
    /// Time since 1970 at this place of the capture: the latest of all packets up to here.
    pub time: Duration,
    /// What it is.
    pub what: What,
}

/// What a packet record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A packet of a TCP or UDP connection.
    Packet(Arrival),
    /// A fragment, which is not put together.
    Fragment,
    /// An IP packet that belongs to no connection.
    Untracked,
    /// An IP packet whose headers are broken.
    Malformed(Malformed),
    /// No IP packet that could be used.
    Skipped(Skip),
}

/// A packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its connection, and where that stands.
    pub seen: Seen,
    /// A helper is responsible for the connection.
    pub helped: bool,
    /// The packet from its IP header on; link padding may follow.
    pub packet: Vec<u8>,
    /// What it was kept with, if it was in a worker's hands when that ended.
    pub exhibit: Option<Box<Exhibit>>,
}

/// What the capture has held so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packet records.
    pub packets: u64,
    /// Connections.
    pub flows: u64,
    /// Connections that were under way when the capture began.
    pub picked_up: u64,
    /// Connections with a helper.
    pub helped: u64,
    /// Connections that had been expected.
    pub expected: u64,
    /// Fragments.
    pub fragments: u64,
    /// Packets of other protocols.
    pub untracked: u64,
    /// Packets with broken headers.
    pub malformed: u64,
    /// Records without an IP packet that could be used.
    pub skipped: u64,
}

impl Replay {
    /// Opens a capture file; `served` selects the connections that have a helper.
    pub fn open(path: &Path, served: Served) -> Result<Self, CaptureError> {
        Capture::open(path).map(|capture| Self::new(capture, served))
    }

    /// Replays a capture.
    pub fn new(capture: Capture, served: Served) -> Self {
        Self {
            capture,
            tracker: Tracker::default(),
            expectations: Expectations::default(),
            served,
            helper: String::new(),
            counts: Counts::default(),
            now: Duration::ZERO,
            closed: Vec::new(),
            followed: HashSet::new(),
        }
    }

    /// Packets that were in the hands of this helper's workers are shown to it as they were then.
    #[must_use]
    pub fn for_helper(mut self, name: &str) -> Self {
        name.clone_into(&mut self.helper);
        self
    }

    /// The next packet record; `None` at the end of the file, and ever after an error.
    ///
    /// # Errors
    /// The file is damaged or truncated; everything before that place has been given.
    pub fn next_packet(&mut self) -> Result<Option<Event>, CaptureError> {
        let Some(record) = self.capture.next_record()? else { return Ok(None) };
        self.counts.packets += 1;
        let (number, what) = match record {
            Record::Skipped { number, why } => (number, What::Skipped(why)),
            Record::Packet(packet) => {
                // Captures of several interfaces are not always in order; the tables' time never goes back.
                self.now = self.now.max(packet.time);
                let number = packet.number;
                (number, self.judge(packet))
            }
        };
        self.count(&what);
        Ok(Some(Event { number, time: self.now, what }))
    }

    /// Where the record of the packet that was given last begins, bytes from the start of the file.
    pub fn offset(&self) -> u64 {
        self.capture.record_at()
    }

    /// The connections that have ended since the last call; their expectations are gone.
    pub fn take_closed(&mut self) -> Vec<FlowId> {
        std::mem::take(&mut self.closed)
    }

    /// Expects a connection whose class has these limits.
    pub fn expect(&mut self, expected: Expected, class: &Class) -> Result<Inserted, Denied> {
        if !self.tracker.holds(expected.master) {
            return Err(Denied::Gone);
        }
        self.expectations.insert(expected, class, self.now)
    }

    /// The expectation that stands in the way of this one: another that overlaps, or the same of another master or class.
    pub fn clash(&self, expected: &Expected) -> Option<Expected> {
        self.expectations.clash(expected)
    }

    /// Takes an expectation back; `false` = it was not there any more.
    pub fn withdraw(&mut self, expected: &Expected) -> bool {
        self.expectations.withdraw(expected)
    }

    /// The helper's private bytes of a connection, if any were stored.
    pub fn state(&self, id: FlowId) -> Option<State> {
        self.tracker.state(id)
    }

    /// Stores the helper's private bytes of a connection.
    pub fn set_state(&mut self, id: FlowId, state: State) {
        self.tracker.set_state(id, state);
    }

    /// What the capture has held so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn judge(&mut self, packet: CapturedPacket) -> What {
        self.tracker.expire(self.now);
        self.forget_closed();
        let CapturedPacket { ip: packet, exhibit, .. } = packet;
        let dissected = match dissect(&packet) {
            Ok(dissected) => dissected,
            Err(malformed) => return What::Malformed(malformed),
        };
        if let Transport::Fragment = dissected.transport {
            return What::Fragment;
        }
        if let Some(exhibit) = exhibit {
            let Exhibit { flow, info, confirmed, state, .. } = &*exhibit;
            let seen = self.tracker.adopt(flow, *info, *confirmed, *state, self.now);
            self.forget_closed();
            return What::Packet(Arrival { helped: exhibit.helper == self.helper, seen, packet, exhibit: Some(exhibit) });
        }
        let (table, now) = (&mut self.expectations, self.now);
        let mut followed = false;
        let mut fulfil = |tuple: &Tuple| {
            let expected = table.fulfil(tuple, now)?;
            followed = expected.followed;
            Some(expected.master)
        };
        let seen = self.tracker.track(&dissected, now, &self.served, &mut fulfil);
        self.forget_closed();
        let Some(seen) = seen else { return What::Untracked };
        if followed {
            self.followed.insert(seen.flow.id);
        }
        let helped = (self.served)(&seen.flow.orig) || self.followed.contains(&seen.flow.id);
        What::Packet(Arrival { helped, seen, packet, exhibit: None })
    }

    /// Whether the packet's connection was announced to be read by the helper that announced it.
    pub(crate) fn is_followed(&self, arrival: &Arrival) -> bool {
        self.followed.contains(&arrival.seen.flow.id)
    }

    /// A master takes its expectations along.
    fn forget_closed(&mut self) {
        for id in self.tracker.take_closed() {
            self.expectations.forget(id);
            self.followed.remove(&id);
            self.closed.push(id);
        }
    }

    fn count(&mut self, what: &What) {
        let counts = &mut self.counts;
        match what {
            What::Packet(arrival) if arrival.seen.first => {
                counts.flows += 1;
                counts.picked_up += u64::from(arrival.seen.picked_up);
                counts.helped += u64::from(arrival.helped);
                counts.expected += u64::from(arrival.seen.master.is_some());
            }
            What::Packet(_) => {}
            What::Fragment => counts.fragments += 1,
            What::Untracked => counts.untracked += 1,
            What::Malformed(_) => counts.malformed += 1,
            What::Skipped(_) => counts.skipped += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sample::{ACK, BACK, SYN};
    use super::*;
    use cthelper_proto::manifest::Scope;
    use cthelper_proto::types::CtInfo;

    fn replay(packets: &[Vec<u8>]) -> Replay {
        let file = sample::pcap(101, packets);
        Replay::new(Capture::new(std::io::Cursor::new(file)).unwrap(), Box::new(|tuple| tuple.dport == 21))
    }

    fn arrival(replay: &mut Replay) -> Arrival {
        match replay.next_packet().unwrap().unwrap().what {
            What::Packet(arrival) => arrival,
            other => panic!("{other:?}"),
        }
    }

    /// A connection from the server of `sample` to its client.
    fn expected(master: FlowId, dport: u16) -> Expected {
        let (client, server) = ([10, 0, 1, 2].into(), [10, 0, 2, 2].into());
        Expected {
            master,
            class: 0,
            proto: 6,
            src: Some(server),
            sport: None,
            dst: client,
            dport,
            permanent: false,
            followed: false,
        }
    }

    #[test]
    fn an_expected_connection_is_recognised_and_counted() {
        let class = Class::new("data", Scope::BothEnds, 8, 300);
        let mut replay = replay(&[
            sample::tcp4(40_000, 21, SYN, b""),
            sample::tcp4(40_000, 21, SYN | ACK | BACK, b""),
            sample::tcp4(40_000, 21, ACK, b"PORT 10,0,1,2,7,208\r\n"),
            sample::tcp4(2000, 20, SYN | BACK, b""),
            sample::tcp4(2001, 20, SYN | BACK, b""),
        ]);
        assert!(!arrival(&mut replay).seen.confirmed());
        arrival(&mut replay);
        let port = arrival(&mut replay);
        assert!(port.helped && port.seen.info == CtInfo::Established);
        assert_eq!(replay.expect(expected(port.seen.flow.id, 2000), &class), Ok(Inserted::New));
        assert_eq!(replay.expect(expected(FlowId(99), 2002), &class), Err(Denied::Gone));
        let data = arrival(&mut replay).seen;
        assert_eq!((data.info, data.master), (CtInfo::Related, Some(port.seen.flow.id)));
        assert_eq!(arrival(&mut replay).seen.info, CtInfo::New);
        assert_eq!(replay.next_packet(), Ok(None));
        assert_eq!(replay.counts(), Counts { packets: 5, flows: 3, helped: 1, expected: 1, ..Counts::default() });
    }

    #[test]
    fn a_master_that_ends_takes_its_expectations_along() {
        let class = Class::new("data", Scope::BothEnds, 8, 300);
        let mut replay = replay(&[
            sample::tcp4(40_000, 21, ACK, b""),
            sample::tcp4(40_000, 21, sample::RST, b""),
            sample::tcp4(40_000, 21, SYN, b""),
            sample::tcp4(2000, 20, SYN | BACK, b""),
        ]);
        let master = arrival(&mut replay).seen.flow.id;
        assert_eq!(replay.expect(expected(master, 2000), &class), Ok(Inserted::New));
        replay.set_state(master, State::new(b"x").unwrap());
        assert_eq!(arrival(&mut replay).seen.flow.id, master);
        assert!(replay.take_closed().is_empty());
        assert_ne!(arrival(&mut replay).seen.flow.id, master);
        assert_eq!(replay.take_closed(), [master]);
        assert_eq!(replay.state(master), None);
        assert_eq!(arrival(&mut replay).seen.master, None);
    }

    #[test]
    fn what_is_no_connection_is_named_and_counted() {
        let mut fragment = sample::udp4(1, 69, b"");
        fragment[6] = 0x20;
        let mut icmp = sample::udp4(1, 69, b"");
        icmp[9] = 1;
        let mut cut = sample::tcp4(40_000, 21, ACK, b"");
        cut.truncate(39);
        let mut replay = replay(&[fragment, icmp, cut, sample::tcp6(40_000, 21, SYN, b"")]);
        let mut next = || replay.next_packet().unwrap().unwrap();
        assert_eq!((next().what, next().what), (What::Fragment, What::Untracked));
        assert_eq!(next().what, What::Malformed(Malformed("ipv4 total length")));
        let last = next();
        assert_eq!(last.number, 4);
        assert!(matches!(last.what, What::Packet(arrival) if arrival.helped));
        let counts = Counts { packets: 4, flows: 1, helped: 1, fragments: 1, untracked: 1, malformed: 1, ..Counts::default() };
        assert_eq!(replay.counts(), counts);
    }
}
