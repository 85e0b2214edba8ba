//! `cthelperctl expect`.

use clap::Subcommand;

/// What to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Show {
    /// Those there are, as `conntrack -L expect` prints them
    List,
    /// Those that come and go, as `conntrack -E expect` prints them, until interrupted
    Watch,
}
