//! Where the worker's binary is.

use std::path::{Path, PathBuf};

/// The built-in worker's file name.
const NAME: &str = "cthelper-worker";
/// Where packages put it.
const LIBEXEC: &str = "/usr/libexec/cthelperd";

/// The configured binary, or the built-in one: beside this program, then in libexec.
pub fn worker_binary(configured: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = configured {
        return if path.is_file() { Ok(path.to_owned()) } else { Err(format!("the worker {} does not exist", path.display())) };
    }
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(NAME)));
    let found = beside.into_iter().chain([Path::new(LIBEXEC).join(NAME)]).find(|path| path.is_file());
    found.ok_or_else(|| format!("{NAME} is neither beside this program nor in {LIBEXEC}"))
}
