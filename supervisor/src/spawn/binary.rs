//! Where the worker's binary is, and whether it may be started.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The built-in worker's file name.
const NAME: &str = "cthelper-worker";
/// Where packages put it.
const LIBEXEC: &str = "/usr/libexec/cthelperd";
/// Permission of everybody to write (`inode(7)`).
const OTHERS_WRITE: u32 = 0o002;
/// In such a folder nobody replaces another's file.
const STICKY: u32 = 0o1000;
/// Permission of anybody to execute.
const EXECUTE: u32 = 0o111;

/// The configured binary, or the built-in one: beside this program, then in libexec.
///
/// # Errors
/// In words: there is none, it is not to be executed, or everybody may write another in its place.
pub fn worker_binary(configured: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = configured {
        return judge(path).map(|()| path.to_owned());
    }
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(NAME)));
    let found = beside.into_iter().chain([Path::new(LIBEXEC).join(NAME)]).find(|path| path.is_file());
    let found = found.ok_or_else(|| format!("{NAME} is neither beside this program nor in {LIBEXEC}"))?;
    judge(&found).map(|()| found)
}

/// What it does is confined; but whoever can write it reads every packet of its helper.
fn judge(path: &Path) -> Result<(), String> {
    let worker = path.display();
    let Ok(file) = path.metadata() else { return Err(format!("the worker {worker} does not exist")) };
    if !file.is_file() {
        return Err(format!("the worker {worker} is no file"));
    }
    if file.mode() & EXECUTE == 0 {
        return Err(format!("the worker {worker} is not executable: chmod 755 {worker}"));
    }
    if file.mode() & OTHERS_WRITE != 0 {
        return Err(format!("the worker {worker} can be written by everybody: chmod o-w {worker}"));
    }
    let folder = path.parent().and_then(|folder| Some((folder.display(), folder.metadata().ok()?.mode())));
    match folder {
        Some((folder, mode)) if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 => {
            Err(format!("the worker {worker} can be replaced by everybody: chmod o-w {folder}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_binary_that_is_missing_or_everybodys_is_refused_by_name() {
        let folder = std::env::temp_dir().join(format!("cthelperd-worker-{}", std::process::id()));
        let worker = folder.join("worker");
        fs::create_dir_all(&folder).unwrap();
        let with = |file: u32, beneath: u32| {
            fs::set_permissions(&worker, fs::Permissions::from_mode(file)).unwrap();
            fs::set_permissions(&folder, fs::Permissions::from_mode(beneath)).unwrap();
            worker_binary(Some(&worker)).map_err(|reason| reason.replace(&folder.display().to_string(), "DIR"))
        };
        assert_eq!(worker_binary(Some(&worker)).unwrap_err(), format!("the worker {} does not exist", worker.display()));
        assert_eq!(worker_binary(Some(&folder)).unwrap_err(), format!("the worker {} is no file", folder.display()));
        fs::write(&worker, "").unwrap();
        assert_eq!(with(0o644, 0o755).unwrap_err(), "the worker DIR/worker is not executable: chmod 755 DIR/worker");
        assert_eq!(with(0o757, 0o755).unwrap_err(), "the worker DIR/worker can be written by everybody: chmod o-w DIR/worker");
        assert_eq!(with(0o755, 0o777).unwrap_err(), "the worker DIR/worker can be replaced by everybody: chmod o-w DIR");
        for (file, beneath) in [(0o755, 0o755), (0o700, 0o1777), (0o775, 0o775)] {
            assert_eq!(with(file, beneath), Ok(worker.clone()));
        }
        fs::remove_dir_all(folder).unwrap();
    }
}
