//! The broker: whatever an ordinary user can connect to is answered here, by a process that holds nothing.
//!
//! It is given its sockets when it is confined, and can open none. On those of the kernel it reads only: netfilter looks at the sender's
//! capabilities, and it has none. It has calls for memory, which a worker has not: what waits for its subscribers comes and goes.

use libc::{
    F_GETFD, MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_EXEC, SO_PEERCRED, SOCK_CLOEXEC, SOCK_NONBLOCK, SOL_SOCKET,
    STDERR_FILENO,
};
use nix::sys::resource::Resource;

use super::WORKER;
use crate::profile::{Limit, Profile, arg, bits, call, call_if, int, mib};

/// Connections at a time: subscribers, those that have not said what they want, and those that fetch metrics.
pub const BROKER_PEERS: usize = 1024;

/// From before it is given anything.
pub const BROKER: Profile = Profile {
    role: "broker",
    syscalls: Some(&[
        call("epoll_create1", "its one place to wait"),
        call("epoll_ctl", "whom to listen to, and who has room again"),
        call("epoll_wait", "wait for anybody").elsewhere(),
        call("epoll_pwait", "as epoll_wait, where there is none").elsewhere(),
        call("recvmsg", "the supervisor's word, with the sockets it hands over"),
        call("recvfrom", "events of the kernel; requests of clients"),
        call("sendmsg", "a word to the supervisor; answers and events for clients, several in one piece"),
        call_if("accept4", &[arg(3, int(SOCK_CLOEXEC | SOCK_NONBLOCK))], "a client connects"),
        call_if("getsockopt", &[arg(1, int(SOL_SOCKET)), arg(2, int(SO_PEERCRED))], "who the client is"),
        call("close", "a client is gone"),
        call_if("fcntl", &[arg(1, int(F_GETFD))], "a debug build of std checks that what it closes is open").elsewhere(),
        call_if("write", &[arg(0, int(STDERR_FILENO))], "its last words, if it fails").elsewhere(),
        call("brk", "memory for what waits").elsewhere(),
        call_if(
            "mmap",
            &[
                bits(2, int(PROT_EXEC), 0),
                bits(3, int(MAP_PRIVATE | MAP_SHARED | MAP_ANONYMOUS), int(MAP_PRIVATE | MAP_ANONYMOUS)),
            ],
            "memory: private, of no file, never executable",
        )
        .elsewhere(),
        call("mremap", "tables that grow").elsewhere(),
        call("munmap", "memory that is given back").elsewhere(),
        call("clock_gettime", "how long a client has been silent, where the vDSO has no clock").elsewhere(),
        call("exit_group", "an orderly end, where the warden is not faster").elsewhere(),
    ]),
    absent: &[],
    includes: &[],
    files: Some(&[]),
    namespaces: WORKER.namespaces,
    caps: &[],
    limits: &[
        Limit {
            resource: Resource::RLIMIT_NOFILE,
            value: BROKER_PEERS as u64 + 32,
            reason: "1024 clients, its own eight, and room for those that are sent away",
        },
        Limit {
            resource: Resource::RLIMIT_AS,
            value: mib(256),
            reason: "128 MiB that wait for subscribers, 80 of flows, 16 of lists, its code",
        },
        Limit { resource: Resource::RLIMIT_CORE, value: 0, reason: "whom the host talks to is not written to disk" },
        Limit { resource: Resource::RLIMIT_FSIZE, value: 0, reason: "no file can be written; pipes and sockets are none" },
        Limit { resource: Resource::RLIMIT_MEMLOCK, value: 0, reason: "nothing to lock" },
        Limit { resource: Resource::RLIMIT_MSGQUEUE, value: 0, reason: "nothing to queue" },
        Limit { resource: Resource::RLIMIT_NPROC, value: 0, reason: "no process and no thread besides" },
    ],
};
