//! The keeper: it holds duplicates of the queue sockets for a supervisor that may die, and reads none of them.
//!
//! It cannot send on them (`CAP_NET_ADMIN` of the sender), open anything, or start anything. What it can do to a queue is make its
//! socket's buffer small, after which the kernel passes what it can no longer hand out. It logs nothing: it outlives whoever reads its log.

use libc::{F_GETFD, SO_PEERCRED, SO_PROTOCOL, SO_RCVBUF, SOCK_CLOEXEC, SOL_SOCKET};
use nix::sys::resource::Resource;

use crate::profile::{Limit, Profile, arg, call, call_if, int, mib};

/// Queue sockets it takes at most: one per lane, and nobody has as many helpers.
pub const KEEPER_SOCKETS: usize = 64;
/// Connections at a time: a supervisor, its successor, an operator's tool.
pub const KEEPER_PEERS: usize = 8;

/// From its first message on.
pub const KEEPER: Profile = Profile {
    role: "keeper",
    syscalls: Some(&[
        call("poll", "wait for the supervisor, or for its end").elsewhere(),
        call("ppoll", "as poll, where there is none").elsewhere(),
        call("restart_syscall", "poll goes on after SIGSTOP and SIGCONT, and when the machine has slept").elsewhere(),
        call_if("accept4", &[arg(3, int(SOCK_CLOEXEC))], "a supervisor connects"),
        call("recvmsg", "an order, with the socket it is about"),
        call("sendmsg", "the answer; for a successor the sockets"),
        call_if("getsockopt", &[arg(1, int(SOL_SOCKET)), arg(2, int(SO_PEERCRED))], "only root is answered"),
        call_if("getsockopt", &[arg(1, int(SOL_SOCKET)), arg(2, int(SO_PROTOCOL))], "only netfilter sockets are taken"),
        call("getsockname", "only netlink sockets are taken"),
        call_if("setsockopt", &[arg(1, int(SOL_SOCKET)), arg(2, int(SO_RCVBUF))], "let a queue pass what nobody reads"),
        call("close", "give sockets and connections up"),
        call_if("fcntl", &[arg(1, int(F_GETFD))], "a debug build of std checks that what it closes is open").elsewhere(),
        call("clock_gettime", "how long it has been idle, where the vDSO has no clock").elsewhere(),
        call("exit_group", "an orderly end"),
    ]),
    absent: &[],
    includes: &[],
    files: Some(&[]),
    namespaces: &[],
    caps: &[],
    limits: &[
        Limit {
            resource: Resource::RLIMIT_NOFILE,
            value: 96,
            reason: "64 queue sockets, 8 connections, the four it is born with, and room for one more message",
        },
        Limit {
            resource: Resource::RLIMIT_AS,
            value: mib(64),
            reason: "its memory, taken before it seals itself, and its program",
        },
        Limit { resource: Resource::RLIMIT_CORE, value: 0, reason: "nothing of it is worth a file" },
        Limit { resource: Resource::RLIMIT_MEMLOCK, value: 0, reason: "nothing to lock" },
        Limit { resource: Resource::RLIMIT_MSGQUEUE, value: 0, reason: "nothing to queue" },
        Limit { resource: Resource::RLIMIT_NPROC, value: 0, reason: "no process and no thread besides" },
    ],
};
