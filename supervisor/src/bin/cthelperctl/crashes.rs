//! `crashes`: what the audit log says of workers that ended, for people and for programs.

use std::io::Write;
use std::path::{Path, PathBuf};

use cthelper_supervisor::cli::ctl::crashes::{Listing, Options, What};
use cthelper_supervisor::stderr::tell;

use crate::control;
use crate::exit::{Exit, Failure};
use crate::text::printable;

mod export;
mod list;
mod log;
mod show;
#[cfg(test)]
mod tests;

use log::{Death, Log};

/// Where the packaged service writes its audit log.
const PACKAGED: &str = "/var/log/cthelperd/audit.jsonl";

/// Does what is wanted.
pub fn run(wanted: &Options, runtime_dir: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let log = Log::read(&place(wanted.audit_log.as_deref(), runtime_dir)?)?;
    if log.damaged > 0 {
        tell(format_args!("cthelperctl: {} lines of {} are no records and were left out", log.damaged, log.place()));
    }
    match &wanted.what {
        None => list::run(&log, &Listing::default(), wanted.json, out),
        Some(What::List(options)) => list::run(&log, options, wanted.json, out),
        Some(What::Show { id }) => show::run(find(&log, id)?, wanted.json, out),
        Some(What::Export { id, file }) => export::run(find(&log, id)?, file, wanted.json, out),
    }
}

/// The log named, the daemon's, or the packaged one.
fn place(named: Option<&Path>, runtime_dir: &Path) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    match control::evidence(runtime_dir) {
        Ok(evidence) => evidence.audit_log.ok_or_else(|| {
            let words =
                "the running cthelperd keeps no audit log: start it with --audit-log FILE, or name an older log with --audit-log";
            Failure::new(Exit::Unavailable, words)
        }),
        Err(_) if Path::new(PACKAGED).exists() => Ok(PACKAGED.into()),
        Err(failure) => {
            let words = format!("{}; and there is no {PACKAGED}: name the audit log with --audit-log", failure.words);
            Err(Failure::new(failure.exit, words))
        }
    }
}

/// The one death that is meant.
fn find<'a>(log: &'a Log, id: &str) -> Result<&'a Death, Failure> {
    let is_meant = |death: &&Death| death.crash.id.starts_with(id);
    let newest = || log.deaths.back().filter(|_| id == "last");
    let whole = log.deaths.iter().find(|death| death.crash.id == id);
    if let Some(death) = whole.or_else(newest) {
        return Ok(death);
    }
    let mut meant = log.deaths.iter().filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(death), None) => Ok(death),
        (Some(one), Some(other)) => {
            let words = format!("{id:?} may be {} or {}: give more of it", printable(&one.crash.id), printable(&other.crash.id));
            Err(Failure::new(Exit::Usage, words))
        }
        (None, _) => {
            let words = format!("no crash {id:?} in {}: `cthelperctl crashes list` names them", log.place());
            Err(Failure::new(Exit::NoInput, words))
        }
    }
}
