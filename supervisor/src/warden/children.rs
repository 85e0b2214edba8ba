//! The warden's children, and how each ends.

use std::collections::HashMap;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::io::Errno;
use rustix::process::{WaitOptions, WaitStatus, wait};

use super::protocol::End;
use super::witness::Witness;

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
    living: HashMap<i32, Child>,
}

#[derive(Debug)]
struct Child {
    name: Name,
    witness: Witness,
    /// It outlives its post and us.
    lasts: bool,
}

impl Children {
    pub(super) fn born(&mut self, pid: u32, name: Name, lasts: bool) {
        if let Ok(pid) = i32::try_from(pid) {
            self.living.insert(pid, Child { name, witness: Witness::default(), lasts });
        }
    }

    /// How many of a post's there are.
    pub(super) fn of_post(&self, post: usize) -> usize {
        self.living.values().filter(|child| child.name.post == post).count()
    }

    /// Ends one, whatever it is.
    pub(super) fn kill(&self, name: Name) {
        self.kill_if(|child| child.name == name);
    }

    /// Ends every child for which `which` holds, but for those that last.
    pub(super) fn kill_those(&self, which: impl Fn(Name) -> bool) {
        self.kill_if(|child| which(child.name) && !child.lasts);
    }

    fn kill_if(&self, which: impl Fn(&Child) -> bool) {
        for (pid, _) in self.living.iter().filter(|(_, child)| which(child)) {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }

    /// The next child that has ended; `None` when there is none at the moment. Children that only stand still go on.
    pub(super) fn next_end(&mut self) -> Option<(Name, End)> {
        loop {
            let (pid, status) = match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => (pid.as_raw_nonzero().get(), status),
                Err(Errno::INTR) => continue,
                Ok(None) | Err(_) => return None,
            };
            match status.stopping_signal() {
                Some(signal) => self.attend(pid, signal, status),
                None => {
                    if let Some(child) = self.living.remove(&pid) {
                        return Some((child.name, child.end(status)));
                    }
                }
            }
        }
    }

    fn attend(&mut self, pid: i32, signal: i32, status: WaitStatus) {
        if let Some(child) = self.living.get_mut(&pid) {
            child.witness.attend(Pid::from_raw(pid), signal, status.as_raw() >> 16);
        }
    }
}

impl Child {
    fn end(self, status: WaitStatus) -> End {
        let signal = status.terminating_signal();
        End { code: status.exit_status(), signal, fault: self.witness.fault(signal) }
    }
}
