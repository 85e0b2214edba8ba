//! Audit events and the lines of `replay --json`: one JSON object per line, each with an `event` field.
//! The schema is packaging/audit.schema.json.
use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Seconds since 1970, with microseconds.
    pub time: f64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened; `event` names the variant in `snake_case`.
#[expect(missing_docs, reason = "the field names are the words of the log; packaging/audit.schema.json explains each")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The supervisor serves.
    Started { version: String, pid: u32 },
    /// The supervisor has drained and ends.
    Stopped,
    /// The queue of an earlier life, which was killed, is served again; `waiting` packets were in it.
    Adopted { helper: String, queue: u16, waiting: u64 },
    /// A worker is verified and gets packets.
    WorkerStarted { helper: String, pid: u32, uid: u32, generation: u64, landlock: String, seccomp_filters: u32 },
    /// A worker ended by a signal, a panic or a wrong exit.
    WorkerCrashed(Box<Crash>),
    /// A worker kept a packet past its deadline and was killed.
    WorkerHung(Box<Crash>),
    /// A worker broke the protocol and was killed.
    WorkerOutOfTurn {
        said: String,
        #[serde(flatten)]
        crash: Box<Crash>,
    },
    /// The operator wanted another worker.
    WorkerReplaced { helper: String, pid: u32, generation: u64 },
    /// A worker that had served long enough was relieved by another.
    WorkerRetired { helper: String, pid: u32, generation: u64, packets: u64 },
    /// A worker is not confined as it must be, and gets no packet.
    WorkerRefused { helper: String, pid: u32, reason: String },
    /// Policy or kernel refused an expectation or an edit; the packet passed.
    ExpectationRefused { helper: String, rule: String, master: Master, dst: Option<IpAddr>, dport: Option<u16> },
    /// A flow ended so many workers that it is left alone: it passes without the helper from now on.
    FlowQuarantined { helper: String, master: Master },
    /// The broker, who answers on `events.sock`, ended or could not be started; helpers are served as before.
    BrokerEnded { pid: u32, cause: String, decision: String },
    /// The helper is DISABLED in the kernel: packets pass without it.
    CircuitOpened { helper: String, reason: String },
    /// The helper is enabled again.
    CircuitClosed { helper: String },
}

/// Evidence of a worker's death. Every text that a worker or a stranger can influence is escaped and bounded before it gets here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crash {
    /// Names this death; unique, and safe as a file name: helper, milliseconds since 1970 in hexadecimal, generation.
    pub id: String,
    /// Which helper.
    pub helper: String,
    /// Which worker.
    pub pid: u32,
    /// The how-manieth worker of this lane it was, from 1.
    pub generation: u64,
    /// Seconds it served.
    pub uptime: f64,
    /// Verdicts it gave.
    pub packets: u64,
    /// In words: `signal SIGSEGV`, `exit 101`, `was silent past its deadline`.
    pub cause: String,
    /// What the kernel said of its end.
    pub exit: Exit,
    /// What the kernel said of the fault, if it was one.
    pub fault: Option<Fault>,
    /// A panic, by the worker's own word: its last line on stderr.
    pub panic: Option<Panic>,
    /// Its last words on stderr, at most 4 KiB of them: printable ASCII and line feeds, other bytes as `\xNN`.
    pub log: String,
    /// The packet it was working on, if it held one.
    pub in_hand: Option<InHand>,
    /// Tickets it held, the one in hand included.
    pub in_flight: usize,
    /// What landlock enforced on it.
    pub landlock: String,
    /// What the restart policy decided, in words.
    pub decision: String,
    /// When the next worker starts, in milliseconds; none if nobody starts one by himself.
    pub next_delay_ms: Option<u64>,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By a signal.
    Signal {
        /// `SIGSEGV`, or `SIG34` for one without a name.
        name: String,
        /// Its number on this machine.
        number: i32,
    },
    /// It was not reaped in time.
    Unknown,
}

/// What the kernel tells of a fault (`siginfo_t`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Why the signal was sent, by signal: sigaction(2).
    pub si_code: i32,
    /// In words: what kind of address or call it was, or who sent the signal. Not which address: `siginfo_t` keeps it in a union.
    pub class: String,
    /// Of SIGSYS: the call that was not allowed.
    pub syscall: Option<Syscall>,
}

/// A system call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syscall {
    /// Its number on this machine.
    pub nr: i64,
    /// Its name; `unknown` if we have none.
    pub name: String,
    /// Its arguments as the registers held them.
    pub args: [u64; 6],
}

/// A panic as the worker told it: never trusted, only shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panic {
    /// What it said.
    pub message: String,
    /// `FILE:LINE`, if it said so.
    pub location: Option<String>,
}

/// The packet a worker was working on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InHand {
    /// Its connection.
    #[serde(flatten)]
    pub flow: Master,
    /// Who sent it: `orig` or `reply`.
    pub direction: String,
    /// Bytes from its IP header on.
    pub length: usize,
    /// `sha256:` and the hexadecimal digest of these bytes.
    pub hash: String,
    /// Where it is kept, if it could be.
    pub file: Option<String>,
}

/// A master connection, as its originator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Master {
    /// Originator.
    pub src: IpAddr,
    /// Its port.
    pub sport: u16,
    /// Replier.
    pub dst: IpAddr,
    /// Its port.
    pub dport: u16,
}

impl From<&crate::types::Tuple> for Master {
    fn from(tuple: &crate::types::Tuple) -> Self {
        Self { src: tuple.src, sport: tuple.sport, dst: tuple.dst, dport: tuple.dport }
    }
}

/// The death a packet from the quarantine is evidence of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeats {
    /// Its id.
    pub crash: String,
    /// How that worker ended, in words.
    pub cause: String,
    /// Whether it ended in the same way now.
    pub same: bool,
}

/// One line of `replay --json`.
#[expect(missing_docs, reason = "the field names are the contract; those that need a word have one")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Replay {
    /// An expectation that would have been created.
    Expectation {
        helper: String,
        proto: u8,
        src: IpAddr,
        /// 0 = any.
        sport: u16,
        dst: IpAddr,
        dport: u16,
        master: Master,
        /// Index of the class, as conntrack prints it.
        class: u8,
        permanent: bool,
        /// Number of the packet in its file, from 1.
        packet: u64,
    },
    /// One that policy refused.
    Refused { helper: String, rule: String, master: Master, packet: u64 },
    /// A worker ended.
    Crash {
        helper: String,
        cause: String,
        exit: Exit,
        fault: Option<Fault>,
        panic: Option<Panic>,
        /// The death that this one repeats, if the packet is from the quarantine.
        repeats: Option<Repeats>,
        packet: u64,
    },
    /// The worker lives: the packet from the quarantine did not end it this time.
    Survived { helper: String, repeats: Repeats, packet: u64 },
    /// A fragment, which this tool does not put together.
    Fragment { packet: u64 },
    /// The last line.
    Summary {
        packets: u64,
        flows: u64,
        helped: u64,
        expectations: u64,
        refused: u64,
        malformed: u64,
        /// Of those, the helped connections' payloads by field.
        fields: BTreeMap<String, u64>,
        fragments: u64,
        skipped: u64,
        crashes: u64,
    },
}
