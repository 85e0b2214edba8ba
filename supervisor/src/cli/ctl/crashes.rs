//! `cthelperctl crashes`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What is wanted of which log.
#[derive(Debug, Args)]
pub struct Options {
    /// The audit log; without it the one of the running daemon, or else /var/log/cthelperd/audit.jsonl
    #[arg(long, global = true, value_name = "FILE")]
    pub audit_log: Option<PathBuf>,
    /// Records as they are in the log, one JSON object per line
    #[arg(long, global = true)]
    pub json: bool,
    /// Without it: list
    #[command(subcommand)]
    pub what: Option<What>,
}

/// What to do with it.
#[derive(Debug, Subcommand)]
pub enum What {
    /// The newest ones in a table (the same as no word)
    List(Listing),
    /// Everything that is known of one, and how to repeat it
    Show {
        /// Its id, or as much of it as no other begins with; `last` = the newest
        id: String,
    },
    /// The packet a worker died on, as pcapng; with --json the record instead
    Export {
        /// Its id, or as much of it as no other begins with; `last` = the newest
        id: String,
        /// A file that does not exist yet; - = stdout
        file: PathBuf,
    },
}

/// Which ones to list.
#[derive(Debug, Args)]
pub struct Listing {
    /// Only this helper's
    #[arg(long, value_name = "NAME")]
    pub helper: Option<String>,
    /// So many of the newest
    #[arg(long, value_name = "COUNT", default_value_t = NEWEST)]
    pub newest: usize,
}

/// What fits on a screen, about.
const NEWEST: usize = 50;

impl Default for Listing {
    fn default() -> Self {
        Self { helper: None, newest: NEWEST }
    }
}
