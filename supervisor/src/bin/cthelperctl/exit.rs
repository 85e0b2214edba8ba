//! How a command ends: sysexits.h numbers, and one line of words on stderr.

use std::fmt;
use std::process::ExitCode;

use crate::text::printable;
use cthelper_supervisor::stderr::tell;

/// Exit statuses of this tool beside 0 (done) and 1 (`doctor` found a failure, `nfct` failed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// `EX_USAGE`: the command line is wrong.
    Usage = 64,
    /// `EX_NOINPUT`: what was asked for is not there.
    NoInput = 66,
    /// `EX_UNAVAILABLE`: no daemon, no kernel support, or the daemon said no.
    Unavailable = 69,
    /// `EX_SOFTWARE`: an answer that cannot be understood.
    Software = 70,
    /// `EX_CANTCREAT`: a file cannot be written.
    CantCreate = 73,
    /// `EX_NOPERM`: needs more privilege.
    Permission = 77,
    /// `EX_CONFIG`: the daemon's configuration cannot be read.
    Config = 78,
}

/// A command that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Status of the process.
    pub exit: Exit,
    /// What went wrong and what to do, one line; empty when there is nobody left to tell.
    pub words: String,
}

impl Failure {
    /// A failure with these words.
    pub fn new(exit: Exit, words: impl Into<String>) -> Self {
        Self { exit, words: words.into() }
    }

    /// Says it on stderr.
    pub fn report(&self) -> ExitCode {
        if !self.words.is_empty() {
            tell(format_args!("cthelperctl: {self}"));
        }
        ExitCode::from(self.exit as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.words))
    }
}

impl From<std::io::Error> for Failure {
    /// Only writing to stdout comes here. A reader that has seen enough (`| head`) is no news.
    fn from(error: std::io::Error) -> Self {
        let words = match error.kind() {
            std::io::ErrorKind::BrokenPipe => String::new(),
            _ => format!("cannot write the output: {error}"),
        };
        Self::new(Exit::Unavailable, words)
    }
}
