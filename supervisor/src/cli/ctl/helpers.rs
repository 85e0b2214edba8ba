//! `cthelperctl helpers`.

use std::path::PathBuf;

use clap::Args;

/// Which configuration is meant, and in what form the answer.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// A JSON array instead of a table
    #[arg(long)]
    pub json: bool,
    /// Configuration whose helpers are meant, too (/etc/cthelperd/cthelperd.toml if it exists, without it)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}
