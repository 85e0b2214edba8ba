//! `cthelperd`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::audit::journal;

/// Connection tracking helpers in user space: without root, confined, restarted when they crash.
#[derive(Debug, Parser)]
#[command(name = "cthelperd", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `cthelperd` does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve helpers in the foreground until SIGTERM.
    Run(Run),
    /// Check a configuration and exit: 0, or 78 with the place and the reason.
    Check(ConfigFile),
    /// Run the same workers, confinement and policy on captures; needs neither root nor a kernel module. Exit status 70: a worker ended.
    Replay(Replay),
}

/// `check`, and part of `run`.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// Its configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Serve this helper (of the configuration, or with built-in defaults); may be repeated.
    #[arg(long = "helper", value_name = "NAME")]
    pub helpers: Vec<String>,
    /// Folder of control.sock.
    #[arg(long, value_name = "DIR", default_value = "/run/cthelperd")]
    pub runtime_dir: PathBuf,
    /// Append audit events to this file, one JSON object per line.
    #[arg(long, value_name = "FILE")]
    pub audit_log: Option<PathBuf>,
    /// Send audit events to the journal at this socket, too; `none` = do not.
    #[arg(long, value_name = "SOCKET", default_value = journal::SOCKET)]
    pub journal: PathBuf,
    /// Keep packets that workers died on in this folder.
    #[arg(long, value_name = "DIR")]
    pub quarantine_dir: Option<PathBuf>,
}

/// `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// pcap or pcapng files.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Only this helper; may be repeated. Without it: the one that a packet of the quarantine names, else those of the configuration, else ftp.
    #[arg(long = "helper", value_name = "NAME")]
    pub helpers: Vec<String>,
    /// Configuration file: settings and workers of helpers that are not shipped. None is read unless it is named.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One JSON object per line.
    #[arg(long)]
    pub json: bool,
}
