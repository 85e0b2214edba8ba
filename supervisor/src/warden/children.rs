//! The warden's children, and how each ends.

use std::collections::{HashMap, HashSet};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::protocol::End;

/// Which worker of which lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// Index of the lane's post.
    pub(super) post: usize,
    /// As the lane named it.
    pub(super) generation: u64,
}

/// Every child that has not been reaped; until then its number is its own.
#[derive(Debug, Default)]
pub(super) struct Children {
    living: HashMap<i32, Name>,
    /// Those that outlive their post and us.
    lasting: HashSet<i32>,
}

impl Children {
    pub(super) fn born(&mut self, pid: u32, name: Name) {
        if let Ok(pid) = i32::try_from(pid) {
            self.living.insert(pid, name);
        }
    }

    /// A child that is not ended by us.
    pub(super) fn born_to_last(&mut self, pid: u32, name: Name) {
        self.born(pid, name);
        self.lasting.extend(i32::try_from(pid));
    }

    /// How many of a post's there are.
    pub(super) fn of_post(&self, post: usize) -> usize {
        self.living.values().filter(|name| name.post == post).count()
    }

    pub(super) fn kill(&self, name: Name) {
        self.kill_those(|living| living == name);
    }

    /// Ends every child for which `which` holds, but for those that last.
    pub(super) fn kill_those(&self, which: impl Fn(Name) -> bool) {
        for (pid, name) in &self.living {
            if which(*name) && !self.lasting.contains(pid) {
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
        }
    }

    /// The next child that has ended; `None` when there is none at the moment.
    pub(super) fn ended(&mut self) -> Option<(Name, End)> {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(status) => status,
                Err(Errno::EINTR) => continue,
                Err(_) => return None,
            };
            let (pid, end) = match status {
                WaitStatus::Exited(pid, code) => (pid, End { code: Some(code), ..End::default() }),
                WaitStatus::Signaled(pid, signal, _) => (pid, End { signal: Some(signal as i32), ..End::default() }),
                WaitStatus::StillAlive => return None,
                _ => continue,
            };
            self.lasting.remove(&pid.as_raw());
            if let Some(name) = self.living.remove(&pid.as_raw()) {
                return Some((name, end));
            }
        }
    }
}
