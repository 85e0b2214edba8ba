//! What a role may do, as a table: every line holds its reason, and `cthelperctl policy ROLE` prints it.

use std::fmt;

use caps::Capability;

/// One role's table.
#[derive(Debug)]
pub struct Profile {
    /// The role's name.
    pub role: &'static str,
    /// Allowed system calls; any other kills the process (SIGSYS). `None` = not filtered.
    pub syscalls: Option<&'static [Allow]>,
    /// Another role's calls that are allowed here as well.
    pub includes: Option<&'static Profile>,
    /// Files and folders it may open; landlock forbids any other. `None` = not restricted.
    pub files: Option<&'static [Beneath]>,
    /// Capabilities it keeps.
    pub caps: &'static [Keep],
    /// Resource limits, in the order they are set.
    pub limits: &'static [Limit],
}

/// An allowed system call.
#[derive(Clone, Copy, Debug)]
pub struct Allow {
    /// Its number on this architecture.
    pub nr: i64,
    /// Its name with the prefix `SYS_`.
    name: &'static str,
    /// Conditions, all of which must hold. Several lines for one call: one of them must hold.
    pub when: &'static [Arg],
    /// Why the role needs it.
    pub reason: &'static str,
}

impl Allow {
    /// A line of the table; made by [`allow!`](crate::profile::allow).
    pub(crate) const fn new(nr: i64, name: &'static str, when: &'static [Arg], reason: &'static str) -> Self {
        Self { nr, name, when, reason }
    }

    /// The call's name.
    pub fn name(&self) -> &'static str {
        self.name.strip_prefix("SYS_").unwrap_or(self.name)
    }
}

/// `call!(SYS_name, [conditions], "reason")`: number and name come from one word, so they cannot disagree.
macro_rules! call {
    ($call:ident, $reason:literal) => {
        $crate::profile::Allow::new(libc::$call, stringify!($call), &[], $reason)
    };
    ($call:ident, [$($arg:expr),+], $reason:literal) => {
        $crate::profile::Allow::new(libc::$call, stringify!($call), &[$($arg),+], $reason)
    };
}
pub(crate) use call;

/// A condition on an argument.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// Which argument, from 0.
    pub index: u8,
    /// Bits that are compared.
    pub mask: u32,
    /// What they must be.
    pub value: u32,
}

/// A C `int` constant as the filter compares it.
#[expect(clippy::cast_sign_loss, reason = "flags and small numbers: the bits are what is compared")]
pub(crate) const fn int(value: libc::c_int) -> u32 {
    value as u32
}

/// The argument must have this value. The low 32 bits are compared: what the kernel looks at in an `int`.
pub(crate) const fn arg(index: u8, value: u32) -> Arg {
    Arg { index, mask: u32::MAX, value }
}

/// The argument's bits under `mask` must be `value`.
pub(crate) const fn bits(index: u8, mask: u32, value: u32) -> Arg {
    Arg { index, mask, value }
}

/// A file, or a folder with what is beneath it.
#[derive(Clone, Copy, Debug)]
pub struct Beneath {
    /// Absolute path; one that does not exist is left out.
    pub path: &'static str,
    /// May be executed as well as read.
    pub execute: bool,
    /// Why the role needs it.
    pub reason: &'static str,
}

/// A capability that is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Which.
    pub cap: Capability,
    /// What it is needed for.
    pub reason: &'static str,
}

/// A resource limit, soft and hard.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Which.
    pub resource: nix::sys::resource::Resource,
    /// In the resource's own unit (bytes or a count).
    pub value: u64,
    /// Why this number.
    pub reason: &'static str,
}

/// Mebibytes as bytes.
pub(crate) const fn mib(count: u64) -> u64 {
    count * 1024 * 1024
}

impl Profile {
    /// All allowed calls: its own, then the included role's.
    pub fn all_syscalls(&self) -> impl Iterator<Item = &'static Allow> {
        let included = self.includes.and_then(|profile| profile.syscalls);
        self.syscalls.into_iter().chain(included).flatten()
    }

    /// The capabilities it keeps.
    pub fn kept(&self) -> impl Iterator<Item = Capability> {
        self.caps.iter().map(|keep| keep.cap)
    }
}

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mask {
            u32::MAX => write!(f, "arg{} == {}", self.index, self.value),
            mask => write!(f, "arg{} & {mask:#x} == {:#x}", self.index, self.value),
        }
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conditions: Vec<String> = self.when.iter().map(ToString::to_string).collect();
        let call =
            if conditions.is_empty() { self.name().into() } else { format!("{} if {}", self.name(), conditions.join(" and ")) };
        write!(f, "{call:<44} {}", self.reason)
    }
}

/// The table as an operator reads it: one line each, columns aligned.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "role {}", self.role)?;
        match self.syscalls {
            None => writeln!(f, "system calls: not filtered")?,
            Some(calls) => {
                writeln!(f, "system calls (any other kills the process):")?;
                calls.iter().try_for_each(|call| writeln!(f, "  {call}"))?;
            }
        }
        if let Some(included) = self.includes {
            writeln!(f, "  and those of role {}", included.role)?;
        }
        match self.files {
            None => writeln!(f, "files: not restricted")?,
            Some([]) => writeln!(f, "files: none")?,
            Some(files) => {
                writeln!(f, "files:")?;
                for file in files {
                    let how = if file.execute { "read, execute" } else { "read" };
                    writeln!(f, "  {:<44} {how}: {}", file.path, file.reason)?;
                }
            }
        }
        writeln!(f, "capabilities:{}", if self.caps.is_empty() { " none" } else { "" })?;
        self.caps.iter().try_for_each(|keep| writeln!(f, "  {:<44} {}", keep.cap.to_string(), keep.reason))?;
        writeln!(f, "limits:{}", if self.limits.is_empty() { " as inherited" } else { "" })?;
        self.limits
            .iter()
            .try_for_each(|limit| writeln!(f, "  {:<44} {}", format!("{:?} {}", limit.resource, limit.value), limit.reason))
    }
}

#[cfg(test)]
mod tests {
    use crate::profiles::{ALL, LAUNCHER, WORKER};

    #[test]
    fn every_line_has_a_reason_that_fits_on_it() {
        for profile in ALL {
            let calls = profile.all_syscalls().map(|call| call.reason);
            let files = profile.files.into_iter().flatten().map(|file| file.reason);
            let caps = profile.caps.iter().map(|keep| keep.reason);
            let limits = profile.limits.iter().map(|limit| limit.reason);
            for reason in calls.chain(files).chain(caps).chain(limits) {
                assert!((6..=90).contains(&reason.len()), "{}: {reason:?}", profile.role);
            }
        }
    }

    #[test]
    fn dangerous_calls_are_in_no_table() {
        let never = [
            "socket",
            "socketpair",
            "connect",
            "bind",
            "listen",
            "accept",
            "accept4",
            "ptrace",
            "process_vm_readv",
            "clone",
            "clone3",
            "fork",
            "vfork",
            "mount",
            "bpf",
            "setuid",
            "setgid",
            "setresuid",
            "setresgid",
            "setgroups",
            "capset",
            "unshare",
            "setns",
            "kill",
            "tkill",
            "ioctl",
            "keyctl",
            "io_uring_setup",
            "userfaultfd",
            "perf_event_open",
            "open_by_handle_at",
            "memfd_create",
        ];
        for profile in [&LAUNCHER, &WORKER] {
            let found = profile.all_syscalls().find(|call| never.contains(&call.name()));
            assert!(found.is_none(), "{}: {found:?}", profile.role);
        }
    }

    #[test]
    fn a_serving_worker_can_neither_open_nor_execute() {
        let gone = ["execve", "openat", "mprotect", "seccomp", "prctl", "landlock_restrict_self", "fcntl", "poll", "close"];
        assert!(WORKER.all_syscalls().all(|call| !gone.contains(&call.name())));
    }

    #[test]
    fn tables_print_one_line_each() {
        let text = WORKER.to_string();
        assert!(text.starts_with("role worker\nsystem calls (any other kills the process):\n"));
        assert!(text.contains("\n  recvfrom                                     receive packets and answers\n"), "{text}");
        assert!(text.contains("\n  write if arg0 == 2                           log lines on stderr\n"), "{text}");
        assert!(text.contains("mmap if arg2 & 0x4 == 0x0 and arg3 & 0x23 == 0x22"), "{text}");
        assert!(text.contains("\nfiles: none\ncapabilities: none\nlimits:\n  RLIMIT_NOFILE 8 "), "{text}");
    }
}
