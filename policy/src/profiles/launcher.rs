//! From the launcher's last step over `exec` and the dynamic loader to the worker's own filter: all of it before the first byte
//! of traffic. What is absent: sockets, processes, signals to others, mounts, identities, tracing, bpf, keys, modules.

use libc::{
    F_GETFD, FUTEX_PRIVATE_FLAG, FUTEX_WAKE, MAP_ANONYMOUS, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PROT_EXEC, PROT_WRITE,
    SECCOMP_SET_MODE_FILTER, SIGBUS, SIGSEGV,
};

use crate::profile::{Beneath, Place, Profile, Reach, arg, bits, call, call_if, int, own_pid};
use crate::profiles::WORKER;

/// The outer filter; it stays beneath the worker's own.
pub const LAUNCHER: Profile = Profile {
    role: "launcher",
    syscalls: Some(&[
        call("execve", "become the worker"),
        call("openat", "the loader opens its cache and libraries"),
        call("read", "the loader reads library headers"),
        call("pread64", "the loader reads program headers"),
        call("fstat", "the loader asks for a library's size").elsewhere(),
        call("newfstatat", "as fstat, in newer libc").elsewhere(),
        call_if("mmap", &[bits(2, int(PROT_EXEC), 0)], "memory; the loader maps data"),
        call_if(
            "mmap",
            &[bits(2, int(PROT_EXEC | PROT_WRITE), int(PROT_EXEC)), bits(3, int(MAP_ANONYMOUS), 0)],
            "the loader maps code: of a file, not writable",
        ),
        call_if("mprotect", &[bits(2, int(PROT_EXEC), 0)], "the loader write-protects relocated data; the stack's guard"),
        call("munmap", "memory; the loader unmaps its cache"),
        call("brk", "memory"),
        call("mremap", "memory of a helper that builds large tables at its start").elsewhere(),
        call("close", "the loader and landlock close what they opened"),
        call_if("fcntl", &[arg(1, int(F_GETFD))], "a debug build of std checks that what it closes is open").elsewhere(),
        call("access", "the loader looks for ld.so.preload").elsewhere(),
        call("faccessat", "as access, where there is none").elsewhere(),
        call("arch_prctl", "libc sets the thread pointer of x86_64").elsewhere(),
        call("set_tid_address", "libc starts its first thread"),
        call("set_robust_list", "libc starts its first thread"),
        call("rseq", "libc starts its first thread"),
        call_if("prlimit64", &[arg(0, 0)], "libc and std ask for the stack's limit"),
        call("getrandom", "keys of hash maps and of the allocator"),
        call("sched_getaffinity", "libc describes the stack for std, if it may read its own maps: without landlock").elsewhere(),
        call("poll", "std checks that fd 0 to 2 are open").elsewhere(),
        call("ppoll", "as poll, where there is none").elsewhere(),
        call_if(
            "futex",
            &[arg(1, int(FUTEX_WAKE | FUTEX_PRIVATE_FLAG))],
            "libc's one-time initialisation wakes waiters it does not have",
        ),
        call("sigaltstack", "std makes a stack for its handlers"),
        call("rt_sigaction", "std ignores SIGPIPE and catches stack overflows"),
        call("rt_sigprocmask", "raise() of older libc blocks signals around itself").elsewhere(),
        call("rt_sigreturn", "return from std's handlers when the worker uses them up"),
        call("getpid", "raise() names this process").elsewhere(),
        call("gettid", "raise() names this thread"),
        call_if("tgkill", &[own_pid(0), arg(2, int(SIGSEGV))], "the worker uses up std's handler, once, before it seals itself"),
        call_if("tgkill", &[own_pid(0), arg(2, int(SIGBUS))], "as for SIGSEGV"),
        call_if("prctl", &[arg(0, int(PR_SET_NO_NEW_PRIVS))], "set again before each filter"),
        call_if("prctl", &[arg(0, int(PR_SET_DUMPABLE)), arg(1, 0)], "exec made the process dumpable; the worker undoes it"),
        call("landlock_create_ruleset", "the worker forbids itself every file").elsewhere(),
        call("landlock_restrict_self", "the worker forbids itself every file").elsewhere(),
        call_if("seccomp", &[arg(0, SECCOMP_SET_MODE_FILTER), arg(1, 0)], "the worker applies its own filter"),
        call("riscv_hwprobe", "libc picks its string functions on riscv64").elsewhere(),
    ]),
    absent: &[],
    includes: &[&WORKER],
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
        Beneath { place: Place::Named(WORKERS_BINARY), reach: Reach::Execute, reason: "what it becomes" },
    ]),
    namespaces: WORKER.namespaces,
    caps: &[],
    limits: WORKER.limits,
};

/// The one file outside the library folders that a launcher may execute.
pub(crate) const WORKERS_BINARY: &str = "worker's binary";

pub(super) const fn library(path: &'static str, reason: &'static str) -> Beneath {
    Beneath { place: Place::At(path), reach: Reach::Read, reason }
}

pub(super) const fn loader(path: &'static str, reason: &'static str) -> Beneath {
    Beneath { place: Place::At(path), reach: Reach::Execute, reason }
}
