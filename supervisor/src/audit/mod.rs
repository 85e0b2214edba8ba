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
