//! Reads deaths from an audit log and the one before it. The files are root's, but what workers said is in them: it is escaped again
//! wherever it is shown.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use cthelper_proto::events::{Crash, Event, Record};

use crate::exit::{Exit, Failure};

/// Deaths kept in memory; older ones are in the file all the same.
const DEATHS: usize = 10_000;
/// Longest line that is read, bytes; ours have a tenth of that.
const LINE: u64 = 256 * 1024;

/// What a log says.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    /// Oldest first.
    pub deaths: VecDeque<Death>,
    /// Lines that are no records.
    pub damaged: u64,
}

/// A worker's end.
#[derive(Debug)]
pub struct Death {
    /// Seconds since 1970.
    pub time: f64,
    /// `crashed`, `hung`, `out of turn`.
    pub kind: &'static str,
    /// The evidence.
    pub crash: Crash,
    /// The record as it is in the log, without its end.
    pub line: String,
}

impl Log {
    /// Reads the log, after the one that was rotated last if that is beside it (`.1`, not compressed).
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let mut log = Self { path: path.to_owned(), deaths: VecDeque::new(), damaged: 0 };
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        let mut rotated = path.as_os_str().to_owned();
        rotated.push(".1");
        if let Ok(file) = File::open(&rotated) {
            log.take(file).map_err(|error| unreadable(Path::new(&rotated), &error))?;
        }
        log.take(file).map_err(|error| unreadable(path, &error))?;
        Ok(log)
    }

    /// For words: where it was read from.
    pub fn place(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    fn take(&mut self, file: File) -> io::Result<()> {
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            line.clear();
            if (&mut reader).take(LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            match std::str::from_utf8(&line).ok().map(str::trim_ascii) {
                Some("") => {}
                Some(line) => self.record(line),
                None => self.damaged += 1,
            }
        }
    }

    fn record(&mut self, line: &str) {
        // What a newer version records is no damage.
        let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else {
            self.damaged += 1;
            return;
        };
        let event = value.get("event").and_then(|event| event.as_str()).unwrap_or_default();
        if !["worker_crashed", "worker_hung", "worker_out_of_turn"].contains(&event) {
            return;
        }
        let Ok(Record { time, event }) = serde_json::from_value(value) else {
            self.damaged += 1;
            return;
        };
        let (kind, crash) = match event {
            Event::WorkerCrashed(crash) => ("crashed", crash),
            Event::WorkerHung(crash) => ("hung", crash),
            Event::WorkerOutOfTurn { crash, .. } => ("out of turn", crash),
            _ => return,
        };
        if self.deaths.len() >= DEATHS {
            self.deaths.pop_front();
        }
        self.deaths.push_back(Death { time, kind, crash: *crash, line: line.to_owned() });
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::new(Exit::Permission, format!("not allowed to read {path}: try sudo")),
        io::ErrorKind::NotFound => {
            Failure::new(Exit::NoInput, format!("{path} does not exist: name the audit log with --audit-log"))
        }
        _ => Failure::new(Exit::NoInput, format!("cannot read {path}: {error}")),
    }
}
