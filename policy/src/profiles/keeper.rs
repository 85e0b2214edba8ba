//! The keeper: it holds duplicates of the queue sockets for a supervisor that may die, and reads none of them.
//!
//! It cannot send on them (`CAP_NET_ADMIN` of the sender), open anything, or start anything. What it can do to a queue is make its
//! socket's buffer small, after which the kernel passes what it can no longer hand out. It logs nothing: it outlives whoever reads its log.

use libc::{
    F_GETFD, FUTEX_PRIVATE_FLAG, FUTEX_WAKE, MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_EXEC, SO_PEERCRED, SO_PROTOCOL,
    SO_RCVBUF, SOCK_CLOEXEC, SOL_SOCKET,
};
use nix::sys::resource::Resource;

use crate::profile::{Limit, Profile, arg, bits, call, int, mib};

/// Queue sockets it takes at most: one per lane, and nobody has as many helpers.
pub const KEEPER_SOCKETS: usize = 64;
/// Connections at a time: a supervisor, its successor, an operator's tool.
pub const KEEPER_PEERS: usize = 8;

/// From its first message on.
pub const KEEPER: Profile = Profile {
    role: "keeper",
    syscalls: Some(&[
        #[cfg(target_arch = "x86_64")]
        call!(SYS_poll, "wait for the supervisor, or for its end"),
        call!(SYS_ppoll, "as poll, where there is none"),
        call!(SYS_accept4, [arg(3, int(SOCK_CLOEXEC))], "a supervisor connects"),
        call!(SYS_recvmsg, "an order, with the socket it is about"),
        call!(SYS_sendmsg, "the answer; for a successor the sockets"),
        call!(SYS_getsockopt, [arg(1, int(SOL_SOCKET)), arg(2, int(SO_PEERCRED))], "only root is answered"),
        call!(SYS_getsockopt, [arg(1, int(SOL_SOCKET)), arg(2, int(SO_PROTOCOL))], "only netfilter sockets are taken"),
        call!(SYS_getsockname, "only netlink sockets are taken; two of one port id are one"),
        call!(SYS_setsockopt, [arg(1, int(SOL_SOCKET)), arg(2, int(SO_RCVBUF))], "let a queue pass what nobody reads"),
        call!(SYS_close, "give sockets and connections up"),
        call!(SYS_fcntl, [arg(1, int(F_GETFD))], "a debug build of std checks that what it closes is open"),
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
        call!(SYS_clock_gettime, "how long it has been idle, where the vDSO has no clock"),
        call!(
            SYS_futex,
            [arg(1, int(FUTEX_WAKE | FUTEX_PRIVATE_FLAG))],
            "libc's one-time initialisation wakes waiters it does not have"
        ),
        call!(SYS_sigaltstack, "an orderly end takes the handler's stack down"),
        call!(SYS_exit_group, "an orderly end"),
    ]),
    includes: None,
    files: Some(&[]),
    caps: &[],
    limits: &[
        Limit {
            resource: Resource::RLIMIT_NOFILE,
            value: 96,
            reason: "64 queue sockets, 8 connections, the four it is born with, and room for one more message",
        },
        Limit { resource: Resource::RLIMIT_AS, value: mib(64), reason: "it needs no more than it starts with" },
        Limit { resource: Resource::RLIMIT_CORE, value: 0, reason: "nothing of it is worth a file" },
        Limit { resource: Resource::RLIMIT_MEMLOCK, value: 0, reason: "nothing to lock" },
        Limit { resource: Resource::RLIMIT_MSGQUEUE, value: 0, reason: "nothing to queue" },
        Limit { resource: Resource::RLIMIT_NPROC, value: 0, reason: "no process and no thread besides" },
    ],
};
