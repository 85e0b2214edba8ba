//! From the launcher's last step over `exec` and the dynamic loader to the worker's own filter: all of it before the first byte
//! of traffic. What is absent: sockets, processes, signals to others, mounts, identities, tracing, bpf, keys, modules.

use crate::profile::{Beneath, Profile, arg, call};
use crate::profiles::WORKER;

/// `F_GETFD` of `fcntl` and two options of `prctl`, in the type the filter compares.
const GET_FD_FLAGS: u32 = 1;
const SET_DUMPABLE: u32 = 4;
const SET_NO_NEW_PRIVS: u32 = 38;

/// The outer filter; it stays beneath the worker's own.
pub const LAUNCH: Profile = Profile {
    role: "launch",
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
        call!(SYS_fcntl, [arg(1, GET_FD_FLAGS)], "a debug build of std checks that what it closes is open"),
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
        call!(SYS_prctl, [arg(0, SET_NO_NEW_PRIVS)], "set again before each filter"),
        call!(SYS_prctl, [arg(0, SET_DUMPABLE)], "exec made the process dumpable; the worker undoes it"),
        call!(SYS_landlock_create_ruleset, "the worker forbids itself every file"),
        call!(SYS_landlock_restrict_self, "the worker forbids itself every file"),
        call!(SYS_seccomp, "the worker applies its own filter"),
        #[cfg(target_arch = "riscv64")]
        call!(SYS_riscv_hwprobe, "libc picks its string functions"),
    ]),
    includes: Some(&WORKER),
    files: Some(&[
        Beneath { path: "/lib", execute: true, reason: "the dynamic loader and libc" },
        Beneath { path: "/lib64", execute: true, reason: "the dynamic loader and libc" },
        Beneath { path: "/usr/lib", execute: true, reason: "the dynamic loader and libc" },
        Beneath { path: "/usr/lib64", execute: true, reason: "the dynamic loader and libc" },
        Beneath { path: "/etc/ld.so.cache", execute: false, reason: "where libraries lie" },
        Beneath { path: "/etc/ld.so.preload", execute: false, reason: "the operator's own" },
    ]),
    caps: &[],
    limits: WORKER.limits,
};
