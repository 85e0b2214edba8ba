//! `cthelperctl events`.

use clap::{Args, ValueEnum};

/// Which events, and how they shall look.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Number of the event queue
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub queue: u16,
    /// How events look, if not as the queue's configuration says
    #[arg(long)]
    pub format: Option<Format>,
    /// Count the events instead of printing them; the result is printed at the end (Ctrl-C, SIGTERM)
    #[arg(long, conflicts_with_all = ["format", "timestamp"])]
    pub count: bool,
    /// With the time of each event; of format text
    #[arg(long)]
    pub timestamp: bool,
    /// First everything that is there, and again after events were lost in the kernel
    #[arg(long)]
    pub resync: bool,
}

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines of conntrack -E
    Text,
    /// A JSON object a line
    Json,
    /// The kernel's netlink messages
    Raw,
}
