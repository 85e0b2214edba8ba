//! The audit log: what an operator must be able to account for, as JSON lines in a file and as entries of the journal. A thread of its
//! own writes both, so that no lane waits for a disk.
//!
//! [`lines`] keeps lines whole on a disk that is full · [`log`] is the file and its rotation · [`journal`] speaks to journald ·
//! [`entry`] says what each event is there · [`fn@trouble`] counts what could not be kept.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use cthelper_proto::events::{Event, Record};

pub mod entry;
pub mod journal;
mod lines;
mod log;
mod trouble;

use journal::Journal;
use log::Log;
pub(crate) use trouble::Said;
use trouble::Trouble;

/// Records that may wait for the disk; more are dropped and counted. A flood of refusals is a flow's doing, not ours.
const BACKLOG: usize = 1024;

/// Where records are kept.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// JSON lines are appended to this file.
    pub log: Option<PathBuf>,
    /// Entries are sent to this socket; usually [`journal::SOCKET`].
    pub journal: Option<PathBuf>,
}

/// Where events go; cheap to clone, never blocks.
#[derive(Clone)]
pub struct Audit {
    work: SyncSender<Work>,
    trouble: Arc<Trouble>,
}

/// What the writing thread is given.
enum Work {
    Record(Record),
    Reopen,
}

/// The writing thread; joined at the end so that nothing is lost on an orderly stop.
pub struct Writer {
    thread: JoinHandle<()>,
}

/// Records for somebody in this process.
pub struct Records(Receiver<Work>);

impl Audit {
    /// Starts the writing thread. A place that cannot be written to is no reason not to serve: it is said once, and counted.
    ///
    /// # Errors
    /// No thread, or no socket of any kind.
    pub fn open(places: &Places) -> io::Result<(Self, Writer)> {
        let trouble = Arc::new(Trouble::default());
        let mut log = places.log.as_deref().map(|path| Log::open(path, trouble.clone()));
        let mut journal = places.journal.as_deref().map(|path| Journal::open(path, trouble.clone())).transpose()?;
        let (work, orders) = sync_channel(BACKLOG);
        let write = move || keep(&orders, log.as_mut(), journal.as_mut());
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(write)?;
        Ok((Self { work, trouble }, Writer { thread }))
    }

    /// For somebody in this process to read, instead of a log.
    pub fn channel() -> (Self, Records) {
        let (work, received) = sync_channel(BACKLOG);
        (Self { work, trouble: Arc::default() }, Records(received))
    }

    /// Records an event with the present time.
    pub fn write(&self, event: Event) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        if self.work.try_send(Work::Record(Record { time, event })).is_err() {
            self.trouble.lost();
        }
    }

    /// The file has been renamed: another of its name is begun. Whatever was recorded before goes into the old one.
    pub fn reopen(&self) {
        if self.work.try_send(Work::Reopen).is_err() {
            tracing::error!("the audit log is too far behind to be reopened; send SIGHUP again");
        }
    }

    /// What could not be kept, by name: `audit-lost` (the disk was too slow), `audit-unwritten` (it took nothing), `journal-lost`.
    pub fn trouble(&self) -> Vec<(&'static str, u64)> {
        self.trouble.counts()
    }
}

impl Records {
    /// What has been recorded since the last call, without waiting.
    pub fn try_iter(&self) -> impl Iterator<Item = Record> + '_ {
        self.0.try_iter().filter_map(|work| match work {
            Work::Record(record) => Some(record),
            Work::Reopen => None,
        })
    }
}

impl Writer {
    /// Waits until everything is written; call it when every [`Audit`] is gone.
    pub fn finish(self) {
        let _ = self.thread.join();
    }
}

/// The writing thread's life.
fn keep(orders: &Receiver<Work>, mut log: Option<&mut Log>, mut journal: Option<&mut Journal>) {
    while let Ok(work) = orders.recv() {
        match (work, &mut log) {
            (Work::Reopen, Some(log)) => log.reopen(),
            (Work::Reopen, None) => {}
            (Work::Record(record), log) => {
                let Ok(text) = serde_json::to_string(&record) else { continue };
                if let Some(log) = log {
                    log.append(&text, entry::is_evidence(&record.event));
                }
                if let Some(journal) = &mut journal {
                    journal.send(&record, &text);
                }
            }
        }
    }
}

/// The same place, whatever the working folder is when somebody asks for it.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("cthelperd-audit-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn events(path: &Path) -> Vec<String> {
        let name = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].as_str().unwrap().to_owned();
        std::fs::read_to_string(path).unwrap().lines().map(name).collect()
    }

    #[test]
    fn what_was_recorded_before_a_rotation_is_in_the_old_file() {
        let folder = scratch("rotate");
        let (path, old) = (folder.join("audit.jsonl"), folder.join("audit.jsonl.1"));
        let (audit, writer) = Audit::open(&Places { log: Some(path.clone()), journal: None }).unwrap();
        audit.write(Event::Started { version: "1".to_owned(), pid: 1 });
        std::fs::rename(&path, &old).unwrap();
        audit.write(Event::CircuitClosed { helper: "ftp".to_owned() });
        audit.reopen();
        audit.write(Event::Stopped);
        drop(audit);
        writer.finish();
        assert_eq!(
            (events(&old), events(&path)),
            (vec!["started".to_owned(), "circuit_closed".to_owned()], vec!["stopped".to_owned()])
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn places_that_take_nothing_stop_nobody_and_are_counted() {
        let folder = scratch("nowhere");
        let places = Places { log: Some("/dev/full".into()), journal: Some(folder.join("nobody")) };
        let (audit, writer) = Audit::open(&places).unwrap();
        let observer = audit.trouble.clone();
        for event in entry::tests::every_event() {
            audit.write(event);
        }
        drop(audit);
        writer.finish();
        let events = u64::try_from(entry::tests::every_event().len()).unwrap();
        assert_eq!(observer.counts(), [("audit-unwritten", events), ("journal-lost", events)]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_backlog_is_bounded_and_what_is_beyond_is_counted() {
        let (audit, records) = Audit::channel();
        (0..BACKLOG + 5).for_each(|_| audit.write(Event::Stopped));
        assert_eq!((records.try_iter().count(), audit.trouble()), (BACKLOG, vec![("audit-lost", 5)]));
    }
}
