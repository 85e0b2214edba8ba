//! `flows`.

use clap::Args;

/// How to show them.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Options {
    /// One JSON object a line instead of a table
    #[arg(long, conflicts_with = "tree")]
    pub json: bool,
    /// Each announced connection below the one that announced it
    #[arg(long)]
    pub tree: bool,
    /// Again every two seconds, until interrupted
    #[arg(long)]
    pub watch: bool,
}
