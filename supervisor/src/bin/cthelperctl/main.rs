//! The operator's tool. It holds no privilege of its own: the kernel and `control.sock` decide what its user may do.
//!
//! Called by the name `nfct` it answers as that program. Exit status: 0 done; 1 `doctor` found a failure or `nfct` failed;
//! 64 wrong arguments; 66 no such file or crash; 69 no daemon, no kernel support, or refused; 70 an answer that cannot be understood;
//! 73 a file cannot be written; 77 not permitted; 78 the daemon's configuration cannot be read.

#![warn(clippy::print_stderr, clippy::print_stdout, reason = "they panic when the reader is gone")]
#![allow(unreachable_pub, reason = "a program has no outside: here `pub` means its other modules")]

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cthelper_proto::ctl::Request;
use cthelper_proto::netlink::name;
use cthelper_supervisor::cli::complaint::{self, Outcome};
use cthelper_supervisor::cli::ctl::{Cli, Command};
use cthelper_supervisor::keeper::estate::dissolve;
use cthelper_supervisor::keeper::ledger::{self, Life};
use cthelper_supervisor::kernel::netfilter::socket::Nfnl;

use exit::{Exit, Failure};

mod broker;
mod configuration;
mod control;
mod crashes;
mod disarm;
mod doctor;
mod events;
mod exit;
mod expect;
mod flows;
mod helpers;
mod import;
mod nfct;
mod policy;
mod queues;
mod registry;
mod rules;
mod status;
mod text;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let program = words.first().map(PathBuf::from).unwrap_or_default();
    if program.file_name() == Some(OsStr::new("nfct")) {
        return as_nfct(&program.to_string_lossy(), words.get(1..).unwrap_or_default());
    }
    let cli: Cli = match complaint::read(words) {
        Outcome::Go(cli) => cli,
        Outcome::Told => return ExitCode::SUCCESS,
        Outcome::Wrong(why) => return Failure::new(Exit::Usage, why).report(),
    };
    match run(&cli) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

/// A word may be a name of any bytes.
fn as_nfct(program: &str, words: &[OsString]) -> ExitCode {
    let words: Vec<String> = words.iter().map(|word| name::typed(word.as_bytes()).into_owned()).collect();
    let mut io = nfct::Streams { out: &mut io::stdout(), err: &mut io::stderr() };
    ExitCode::from(nfct::run(program, &words, Nfnl::open, &mut io))
}

fn run(cli: &Cli) -> Result<ExitCode, Failure> {
    let runtime_dir: &Path = &cli.runtime_dir;
    let mut out = io::stdout().lock();
    match &cli.command {
        Command::Status(wanted) => {
            drop(out);
            status::run(wanted, runtime_dir)?;
        }
        Command::Helpers(wanted) => out.write_all(helpers::run(wanted)?.as_bytes())?,
        Command::Restart { name } => control::order(runtime_dir, &Request::Restart { helper: name.clone() })?,
        Command::Enable { name } => control::order(runtime_dir, &Request::Enable { helper: name.clone() })?,
        Command::Disable { name } => control::order(runtime_dir, &Request::Disable { helper: name.clone() })?,
        Command::Reload => out.write_all(control::reload(runtime_dir)?.as_bytes())?,
        Command::Disarm { unheld } => {
            let estate = if *unheld { Life::default() } else { ledger::estate() };
            disarm::run(Nfnl::open, queues::bound, &estate, &mut out)?;
            dissolve(&estate);
        }
        Command::Crashes(wanted) => crashes::run(wanted, runtime_dir, &mut out)?,
        Command::Doctor(wanted) => {
            let healthy = doctor::run(wanted, runtime_dir, &mut out)?;
            return Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Rules(dialect) => rules::run(dialect, runtime_dir, &mut out)?,
        Command::Events(wanted) => events::run(wanted, runtime_dir, &mut out)?,
        Command::Flows(wanted) => flows::run(*wanted, runtime_dir, &mut out)?,
        Command::Expect(wanted) => expect::run(wanted, &mut out)?,
        Command::Metrics => out.write_all(broker::metrics(runtime_dir)?.as_bytes())?,
        Command::Import { file } => import::run(file, &mut out, &mut io::stderr())?,
        Command::Policy { role, bpf } => out.write_all(policy::run(role.as_deref(), *bpf)?.as_bytes())?,
        Command::Nfct { words } => {
            drop(out);
            return Ok(as_nfct("cthelperctl nfct", words));
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_runtime_dir_may_stand_anywhere() {
        for line in ["cthelperctl --runtime-dir /x status --json", "cthelperctl status --runtime-dir /x"] {
            assert_eq!(Cli::try_parse_from(line.split(' ')).unwrap().runtime_dir, Path::new("/x"));
        }
    }

    #[test]
    fn nfct_takes_its_words_as_they_are() {
        let cli = Cli::try_parse_from(["cthelperctl", "nfct", "list", "helper", "--help"]).unwrap();
        let Command::Nfct { words } = cli.command else { panic!() };
        assert_eq!(words, ["list", "helper", "--help"]);
    }
}
