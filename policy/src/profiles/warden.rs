//! The warden: makes workers and ends them, for the supervisor that can do neither.
//!
//! Its launchers begin under its filter and its landlock, so both hold what a launcher does before it has its own. What neither can do:
//! open a socket, write a file, execute anything but the launcher and what lies beside the workers' binaries, become root again.

use caps::Capability;
use libc::{
    CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWUTS, CLONE_VFORK, CLONE_VM, PR_CAP_AMBIENT, PR_CAPBSET_DROP,
    PR_CAPBSET_READ, PR_SET_NAME, PR_SET_PDEATHSIG, PR_SET_THP_DISABLE, PTRACE_CONT, PTRACE_DETACH, PTRACE_GET_SYSCALL_INFO,
    PTRACE_GETEVENTMSG, PTRACE_GETREGSET, PTRACE_GETSIGINFO, PTRACE_SETOPTIONS, PTRACE_TRACEME, SIGBUS, SIGCHLD, SIGKILL,
    SIGSEGV, SIGSTOP, SO_TYPE, SOL_SOCKET,
};

use super::launcher::{library, loader};
use crate::profile::{Absent, Beneath, Keep, Place, Profile, Reach, arg, call, call_if, int};
use crate::profiles::{BROKER, KEEPER, LAUNCHER};

/// `PR_SET_MDWE` of linux/prctl.h.
const PR_SET_MDWE: u32 = 65;

/// `MS_REC | MS_SLAVE` of linux/mount.h.
const MOUNTS_SLAVE: u32 = 0x4000 | 0x8_0000;
/// Of `x86_64` alone: asm/ptrace-abi.h.
const PTRACE_GETREGS: u32 = 12;

/// What the warden keeps.
pub const WARDEN: Profile = Profile {
    role: "warden",
    syscalls: Some(&[
        call("recvmsg", "orders, with the descriptors for a worker"),
        call("sendmsg", "news for the lanes"),
        call("wait4", "how a worker ended"),
        call_if("kill", &[arg(1, int(SIGKILL))], "end a worker"),
        call_if("clone", &[arg(0, int(CLONE_VM | CLONE_VFORK | SIGCHLD))], "start a launcher; no thread, no namespace"),
        call_if("ptrace", &[arg(0, PTRACE_TRACEME)], "a launcher lets the warden see how it ends"),
        call_if("ptrace", &[arg(0, PTRACE_SETOPTIONS)], "be told of exec and exit; nobody outlives the warden"),
        call_if("ptrace", &[arg(0, PTRACE_CONT)], "a child that was looked at goes on"),
        call_if("ptrace", &[arg(0, PTRACE_DETACH)], "a child that was stopped stays so").elsewhere(),
        call_if("ptrace", &[arg(0, PTRACE_GETSIGINFO)], "where a signal came from"),
        call_if("ptrace", &[arg(0, PTRACE_GETEVENTMSG)], "how a child is about to end"),
        call_if("ptrace", &[arg(0, PTRACE_GETREGS)], "the arguments of a forbidden call, on x86_64").elsewhere(),
        call_if("ptrace", &[arg(0, PTRACE_GETREGSET)], "as GETREGS, elsewhere").elsewhere(),
        call_if("ptrace", &[arg(0, PTRACE_GET_SYSCALL_INFO)], "which call was forbidden").elsewhere(),
        call("dup2", "a launcher's descriptors become 0 to 2").elsewhere(),
        call("dup3", "as dup2, where there is none").elsewhere(),
        call("chdir", "a launcher leaves the folder it was started in"),
        call("getdents64", "a launcher looks which descriptors are open"),
        call("statx", "a launcher looks whether a path of its rules is a folder"),
        call("umask", "a launcher's files would be its own"),
        call("getppid", "a launcher looks whether its parent is there"),
        call_if("getsockopt", &[arg(1, int(SOL_SOCKET)), arg(2, int(SO_TYPE))], "a launcher looks whether it has its channels"),
        call("getsid", "a launcher looks whether it leads a session"),
        call("setsid", "a launcher leaves the terminal"),
        call("getuid", "a launcher looks who it is").elsewhere(),
        call("getgid", "a launcher looks who it is").elsewhere(),
        call("geteuid", "a keeper remembers whose it is").elsewhere(),
        call_if("unshare", &[arg(0, int(CLONE_NEWNET))], "a launcher's empty network"),
        call_if("unshare", &[arg(0, int(CLONE_NEWIPC))], "a launcher's ipc"),
        call_if("unshare", &[arg(0, int(CLONE_NEWNS))], "a launcher's mounts"),
        call_if("unshare", &[arg(0, int(CLONE_NEWUTS))], "a launcher's names"),
        call_if("unshare", &[arg(0, int(CLONE_NEWUSER))], "what the other four take without privileges").elsewhere(),
        call_if("mount", &[arg(3, MOUNTS_SLAVE)], "mounts of its own, if the warden has none; landlock says no").elsewhere(),
        call("capget", "a launcher empties its capability sets"),
        call("capset", "a launcher empties its capability sets"),
        call_if("prctl", &[arg(0, int(PR_CAPBSET_READ))], "a launcher empties its bounding set"),
        call_if("prctl", &[arg(0, int(PR_CAPBSET_DROP))], "a launcher empties its bounding set"),
        call_if("prctl", &[arg(0, int(PR_CAP_AMBIENT))], "a launcher empties its ambient set"),
        call_if("prctl", &[arg(0, int(PR_SET_PDEATHSIG)), arg(1, int(SIGKILL))], "a launcher dies with the warden"),
        call_if("prctl", &[arg(0, int(PR_SET_THP_DISABLE)), arg(1, 1)], "a worker's memory is its own few pages, not huge ones"),
        call_if("prctl", &[arg(0, PR_SET_MDWE), arg(1, 1)], "no memory of a worker becomes executable"),
        call_if("prctl", &[arg(0, int(PR_SET_NAME))], "keeper and broker are known by their names").elsewhere(),
        call("setgroups", "a launcher leaves all groups"),
        call("setresgid", "a launcher takes the workers' gid"),
        call("setresuid", "a launcher takes the workers' uid"),
        call("landlock_add_rule", "a launcher may read libraries").elsewhere(),
        call_if("tgkill", &[arg(2, int(SIGSEGV))], "as the launcher's, whose number this filter does not know"),
        call_if("tgkill", &[arg(2, int(SIGBUS))], "as the launcher's, whose number this filter does not know"),
        call_if("tgkill", &[arg(2, int(SIGSTOP))], "a launcher waits until it is traced, where the host lets it").elsewhere(),
    ]),
    absent: &[Absent { name: "clone3", reason: "its flags are in memory, where no filter looks; libc takes clone" }],
    includes: &[&LAUNCHER, &KEEPER, &BROKER],
    files: Some(&[
        library("/lib", "libc, where it is not in /usr/lib"),
        library("/lib64", "libc, where it is not in /usr/lib64"),
        library("/usr/lib", "libc; mapping its code is reading"),
        library("/usr/lib64", "libc; mapping its code is reading"),
        loader("/lib64/ld-linux-x86-64.so.2", "the dynamic loader of x86_64"),
        loader("/lib/ld-linux-aarch64.so.1", "the dynamic loader of aarch64"),
        loader("/lib/ld-linux-riscv64-lp64d.so.1", "the dynamic loader of riscv64"),
        library("/etc/ld.so.cache", "where libraries lie"),
        library("/etc/ld.so.preload", "a library the host's operator puts into every process"),
        Beneath { place: Place::At("/proc"), reach: Reach::List, reason: "a launcher's own descriptors and mounts" },
        Beneath {
            place: Place::At("/dev/null"),
            reach: Reach::Change,
            reason: "a keeper outlives whoever reads its words; a broker has no output",
        },
        Beneath { place: Place::Named(LAUNCHERS), reach: Reach::Execute, reason: "this very program, in another role" },
        Beneath { place: Place::Named(WORKERS_FOLDERS), reach: Reach::Execute, reason: "also after an upgrade" },
    ]),
    namespaces: &[],
    caps: &[
        Keep { cap: Capability::CAP_SETUID, reason: "a launcher takes the workers' uid" },
        Keep { cap: Capability::CAP_SETGID, reason: "a launcher takes the workers' gid and drops all groups" },
        Keep { cap: Capability::CAP_SETPCAP, reason: "a launcher empties its bounding set" },
        Keep { cap: Capability::CAP_SYS_ADMIN, reason: "a launcher enters namespaces of its own" },
        Keep { cap: Capability::CAP_KILL, reason: "end a worker, whose uid is another" },
    ],
    limits: &[],
};

/// The launcher's binary.
pub(crate) const LAUNCHERS: &str = "launcher's binary";
/// Where the workers' binaries lie.
pub(crate) const WORKERS_FOLDERS: &str = "folders of workers' binaries";
