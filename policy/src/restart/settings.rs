//! What the operator may decide about the end of a worker: `[helper.NAME.restart]` with its defaults.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// Which ends of a worker are followed by another worker, in systemd's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// All.
    #[default]
    Always,
    /// All but an exit with code 0 that nobody asked for. Unlike systemd's, a SIGTERM from elsewhere is a failure: we did not send it.
    OnFailure,
    /// None: the first end opens the circuit.
    Never,
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::OnFailure => "on-failure",
            Self::Never => "never",
        })
    }
}

/// A number in thousandths: exact, comparable, and no calculation with it can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thousandths(pub u32);

/// How long to wait before a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Delay before the second restart of a series; the first has none.
    pub initial: Duration,
    /// Longest delay.
    pub max: Duration,
    /// What a delay is multiplied with for the next one, at least 1.
    pub factor: Thousandths,
    /// The share of a delay that chance may take off, at most 1, so that helpers which fell together do not rise together.
    pub jitter: Thousandths,
}

impl Default for Backoff {
    /// 100 ms doubling to 5 s, up to a tenth less.
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(5),
            factor: Thousandths(2000),
            jitter: Thousandths(100),
        }
    }
}

/// How many ends are borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Ends that are borne within `interval`; one more opens the circuit.
    pub burst: u16,
    /// The window in which ends are counted; a worker that lives through it starts a new series.
    pub interval: Duration,
}

impl Default for Limit {
    /// 10 ends in 60 s. A single poison flow ends two workers before it is left alone, so five such flows at the same time are borne;
    /// the delays of ten ends (21 s) fit into the window, so steady crashing does trip.
    fn default() -> Self {
        Self { burst: 10, interval: Duration::from_secs(60) }
    }
}

/// What becomes of the packet a worker was on when it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnCrash {
    /// It passes as it came.
    #[default]
    Pass,
    /// It is dropped; the sender may repeat it.
    Drop,
}

impl fmt::Display for OnCrash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
        })
    }
}

/// What becomes of packets while no worker serves and the circuit is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDown {
    /// They pass without the helper.
    Pass,
    /// They are dropped.
    Drop,
    /// They wait this long for the next worker, then pass without the helper.
    Hold(Duration),
}

impl OnDown {
    /// How long packets are held by default: longer than a worker takes to start, shorter than TCP's second repeat.
    pub const HOLD: Duration = Duration::from_millis(1500);

    /// How long packets wait for the next worker.
    pub fn hold(self) -> Duration {
        match self {
            Self::Hold(time) => time,
            Self::Pass | Self::Drop => Duration::ZERO,
        }
    }
}

impl Default for OnDown {
    fn default() -> Self {
        Self::Hold(Self::HOLD)
    }
}

impl fmt::Display for OnDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Hold(_) => "hold",
        })
    }
}

/// When a flow whose packets end workers is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlameLimit {
    /// Ends after which it is left alone.
    pub times: u8,
    /// How long after its last end it is left alone; then its count begins anew.
    pub penalty: Duration,
}

impl Default for BlameLimit {
    /// 2: the first may be chance, the second is its packets. 1 h: longer than most control connections live.
    fn default() -> Self {
        Self { times: 2, penalty: Duration::from_secs(3600) }
    }
}

/// What follows the end of one helper's worker, and when it is replaced without having failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Which ends are followed by another worker.
    pub when: When,
    /// How long to wait before a restart.
    pub backoff: Backoff,
    /// How many ends are borne.
    pub limit: Limit,
    /// What becomes of the packet in hand of a dead worker.
    pub on_crash_packet: OnCrash,
    /// What becomes of packets while there is no worker.
    pub on_down: OnDown,
    /// How long a worker may hold a packet before it is taken for hung.
    pub deadline: Duration,
    /// Workers kept confined and verified beside the serving one, 0 to 4.
    pub spares: u8,
    /// Packets after which a worker is replaced; `None` = never.
    pub max_packets: Option<u64>,
    /// Age at which a worker is replaced; `None` = never.
    pub max_age: Option<Duration>,
    /// When a flow is left alone.
    pub blame: BlameLimit,
    /// Pause after which an open circuit is tried with one worker; `None` = the operator closes it.
    pub probe: Option<Duration>,
}

impl Policy {
    /// Default of [`Self::deadline`]. 1 s: a worker answers in microseconds; TCP repeats the segment about now.
    pub const DEADLINE: Duration = Duration::from_secs(1);
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            when: When::default(),
            backoff: Backoff::default(),
            limit: Limit::default(),
            on_crash_packet: OnCrash::default(),
            on_down: OnDown::default(),
            deadline: Self::DEADLINE,
            spares: 1,
            max_packets: None,
            max_age: None,
            blame: BlameLimit::default(),
            probe: None,
        }
    }
}

/// Whether a worker that served so many packets and is so old is to be replaced, though nothing is wrong with it. Its end is then not an
/// end in the sense of [`super::Restart::after_exit`].
pub fn is_worn(policy: &Policy, packets: u64, age: Duration) -> bool {
    policy.max_packets.is_some_and(|max| packets >= max) || policy.max_age.is_some_and(|max| age >= max)
}
