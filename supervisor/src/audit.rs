//! The audit log: JSON lines, written by a thread of its own so that no lane waits for a disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use cthelper_proto::events::{Event, Record};

/// Records that may wait for the disk; more are dropped and counted. A flood of refusals is a flow's doing, not ours.
const BACKLOG: usize = 1024;

/// Where events go; cheap to clone, never blocks.
#[derive(Clone)]
pub struct Audit {
    records: SyncSender<Record>,
    dropped: Arc<AtomicU64>,
}

/// The writing thread; joined at the end so that nothing is lost on an orderly stop.
pub struct Writer {
    thread: JoinHandle<()>,
}

impl Audit {
    /// Appends to `path`, or keeps nothing when there is none.
    pub fn open(path: Option<&Path>) -> io::Result<(Self, Writer)> {
        let file = path.map(append).transpose()?;
        let (records, received) = sync_channel(BACKLOG);
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || write(&received, file))?;
        Ok((Self { records, dropped: Arc::default() }, Writer { thread }))
    }

    /// For somebody in this process to read, instead of a log.
    pub fn channel() -> (Self, Receiver<Record>) {
        let (records, received) = sync_channel(BACKLOG);
        (Self { records, dropped: Arc::default() }, received)
    }

    /// Records an event with the present time.
    pub fn write(&self, event: Event) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        if self.records.try_send(Record { time, event }).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Writer {
    /// Waits until everything is written; call it when every [`Audit`] is gone.
    pub fn finish(self) {
        let _ = self.thread.join();
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

fn write(records: &Receiver<Record>, mut file: Option<File>) {
    while let Ok(record) = records.recv() {
        let (Some(out), Ok(mut line)) = (&mut file, serde_json::to_string(&record)) else { continue };
        line.push('\n');
        if let Err(error) = out.write_all(line.as_bytes()) {
            tracing::error!(%error, "the audit log cannot be written");
        }
    }
}
