//! What a role may do, as a table: every line holds its reason, and `cthelperctl policy ROLE` prints it.

mod print;

use caps::Capability;
use cthelper_proto::ipc::Namespace;

/// One role's table.
#[derive(Debug)]
pub struct Profile {
    /// The role's name.
    pub role: &'static str,
    /// Allowed system calls; any other kills the process (SIGSYS). `None` = not filtered.
    pub syscalls: Option<&'static [Allow]>,
    /// System calls that are answered as if the kernel did not have them, so that libc takes the older way.
    pub absent: &'static [Absent],
    /// Roles whose calls are allowed here as well: those it becomes, or whose parent it is.
    pub includes: &'static [&'static Profile],
    /// Files and folders it may open; landlock forbids any other. `None` = not restricted.
    pub files: Option<&'static [Beneath]>,
    /// Namespaces it gets for itself, where the host permits it; what it got is reported.
    pub namespaces: &'static [Own],
    /// Capabilities it keeps.
    pub caps: &'static [Keep],
    /// Resource limits, in the order they are set.
    pub limits: &'static [Limit],
}

/// An allowed system call.
#[derive(Clone, Copy, Debug)]
pub struct Allow {
    /// Its name in the kernel's tables; [`crate::syscall`] has the number. An architecture that lacks the call lacks the line.
    pub name: &'static str,
    /// Conditions, all of which must hold. Several lines for one call: one of them must hold.
    pub when: &'static [Arg],
    /// Why the role needs it.
    pub reason: &'static str,
    /// Not every machine uses it: it is there for another kernel, libc or architecture, as the reason says. Any other line that an
    /// honest run does not use fails `tests/sandbox/rules.rs`.
    pub elsewhere: bool,
}

/// A call with any arguments.
pub(crate) const fn call(name: &'static str, reason: &'static str) -> Allow {
    call_if(name, &[], reason)
}

/// A call under conditions.
pub(crate) const fn call_if(name: &'static str, when: &'static [Arg], reason: &'static str) -> Allow {
    Allow { name, when, reason, elsewhere: false }
}

impl Allow {
    /// Marks a line that not every machine uses.
    pub(crate) const fn elsewhere(self) -> Self {
        Self { elsewhere: true, ..self }
    }

    /// Whether a call with these arguments by the process `pid` is what this line allows.
    pub fn permits(&self, args: [u64; 6], pid: u32) -> bool {
        self.when.iter().all(|arg| args.get(usize::from(arg.index)).is_some_and(|value| arg.holds(*value, pid)))
    }
}

/// A system call that is answered with `ENOSYS`.
#[derive(Clone, Copy, Debug)]
pub struct Absent {
    /// Its name.
    pub name: &'static str,
    /// Why, and what is used instead.
    pub reason: &'static str,
}

/// A condition on an argument.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// Which argument, from 0.
    pub index: u8,
    /// What must hold of its low 32 bits.
    pub wanted: Wanted,
}

/// What must hold of an argument.
#[derive(Clone, Copy, Debug)]
pub enum Wanted {
    /// The bits under a mask.
    Bits {
        /// Bits that are compared.
        mask: u32,
        /// What they must be.
        value: u32,
    },
    /// The number of the process that the filter is for.
    OwnPid,
}

impl Arg {
    /// Mask and value, for the process `pid`.
    pub(crate) fn bits(&self, pid: u32) -> (u32, u32) {
        match self.wanted {
            Wanted::Bits { mask, value } => (mask, value),
            Wanted::OwnPid => (u32::MAX, pid),
        }
    }

    /// Whether it holds of an argument in the process `pid`.
    #[expect(clippy::cast_possible_truncation, reason = "that is how the filter compares")]
    pub fn holds(&self, value: u64, pid: u32) -> bool {
        let (mask, wanted) = self.bits(pid);
        value as u32 & mask == wanted
    }
}

/// A C `int` constant as the filter compares it.
#[expect(clippy::cast_sign_loss, reason = "flags and small numbers: the bits are what is compared")]
pub(crate) const fn int(value: libc::c_int) -> u32 {
    value as u32
}

/// The argument must have this value. The low 32 bits are compared: what the kernel looks at in an `int`.
pub(crate) const fn arg(index: u8, value: u32) -> Arg {
    bits(index, u32::MAX, value)
}

/// The argument's bits under `mask` must be `value`.
pub(crate) const fn bits(index: u8, mask: u32, value: u32) -> Arg {
    Arg { index, wanted: Wanted::Bits { mask, value } }
}

/// The argument must be the process's own number.
pub(crate) const fn own_pid(index: u8) -> Arg {
    Arg { index, wanted: Wanted::OwnPid }
}

/// A file, or a folder with what is beneath it.
#[derive(Clone, Copy, Debug)]
pub struct Beneath {
    /// Which.
    pub place: Place,
    /// What may be done there.
    pub reach: Reach,
    /// Why the role needs it.
    pub reason: &'static str,
}

/// Where a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Absolute path; one that does not exist is left out.
    At(&'static str),
    /// What the operator or the caller names: the path comes when the profile is applied; one that is not named is left out.
    Named(&'static str),
}

/// What may be done with a file, or with all beneath a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Read files.
    Read,
    /// Read files and list folders.
    List,
    /// Read and execute files.
    Execute,
    /// Connect to the sockets there (landlock restricts that from its ABI 9 on).
    Connect,
    /// Read, write, create and remove files; list and create folders; connect to sockets.
    Change,
}

/// A namespace of its own.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// Which.
    pub namespace: Namespace,
    /// What that keeps away.
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
    /// All allowed calls: its own, then those of the included roles.
    pub fn all_syscalls(&self) -> Box<dyn Iterator<Item = &'static Allow>> {
        let included = self.includes.iter().flat_map(|profile| profile.all_syscalls());
        Box::new(self.syscalls.into_iter().flatten().chain(included))
    }

    /// The capabilities it keeps.
    pub fn kept(&self) -> impl Iterator<Item = Capability> {
        self.caps.iter().map(|keep| keep.cap)
    }
}

#[cfg(test)]
mod tests;
