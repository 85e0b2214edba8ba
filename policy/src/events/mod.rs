//! Which events a subscriber of a queue gets: the language of `[events.queue.N] filter = "…"`, and its evaluation.

pub mod filter;
pub mod socket_filter;

pub use filter::{Filter, FilterError};

use cthelper_proto::netlink::entry::Labels;

/// What is known of a connection beside the event at hand: the kernel tells helper and labels in some events only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known<'a> {
    /// Its helper.
    pub helper: Option<&'a str>,
    /// Its labels.
    pub labels: Option<Labels>,
}

/// What somebody has to remember of connections, so that every event can be judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The helper: no DESTROY tells it.
    pub helper: bool,
    /// The labels: told when they change.
    pub labels: bool,
}

impl Needs {
    /// What either needs.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { helper: self.helper || other.helper, labels: self.labels || other.labels }
    }
}
