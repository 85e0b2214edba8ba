//! The folder: so many files, so many bytes, whoever's life they are from; the oldest go first. Nothing that is not named like one of
//! ours is touched, and no symbolic link is followed.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Files kept.
pub(super) const FILES: usize = 256;
/// Bytes kept: a month of crashes, or one bad night of them with large packets.
pub(super) const BYTES: u64 = 8 << 20;

/// How our files end.
const END: &str = ".pcapng";

/// The open folder and what it holds of ours, oldest first.
pub(super) struct Folder {
    dir: OwnedFd,
    kept: VecDeque<Kept>,
    bytes: u64,
}

struct Kept {
    name: String,
    bytes: u64,
}

/// The file name for the packet of this crash; none if the id is not one of ours: helper, hexadecimal time, generation.
pub(super) fn name(crash: &str) -> Option<String> {
    let is_decent =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    let (rest, generation) = crash.rsplit_once('-')?;
    let (helper, time) = rest.rsplit_once('-')?;
    let is_ours = crash.len() <= 64
        && is_decent(helper)
        && !helper.starts_with('.')
        && !time.is_empty()
        && time.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !generation.is_empty()
        && generation.bytes().all(|byte| byte.is_ascii_digit());
    is_ours.then(|| format!("{crash}{END}"))
}

impl Folder {
    /// Opens the folder and takes stock.
    ///
    /// # Errors
    /// It is not there, is a symbolic link, or cannot be read.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let dir = open(path, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY, Mode::empty())?;
        let mut found: Vec<(SystemTime, Kept)> = Vec::new();
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            let Some(name) = entry.file_name().into_string().ok().filter(|name| is_ours(name)) else { continue };
            // Not of what a link points to.
            let data = entry.metadata()?;
            if data.is_file() {
                found.push((data.modified()?, Kept { name, bytes: data.len() }));
            }
        }
        found.sort_by(|(a_time, a), (b_time, b)| (a_time, &a.name).cmp(&(b_time, &b.name)));
        let kept: VecDeque<Kept> = found.into_iter().map(|(_, kept)| kept).collect();
        let bytes = kept.iter().map(|kept| kept.bytes).sum();
        let mut folder = Self { dir, kept, bytes };
        folder.make_room(0)?;
        Ok(folder)
    }

    /// Writes a file that must not be there yet, for our eyes alone; a part of one is not left behind.
    pub(super) fn keep(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.make_room(length)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&self.dir, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        if let Err(error) = file.write_all(bytes) {
            let _ = unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir);
            return Err(error);
        }
        self.kept.push_back(Kept { name: name.to_owned(), bytes: length });
        self.bytes = self.bytes.saturating_add(length);
        Ok(())
    }

    /// Removes the oldest until one more of this length fits.
    fn make_room(&mut self, length: u64) -> io::Result<()> {
        let more = usize::from(length > 0);
        while self.kept.len() + more > FILES || self.bytes.saturating_add(length) > BYTES {
            let Some(oldest) = self.kept.pop_front() else { return Ok(()) };
            self.bytes = self.bytes.saturating_sub(oldest.bytes);
            self.remove(&oldest.name)?;
        }
        Ok(())
    }

    /// Removes a file (or the link somebody has put in its place), if it is still there.
    fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn is_ours(file: &str) -> bool {
    file.strip_suffix(END).and_then(name).is_some()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::PathBuf;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("cthelperd-quarantine-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_name_is_an_id_of_ours_and_nothing_else() {
        assert_eq!(name("ftp-19a000000ff-3").as_deref(), Some("ftp-19a000000ff-3.pcapng"));
        assert_eq!(name("a_b.c-d-19a-12").as_deref(), Some("a_b.c-d-19a-12.pcapng"));
        for bad in
            ["", "ftp", "ftp-1", "-19a-3", "../x-19a-3", ".-19a-3", "a/b-19a-3", "ftp-xyz-3", "ftp-19a-x", "ftp--3", "ftp-1-"]
        {
            assert_eq!(name(bad), None, "{bad:?}");
        }
        assert_eq!(name(&format!("ftp-{}-3", "a".repeat(100))), None);
    }

    #[test]
    fn files_are_for_us_alone_and_the_oldest_go_first() {
        let path = scratch("count");
        let mut folder = Folder::open(&path).unwrap();
        for n in 0..FILES + 2 {
            folder.keep(&format!("ftp-{n:04x}-1.pcapng"), b"x").unwrap();
        }
        let names = names(&path);
        assert_eq!((names.len(), names[0].as_str()), (FILES, "ftp-0002-1.pcapng"));
        assert_eq!(path.join(&names[0]).metadata().unwrap().mode() & 0o777, 0o600);
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn bytes_are_bounded_too_and_an_earlier_life_counts() {
        let path = scratch("bytes");
        let mebibyte = vec![0; 1 << 20];
        let mut folder = Folder::open(&path).unwrap();
        for n in 0..7 {
            folder.keep(&format!("ftp-{n}-1.pcapng"), &mebibyte).unwrap();
        }
        let mut folder = Folder::open(&path).unwrap();
        assert_eq!((folder.kept.len(), folder.bytes), (7, 7 << 20));
        folder.keep("ftp-8-1.pcapng", &mebibyte).unwrap();
        folder.keep("ftp-9-1.pcapng", b"one byte too many").unwrap();
        assert_eq!((names(&path).len(), folder.bytes), (8, (7 << 20) + 17));
        assert!(!path.join("ftp-0-1.pcapng").exists() && path.join("ftp-1-1.pcapng").exists());
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn links_are_not_followed_and_strangers_files_are_left_alone() {
        let path = scratch("links");
        let outside = scratch("outside");
        let precious = outside.join("precious");
        std::fs::write(&precious, "x").unwrap();
        std::fs::write(path.join("notes.txt"), "x").unwrap();
        symlink(&precious, path.join("ftp-1-1.pcapng")).unwrap();
        let mut folder = Folder::open(&path).unwrap();
        assert_eq!(folder.kept.len(), 0);
        let error = folder.keep("ftp-1-1.pcapng", b"y").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "x");
        symlink(&path, outside.join("link")).unwrap();
        assert!(Folder::open(&outside.join("link")).is_err());
        std::fs::remove_dir_all(path).unwrap();
        std::fs::remove_dir_all(outside).unwrap();
    }
}
