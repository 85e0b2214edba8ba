//! A launcher of workers that are to behave `as directed`: as the file `next` beside the worker's binary says at that moment. So a later
//! worker can be another than the first.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "nobody relies on it")]

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use cthelper_supervisor::spawn::launcher::run_if_launcher;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [role, uid, gid, worker, mode] = &args[..]
        && mode == "as directed"
    {
        let next = std::fs::read_to_string(Path::new(worker).with_file_name("next")).unwrap();
        let error = Command::new("/proc/self/exe").args([role, uid, gid, worker, &next]).exec();
        eprintln!("director: {error}");
    }
    ExitCode::from(run_if_launcher().unwrap_or(64))
}
