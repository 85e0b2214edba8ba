//! The ask channel: what the worker wants, and the answer.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::frame::PREFIX;
use super::packet::Ticket;
use crate::manifest::Manifest;

/// Worker → supervisor; each but `Launched` blocks the worker until the [`Answer`] is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// From the launcher, before it becomes the worker: what the kernel enforced. Not answered.
    Launched(Launched),
    /// Who I am, in which version of the protocol. Answer: `Welcome`.
    Hello(u16, Manifest),
    /// I have confined myself. Answer: `Go`.
    Ready(Confined),
    /// While I hold this ticket: please expect a connection. Answer: `Granted`, `Refused` or `Gone`.
    Expect(Ticket, Expect),
    /// Take an expectation back. Answer: `Gone`.
    Withdraw(Ticket, ExpectId),
}

impl Ask {
    /// The word for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Launched(_) => "Launched",
            Self::Hello(..) => "Hello",
            Self::Ready(_) => "Ready",
            Self::Expect(..) => "Expect",
            Self::Withdraw(..) => "Withdraw",
        }
    }
}

/// The version a record names that begins as `Hello` does. These six bytes stay where they are in every version, so that a worker of
/// another one is told apart from one that talks nonsense, even where the rest cannot be read.
pub fn hello_version(record: &[u8]) -> Option<u16> {
    const HELLO: [u8; 4] = 1_u32.to_le_bytes();
    let version = record.get(PREFIX..)?.strip_prefix(&HELLO)?;
    version.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

/// Supervisor → worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To `Hello`: your settings.
    Welcome(Settings),
    /// To `Ready`: verified; packets follow.
    Go,
    /// To `Expect`: the kernel agreed.
    Granted(Grant),
    /// To `Expect`: policy or kernel said no; go on without.
    Refused(Rule),
    /// The packet, flow or expectation is no longer there.
    Gone,
}

/// What the operator set for this helper, as far as the helper needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Third-party addresses may be announced (the supervisor judges; the helper may spare itself the ask).
    pub loose: bool,
    /// The helper's own options, `key = value`.
    pub options: Vec<(String, String)>,
    /// What a helper that is only configured looks for.
    pub question: Option<Question>,
}

/// Stands before the name of a helper that is only configured, in its worker's argument. No name holds it.
pub const QUESTION_MARK: char = '?';
/// The class of such a helper's expectations.
pub const QUESTION_CLASS: &str = "answers";

/// What a question to many looks like, and its answers: all there is to a helper that is only configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Where it may go, at least one.
    pub to: Vec<To>,
    /// What it must hold, all of it.
    pub holds: Vec<Holds>,
    /// The port that answers come from; `None` = any.
    pub answers_from: Option<u16>,
}

/// Where a question goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum To {
    /// This group or broadcast address.
    Addr(IpAddr),
    /// An IPv4 broadcast address. No mask is known, so any address that ends in 255 is one.
    Broadcast,
    /// A multicast group.
    Multicast,
}

/// Bytes that must stand at a place of a payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// Offset of the first.
    pub at: u16,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What the launcher has put around the process before `exec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launched {
    /// Landlock for the time between `exec` and `Ready`.
    pub landlock: Enforcement,
    /// What it has for itself.
    pub own: Namespaces,
    /// No memory can become executable that was writable (`PR_SET_MDWE`, Linux 6.3).
    pub write_xor_execute: bool,
}

/// What of the system a process can have for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Namespace {
    /// Interfaces, addresses, abstract sockets: an empty network.
    Network,
    /// System V and POSIX message queues, semaphores, shared memory.
    Ipc,
    /// The tree of mounts.
    Mounts,
    /// Host and domain name.
    Names,
}

impl Namespace {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Network, Self::Ipc, Self::Mounts, Self::Names];
}

impl std::fmt::Display for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Network => "network",
            Self::Ipc => "ipc",
            Self::Mounts => "mounts",
            Self::Names => "names",
        })
    }
}

/// A set of [`Namespace`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces(u8);

impl Namespaces {
    /// Adds one.
    pub fn insert(&mut self, namespace: Namespace) {
        self.0 |= 1 << namespace as u8;
    }

    /// Whether it is among them.
    pub fn contains(self, namespace: Namespace) -> bool {
        self.0 & 1 << namespace as u8 != 0
    }
}

impl std::fmt::Display for Namespaces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = Namespace::ALL.into_iter().filter(|one| self.contains(*one)).map(|one| one.to_string()).collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join(", "))
    }
}

/// What the worker has put around itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confined {
    /// Landlock while serving.
    pub landlock: Enforcement,
}

/// How much of what landlock could forbid is forbidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    /// Everything this version of landlock (`abi`) offers.
    Full {
        /// The kernel's landlock ABI.
        abi: u8,
    },
    /// Less than we ask for: an older ABI.
    Partial {
        /// The kernel's landlock ABI.
        abi: u8,
    },
    /// The kernel has no landlock, or it is off.
    None,
}

impl std::fmt::Display for Enforcement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full { abi } => write!(f, "enforced (abi {abi})"),
            Self::Partial { abi } => write!(f, "partly enforced (abi {abi})"),
            Self::None => f.write_str("not available"),
        }
    }
}

/// A connection the helper read about, in the announcing host's own words: addresses as they stand in the payload.
/// The supervisor translates them when the master is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Expect {
    /// Index into the manifest's classes.
    pub class: u8,
    /// IP protocol number of the expected connection.
    pub proto: u8,
    /// Who will connect.
    pub src: Source,
    /// From which port; `None` = any.
    pub sport: Option<u16>,
    /// To which address.
    pub dst: IpAddr,
    /// To which port.
    pub dport: u16,
    /// Stays until its timeout instead of being used up by the first connection.
    pub permanent: bool,
}

/// Who will connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// The other end of the master.
    Peer,
    /// Anybody; only in a class of scope `AnyToEnd`.
    Anyone,
}

/// Names a granted expectation to the worker that asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExpectId(pub u32);

/// The kernel expects the connection; `addr` and `port` are what the other end must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// To name it in `Withdraw`.
    pub id: ExpectId,
    /// Address as the other end of the master sees it.
    pub addr: IpAddr,
    /// Port as the other end sees it.
    pub port: u16,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),+ $(,)?) => {
        /// Why a request was refused. The packet passes; the refusal is counted and audited under this name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Rule { $($(#[$doc])* $variant),+ }

        impl Rule {
            /// Every rule, for documentation and metrics.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name in logs, status and metrics.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

rules! {
    /// The address is neither end of the master, and `loose` is off.
    ForeignAddress = "foreign-address",
    /// Not an address one host can connect to: unspecified, multicast, broadcast, loopback of another host, other family.
    BadAddress = "bad-address",
    /// Port 0, or below 1024 and not allowed by the operator.
    PrivilegedPort = "privileged-port",
    /// The class is not in the manifest, or does not allow such a source or such a life.
    BadClass = "bad-class",
    /// Another protocol than the class's.
    BadProtocol = "bad-protocol",
    /// The flow announces faster than it may.
    Rate = "rate",
    /// One packet announces more than it may.
    PerPacket = "per-packet",
    /// The master is not in the kernel's table: gone, or never let in.
    Unconfirmed = "unconfirmed",
    /// A connection's first packet announces a second connection: the kernel takes one beside a verdict.
    FirstPacket = "first-packet",
    /// Under NAT, no port was free to announce instead.
    NoPortFree = "no-port-free",
    /// Another expectation is for the same destination, which cannot be announced otherwise.
    Overlap = "overlap",
    /// The kernel's table of expectations is full.
    TableFull = "table-full",
    /// The kernel said no for another reason (logged with its error).
    Kernel = "kernel",
    /// An edit would change the length of a TCP segment that no NAT adjusts.
    LengthWithoutNat = "length-without-nat",
    /// An edit would make the packet larger than an IP packet can be.
    TooLarge = "too-large",
    /// `Resend` more often than TCP's patience allows.
    ResendLimit = "resend-limit",
    /// The class names a helper for its connections that this supervisor does not serve for their family and protocol.
    ForeignHelper = "foreign-helper",
    /// A packet announces a second connection that is to have a helper: the kernel takes one beside a verdict.
    SecondHelped = "second-helped",
}
