//! The worker while it serves: it parses what strangers sent, and can do nothing but answer.
//!
//! The three descriptors it was born with are sockets and a pipe, so calls on descriptors need no condition but the one on `write`,
//! which keeps log lines out of the record channels. A call without conditions is also the cheap one: the kernel remembers the
//! filter's answer (a bitmap since Linux 5.11) and no longer runs it.

use libc::{FUTEX_PRIVATE_FLAG, FUTEX_WAKE, MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_EXEC, SIGABRT, STDERR_FILENO};
use nix::sys::resource::Resource;

use crate::profile::{Limit, Profile, arg, bits, call, int, mib};

/// The inner filter.
pub const WORKER: Profile = Profile {
    role: "worker",
    syscalls: Some(&[
        call!(SYS_recvfrom, "receive packets and answers"),
        call!(SYS_sendto, "send verdicts and asks"),
        call!(SYS_write, [arg(0, int(STDERR_FILENO))], "log lines on stderr"),
        call!(SYS_brk, "memory"),
        call!(
            SYS_mmap,
            [
                bits(2, int(PROT_EXEC), 0),
                bits(3, int(MAP_PRIVATE | MAP_SHARED | MAP_ANONYMOUS), int(MAP_PRIVATE | MAP_ANONYMOUS))
            ],
            "memory: private, of no file, never executable"
        ),
        call!(SYS_munmap, "give memory back"),
        call!(SYS_mremap, "grow a large allocation in place"),
        call!(SYS_madvise, "give unused pages back"),
        call!(SYS_getrandom, "hash keys a stranger cannot guess"),
        call!(SYS_clock_gettime, "timestamps, where the vDSO has no clock"),
        call!(
            SYS_futex,
            [arg(1, int(FUTEX_WAKE | FUTEX_PRIVATE_FLAG))],
            "libc's one-time initialisation wakes waiters it does not have"
        ),
        call!(SYS_rt_sigprocmask, "abort() unblocks SIGABRT first"),
        call!(SYS_getpid, "abort() names itself"),
        call!(SYS_gettid, "a panic's message and abort() name the thread"),
        call!(SYS_tgkill, [arg(2, int(SIGABRT))], "a panic must die as SIGABRT, or the audit calls it SIGSYS"),
        call!(SYS_rt_sigaction, [arg(0, int(SIGABRT))], "abort() makes sure that nothing catches it"),
        call!(SYS_sigaltstack, "an orderly end takes the handler's stack down"),
        call!(SYS_exit_group, "an orderly end"),
    ]),
    includes: None,
    files: Some(&[]),
    caps: &[],
    limits: &[
        Limit {
            resource: Resource::RLIMIT_NOFILE,
            value: 8,
            reason: "three channels; the loader and landlock open two at a time",
        },
        Limit {
            resource: Resource::RLIMIT_AS,
            value: mib(64),
            reason: "a worker that grows is ended by its allocator, not by the host's",
        },
        Limit { resource: Resource::RLIMIT_CORE, value: 0, reason: "strangers' payload is not written to disk" },
        Limit { resource: Resource::RLIMIT_FSIZE, value: 0, reason: "no file can be written; pipes and sockets are none" },
        Limit { resource: Resource::RLIMIT_MEMLOCK, value: 0, reason: "nothing to lock" },
        Limit { resource: Resource::RLIMIT_MSGQUEUE, value: 0, reason: "nothing to queue" },
        Limit {
            resource: Resource::RLIMIT_NPROC,
            value: 0,
            reason: "no process besides; set after the change of uid, or exec would fail",
        },
    ],
};
