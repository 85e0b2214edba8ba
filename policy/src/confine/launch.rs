//! The launcher turns itself into a cage, then becomes the worker.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use capctl::prctl::{MDWEFlags, set_mdwe};
use caps::{CapSet, Capability};
use cthelper_proto::ipc::{Launched, Namespace, Namespaces};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{self, AccessFlags, Gid, Uid};

use super::supervisor::drop_bounding;
use super::{ConfineError, While, filter, ruleset};
use crate::profile::{Own, Profile};
use crate::profiles::{LAUNCHER, WORKERS_BINARY};

/// Whom and what to launch.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The worker's uid, never 0. The caller's own when the caller is not root.
    pub uid: u32,
    /// The worker's gid, never 0. The caller's own when the caller is not root.
    pub gid: u32,
    /// Absolute path of the worker's binary: the one file outside the library folders that may be executed from here on.
    pub worker: &'a Path,
}

/// A process that is ready to become the worker.
#[derive(Debug)]
pub struct Caged {
    /// What was put around it.
    pub launched: Launched,
    /// What to execute: the worker's own path, or the open file where a folder on the way is closed to the worker's user.
    pub program: PathBuf,
    /// Keeps that file open until `exec` closes it.
    _file: File,
}

/// Confines this process; the caller then says `Launched` on fd 1 and executes the worker.
///
/// To be called in the launcher: a process of one thread, with the worker's channels as fd 0 to 2, that holds no other descriptor it
/// still wants. fd 2 must not be a regular file: the limit on file size is 0.
///
/// Order, each step because a later one would forbid it:
/// 1. close descriptors from 3 up (those of `/proc/self/fd`), open the worker's binary, umask 077, folder `/`
/// 2. the profile's namespaces; without `CAP_SYS_ADMIN` inside a user namespace of its own, if the host permits that
/// 3. own session, so that no terminal's signals reach it
/// 4. empty bounding set, no groups, gid, uid, no capabilities
/// 5. resource limits; after the change of uid, because a limit on processes that is exceeded by it makes exec fail
/// 6. die with the supervisor: in truth with its *thread* that started the launcher, so that thread must live as long as the worker;
///    after the change of uid, which resets this
/// 7. no huge pages: one of 2 MiB is more than all else a worker touches, and whether its heap begins beside one is chance
/// 8. `no_new_privs`, not dumpable, no memory both writable and executable, landlock, the outer filter
///
/// No PID namespace: it holds the *children* of the process that asks for one, so the launcher would have to fork, and the worker would be
/// nobody's child that waits for it. It would hide the numbers of processes from one that can neither signal, trace nor look.
///
/// # Errors
/// A step failed, or uid or gid is 0: nothing must be executed. Not an error, but reported: no own network (the host forbids it) and
/// no landlock.
pub fn launch(launch: &Launch<'_>) -> Result<Caged, ConfineError> {
    let parent = unistd::getppid();
    let identity = Identity::of(launch.uid, launch.gid)?;
    close_from_3().doing("close inherited descriptors")?;
    let file = File::open(launch.worker).doing("open the worker's binary")?;
    umask(Mode::from_bits_truncate(0o077));
    unistd::chdir("/").doing("change to the root folder")?;
    let own = own_namespaces(&LAUNCHER, identity);
    own_session().doing("start a session")?;
    drop_privileges(launch.uid, launch.gid, identity)?;
    let program = program(launch.worker, &file)?;
    set_limits(&LAUNCHER)?;
    prctl::set_pdeathsig(Signal::SIGKILL).doing("set the parent-death signal")?;
    if unistd::getppid() != parent {
        return Err(ConfineError::new("start: the supervisor is gone", nix::errno::Errno::ESRCH));
    }
    prctl::set_thp_disable(true).doing("do without huge pages")?;
    prctl::set_no_new_privs().doing("set no_new_privs")?;
    prctl::set_dumpable(false).doing("become undumpable")?;
    let write_xor_execute = set_mdwe(MDWEFlags::REFUSE_EXEC_GAIN).is_ok();
    let landlock = ruleset::apply(&LAUNCHER, &[(WORKERS_BINARY, &program)])?;
    filter::apply(&LAUNCHER)?;
    Ok(Caged { launched: Launched { landlock, own, write_xor_execute }, program, _file: file })
}

/// The path by which the worker's user may execute the file. A checkout below a home folder is closed to it; the file need not be.
fn program(worker: &Path, file: &File) -> Result<PathBuf, ConfineError> {
    if unistd::access(worker, AccessFlags::X_OK).is_ok() {
        return Ok(worker.to_owned());
    }
    let open = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    unistd::access(&open, AccessFlags::X_OK).doing("execute the worker's binary as the worker's user")?;
    Ok(open)
}

/// Whether the process takes on another identity, or keeps the one it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// Root, or a holder of the capabilities: everything must succeed.
    Change,
    /// An ordinary user launches under its own name (`cthelperd replay`): groups and bounding set may have to stay.
    Keep,
}

impl Identity {
    pub(super) fn of(uid: u32, gid: u32) -> Result<Self, ConfineError> {
        if uid == 0 || gid == 0 {
            return Err(ConfineError::new("launch a worker as root", nix::errno::Errno::EINVAL));
        }
        let same = Uid::current().as_raw() == uid && Gid::current().as_raw() == gid;
        let missing = [Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_SETPCAP]
            .into_iter()
            .find(|cap| !caps::has_cap(None, CapSet::Effective, *cap).unwrap_or(false));
        match (missing, same) {
            (None, _) => Ok(Self::Change),
            (Some(_), true) => Ok(Self::Keep),
            (Some(cap), false) => Err(ConfineError::new("take another identity", format!("{cap} is missing"))),
        }
    }
}

/// Closes every descriptor but 0 to 2; `close_range` has no safe wrapper, so the list comes from proc.
/// Nobody in this process owns them: it runs nothing but the launcher. The list's own is among them, closed before the rest.
pub(super) fn close_from_3() -> std::io::Result<()> {
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        open.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()).filter(|fd| *fd > 2));
    }
    for fd in open {
        let _ = unistd::close(fd);
    }
    Ok(())
}

/// The profile's namespaces, each by itself, so that one the host refuses costs no other.
pub(super) fn own_namespaces(profile: &Profile, identity: Identity) -> Namespaces {
    let mut own = Namespaces::default();
    if identity == Identity::Keep {
        let _ = unshare(CloneFlags::CLONE_NEWUSER);
    }
    for Own { namespace, .. } in profile.namespaces {
        let got = match namespace {
            Namespace::Network => unshare(CloneFlags::CLONE_NEWNET),
            Namespace::Ipc => unshare(CloneFlags::CLONE_NEWIPC),
            Namespace::Mounts => own_mounts(),
            Namespace::Names => unshare(CloneFlags::CLONE_NEWUTS),
        };
        if got.is_ok() {
            own.insert(*namespace);
        }
    }
    own
}

/// A tree of mounts of its own. Mounts of the host go on to arrive in it and to leave it, or a file system that is unmounted would stay
/// busy; nothing goes the other way. A copy of such a tree is one already.
pub(super) fn own_mounts() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if !mounts.is_empty() && !mounts.contains(" shared:") {
        return Ok(());
    }
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)
}

/// A session of its own; a process that leads one already has it.
pub(super) fn own_session() -> nix::Result<()> {
    if unistd::getsid(None)? == unistd::getpid() {
        return Ok(());
    }
    unistd::setsid().map(drop)
}

/// Groups, gid, uid, then every capability set. Leaving uid 0 empties the sets too; they are emptied by name all the same.
pub(super) fn drop_privileges(uid: u32, gid: u32, identity: Identity) -> Result<(), ConfineError> {
    let bounding = drop_bounding(&std::collections::HashSet::<Capability>::new());
    if identity == Identity::Change {
        bounding?;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        unistd::setgroups(&[]).doing("drop the groups")?;
        unistd::setresgid(gid, gid, gid).doing("take the worker's gid")?;
        unistd::setresuid(uid, uid, uid).doing("take the worker's uid")?;
    }
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set).doing("drop the capabilities")?;
    }
    Ok(())
}

pub(super) fn set_limits(profile: &Profile) -> Result<(), ConfineError> {
    profile.limits.iter().try_for_each(|limit| lower(limit.resource, limit.value).doing("set the resource limits"))
}

/// Sets soft and hard limit; one that is lower already stays.
fn lower(resource: Resource, value: u64) -> nix::Result<()> {
    let (_, hard) = nix::sys::resource::getrlimit(resource)?;
    setrlimit(resource, value.min(hard), value.min(hard))
}
