//! The system calls that a program and its descendants make, written down by `bin/tracer`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use cthelper_policy::profile::{Allow, Profile};
use cthelper_policy::syscall;

use crate::binaries::{binary, scratch};
use crate::eventually;

/// A trace that is being written.
pub struct Trace {
    folder: PathBuf,
}

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The process that makes it.
    pub pid: u32,
    /// Its name.
    pub name: &'static str,
    /// Its arguments.
    pub args: [u64; 6],
}

impl Trace {
    /// A place for a trace.
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        Self { folder: scratch("trace") }
    }

    /// A program that becomes `cthelperd`, traced: with its descendants (`all`) or `alone`.
    pub fn cthelperd(&self, whom: &str) -> PathBuf {
        let script = self.folder.join("traced");
        let (tracer, program) = (binary("tracer"), binary("cthelperd"));
        let text =
            format!("#!/bin/sh\nexec {} {whom} {} {} \"$@\"\n", tracer.display(), self.file().display(), program.display());
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        script
    }

    fn file(&self) -> PathBuf {
        self.folder.join("calls")
    }

    /// Waits until nobody is left to be traced; the calls of each process, in their order.
    pub fn calls(self) -> HashMap<u32, Vec<Call>> {
        let text = eventually("the end of the trace", || {
            std::fs::read_to_string(self.file()).ok().filter(|text| text.lines().next_back() == Some("end"))
        });
        parsed(&text)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all::<&Path>(&self.folder);
    }
}

/// A trace's text.
pub fn parsed(text: &str) -> HashMap<u32, Vec<Call>> {
    let mut calls: HashMap<u32, Vec<Call>> = HashMap::new();
    for line in text.lines().filter(|line| *line != "end") {
        let words: Vec<_> = line.split(' ').collect();
        let args = std::array::from_fn(|at| u64::from_str_radix(words[2 + at], 16).unwrap());
        // A stop that is none of a call's, such as the end of a signal's handler, has the number -1.
        if let Some(name) = words[1].parse().ok().and_then(syscall::name) {
            let pid = words[0].parse().unwrap();
            calls.entry(pid).or_default().push(Call { pid, name, args });
        }
    }
    calls
}

/// What a process did under each of the filters it put on, one upon the other: `filtered(calls)[0]` before the first.
pub fn filtered(calls: &[Call]) -> Vec<&[Call]> {
    // `seccomp(SECCOMP_SET_MODE_FILTER, …)` is one that puts on a filter: linux/seccomp.h.
    let mut phases: Vec<&[Call]> = Vec::new();
    let mut begin = 0;
    for (at, call) in calls.iter().enumerate() {
        if call.name == "seccomp" && call.args[0] == 1 {
            phases.push(&calls[begin..=at]);
            begin = at + 1;
        }
    }
    phases.push(&calls[begin..]);
    phases
}

/// Lines of the profile's own table that none of the calls used.
pub fn idle<'a>(profile: &'a Profile, calls: &'a [Call]) -> impl Iterator<Item = &'a Allow> {
    let used = |line: &Allow| calls.iter().any(|call| call.name == line.name && line.permits(call.args, call.pid));
    profile.syscalls.into_iter().flatten().filter(move |line| !used(line))
}

/// Those of them that are not marked as needed elsewhere: they should not be there.
pub fn unused(profile: &Profile, calls: &[Call]) -> Vec<String> {
    idle(profile, calls).filter(|line| !line.elsewhere).map(ToString::to_string).collect()
}
