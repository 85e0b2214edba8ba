//! `cthelperd`: the supervisor. Also its warden, the keeper of its queues and the launcher of its workers, see
//! `cthelper_supervisor::{warden, keeper}`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use cthelper_policy::config::{Config, ConfigError};
use cthelper_supervisor::boot::{self, Failure};
use cthelper_supervisor::keeper::run::run_if_keeper;
use cthelper_supervisor::replay;
use cthelper_supervisor::spawn::launcher;
use cthelper_supervisor::warden;

/// sysexits(3).
mod exit {
    pub(crate) const USAGE: u8 = 64;
    pub(crate) const DATA: u8 = 65;
    pub(crate) const NO_INPUT: u8 = 66;
    pub(crate) const UNAVAILABLE: u8 = 69;
    pub(crate) const OS: u8 = 71;
    pub(crate) const NO_PERMISSION: u8 = 77;
    pub(crate) const CONFIG: u8 = 78;
}

/// Connection tracking helpers in user space: without root, confined, restarted when they crash.
#[derive(Parser)]
#[command(version, about, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve helpers in the foreground until SIGTERM.
    Run(Run),
    /// Check a configuration and exit: 0, or 78 with the place and the reason.
    Check(Source),
    /// Run the same workers, confinement and policy on captures; needs neither root nor a kernel module.
    Replay(Replay),
}

#[derive(Args)]
struct Source {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    source: Source,
    /// Serve this helper (of the configuration, or with built-in defaults); may be repeated.
    #[arg(long = "helper", value_name = "NAME")]
    helpers: Vec<String>,
    /// Folder of control.sock.
    #[arg(long, value_name = "DIR", default_value = "/run/cthelperd")]
    runtime_dir: PathBuf,
    /// Append audit events to this file, one JSON object per line.
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
    /// Keep packets that workers died on in this folder.
    #[arg(long, value_name = "DIR")]
    quarantine_dir: Option<PathBuf>,
}

#[derive(Args)]
struct Replay {
    /// pcap or pcapng files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only this helper; may be repeated. Without it: ftp.
    #[arg(long = "helper", value_name = "NAME")]
    helpers: Vec<String>,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    if let Some(code) = launcher::run_if_launcher().or_else(warden::run::run_if_warden).or_else(run_if_keeper) {
        return code.into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { exit::USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    start_log();
    match cli.command {
        Command::Run(run) => serve(run),
        Command::Check(source) => check(&source),
        Command::Replay(replay) => play(replay),
    }
}

fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("CTHELPERD_LOG").unwrap_or_else(|_| "info".into());
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    log.with_target(false).compact().init();
}

fn fail(code: u8, reason: impl std::fmt::Display) -> ExitCode {
    eprintln!("cthelperd: {reason}");
    code.into()
}

/// The named file, else the standard one if it exists.
fn file(source: &Source) -> Option<&Path> {
    source.config.as_deref().or_else(|| Some(Path::new(Config::PATH)).filter(|path| path.exists()))
}

/// What the file says, or without one defaults for the helpers named.
fn configuration(source: &Source, helpers: &[String]) -> Result<Config, ConfigError> {
    let Some(path) = file(source) else { return Config::for_helpers(helpers) };
    let name = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|error| ConfigError { file: name.clone(), at: None, reason: error.to_string() })?;
    let mut config = Config::parse(&text, &name)?;
    if !helpers.is_empty() {
        let named = Config::for_helpers(helpers)?;
        let configured = std::mem::take(&mut config.helpers);
        config.helpers = named.helpers;
        for (name, helper) in configured {
            config.helpers.entry(name).and_modify(|default| *default = helper);
        }
    }
    Ok(config)
}

fn serve(run: Run) -> ExitCode {
    let config = match configuration(&run.source, &run.helpers) {
        Ok(config) => config,
        Err(error) => return fail(exit::CONFIG, error),
    };
    if config.helpers.is_empty() {
        return fail(exit::USAGE, format!("no helper named: give --helper ftp, or write {}", Config::PATH));
    }
    if !config.helpers.values().any(|helper| helper.enabled) {
        boot::stand_down(config.helpers.keys());
        let path = file(&run.source).unwrap_or(Path::new(Config::PATH));
        return fail(exit::CONFIG, format!("no helper is enabled in {}", path.display()));
    }
    let Run { runtime_dir, audit_log, quarantine_dir, .. } = run;
    match boot::run(&boot::Options { config, runtime_dir, audit_log, quarantine_dir }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure @ Failure::Permission(_)) if nix::unistd::geteuid().is_root() => fail(exit::NO_PERMISSION, failure),
        Err(failure @ Failure::Permission(_)) => fail(exit::NO_PERMISSION, format!("{failure}; run it as root")),
        Err(failure @ Failure::Unavailable(_)) => fail(exit::UNAVAILABLE, failure),
        Err(failure @ Failure::System(_)) => fail(exit::OS, failure),
    }
}

fn check(source: &Source) -> ExitCode {
    match configuration(source, &[]) {
        Ok(config) if config.helpers.is_empty() => {
            fail(exit::CONFIG, format!("{} does not exist; name a file with --config", Config::PATH))
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => fail(exit::CONFIG, error),
    }
}

fn play(options: Replay) -> ExitCode {
    let helpers = if options.helpers.is_empty() { vec!["ftp".to_owned()] } else { options.helpers };
    let mut out = std::io::stdout().lock();
    match replay::run(&options.files, &helpers, options.json, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(replay::Failure::Open(reason)) => fail(exit::NO_INPUT, reason),
        Err(replay::Failure::Data(reason)) => fail(exit::DATA, reason),
        Err(replay::Failure::Unavailable(reason)) => fail(exit::UNAVAILABLE, reason),
    }
}
