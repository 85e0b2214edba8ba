//! `cthelperctl rules`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Which program the rules are for.
#[derive(Clone, Debug, Subcommand)]
pub enum Dialect {
    /// A file for `nft -f`: the table `cthelperd`, replaced as a whole each time
    Nft(Nft),
    /// Commands of iptables and ip6tables, for a shell
    Iptables(Options),
    /// The rules that `nft --apply` keeps, for the daemon's units: loaded when it has started, unloaded when it is down for good
    #[command(subcommand)]
    Kept(Kept),
    /// Rules that choose connections for an event queue, by the mark or label that it follows
    Events(Events),
}

/// `rules nft`.
#[derive(Clone, Debug, Args)]
pub struct Nft {
    /// Which rules.
    #[command(flatten)]
    pub options: Options,
    /// Load the rules, and keep them for the daemon's next starts
    #[arg(long)]
    pub apply: bool,
    /// Remove the table, and keep it no longer
    #[arg(long, conflicts_with_all = ["apply", "helpers", "ports", "protocol", "family", "output", "config"])]
    pub remove: bool,
    /// Folder of what is kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/cthelperd")]
    pub state_dir: PathBuf,
}

/// What the unit does with what is kept.
#[derive(Clone, Debug, Subcommand)]
pub enum Kept {
    /// Load it; nothing if nothing is kept, or the table is there
    Load {
        /// Folder of what is kept
        #[arg(long, value_name = "DIR", default_value = "/var/lib/cthelperd")]
        state_dir: PathBuf,
    },
    /// Unload it, and keep it for the next start
    Unload,
}

/// Which queue, and for which program.
#[derive(Clone, Debug, Args)]
pub struct Events {
    /// Number of the event queue
    pub queue: u16,
    /// Commands of iptables and ip6tables instead of a file for `nft -f`
    #[arg(long)]
    pub iptables: bool,
    /// Configuration that has the queue (/etc/cthelperd/cthelperd.toml without it)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What the rules shall do.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Helper to attach; may be repeated (without it: those the daemon serves, or else those of the configuration, or else ftp)
    #[arg(long = "helper", value_name = "NAME")]
    pub helpers: Vec<String>,
    /// Ports of the control connection, instead of those of the configuration or the protocol's own; for one helper
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub ports: Vec<u16>,
    /// Protocol of the control connection, for a helper this program does not know
    #[arg(long)]
    pub protocol: Option<Protocol>,
    /// Only this family; both without it
    #[arg(long)]
    pub family: Option<Layer3>,
    /// Also for connections this machine opens itself
    #[arg(long)]
    pub output: bool,
    /// Configuration whose `ports` are meant (/etc/cthelperd/cthelperd.toml if it exists, without it)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `--protocol`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// `--family`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Layer3 {
    /// IPv4
    Inet,
    /// IPv6
    Inet6,
}
