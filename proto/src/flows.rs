//! What the broker tells of one connection that has a helper, or that was announced in one: a line of `cthelperctl flows --json`.

use serde::{Deserialize, Serialize};

use crate::events::Master;
use crate::types::Family;

/// One connection. Counts begin when the daemon, or the broker, hears of it.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, as the kernel has them")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// Its helper; absent of one that was announced and has none itself.
    pub helper: Option<String>,
    /// The kernel's id.
    pub id: Option<u32>,
    /// IPv4 or IPv6.
    pub family: Family,
    /// Number of its protocol: 6 TCP, 17 UDP.
    pub proto: u8,
    /// Where it stands, in the kernel's words; absent for protocols without states.
    pub state: Option<String>,
    /// Milliseconds since it was first heard of.
    pub age_ms: u64,
    /// That was its birth: `age_ms` is its age. Otherwise it is older.
    pub since_birth: bool,
    /// As the originator sees it.
    pub orig: Master,
    /// As the replier sees it.
    pub reply: Option<Master>,
    /// The source is translated.
    pub snat: bool,
    /// The destination is translated.
    pub dnat: bool,
    /// Traffic went both ways for long enough that it is not evicted early.
    pub assured: bool,
    /// Conntrack zone.
    pub zone: u16,
    /// Connections announced in it.
    pub announcements: u64,
    /// Of these, those that the kernel was made to expect.
    pub granted: u64,
    /// And those that policy or the kernel refused.
    pub refused: u64,
    /// Connections that came as expected.
    pub used: u64,
    /// Connections that are expected now.
    pub expecting: u32,
    /// The connection that announced it, as its originator sees it.
    pub master: Option<Master>,
}
