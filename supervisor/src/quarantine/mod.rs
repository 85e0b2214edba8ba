//! Packets that were in a worker's hands when it ended: each a small pcapng that Wireshark opens and `cthelperd replay` replays.
//!
//! A thread of its own writes them, so that no lane waits for a disk; [`folder`] keeps them few and small.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use crate::audit::{Said, absolute};
use crate::evidence::exhibit::Exhibit;
use crate::evidence::pcapng;

mod folder;

use folder::Folder;

/// Packets that may wait for the disk: as many as lanes crash in a burst, and 4 MiB at most.
const BACKLOG: usize = 64;

/// A folder for such packets, or none; cheap to clone, never blocks.
#[derive(Clone, Default)]
pub struct Quarantine {
    keeper: Option<Arc<Keeper>>,
}

/// The writing thread, and the way to it.
struct Keeper {
    folder: PathBuf,
    work: Option<SyncSender<Work>>,
    thread: Option<JoinHandle<()>>,
    lost: Arc<AtomicU64>,
}

/// A file to be written.
struct Work {
    name: String,
    bytes: Vec<u8>,
}

impl Quarantine {
    /// Keeps packets in `folder`, which should exist; without one, keeps none. What an earlier life has left there counts.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { keeper: folder.and_then(|folder| Keeper::start(&absolute(&folder))).map(Arc::new) }
    }

    /// Where packets are kept.
    pub fn folder(&self) -> Option<&Path> {
        self.keeper.as_ref().map(|keeper| keeper.folder.as_path())
    }

    /// Has a packet kept; returns where it will be found a moment later, unless the disk refuses it, and until newer ones need its room.
    pub fn keep(&self, exhibit: &Exhibit, packet: &[u8]) -> Option<PathBuf> {
        let keeper = self.keeper.as_ref()?;
        let name = folder::name(&exhibit.crash)?;
        let bytes = pcapng::file(packet, SystemTime::now(), &[exhibit.words(), exhibit.comment()]);
        let path = keeper.folder.join(&name);
        if keeper.work.as_ref()?.try_send(Work { name, bytes }).is_err() {
            keeper.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(path)
    }

    /// Packets that could not be kept, as `quarantine-lost`.
    pub fn trouble(&self) -> Option<(&'static str, u64)> {
        let lost = self.keeper.as_ref()?.lost.load(Ordering::Relaxed);
        (lost > 0).then_some(("quarantine-lost", lost))
    }
}

impl Keeper {
    fn start(folder: &Path) -> Option<Self> {
        let (work, orders) = sync_channel(BACKLOG);
        let lost = Arc::new(AtomicU64::new(0));
        let (place, count) = (folder.to_owned(), lost.clone());
        let write = move || keep(&orders, &place, &count);
        match std::thread::Builder::new().name("quarantine".to_owned()).spawn(write) {
            Ok(thread) => Some(Self { folder: folder.to_owned(), work: Some(work), thread: Some(thread), lost }),
            Err(error) => {
                tracing::error!(%error, "no thread for the quarantine: no packet is kept");
                None
            }
        }
    }
}

impl Drop for Keeper {
    /// What was given to be kept is kept.
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The writing thread's life.
fn keep(orders: &Receiver<Work>, place: &Path, lost: &AtomicU64) {
    let mut said = Said::about("the quarantine", "make room, or name another folder with --quarantine-dir");
    let mut folder = Folder::open(place);
    if let Err(error) = &folder {
        said.failed(&place.display(), error);
    }
    while let Ok(Work { name, bytes }) = orders.recv() {
        if folder.is_err() {
            folder = Folder::open(place);
        }
        match folder.as_mut().map_err(|error| error.to_string()).and_then(|folder| put(folder, &name, &bytes)) {
            Ok(()) => drop(said.worked(&place.display())),
            Err(reason) => {
                lost.fetch_add(1, Ordering::Relaxed);
                said.failed(&place.display(), &reason);
            }
        }
    }
}

fn put(folder: &mut Folder, name: &str, bytes: &[u8]) -> Result<(), String> {
    folder.keep(name, bytes).map_err(|error| error.to_string())
}
