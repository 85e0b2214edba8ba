//! `cthelperctl status`.

use clap::Args;

/// How to show it.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// Again every so many seconds (2 without a number), until interrupted; without a daemon, only a table on a terminal goes on
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub watch: Option<u64>,
}
