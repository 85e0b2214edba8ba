//! `control.sock`: root's tool asks, the supervisor answers. One JSON object per line each way.
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::types::{Family, L4s};

/// What the operator wants.
#[expect(missing_docs, reason = "`helper` is a helper's name")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// How are the helpers?
    Status,
    /// Where is evidence kept?
    Evidence,
    /// Replace the helper's worker, and close its circuit if it is open.
    Restart { helper: String },
    /// Serve the helper again.
    Enable { helper: String },
    /// DISABLED in the kernel: packets pass without it.
    Disable { helper: String },
    /// Read the configuration again.
    Reload,
}

/// The answer.
#[expect(missing_docs, reason = "`reason` is for the operator's eyes")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Reply {
    /// To `Status`.
    Status(Status),
    /// To `Evidence`.
    Evidence(Evidence),
    /// Done.
    Done,
    /// To `Reload`: what is in force now, and what waits for the next start; a line each.
    Reloaded { applied: Vec<String>, waiting: Vec<String> },
    /// Not done, and why.
    Failed { reason: String },
}

/// Where the daemon keeps evidence; absolute paths in its own view of the file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The audit log, if it writes one.
    pub audit_log: Option<PathBuf>,
    /// The folder for packets that workers died on, if it keeps them.
    pub quarantine_dir: Option<PathBuf>,
}

/// `cthelperctl status --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// One per helper, by name.
    pub helpers: Vec<HelperStatus>,
    /// Who answers on `events.sock`.
    #[serde(default)]
    pub broker: BrokerStatus,
    /// The daemon's version.
    #[serde(default)]
    pub version: String,
}

/// The broker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerStatus {
    /// `serving` or `restarting`.
    pub state: BrokerState,
    /// Process; 0 while there is none.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// What landlock enforces.
    pub landlock: String,
    /// Brokers that ended and were replaced.
    pub restarts: u64,
    /// Clients that are connected.
    pub clients: u64,
    /// Those of them that get events.
    pub subscribers: u64,
    /// Events it has read of the kernel.
    pub events: u64,
    /// Records that subscribers lost because they were slow.
    pub lost: u64,
}

/// A broker's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BrokerState {
    /// It is verified and answers.
    Serving,
    /// The next one is on its way.
    #[default]
    Restarting,
}

/// One helper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HelperStatus {
    /// As registered in the kernel.
    pub name: String,
    /// Protocols of the control connection: `tcp`, `udp` or `tcp,udp`.
    pub l4: L4s,
    /// Families registered.
    pub families: Vec<Family>,
    /// Ports that rules attach it to, by configuration or manifest.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// Kernel queue.
    pub queue: u16,
    /// `serving`, `restarting`, `tripped` or `disabled`.
    pub state: LaneState,
    /// What happens to packets while no worker serves.
    pub on_down: String,
    /// What the kernel is to allow in each class of expectations; none from an older daemon.
    #[serde(default)]
    pub classes: Vec<ClassLimits>,
    /// Packets received from the kernel.
    pub packets: u64,
    /// Verdicts given.
    pub verdicts: u64,
    /// Expectations created.
    pub expectations: u64,
    /// Refusals by rule.
    pub refused: BTreeMap<String, u64>,
    /// Malformed payloads by field.
    pub malformed: BTreeMap<String, u64>,
    /// Malformed kernel messages, ENOBUFS and other trouble by name.
    pub trouble: BTreeMap<String, u64>,
    /// Workers replaced.
    pub restarts: u64,
    /// The processes.
    pub workers: Vec<WorkerStatus>,
    /// Connections that ended workers, and pass without the helper.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_alone: Vec<LeftAlone>,
}

/// A class of expectations, as the daemon has registered it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassLimits {
    /// Its name.
    pub name: String,
    /// Open expectations per connection.
    pub expect_max: u8,
    /// Life of an expectation.
    pub timeout_secs: u32,
}

/// A connection that is not helped because it ended workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftAlone {
    /// The kernel's id of it.
    pub id: u32,
    /// Seconds until it is helped again.
    pub for_secs: u64,
}

/// A lane's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LaneState {
    /// A verified worker gets packets.
    Serving,
    /// The next worker is on its way.
    Restarting,
    /// Too many crashes: DISABLED in the kernel until `restart`.
    Tripped,
    /// DISABLED in the kernel by the operator.
    Disabled,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Process.
    pub pid: u32,
    /// Its own user.
    pub uid: u32,
    /// The how-manieth of its lane, from 1.
    pub generation: u64,
    /// Waits to take over.
    pub spare: bool,
    /// What landlock enforces.
    pub landlock: String,
    /// Namespaces of its own: `network, ipc, mounts, names`, or `none`.
    pub namespaces: String,
    /// No memory can become executable that was writable.
    pub write_xor_execute: bool,
}
