//! The programs under test: what `cargo build` put into the target folder, next to the test executable's own folder.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The path of a program of this workspace, where a worker's user can execute it.
///
/// # Panics
/// It was not built.
pub fn binary(name: &str) -> PathBuf {
    let path = folder().join(name);
    assert!(path.is_file(), "{} is missing; run: cargo build --workspace --bins", path.display());
    path
}

/// The target folder, or a copy of the programs in it when some folder above (such as `/root`) is closed to the workers' user.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let built = built();
        if is_reachable(&built) { built } else { copied(&built) }
    })
}

/// Where cargo has put this workspace's programs.
pub(crate) fn built() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors().nth(2).unwrap().to_owned()
}

fn is_reachable(folder: &Path) -> bool {
    folder.ancestors().all(|folder| folder.metadata().is_ok_and(|data| data.permissions().mode() & 0o001 != 0))
}

/// The program, or a copy of it where everybody may execute it.
pub fn reachable(program: PathBuf) -> PathBuf {
    if program.parent().is_some_and(is_reachable) {
        return program;
    }
    let folder = scratch_for_all();
    let copy = folder.join(program.file_name().unwrap());
    std::fs::copy(program, &copy).unwrap();
    copy
}

/// An empty folder of the system's, open to everybody.
fn scratch_for_all() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let unique = format!("cthelperd-tests-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(unique);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

/// Beside one another, for each finds the other by its own place. Older copies are left to the system's cleaning of its temporary folder.
fn copied(built: &Path) -> PathBuf {
    let folder = scratch_for_all();
    for name in ["cthelperd", "cthelperctl", "cthelper-worker", "imposter", "director", "tracer"] {
        let _ = std::fs::copy(built.join(name), folder.join(name)); // a missing one is named when it is asked for
    }
    folder
}

/// An empty folder below the target folder for the files of one test, open to the workers' user.
pub fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let unique = format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let folder = built().join("test-scratch").join(unique);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
