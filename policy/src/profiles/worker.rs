//! The worker while it serves: it parses what strangers sent, and can do nothing but answer.
//!
//! Four calls. What other programs need besides, a worker has done before it seals itself (`confine::prepare`): its memory is there, its
//! maps have their keys, a panic has found its way once. It ends by `exit_group` itself, without std's cleaning up.
//!
//! The three descriptors it was born with are sockets and a pipe, so calls on descriptors need no condition but the one on `write`,
//! which keeps log lines out of the record channels. A call without conditions is also the cheap one: the kernel remembers the
//! filter's answer (a bitmap since Linux 5.11) and no longer runs it.

use cthelper_proto::ipc::Namespace;
use libc::STDERR_FILENO;
use nix::sys::resource::Resource;

use crate::profile::{Limit, Own, Profile, arg, call, call_if, int, mib};

/// The inner filter.
pub const WORKER: Profile = Profile {
    role: "worker",
    syscalls: Some(&[
        call("recvfrom", "receive packets and answers"),
        call("sendto", "send verdicts and asks"),
        call_if("write", &[arg(0, int(STDERR_FILENO))], "log lines on stderr"),
        call("exit_group", "end, also after a panic"),
    ]),
    absent: &[],
    includes: &[],
    files: Some(&[]),
    namespaces: &[
        Own { namespace: Namespace::Network, reason: "no interface, no address, no abstract socket of the host" },
        Own { namespace: Namespace::Ipc, reason: "no shared memory, semaphore or message queue of the host" },
        Own { namespace: Namespace::Mounts, reason: "what is mounted in here is seen nowhere else" },
        Own { namespace: Namespace::Names, reason: "the host's name cannot be set from here" },
    ],
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
            reason: "its memory, taken before it seals itself, and its program",
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
