//! From the launcher's last step over `exec` and the dynamic loader to the worker's own filter: all of it before the first byte
//! of traffic. What is absent: sockets, processes, signals to others, mounts, identities, tracing, bpf, keys, modules.

use libc::{F_GETFD, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, SIGBUS, SIGSEGV};

#[cfg(target_arch = "riscv64")]
use crate::profile::Allow;
use crate::profile::{Beneath, Profile, arg, call, int};
use crate::profiles::WORKER;

/// The outer filter; it stays beneath the worker's own.
pub const LAUNCHER: Profile = Profile {
    role: "launcher",
    syscalls: Some(&[
        call!(SYS_execve, "become the worker"),
        call!(SYS_openat, "the loader opens its cache and libraries"),
        call!(SYS_read, "the loader reads library headers"),
        call!(SYS_pread64, "the loader reads program headers"),
        call!(SYS_fstat, "the loader asks for a library's size"),
        call!(SYS_newfstatat, "as fstat, in newer libc"),
        call!(SYS_mmap, "the loader maps code"),
        call!(SYS_mprotect, "the loader write-protects relocated data; the stack's guard"),
        call!(SYS_close, "the loader and landlock close what they opened"),
        call!(SYS_fcntl, [arg(1, int(F_GETFD))], "a debug build of std checks that what it closes is open"),
        #[cfg(target_arch = "x86_64")]
        call!(SYS_access, "the loader looks for ld.so.preload"),
        call!(SYS_faccessat, "as access, where there is none"),
        #[cfg(target_arch = "x86_64")]
        call!(SYS_arch_prctl, "libc sets the thread pointer"),
        call!(SYS_set_tid_address, "libc starts its first thread"),
        call!(SYS_set_robust_list, "libc starts its first thread"),
        call!(SYS_rseq, "libc starts its first thread"),
        call!(SYS_prlimit64, "libc and std ask for the stack's limit"),
        call!(SYS_sched_getaffinity, "libc describes the stack for std, if it may read its own maps: without landlock"),
        #[cfg(target_arch = "x86_64")]
        call!(SYS_poll, "std checks that fd 0 to 2 are open"),
        call!(SYS_ppoll, "as poll, where there is none"),
        call!(SYS_rt_sigaction, "std ignores SIGPIPE and catches stack overflows"),
        call!(SYS_rt_sigreturn, "return from std's handlers when the worker uses them up"),
        call!(SYS_tgkill, [arg(2, int(SIGSEGV))], "the worker uses up std's handler, once, before it seals itself"),
        call!(SYS_tgkill, [arg(2, int(SIGBUS))], "as for SIGSEGV"),
        call!(SYS_prctl, [arg(0, int(PR_SET_NO_NEW_PRIVS))], "set again before each filter"),
        call!(SYS_prctl, [arg(0, int(PR_SET_DUMPABLE))], "exec made the process dumpable; the worker undoes it"),
        call!(SYS_landlock_create_ruleset, "the worker forbids itself every file"),
        call!(SYS_landlock_restrict_self, "the worker forbids itself every file"),
        call!(SYS_seccomp, "the worker applies its own filter"),
        #[cfg(target_arch = "riscv64")]
        Allow::new(258, "SYS_riscv_hwprobe", &[], "libc picks its string functions"),
    ]),
    includes: Some(&WORKER),
    files: Some(&[
        Beneath { path: "/lib", execute: false, reason: "libc, where it is not in /usr/lib" },
        Beneath { path: "/lib64", execute: false, reason: "libc, where it is not in /usr/lib64" },
        Beneath { path: "/usr/lib", execute: false, reason: "libc; mapping its code is reading" },
        Beneath { path: "/usr/lib64", execute: false, reason: "libc; mapping its code is reading" },
        Beneath { path: "/lib64/ld-linux-x86-64.so.2", execute: true, reason: "the dynamic loader of x86_64" },
        Beneath { path: "/lib/ld-linux-aarch64.so.1", execute: true, reason: "the dynamic loader of aarch64" },
        Beneath { path: "/lib/ld-linux-riscv64-lp64d.so.1", execute: true, reason: "the dynamic loader of riscv64" },
        Beneath { path: "/etc/ld.so.cache", execute: false, reason: "where libraries lie" },
        Beneath { path: "/etc/ld.so.preload", execute: false, reason: "a library the host's operator puts into every process" },
    ]),
    caps: &[],
    limits: WORKER.limits,
};
