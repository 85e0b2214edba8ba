//! `cthelperctl`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub mod crashes;
pub mod doctor;
pub mod events;
pub mod expect;
pub mod flows;
pub mod helpers;
pub mod rules;
pub mod status;

/// The operator's tool.
#[derive(Debug, Parser)]
#[command(name = "cthelperctl", version, about = "Looks after cthelperd and the kernel's user-space conntrack helpers")]
pub struct Cli {
    /// Where cthelperd keeps its sockets
    #[arg(long, global = true, value_name = "DIR", default_value = "/run/cthelperd")]
    pub runtime_dir: PathBuf,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What `cthelperctl` does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// How the helpers are
    Status(status::Options),
    /// What each helper announces, where it is written down, and what it answers to attacks: the built-in ones, and those of the configuration
    Helpers(helpers::Options),
    /// Replace a helper's worker, and serve the helper again if it crashed too often
    Restart {
        /// The helper's name
        name: String,
    },
    /// Serve a helper again, with everything of it in the kernel as it should be, whatever another program has changed there
    Enable {
        /// The helper's name
        name: String,
    },
    /// Let packets pass without a helper
    Disable {
        /// The helper's name
        name: String,
    },
    /// Have the configuration read again; what needs a restart of the daemon is said
    Reload,
    /// How workers ended: list them, show one, take out the packet it died on
    Crashes(crashes::Options),
    /// Disable the helpers whose queue no daemon serves, so that connections pass without them: after a daemon was killed
    Disarm {
        /// Only those whose queue nobody holds for the next daemon: new connections break through them now
        #[arg(long)]
        unheld: bool,
    },
    /// What is missing, or is not in the kernel as it is served, and what to do; exit status 1 if anything fails
    Doctor(doctor::Options),
    /// Print rules that attach helpers to connections
    #[command(subcommand)]
    Rules(rules::Dialect),
    /// Show expected connections, or take them back
    #[command(subcommand)]
    Expect(expect::Expect),
    /// Print the events of an event queue until they end
    Events(events::Options),
    /// The connections that have a helper, and those that were announced in them
    Flows(flows::Options),
    /// The daemon's counters as OpenMetrics text; any user may ask
    Metrics,
    /// The helpers of a conntrackd.conf as a configuration of cthelperd; what will differ is said on stderr
    Import {
        /// The file of conntrackd
        file: PathBuf,
    },
    /// Print what a role may do, and why
    Policy {
        /// The role; all of them without it
        role: Option<String>,
        /// Only the filter that a worker puts on itself, as initialisers of `struct sock_filter` for this machine: for workers in C
        #[arg(long, requires = "role")]
        bpf: bool,
    },
    /// As the nfct of conntrack-tools: list, add, get, delete, flush, disable helper; list, add, get, delete, flush, default-set, default-get timeout
    #[command(disable_help_flag = true)]
    Nfct {
        /// As nfct takes them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
}
