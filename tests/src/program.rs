//! Runs `cthelperd` and `cthelperctl` as an operator would, and waits for it no longer than [`crate::PATIENCE`].

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;

use crate::PATIENCE;
use crate::binaries::{binary, scratch};

/// `nobody`, everywhere.
const NOBODY: u32 = 65_534;

/// What a program said, and its exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The exit code.
    pub code: i32,
    /// Data.
    pub out: String,
    /// Words.
    pub err: String,
}

/// Runs `cthelperd` with these arguments.
pub fn cthelperd(args: &[&str]) -> Said {
    run("cthelperd", args)
}

/// Runs `cthelperctl` with these arguments.
pub fn cthelperctl(args: &[&str]) -> Said {
    run("cthelperctl", args)
}

/// Runs one of the programs as a user without privileges: `nobody` if we are root, else as ourselves.
pub fn unprivileged(program: &str, args: &[impl AsRef<OsStr>]) -> Said {
    let mut command = Command::new(binary(program));
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    finish(command, args)
}

fn run(program: &str, args: &[&str]) -> Said {
    finish(Command::new(binary(program)), args)
}

fn finish(mut command: Command, args: &[impl AsRef<OsStr>]) -> Said {
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("CTHELPERD_LOG", "off");
    let child = command.spawn().unwrap();
    let (tell, told) = channel();
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    let Output { status, stdout, stderr } = told.recv_timeout(PATIENCE).expect("it ends in time").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code().expect("no signal"), out: text(stdout), err: text(stderr) }
}

/// A file below the target folder that is gone when this is dropped.
pub struct Temporary(PathBuf);

impl Temporary {
    /// With this name and content.
    pub fn new(name: &str, content: &[u8]) -> Self {
        let path = scratch(name).join(name);
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = self.0.parent().map(std::fs::remove_dir_all::<&Path>);
    }
}

/// `cthelperd replay --json` on a capture file of this name and content.
pub fn replay(name: &str, capture: &[u8]) -> Said {
    let file = Temporary::new(name, capture);
    cthelperd(&["replay", "--json", file.path()])
}

/// The same through this helper.
pub fn replay_through(helper: &str, name: &str, capture: &[u8]) -> Said {
    let file = Temporary::new(name, capture);
    cthelperd(&["replay", "--json", "--helper", helper, file.path()])
}
