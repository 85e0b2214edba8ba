//! `cthelperd`: the supervisor. Also its warden, the keeper of its queues and the launcher of its workers, see
//! `cthelper_supervisor::{warden, keeper}`.

#![warn(clippy::print_stderr, clippy::print_stdout, reason = "they panic when the reader is gone")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cthelper_policy::config::Config;
use cthelper_supervisor::audit::Places;
use cthelper_supervisor::boot::{self, Failure};
use cthelper_supervisor::broker::run::run_if_broker;
use cthelper_supervisor::broker::setting::Names;
use cthelper_supervisor::cli::complaint::{self, Outcome};
use cthelper_supervisor::cli::daemon::{Cli, Command, Replay, Run};
use cthelper_supervisor::configuration::Source;
use cthelper_supervisor::keeper::run::run_if_keeper;
use cthelper_supervisor::replay;
use cthelper_supervisor::spawn::launcher;
use cthelper_supervisor::stderr::{start_log, tell};
use cthelper_supervisor::warden;
use sd_notify::NotifyState;

/// sysexits(3).
mod exit {
    pub(crate) const USAGE: u8 = 64;
    pub(crate) const DATA: u8 = 65;
    pub(crate) const NO_INPUT: u8 = 66;
    pub(crate) const UNAVAILABLE: u8 = 69;
    pub(crate) const SOFTWARE: u8 = 70;
    pub(crate) const OS: u8 = 71;
    /// `EX_OSFILE`: here a module of the kernel.
    pub(crate) const KERNEL: u8 = 72;
    pub(crate) const NO_PERMISSION: u8 = 77;
    pub(crate) const CONFIG: u8 = 78;
}

fn main() -> ExitCode {
    if let Some(code) =
        launcher::run_if_launcher().or_else(warden::run::run_if_warden).or_else(run_if_keeper).or_else(run_if_broker)
    {
        return code.into();
    }
    let cli: Cli = match complaint::read(std::env::args_os()) {
        Outcome::Go(cli) => cli,
        Outcome::Told => return ExitCode::SUCCESS,
        Outcome::Wrong(why) => return fail(exit::USAGE, why),
    };
    start_log();
    match cli.command {
        Command::Run(run) => serve(run),
        Command::Check(file) => check(file.config),
        Command::Replay(replay) => play(replay),
    }
}

fn fail(code: u8, reason: impl std::fmt::Display) -> ExitCode {
    tell(format_args!("cthelperd: {reason}"));
    code.into()
}

/// As [`fail`]; the service manager shows it in the unit's status, too.
fn give_up(code: u8, reason: impl std::fmt::Display) -> ExitCode {
    let _ = sd_notify::notify(&[NotifyState::Status(&reason.to_string().replace('\n', " "))]);
    fail(code, reason)
}

/// The service manager shows the last text for as long as nothing is started again: "draining" would be a lie.
fn leave() -> ExitCode {
    let _ = sd_notify::notify(&[NotifyState::Status("")]);
    ExitCode::SUCCESS
}

fn serve(run: Run) -> ExitCode {
    let source = Source { file: run.config.config, helpers: run.helpers };
    let config = match source.read() {
        Ok(config) => config,
        Err(error) => return give_up(exit::CONFIG, error),
    };
    if config.helpers.is_empty() {
        return give_up(exit::USAGE, format!("no helper named: give --helper ftp, or write {}", Config::PATH));
    }
    if !config.helpers.values().any(|helper| helper.enabled) {
        boot::stand_down(config.helpers.keys());
        let path = source.path().unwrap_or(Path::new(Config::PATH));
        return give_up(exit::CONFIG, format!("no helper is enabled in {}", path.display()));
    }
    let Run { runtime_dir, audit_log, journal, quarantine_dir, .. } = run;
    let audit = Places { log: audit_log, journal: Some(journal).filter(|socket| socket != Path::new("none")) };
    match boot::run(&boot::Options { config, source, runtime_dir, audit, quarantine_dir }) {
        Ok(()) => leave(),
        Err(failure @ Failure::Permission(_)) if nix::unistd::geteuid().is_root() => give_up(exit::NO_PERMISSION, failure),
        Err(failure @ Failure::Permission(_)) => give_up(exit::NO_PERMISSION, format!("{failure}; run it as root")),
        Err(failure @ Failure::Kernel(_)) => give_up(exit::KERNEL, failure),
        Err(failure @ Failure::Unavailable(_)) => give_up(exit::UNAVAILABLE, failure),
        Err(failure @ Failure::System(_)) => give_up(exit::OS, failure),
    }
}

fn check(file: Option<PathBuf>) -> ExitCode {
    match (Source { file, helpers: Vec::new() }).read() {
        Ok(config) if config.helpers.is_empty() => {
            fail(exit::CONFIG, format!("{} does not exist; name a file with --config", Config::PATH))
        }
        Ok(config) => {
            // No mistake of the file's: it may be for another machine.
            for unknown in Names::look_up(config.queues.values()).1 {
                tell(format_args!("cthelperd: warning: {unknown} on this machine"));
            }
            ExitCode::SUCCESS
        }
        Err(error) => fail(exit::CONFIG, error),
    }
}

fn play(Replay { files, helpers, config, json }: Replay) -> ExitCode {
    let config = match config.map(|file| Source { file: Some(file), helpers: Vec::new() }.read()).transpose() {
        Ok(config) => config.unwrap_or_default(),
        Err(error) => return fail(exit::CONFIG, error),
    };
    let mut out = std::io::stdout().lock();
    match replay::run(&replay::Options { files, helpers, config, json }, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(replay::Failure::Open(reason)) => fail(exit::NO_INPUT, reason),
        Err(replay::Failure::Data(reason)) => fail(exit::DATA, reason),
        Err(replay::Failure::Crashed(reason)) => fail(exit::SOFTWARE, reason),
        Err(replay::Failure::Unavailable(reason)) => fail(exit::UNAVAILABLE, reason),
    }
}
