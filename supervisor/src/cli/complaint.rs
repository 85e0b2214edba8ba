//! A wrong command line, in one line: what was wrong, and what may have been meant.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Command, Error, Parser};

/// What became of a command line.
#[derive(Debug)]
pub enum Outcome<T> {
    /// It is understood.
    Go(T),
    /// It asked for help or version, which has been printed.
    Told,
    /// It is wrong; why, in one line.
    Wrong(String),
}

/// Reads a command line by the definition of `T`.
pub fn read<T: Parser>(words: impl IntoIterator<Item = OsString>) -> Outcome<T> {
    match strict(T::command()).try_get_matches_from(words).and_then(|matches| T::from_arg_matches(&matches)) {
        Ok(cli) => Outcome::Go(cli),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            let _ = error.print();
            Outcome::Told
        }
        Err(error) => Outcome::Wrong(one_line(&error)),
    }
}

/// Without the help screen that clap shows where a word is missing: the line that names the words is enough, and fits a log.
fn strict(command: Command) -> Command {
    command.arg_required_else_help(false).mut_subcommands(strict)
}

/// clap's complaint without its usage screen.
fn one_line(error: &Error) -> String {
    let complaint = error.to_string();
    let screen = |line: &&str| line.starts_with("Usage:") || line.starts_with("For more information");
    let lines = complaint.lines().map(str::trim).take_while(|line| !screen(line));
    let said: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    said.join("; ").trim_start_matches("error: ").replace(":; ", ": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{ctl, daemon};

    fn complaint<T: Parser + std::fmt::Debug>(line: &str) -> String {
        match read::<T>(line.split(' ').map(OsString::from)) {
            Outcome::Wrong(line) => line,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_wrong_argument_is_one_line_with_what_may_be_meant() {
        for (line, words) in [
            ("cthelperctl stats", &["'stats'", "'status'"][..]),
            ("cthelperctl rules nft --family inet5", &["inet5", "inet6"]),
            ("cthelperctl restart", &["the following required arguments were not provided: <NAME>"]),
            ("cthelperctl rules nft --ports 0", &["'0'"]),
            ("cthelperctl expect", &["'cthelperctl expect' requires a subcommand", "list, watch, delete, flush"]),
            ("cthelperctl", &["requires a subcommand", "status", "doctor"]),
        ] {
            let said = complaint::<ctl::Cli>(line);
            assert!(words.iter().all(|word| said.contains(word)) && !said.contains('\n'), "{line}: {said}");
        }
        for (line, words) in [("cthelperd ran", &["'ran'", "'run'"][..]), ("cthelperd", &["requires a subcommand", "run"])] {
            let said = complaint::<daemon::Cli>(line);
            assert!(words.iter().all(|word| said.contains(word)) && !said.contains('\n'), "{line}: {said}");
        }
    }
}
