//! The host's lock, and in it what its holder serves: when the holder is dead, this says which queues are its estate.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{major, minor};
use serde::{Deserialize, Serialize};

use crate::kernel::netfilter::numbers;

/// Held by the one supervisor of the host, whatever its runtime folder.
const LOCK: &str = "/run/cthelperd.lock";

/// A supervisor and what it serves; one JSON object in the lock's file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Its process.
    pub pid: u32,
    /// Where `control.sock` and `keeper.sock` are.
    pub runtime_dir: PathBuf,
    /// Its queues.
    #[serde(default)]
    pub queues: Vec<Served>,
}

/// A queue that is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// By the lane of this helper.
    pub helper: String,
    /// Its number.
    pub queue: u16,
    /// The netlink port id of the socket that has it.
    pub port_id: u32,
}

/// Why this process is not the host's supervisor.
#[derive(Debug)]
pub enum Refused {
    /// The file cannot be had.
    File(io::Error),
    /// Another has it.
    Taken(Life),
}

/// The lock, held.
#[derive(Debug)]
pub struct Ledger {
    file: Flock<File>,
    life: Life,
    /// The earlier life's runtime folder.
    before: PathBuf,
}

impl Ledger {
    /// The lock's file, for words.
    pub const PATH: &str = LOCK;

    /// Takes the lock, or says who has it.
    pub fn open(runtime_dir: &Path) -> Result<Self, Refused> {
        let bound = numbers::bound();
        Self::open_at(Path::new(LOCK), runtime_dir, |served| {
            bound.iter().any(|bound| (bound.queue, bound.port_id) == (served.queue, served.port_id))
        })
    }

    /// With what an earlier life left and is not settled yet.
    fn open_at(path: &Path, runtime_dir: &Path, is_unsettled: impl Fn(&Served) -> bool) -> Result<Self, Refused> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o644).open(path);
        let file = file.map_err(Refused::File)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => {
                let Life { runtime_dir: before, queues, .. } = life(&file);
                let queues = queues.into_iter().filter(is_unsettled).collect();
                let life = Life { pid: std::process::id(), runtime_dir: runtime_dir.to_owned(), queues };
                let mut ledger = Self { file, life, before };
                ledger.write();
                Ok(ledger)
            }
            Err((file, _)) => Err(Refused::Taken(life(&file))),
        }
    }

    /// The earlier life's runtime folder, where its keeper may be; empty if there was none.
    pub fn before(&self) -> &Path {
        &self.before
    }

    /// Queues that are served, or that an earlier life left and that are still bound as it had them.
    pub fn queues(&self) -> &[Served] {
        &self.life.queues
    }

    /// A queue is served from now on.
    pub fn add(&mut self, served: Served) {
        self.life.queues.retain(|other| other.queue != served.queue);
        self.life.queues.push(served);
        self.write();
    }

    /// A queue is given up.
    pub fn strike(&mut self, queue: u16) {
        self.life.queues.retain(|other| other.queue != queue);
        self.write();
    }

    /// Best effort: without it, `disarm` and `doctor` take our queues for a stranger's.
    fn write(&mut self) {
        let Ok(mut text) = serde_json::to_vec(&self.life) else { return };
        text.push(b'\n');
        let file = &mut *self.file;
        let written = file.rewind().and_then(|()| file.write_all(&text));
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if let Err(error) = written.and_then(|()| file.set_len(length)) {
            tracing::warn!(%error, "{LOCK} cannot be written");
        }
    }
}

/// What the file says; nothing if it says nothing that can be understood.
fn life(mut file: &File) -> Life {
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    serde_json::from_str(&text).unwrap_or_default()
}

/// The estate of a supervisor that is dead; nothing while one lives, or if none has ever lived. Never takes the lock.
pub fn estate() -> Life {
    estate_at(Path::new(LOCK), &fs::read_to_string("/proc/locks").unwrap_or_default())
}

fn estate_at(path: &Path, locks: &str) -> Life {
    let Ok(file) = File::open(path) else { return Life::default() };
    let Ok(data) = file.metadata() else { return Life::default() };
    let who = format!("{:02x}:{:02x}:{}", major(data.dev()), minor(data.dev()), data.ino());
    let is_held = locks.lines().any(|line| {
        let mut words = line.split_ascii_whitespace();
        words.any(|word| word == "FLOCK") && words.any(|word| word == who)
    });
    if is_held { Life::default() } else { life(&file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("cthelperd-ledger-{name}-{}", std::process::id()))
    }

    fn locks() -> String {
        fs::read_to_string("/proc/locks").unwrap()
    }

    #[test]
    fn a_second_holder_is_refused_and_learns_who_is_the_first() {
        let path = path("second");
        let mut ledger = Ledger::open_at(&path, Path::new("/run/first"), |_| true).unwrap();
        let served = |queue: u16| Served { helper: "ftp".to_owned(), queue, port_id: 4711 };
        ledger.add(served(6200));
        ledger.add(served(6201));
        ledger.strike(6200);
        let Err(Refused::Taken(first)) = Ledger::open_at(&path, Path::new("/run/second"), |_| true) else { panic!() };
        let expected = Life { pid: std::process::id(), runtime_dir: PathBuf::from("/run/first"), queues: vec![served(6201)] };
        assert_eq!(first, expected);
        assert_eq!(estate_at(&path, &locks()), Life::default(), "it lives");
        drop(ledger);
        assert_eq!(estate_at(&path, &locks()), expected, "it is dead");
        let ledger = Ledger::open_at(&path, Path::new("/run/second"), |served| served.queue == 6201).unwrap();
        assert_eq!(ledger.before(), Path::new("/run/first"));
        drop(ledger);
        assert_eq!(estate_at(&path, &locks()).queues, [served(6201)], "not settled, although another life has been");
        let ledger = Ledger::open_at(&path, Path::new("/run/third"), |_| false).unwrap();
        assert_eq!(life(&File::open(&path).unwrap()).queues, [], "settled");
        drop(ledger);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_of_an_older_version_or_none_is_no_estate() {
        let path = path("older");
        assert_eq!(estate_at(&path, ""), Life::default());
        fs::write(&path, "pid 12, runtime folder /run/cthelperd\n").unwrap();
        assert_eq!(estate_at(&path, ""), Life::default());
        fs::remove_file(path).unwrap();
    }
}
