//! A capture as a lane's kernel: packets come from the file, expectations are printed and kept in the table.

use std::os::fd::BorrowedFd;

use cthelper_proto::events::{Event as Audited, Master, Replay as Line};
use cthelper_proto::manifest::Manifest;
use cthelper_proto::types::{Family, State};
use nix::errno::Errno;

use super::crashes::Crashes;
use super::{Arrival, CaptureError, Denied, Expected, Inserted, Replay, What};
use crate::audit::Records;
use crate::kernel::{self, Arrived, Change, Fault, Incoming, Intake, Kernel, Made, PacketId, Received, Release, Wish};

/// Opens the capture once the helper's manifest, and with it its ports, is known.
pub type Open<'a> = Box<dyn FnOnce(&Manifest) -> Result<Replay, CaptureError> + 'a>;

/// A capture, and where its story is told.
pub struct Recorded<'a> {
    open: Option<Open<'a>>,
    replay: Option<Replay>,
    manifest: Option<Manifest>,
    audit: Records,
    tell: &'a mut dyn FnMut(&Line),
    packet: u64,
    expectations: u64,
    error: Option<CaptureError>,
    crashes: Crashes,
}

impl<'a> Recorded<'a> {
    /// A capture that is not open yet. What the lane audits comes through `audit`.
    pub fn new(open: Open<'a>, audit: Records, tell: &'a mut dyn FnMut(&Line)) -> Self {
        let crashes = Crashes::default();
        Self { open: Some(open), replay: None, manifest: None, audit, tell, packet: 0, expectations: 0, error: None, crashes }
    }

    /// What the file held, the expectations created, and where it was damaged if it was.
    pub fn outcome(mut self) -> (super::Counts, u64, Option<CaptureError>) {
        self.tell_audited();
        let name = self.name();
        for line in self.crashes.survived(&name) {
            (self.tell)(&line);
        }
        (self.replay.map(|replay| replay.counts()).unwrap_or_default(), self.expectations, self.error)
    }

    /// The lane's refusals concern the packet in hand, for there is only one.
    fn tell_audited(&mut self) {
        for record in self.audit.try_iter() {
            match record.event {
                Audited::ExpectationRefused { helper, rule, master, .. } => {
                    (self.tell)(&Line::Refused { helper, rule, master, packet: self.packet });
                }
                Audited::WorkerCrashed(crash) | Audited::WorkerHung(crash) | Audited::WorkerOutOfTurn { crash, .. } => {
                    (self.tell)(&self.crashes.crashed(*crash, self.packet));
                }
                _ => {}
            }
        }
    }

    fn name(&self) -> String {
        self.manifest.as_ref().map_or_else(String::new, |manifest| manifest.name.to_string())
    }

    fn handed(&self, arrival: &Arrival) -> State {
        let len = self.manifest.as_ref().map_or(0, |manifest| manifest.state_len);
        let kept = self.replay.as_ref().and_then(|replay| replay.state(arrival.seen.flow.id));
        kept.unwrap_or_else(|| State::zeroed(len))
    }

    /// An exhibit whose private bytes are not this helper's.
    fn misfit(&self, what: &What) -> Option<CaptureError> {
        let What::Packet(Arrival { helped: true, exhibit: Some(exhibit), .. }) = what else { return None };
        let (kept, wanted) = (exhibit.state.as_bytes().len(), self.manifest.as_ref().map_or(0, |manifest| manifest.state_len));
        (kept != usize::from(wanted)).then(|| CaptureError {
            offset: self.replay.as_ref().map_or(0, Replay::offset),
            reason: format!(
                "kept with {kept} private bytes, and helper {} has {wanted}: is it of another version?",
                exhibit.helper
            ),
        })
    }

    fn store(&mut self, change: &Change<'_>) {
        if let (Some(replay), Some(state)) = (&mut self.replay, change.state) {
            replay.set_state(change.flow.id, state);
        }
    }

    fn tell_expected(&mut self, expected: &Expected, wish: &Wish<'_>) {
        self.expectations += 1;
        let any =
            if expected.dst.is_ipv4() { std::net::Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
        let helper = self.name();
        (self.tell)(&Line::Expectation {
            helper,
            proto: expected.proto,
            src: expected.src.unwrap_or(any),
            sport: expected.sport.unwrap_or(0),
            dst: expected.dst,
            dport: expected.dport,
            master: Master::from(&wish.flow.orig),
            class: expected.class,
            permanent: expected.permanent,
            packet: self.packet,
        });
    }
}

fn expected(wish: &Wish<'_>, manifest: Option<&Manifest>) -> Expected {
    let permit = wish.permit;
    let class = manifest.and_then(|manifest| manifest.classes.get(usize::from(permit.class)));
    Expected {
        master: wish.flow.id,
        class: permit.class,
        proto: permit.proto,
        src: permit.src,
        sport: permit.sport,
        dst: permit.dst,
        dport: wish.port,
        permanent: permit.permanent,
        followed: class.zip(manifest).is_some_and(|(class, manifest)| class.helped_by.as_deref() == Some(&manifest.name)),
    }
}

impl Kernel for Recorded<'_> {
    fn start(&mut self, manifest: &Manifest) -> Result<(), Fault> {
        self.manifest = Some(manifest.clone());
        let Some(open) = self.open.take() else { return Ok(()) };
        match open(manifest) {
            Ok(replay) => self.replay = Some(replay),
            Err(error) => self.error = Some(error),
        }
        Ok(())
    }

    fn enable(&mut self, _enabled: bool) -> Result<(), Fault> {
        Ok(())
    }

    fn update(&mut self, _manifest: &Manifest, _enabled: bool, _queue_length: u32) -> Result<(), Fault> {
        Ok(())
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// One: the tables stand at the time of the packet handed out last.
    fn window(&self) -> usize {
        1
    }

    fn receive(&mut self, _room: usize, each: &mut dyn FnMut(Incoming<'_>) -> Intake) -> Result<Received, Fault> {
        self.tell_audited();
        let ended = Received { packets: 0, drained: true, ended: true };
        let Some(replay) = &mut self.replay else { return Ok(ended) };
        let event = match replay.next_packet() {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(ended),
            Err(error) => {
                self.error = Some(error);
                return Ok(ended);
            }
        };
        self.packet = event.number;
        if let Some(error) = self.misfit(&event.what) {
            self.error = Some(error);
            return Ok(ended);
        }
        match &event.what {
            What::Packet(arrival) if arrival.helped => {
                self.crashes.handed(event.number, arrival);
                let state = self.handed(arrival);
                let ours = self.replay.as_ref().is_some_and(|replay| replay.is_followed(arrival));
                each(Incoming::Packet(Arrived {
                    id: PacketId(u32::try_from(event.number).unwrap_or(u32::MAX)),
                    flow: arrival.seen.flow,
                    info: arrival.seen.info,
                    confirmed: arrival.seen.confirmed(),
                    expected: arrival.seen.master.map(|_| kernel::Expected { ours, counted_as: None }),
                    zone: 0,
                    state,
                    packet: &arrival.packet,
                }));
            }
            What::Fragment => (self.tell)(&Line::Fragment { packet: event.number }),
            _ => {}
        }
        Ok(Received { packets: 1, drained: true, ended: false })
    }

    fn release(&mut self, _id: PacketId, release: Release<'_>) -> Result<(), Fault> {
        if let Release::Change(change) = release {
            self.store(&change);
        }
        Ok(())
    }

    /// The capture's connections are in the table as soon as they are seen.
    fn release_announcing(&mut self, _id: PacketId, change: &Change<'_>, wish: &Wish<'_>) -> Result<Made, kernel::Denied> {
        self.store(change);
        self.expect(wish).map(|()| Made::Seen)
    }

    fn flush(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn may_expect(&mut self, wish: &Wish<'_>) -> Result<(), kernel::Denied> {
        let in_the_way = self.replay.as_ref().and_then(|replay| replay.clash(&expected(wish, self.manifest.as_ref())));
        in_the_way.map_or(Ok(()), |_| Err(kernel::Denied::Busy))
    }

    fn expect(&mut self, wish: &Wish<'_>) -> Result<(), kernel::Denied> {
        let expected = expected(wish, self.manifest.as_ref());
        let (Some(replay), Some(manifest)) = (&mut self.replay, &self.manifest) else { return Err(kernel::Denied::Gone) };
        let class = manifest.classes.get(usize::from(expected.class)).ok_or(kernel::Denied::Other(Errno::EINVAL))?;
        match replay.expect(expected, class) {
            Ok(Inserted::Refreshed) => Ok(()),
            Ok(_) => {
                self.tell_expected(&expected, wish);
                Ok(())
            }
            Err(Denied::Gone) => Err(kernel::Denied::Gone),
            Err(Denied::TableFull) => Err(kernel::Denied::TableFull),
            Err(_) => Err(kernel::Denied::Busy),
        }
    }

    /// A capture is read by one helper at a time; another that a class names gets its turn when it is asked for.
    fn serves(&self, _helper: &str, _family: Family, _proto: u8) -> bool {
        true
    }

    fn withdraw(&mut self, wish: &Wish<'_>) {
        if let Some(replay) = &mut self.replay {
            replay.withdraw(&expected(wish, self.manifest.as_ref()));
        }
    }

    fn queue(&self) -> u16 {
        0
    }

    fn trouble(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}
