//! What a lane needs of the kernel, so that the same lane runs on netfilter, on a capture, and on a test's script.

use std::fmt;
use std::os::fd::BorrowedFd;

use cthelper_policy::expect::Permit;
use cthelper_proto::Malformed;
use cthelper_proto::manifest::Manifest;
use cthelper_proto::types::{CtInfo, Dir, Family, Flow, State};
use nix::errno::Errno;

pub mod netfilter;
pub mod replay;

/// Names a packet inside its queue; ascending, modulo 2³².
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PacketId(pub u32);

/// A packet as the kernel hands it over. Addresses in `packet` are those after NAT; `flow` has both views.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// To be named when it is released.
    pub id: PacketId,
    /// Its connection.
    pub flow: Flow,
    /// Where the connection stands.
    pub info: CtInfo,
    /// Whether the connection is in the kernel's table yet; if not, an expectation of it can only go out beside this packet's verdict.
    pub confirmed: bool,
    /// Whether the connection was itself announced by another.
    pub expected: Option<Expected>,
    /// Conntrack zone, 0 in most set-ups.
    pub zone: u16,
    /// The helper's private bytes when the packet was queued.
    pub state: State,
    /// The packet from its IP header on.
    pub packet: &'a [u8],
}

/// What is known of a connection that another announced. The kernel keeps no private bytes of it (`ctnetlink_change_helper`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// It was announced to be read by this helper. If not, its packets come here because some kernels (Linux 6.1.168 to .182, 6.12.81 to .102)
    /// give it its master's helper, whose protocol it does not speak.
    pub ours: bool,
    /// On those kernels: the class that counts what it announces itself, of the helper that the kernel has given it instead of ours.
    pub counted_as: Option<u8>,
}

/// What a queue yields.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    /// A packet of a connection that has our helper.
    Packet(Arrived<'a>),
    /// A packet that cannot be understood or is none of ours; it has to be released all the same.
    Stray(PacketId, Malformed),
}

/// What the lane does with a packet at intake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Held: a release will follow.
    Held,
    /// Nothing to look at: the kernel may have it back at once.
    Accept,
}

/// What one call of [`Kernel::receive`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Packets handed to the lane.
    pub packets: usize,
    /// The queue had nothing more: what comes later was queued after everything released so far.
    pub drained: bool,
    /// There will never be more (the end of a capture).
    pub ended: bool,
}

/// How a packet goes back.
#[derive(Clone, Copy, Debug)]
pub enum Release<'a> {
    /// As it came.
    Accept,
    /// Not at all.
    Drop,
    /// With a new payload, new private bytes, or both.
    Change(Change<'a>),
}

/// A changed packet.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Its connection.
    pub flow: &'a Flow,
    /// Its zone.
    pub zone: u16,
    /// Its direction.
    pub dir: Dir,
    /// The whole new packet, lengths and checksums right; `None` = as it came.
    pub packet: Option<&'a [u8]>,
    /// Bytes by which the payload grew (or shrank).
    pub grown: i32,
    /// TCP sequence number of the segment as the sender counts.
    pub seq: u32,
    /// New private bytes.
    pub state: Option<State>,
    /// How long the kernel is to keep the connection without traffic from now on, seconds.
    pub timeout_secs: Option<u32>,
}

impl Change<'_> {
    /// The packet goes back as it came.
    pub fn is_nothing(&self) -> bool {
        self.packet.is_none() && self.state.is_none() && self.timeout_secs.is_none()
    }
}

/// An expectation in the kernel's terms: as its first packet looks before NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish<'a> {
    /// The master.
    pub flow: &'a Flow,
    /// The master's zone.
    pub zone: u16,
    /// What policy permits.
    pub permit: &'a Permit,
    /// The destination port to try.
    pub port: u16,
    /// As [`Expected::counted_as`] of the master.
    pub counted_as: Option<u8>,
}

/// The kernel's no to an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Somebody else expects something that overlaps: another port may do.
    Busy,
    /// The table of expectations is full.
    TableFull,
    /// The master is gone.
    Gone,
    /// Something else.
    Other(Errno),
}

/// What is known of an expectation that went out beside a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// The kernel has it.
    Seen,
    /// It is not in the table: used up by an answer that was faster than we looked, or never made, because the kernel tells no error.
    Unseen,
}

/// The kernel or the operating system failed while `doing` something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What was tried.
    pub doing: String,
    /// Its answer.
    pub errno: Errno,
    /// What the operator can do, if we know.
    pub remedy: Option<String>,
    /// The kernel is without what this takes, so trying again is useless.
    pub lacking: bool,
}

impl Fault {
    /// A fault without a remedy.
    pub fn new(doing: impl Into<String>, errno: Errno) -> Self {
        Self { doing: doing.into(), errno, remedy: None, lacking: false }
    }

    /// Adds what the operator can do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// As [`Self::remedy`], where the kernel has to get a module or to be another one.
    #[must_use]
    pub fn lacks(self, remedy: impl Into<String>) -> Self {
        Self { lacking: true, ..self.remedy(remedy) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, self.errno.desc())?;
        match &self.remedy {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

/// One lane's view of the kernel. No call waits for anything but the kernel itself.
pub trait Kernel {
    /// Binds and configures the queue, then registers and enables the helper, in that order. Called once, before any packet.
    fn start(&mut self, manifest: &Manifest) -> Result<(), Fault>;

    /// Whether packets are sent to the queue at all (`false` = the kernel lets them pass without the helper).
    fn enable(&mut self, enabled: bool) -> Result<(), Fault>;

    /// New limits of classes and a new length of the queue, in place: for a helper that is there, with its rules and connections.
    fn update(&mut self, manifest: &Manifest, enabled: bool, queue_length: u32) -> Result<(), Fault>;

    /// Readable when packets wait; `None` = always.
    fn wait_fd(&self) -> Option<BorrowedFd<'_>>;

    /// Packets that may be held at once; above it they wait in the kernel's queue, which passes what it has no room for.
    /// 512: a burst of that many crosses without waiting, and at 1500 bytes each they are 0.8 MB.
    fn window(&self) -> usize {
        512
    }

    /// Takes up to `room` packets without waiting.
    fn receive(&mut self, room: usize, each: &mut dyn FnMut(Incoming<'_>) -> Intake) -> Result<Received, Fault>;

    /// Gives a held packet back; takes effect at the latest with [`Self::flush`].
    fn release(&mut self, id: PacketId, release: Release<'_>) -> Result<(), Fault>;

    /// Gives a packet back together with the expectation it announces, and sends both at once: a connection's first packet, or one that
    /// announces a connection with a helper, whose expectation is there already. The packet goes back in any case.
    fn release_announcing(&mut self, id: PacketId, change: &Change<'_>, wish: &Wish<'_>) -> Result<Made, Denied>;

    /// Sends what was released.
    fn flush(&mut self) -> Result<(), Fault>;

    /// Expects a connection; the kernel has agreed when this returns `Ok`. Repeating an expectation of the same master is `Ok`.
    fn expect(&mut self, wish: &Wish<'_>) -> Result<(), Denied>;

    /// Whether nothing stands in the way of an expectation whose master is not in the table yet, which is therefore made by
    /// [`Self::release_announcing`].
    fn may_expect(&mut self, wish: &Wish<'_>) -> Result<(), Denied>;

    /// Whether this supervisor serves a helper of that name for connections of this family and IP protocol.
    fn serves(&self, helper: &str, family: Family, proto: u8) -> bool;

    /// Takes an expectation back; one that is gone already is no error.
    fn withdraw(&mut self, wish: &Wish<'_>);

    /// The queue's number, 0 where there is none.
    fn queue(&self) -> u16;

    /// Losses and oddities the kernel side has seen, by name.
    fn trouble(&self) -> Vec<(&'static str, u64)>;
}
