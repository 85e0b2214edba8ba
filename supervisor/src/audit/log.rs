//! The file of the audit log.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::lines::Lines;
use super::trouble::{Said, Trouble};

/// After a file could not be opened, it is not tried again for this long.
const RETRY: Duration = Duration::from_secs(5);

/// The file, or the will to have one.
pub(super) struct Log {
    path: PathBuf,
    lines: Option<Lines<File>>,
    tried: Instant,
    trouble: Arc<Trouble>,
    said: Said,
}

impl Log {
    /// Appends to `path`; where that cannot be opened now, tries again later.
    pub(super) fn open(path: &Path, trouble: Arc<Trouble>) -> Self {
        let path = super::absolute(path);
        let said = Said::about("the audit log", "make room, or name another file with --audit-log");
        let mut log = Self { path, lines: None, tried: Instant::now(), trouble, said };
        log.begin();
        log
    }

    /// Begins the file of that name anew, which is another one if the old has been renamed. A line that the old one had no room for
    /// goes whole into the new one.
    pub(super) fn reopen(&mut self) {
        let owed = self.lines.take().and_then(Lines::unfinished);
        self.begin();
        if let Some(line) = owed {
            self.append(&line, true);
        }
    }

    /// Writes a line, and has the disk keep it at once if it is `evidence`.
    pub(super) fn append(&mut self, line: &str, evidence: bool) {
        if self.lines.is_none() && self.tried.elapsed() >= RETRY {
            self.begin();
        }
        let Some(lines) = &mut self.lines else { return self.trouble.unwritten() };
        let done = lines.append(line).and_then(|()| if evidence { sync(lines.out()) } else { Ok(()) });
        match done {
            Ok(()) if lines.owes() => drop(self.said.failed(&self.path.display(), &"no room for a whole line")),
            Ok(()) => drop(self.said.worked(&self.path.display())),
            Err(error) => self.failed(&error),
        }
    }

    fn begin(&mut self) {
        self.tried = Instant::now();
        match open(&self.path) {
            Ok(lines) => self.lines = Some(lines),
            Err(error) => drop(self.said.failed(&self.path.display(), &error)),
        }
    }

    fn failed(&mut self, error: &io::Error) {
        self.trouble.unwritten();
        self.said.failed(&self.path.display(), error);
    }
}

/// A pipe or a terminal (`--audit-log /dev/stdout`) has no disk to be kept on.
fn sync(file: &File) -> io::Result<()> {
    match file.sync_data() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        done => done,
    }
}

/// Opens the file for appending, and looks whether its last line is whole.
fn open(path: &Path) -> io::Result<Lines<File>> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o640);
    let readable = options.clone().read(true).open(path);
    let mut file = readable.or_else(|_| options.open(path))?; // some devices can only be written
    let torn = ends_inside_a_line(&mut file);
    Ok(Lines::new(file, torn))
}

fn ends_inside_a_line(file: &mut File) -> bool {
    let mut last = [b'\n'];
    let is_long = file.metadata().is_ok_and(|data| data.is_file() && data.len() > 0);
    let read = is_long && file.seek(SeekFrom::End(-1)).is_ok() && file.read_exact(&mut last).is_ok();
    read && last != *b"\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("cthelperd-log-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn log(path: &Path) -> (Log, Arc<Trouble>) {
        let trouble = Arc::new(Trouble::default());
        (Log::open(path, trouble.clone()), trouble)
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_that_was_renamed_is_begun_anew() {
        let folder = scratch("rotate");
        let (path, old) = (folder.join("audit.jsonl"), folder.join("audit.jsonl.1"));
        let (mut log, trouble) = log(&path);
        log.append("one", true);
        std::fs::rename(&path, &old).unwrap();
        log.append("two", false);
        log.reopen();
        log.append("three", false);
        assert_eq!((text(&old).as_str(), text(&path).as_str()), ("one\ntwo\n", "three\n"));
        assert_eq!(trouble.counts(), []);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_line_torn_by_an_earlier_life_is_left_alone() {
        let folder = scratch("torn");
        let path = folder.join("audit.jsonl");
        std::fs::write(&path, "{\"whole\":1}\n{\"torn\":").unwrap();
        let (mut log, _) = log(&path);
        log.append("{}", false);
        assert_eq!(text(&path), "{\"whole\":1}\n{\"torn\":\n{}\n");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_full_disk_is_counted_and_over_when_there_is_room() {
        let (mut log, trouble) = log(Path::new("/dev/full"));
        log.append("one", false);
        log.append("two", true);
        assert_eq!(trouble.counts(), [("audit-unwritten", 2)]);
        let folder = scratch("full");
        log.path = folder.join("audit.jsonl");
        log.reopen();
        log.append("three", true);
        assert_eq!((text(&log.path).as_str(), trouble.counts()), ("three\n", vec![("audit-unwritten", 2)]));
        assert!(!log.said.worked(&""), "its end has been said");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_tried_again_later() {
        let folder = scratch("later");
        let path = folder.join("not-yet/audit.jsonl");
        let (mut log, trouble) = log(&path);
        log.append("one", true);
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        log.append("two", true);
        log.tried = Instant::now().checked_sub(RETRY).unwrap();
        log.append("three", true);
        assert_eq!((text(&path).as_str(), trouble.counts()), ("three\n", vec![("audit-unwritten", 2)]));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
