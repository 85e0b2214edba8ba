//! The real kernel, seen by one lane: `nfnetlink_queue`, `nfnetlink_cthelper` and ctnetlink.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use cthelper_policy::config::HelperConfig;
use cthelper_proto::Malformed;
use cthelper_proto::events::Event;
use cthelper_proto::manifest::Manifest;
use cthelper_proto::netlink::conntrack::status;
use cthelper_proto::netlink::queue::{CtUpdate, Decision, Packet, VerdictParts};
use cthelper_proto::types::{Family, Flow, FlowId, State};
use nix::errno::Errno;

use crate::audit::Audit;
use crate::keeper::custody::Custody;
use crate::keeper::heir::Heir;

use super::{Arrived, Change, Denied, Expected, Fault, Incoming, Intake, Kernel, Made, PacketId, Received, Release, Wish};

pub mod chains;
pub mod expectations;
mod lineage;
pub mod numbers;
pub mod queue;
pub mod registry;
pub mod seqadj;
pub mod socket;

use chains::{Chains, Place};
use queue::{Queue, Taken};
use socket::Nfnl;

/// The kernel of one lane.
pub struct Netfilter {
    manifest: Option<Manifest>,
    wanted_queue: Option<u16>,
    queue_length: u32,
    queue: Option<Queue>,
    requests: Nfnl,
    custody: Arc<Custody>,
    chains: Arc<Chains>,
    /// The queue's socket of an earlier life, until the start.
    heir: Option<Heir>,
    audit: Audit,
}

impl Netfilter {
    /// Opens the socket for requests, and claims the helper's queue of an earlier life; nothing is registered or bound yet. Where
    /// no number is configured, one is chosen at the start.
    pub fn open(config: &HelperConfig, custody: Arc<Custody>, chains: Arc<Chains>, audit: Audit) -> Result<Self, Fault> {
        let requests = Nfnl::open().map_err(|errno| Fault::new("open a netfilter socket", errno))?;
        let heir = custody.claim(&config.name);
        let (wanted_queue, queue_length) = (config.queue, config.queue_length);
        Ok(Self { manifest: None, wanted_queue, queue_length, queue: None, requests, custody, chains, heir, audit })
    }

    /// Goes on with an earlier life's queue: the helper stays enabled all the time.
    fn adopt(&mut self, heir: Heir, manifest: &Manifest) -> Result<(), Fault> {
        let (number, waiting) = (heir.queue, heir.waiting());
        registry::disarm_besides(&mut self.requests, manifest)?;
        let queue = Queue::adopt(heir, self.queue_length)?;
        self.custody.deposit(&manifest.name, number, queue.as_fd());
        self.queue = Some(queue);
        registry::enable(&mut self.requests, manifest, number)?;
        tracing::info!(helper = %manifest.name, queue = number, waiting, "adopted the queue of an earlier life");
        self.audit.write(Event::Adopted { helper: manifest.name.to_string(), queue: number, waiting });
        Ok(())
    }

    /// Binds a queue of its own; an earlier life's, which the operator wants to have another number, is wound up when nothing is sent
    /// there any more.
    fn begin(&mut self, heir: Option<Heir>, manifest: &Manifest) -> Result<(), Fault> {
        if heir.is_none() {
            // What an earlier life left enabled stays so with its queue closed, and maybe for a family we do not serve any more.
            registry::disarm(&mut self.requests, &manifest.name)?;
        }
        let number = match self.wanted_queue {
            Some(number) => number,
            None => numbers::choose(registry::queue_before(&mut self.requests, &manifest.name))?,
        };
        let queue = Queue::open(number, self.queue_length)?;
        self.custody.deposit(&manifest.name, number, queue.as_fd());
        self.queue = Some(queue);
        registry::enable(&mut self.requests, manifest, number)?;
        if let Some(heir) = heir {
            registry::disarm_besides(&mut self.requests, manifest)?;
            self.custody.settle(heir);
        }
        Ok(())
    }

    /// Remembers who is to read the connection that is announced.
    fn link(&self, wish: &Wish<'_>) {
        let class = self.manifest.as_ref().and_then(|manifest| manifest.classes.get(usize::from(wish.permit.class)));
        let helper = class.and_then(|class| class.helped_by.as_deref());
        self.chains.link(wish.zone, &expectations::announced(wish), wish.flow.orig, helper);
    }

    fn bound(&mut self) -> Result<&mut Queue, Fault> {
        self.queue.as_mut().ok_or_else(|| Fault::new("use the queue", Errno::ENODEV))
    }

    /// Gives a changed packet back. Whatever goes wrong, the packet itself is released.
    fn change(&mut self, id: u32, change: &Change<'_>) -> Result<(), Fault> {
        let by_hand = seqadj::must_be_set_by_hand(change);
        // What was decided before must leave under the old numbers.
        let flushed = if by_hand { self.flush() } else { Ok(()) };
        let name = self.manifest.as_ref().map(|manifest| manifest.name.as_ref());
        let adjusted = if by_hand {
            flushed.and_then(|()| seqadj::set(&mut self.requests, name.unwrap_or_default(), change))
        } else {
            Ok(())
        };
        let Some(queue) = &mut self.queue else { return Err(Fault::new("use the queue", Errno::ENODEV)) };
        let info = change.state.as_ref().map(State::as_bytes);
        let update = CtUpdate { help: name.zip(info), mark: None, timeout_secs: change.timeout_secs };
        let parts = VerdictParts {
            // Without its adjustment a changed length would break the connection: the packet goes as it came.
            payload: change.packet.filter(|_| adjusted.is_ok()),
            // With NFQA_CT present the kernel would adjust a second time, and wrongly.
            ct: (!by_hand).then_some(update),
            ..VerdictParts::default()
        };
        let released = queue.verdict(id, Decision::Accept, &parts).map_err(|errno| Fault::new("send a verdict", errno));
        adjusted.and(released)
    }
}

impl Kernel for Netfilter {
    fn start(&mut self, manifest: &Manifest) -> Result<(), Fault> {
        self.manifest = Some(manifest.clone());
        let heir = self.heir.take();
        registry::refuse_if_served(&mut self.requests, &manifest.name, heir.as_ref().map(|heir| heir.port_id))?;
        match heir {
            Some(heir) if self.wanted_queue.is_none_or(|wanted| wanted == heir.queue) => self.adopt(heir, manifest)?,
            heir => self.begin(heir, manifest)?,
        }
        self.chains.serve(manifest, self.queue(), true);
        Ok(())
    }

    fn enable(&mut self, enabled: bool) -> Result<(), Fault> {
        let Some(manifest) = &self.manifest else { return Ok(()) };
        self.chains.enable(&manifest.name, enabled);
        if enabled {
            // All of it, and not the status alone: another program may have deleted it, or made it anew for no queue.
            let number = self.queue.as_ref().map_or(0, Queue::number);
            return registry::update(&mut self.requests, manifest, number, true);
        }
        if !registry::disable(&mut self.requests, manifest)? {
            let helper = &manifest.name;
            tracing::warn!(%helper, "somebody has deleted it from the kernel: its packets pass already; cthelperctl enable makes it anew");
        }
        Ok(())
    }

    fn update(&mut self, manifest: &Manifest, enabled: bool, queue_length: u32) -> Result<(), Fault> {
        let queue = self.bound()?;
        let number = queue.number();
        queue.set_length(queue_length).map_err(|errno| Fault::new("change the queue's length", errno))?;
        registry::update(&mut self.requests, manifest, number, enabled)?;
        self.chains.serve(manifest, number, enabled);
        self.manifest = Some(manifest.clone());
        Ok(())
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        self.queue.as_ref().map(AsFd::as_fd)
    }

    fn receive(&mut self, room: usize, each: &mut dyn FnMut(Incoming<'_>) -> Intake) -> Result<Received, Fault> {
        let Self { queue: Some(queue), manifest: Some(manifest), chains, requests, .. } = self else {
            return Err(Fault::new("use the queue", Errno::ENODEV));
        };
        let (packets, drained) = queue
            .receive(room, |(family, queue, attrs)| {
                let (id, malformed) = match Packet::parse(family, queue, attrs) {
                    Ok(packet) => {
                        relearn(&packet, manifest, chains, requests);
                        return Some((packet.id, taken(&packet, manifest, chains, each)));
                    }
                    Err(malformed) => (Packet::id_of(attrs)?, malformed),
                };
                each(Incoming::Stray(PacketId(id), malformed));
                Some((id, Taken::Accepted))
            })
            .map_err(|errno| Fault::new("receive from the queue", errno))?;
        Ok(Received { packets, drained, ended: false })
    }

    fn release(&mut self, id: PacketId, release: Release<'_>) -> Result<(), Fault> {
        match release {
            Release::Accept => {
                self.bound()?.accept(id.0);
                Ok(())
            }
            Release::Drop => self
                .bound()?
                .verdict(id.0, Decision::Drop, &VerdictParts::default())
                .map_err(|errno| Fault::new("send a verdict", errno)),
            Release::Change(change) => self.change(id.0, &change),
        }
    }

    fn release_announcing(&mut self, id: PacketId, change: &Change<'_>, wish: &Wish<'_>) -> Result<Made, Denied> {
        if seqadj::must_be_set_by_hand(change) {
            // Without NFQA_CT there is no NFQA_EXP: the expectation that is there stays without its helper.
            self.change(id.0, change).map_err(|fault| Denied::Other(fault.errno))?;
            // Where the helper that is named makes no difference, nothing is missing.
            return if self.chains.attaches_masters() { Ok(Made::Seen) } else { Err(Denied::Other(Errno::EOPNOTSUPP)) };
        }
        self.link(wish); // before there can be a first packet
        let (Some(queue), Some(manifest)) = (&mut self.queue, &self.manifest) else { return Err(Denied::Other(Errno::ENODEV)) };
        let class = manifest.classes.get(usize::from(wish.permit.class));
        let expectation = expectations::beside(wish, class.and_then(|class| class.helped_by.as_deref()));
        let info = change.state.as_ref().map(State::as_bytes);
        let help = info.map(|info| (manifest.name.as_ref(), info));
        let parts = VerdictParts {
            payload: change.packet,
            ct: Some(CtUpdate { help, mark: None, timeout_secs: change.timeout_secs }),
            expect: Some(&expectation),
            ..VerdictParts::default()
        };
        queue.verdict(id.0, Decision::Accept, &parts).and_then(|()| queue.flush()).map_err(Denied::Other)?;
        let made = expectations::made(&mut self.requests, &expectation);
        if let (Ok(Made::Seen), Some(_), Some(class)) = (made, wish.counted_as, class) {
            expectations::prolong(&mut self.requests, wish, class.timeout_secs);
        }
        made
    }

    fn flush(&mut self) -> Result<(), Fault> {
        match &mut self.queue {
            Some(queue) => queue.flush().map_err(|errno| Fault::new("send verdicts", errno)),
            None => Ok(()),
        }
    }

    fn expect(&mut self, wish: &Wish<'_>) -> Result<(), Denied> {
        let class = self.manifest.as_ref().and_then(|manifest| manifest.classes.get(usize::from(wish.permit.class)));
        let timeout = class.map(|class| class.timeout_secs);
        expectations::create(&mut self.requests, wish, timeout)?;
        if let (Some(_), Some(timeout)) = (wish.counted_as, timeout) {
            expectations::prolong(&mut self.requests, wish, timeout);
        }
        self.link(wish);
        Ok(())
    }

    fn may_expect(&mut self, wish: &Wish<'_>) -> Result<(), Denied> {
        expectations::may_be_made(&mut self.requests, wish)
    }

    fn serves(&self, helper: &str, family: Family, proto: u8) -> bool {
        self.chains.serves(helper, family, proto)
    }

    fn withdraw(&mut self, wish: &Wish<'_>) {
        expectations::delete(&mut self.requests, wish);
        self.chains.link(wish.zone, &expectations::announced(wish), wish.flow.orig, None);
    }

    fn queue(&self) -> u16 {
        self.queue.as_ref().map_or(0, Queue::number)
    }

    fn trouble(&self) -> Vec<(&'static str, u64)> {
        let Some(queue) = &self.queue else { return Vec::new() };
        let lost = numbers::losses(queue.number());
        [
            ("verdict-late", queue.late),
            ("netlink-malformed", queue.malformed),
            ("enobufs", queue.overruns),
            ("queue-full", lost.queue_full),
            ("socket-full", lost.socket_full),
            ("keeper-lost", u64::from(self.custody.is_lost())),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .collect()
    }
}

/// An announced connection that nobody here has announced: the kernel is asked once where it comes from.
fn relearn(packet: &Packet<'_>, manifest: &Manifest, chains: &Chains, requests: &mut Nfnl) {
    let announced = packet.ct.as_ref().filter(|ct| ct.status & status::EXPECTED != 0);
    let Some((ct, master)) = announced.and_then(|ct| ct.master.map(|master| (ct, master))) else { return };
    if chains.is_to_be_asked(ct.zone, &ct.orig, master, &manifest.name) {
        let attached = ct.help.map(|help| help.name.shown());
        let lineage = lineage::of(requests, ct.zone, ct.orig, master);
        chains.relearn(ct.zone, &ct.orig, master, lineage.as_ref(), attached.as_deref());
    }
}

/// What becomes of a packet: `each` sees it, unless it belongs to a connection whose helper has another queue.
fn taken(packet: &Packet<'_>, manifest: &Manifest, chains: &Chains, each: &mut dyn FnMut(Incoming<'_>) -> Intake) -> Taken {
    let announced = packet.ct.as_ref().filter(|ct| ct.status & status::EXPECTED != 0);
    let place = announced.map(|ct| {
        let attached = ct.help.map(|help| help.name.shown());
        chains.place(ct.zone, &ct.orig, ct.master, &manifest.name, attached.as_deref())
    });
    let expected = match place {
        None => None,
        Some(Place::Here(expected)) => Some(expected),
        Some(Place::Queue(queue)) => return Taken::HandedOn(queue),
        Some(Place::Nowhere) => return Taken::Accepted,
    };
    match each(arrived(packet, manifest.state_len, expected)) {
        Intake::Held => Taken::Held,
        Intake::Accept => Taken::Accepted,
    }
}

/// What a lane needs of a packet message.
fn arrived<'a>(packet: &Packet<'a>, state_len: u8, expected: Option<Expected>) -> Incoming<'a> {
    let id = PacketId(packet.id);
    let (Some(ct), Some(info)) = (&packet.ct, packet.info) else {
        return Incoming::Stray(id, Malformed("packet without a connection"));
    };
    let (Some(reply), Some(ct_id)) = (ct.reply, ct.id) else {
        return Incoming::Stray(id, Malformed("connection without a reply tuple or an id"));
    };
    // The queue copies 65531 bytes, and loopback's packets have up to 65536. Of an announced connection they are not read.
    if packet.cap_len.is_some() && expected.is_none_or(|expected| expected.ours) {
        return Incoming::Stray(id, Malformed("packet cut short"));
    }
    // Those of an announced connection are its master's helper's, or nobody's.
    let info_bytes = ct.help.filter(|_| expected.is_none()).and_then(|help| help.info);
    Incoming::Packet(Arrived {
        id,
        flow: Flow { id: FlowId(ct_id), orig: ct.orig, reply },
        info,
        confirmed: ct.status & status::CONFIRMED != 0,
        expected,
        zone: ct.zone,
        state: info_bytes.and_then(State::new).unwrap_or_else(|| State::zeroed(state_len)),
        packet: packet.payload,
    })
}

#[cfg(test)]
mod tests {
    use cthelper_proto::netlink::conntrack::Conntrack;
    use cthelper_proto::types::{CtInfo, Tuple};

    use super::*;

    #[test]
    fn a_packet_that_the_queue_cuts_is_a_stray_unless_its_connection_was_announced() {
        let orig = Tuple { src: [127, 0, 0, 1].into(), dst: [127, 0, 0, 1].into(), proto: 6, sport: 40000, dport: 21 };
        let status = status::CONFIRMED | status::SEEN_REPLY;
        let (reply, id, help, master) = (Some(Tuple { sport: 21, dport: 40000, ..orig }), Some(7), None, None);
        let ct = Conntrack {
            orig,
            reply,
            id,
            status,
            timeout: None,
            help,
            zone: 0,
            mark: 0,
            master,
            seqadj: [None; 2],
            tcp_state: None,
        };
        let packet = Packet {
            queue: 1,
            id: 3,
            family: 2,
            hw_protocol: 0x0800,
            hook: 4,
            info: Some(CtInfo::Established),
            ct: Some(ct),
            cap_len: Some(65_535),
            skb_info: 0,
            mark: 0,
            indev: None,
            outdev: None,
            payload: &[],
        };
        assert!(matches!(arrived(&packet, 0, None), Incoming::Stray(PacketId(3), _)));
        let (download, chained) = (Expected::default(), Expected { ours: true, counted_as: None });
        assert!(matches!(arrived(&packet, 0, Some(download)), Incoming::Packet(Arrived { expected: Some(_), .. })));
        assert!(matches!(arrived(&packet, 0, Some(chained)), Incoming::Stray(PacketId(3), _)));
        assert!(matches!(
            arrived(&Packet { cap_len: None, ..packet }, 0, None),
            Incoming::Packet(Arrived { expected: None, .. })
        ));
    }
}
