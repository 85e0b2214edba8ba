//! The supervisor after its boot: it talks to the kernel's netfilter, to its workers and its operator, and to nobody else. It has no call
//! to start a program or a process, and no way to memory that can be executed.

use caps::Capability;
use libc::{
    AF_NETLINK, AF_UNIX, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, CLONE_NEWUTS, CLONE_THREAD,
    CLONE_VM, F_DUPFD_CLOEXEC, F_GETFD, F_GETFL, F_SETFL, FIONBIO, FUTEX_PRIVATE_FLAG, FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_WAKE,
    MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, NETLINK_NETFILTER, PR_SET_NAME, PROT_EXEC, SIGABRT,
};

use crate::profile::{Absent, Beneath, Keep, Place, Profile, Reach, arg, bits, call, call_if, int, own_pid};

/// Namespaces that no thread gets.
const NEW: u32 = int(CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUSER | CLONE_NEWUTS);

/// What the supervisor keeps.
pub const SUPERVISOR: Profile = Profile {
    role: "supervisor",
    syscalls: Some(&[
        call("recvmmsg", "packets and events of the kernel"),
        call("recvmsg", "news of the warden"),
        call("recvfrom", "the kernel's answers; verdicts and asks of workers; control.sock"),
        call("sendto", "verdicts and requests for the kernel; packets and answers for workers; the journal"),
        call("sendmsg", "a worker's channels, for the warden"),
        call_if(
            "socket",
            &[arg(0, int(AF_NETLINK)), arg(2, int(NETLINK_NETFILTER))],
            "a lane's queue, registry and expectations",
        ),
        call_if("socket", &[arg(0, int(AF_UNIX))], "the journal; the service manager; a keeper"),
        call_if("socketpair", &[arg(0, int(AF_UNIX))], "a worker's channels"),
        call("bind", "a netlink socket gets its number; a new keeper's socket its name"),
        call("listen", "a new keeper's socket").elsewhere(),
        call("connect", "a new keeper; the service manager").elsewhere(),
        call("getsockname", "the number of a netlink socket"),
        call("getsockopt", "errors of a socket; how much a buffer holds").elsewhere(),
        call("setsockopt", "buffers of queues and channels; how the kernel answers"),
        call("accept4", "an operator's tool on control.sock"),
        call("shutdown", "an answer on control.sock is complete"),
        call("pipe2", "a worker's log"),
        call("read", "orders and signals; workers' logs; files of /proc; the configuration"),
        call("write", "audit log, quarantine, own log; orders between threads"),
        call("pread64", "files, as newer std reads them").elsewhere(),
        call("writev", "files and control.sock, in one piece").elsewhere(),
        call("close", "sockets and files"),
        call("openat", "/proc, audit log, quarantine, configuration; nothing else by landlock"),
        call("statx", "whether a file is there, and how long").elsewhere(),
        call("fstat", "as statx").elsewhere(),
        call("newfstatat", "as statx").elsewhere(),
        call("getdents64", "what the quarantine holds"),
        call("lseek", "whether the audit log ends with a line"),
        call("fdatasync", "a crash record is on the disk"),
        call("fsync", "as fdatasync").elsewhere(),
        call("ftruncate", "the ledger is written anew").elsewhere(),
        call("unlink", "control.sock goes; an old packet of the quarantine").elsewhere(),
        call("unlinkat", "as unlink").elsewhere(),
        call("flock", "the host's lock is given back").elsewhere(),
        call("poll", "a lane waits").elsewhere(),
        call("ppoll", "as poll, where there is none").elsewhere(),
        call("epoll_create1", "the control side waits"),
        call("epoll_ctl", "the control side waits"),
        call("epoll_wait", "the control side waits").elsewhere(),
        call("epoll_pwait", "as epoll_wait, where there is none").elsewhere(),
        call("eventfd2", "orders for a lane"),
        call_if("fcntl", &[arg(1, int(F_GETFL))], "a debug build of tokio looks whether a socket blocks").elsewhere(),
        call_if("fcntl", &[arg(1, int(F_SETFL))], "pipes and sockets that do not block"),
        call_if("fcntl", &[arg(1, int(F_DUPFD_CLOEXEC))], "the signals' pipe").elsewhere(),
        call_if("fcntl", &[arg(1, int(F_GETFD))], "a debug build of std checks that what it closes is open").elsewhere(),
        #[expect(clippy::cast_possible_truncation, reason = "a small number")]
        call_if("ioctl", &[arg(1, FIONBIO as u32)], "control.sock does not block"),
        call_if(
            "clone",
            &[bits(0, int(CLONE_THREAD | CLONE_VM) | NEW, int(CLONE_THREAD | CLONE_VM))],
            "a thread of a lane, or one that waits for a new keeper",
        ),
        call_if("prctl", &[arg(0, int(PR_SET_NAME))], "a thread's name"),
        call("set_robust_list", "a thread begins"),
        call("rseq", "a thread begins"),
        call("sched_getaffinity", "std describes a thread's stack"),
        call("sigaltstack", "std's handler of a thread"),
        call("exit", "a thread ends"),
        call("exit_group", "an orderly end"),
        call_if(
            "mmap",
            &[
                bits(2, int(PROT_EXEC), 0),
                bits(3, int(MAP_PRIVATE | MAP_SHARED | MAP_ANONYMOUS), int(MAP_PRIVATE | MAP_ANONYMOUS)),
            ],
            "memory and stacks: private, of no file, never executable",
        ),
        call_if("mprotect", &[bits(2, int(PROT_EXEC), 0)], "memory; a stack's guard"),
        call("munmap", "give memory back"),
        call("mremap", "grow a large allocation in place").elsewhere(),
        call("madvise", "a thread that ends gives its stack back"),
        call("brk", "memory"),
        call_if("futex", &[arg(1, int(FUTEX_WAIT | FUTEX_PRIVATE_FLAG))], "threads wait for one another").elsewhere(),
        call_if("futex", &[arg(1, int(FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG))], "threads wait for one another").elsewhere(),
        call_if("futex", &[arg(1, int(FUTEX_WAIT_BITSET) | 256 | int(FUTEX_PRIVATE_FLAG))], "as before, by the wall clock")
            .elsewhere(),
        call_if("futex", &[arg(1, int(FUTEX_WAIT_BITSET) | 256)], "the end of a thread is awaited").elsewhere(),
        call_if("futex", &[arg(1, int(FUTEX_WAKE | FUTEX_PRIVATE_FLAG))], "threads wake one another"),
        call("sched_yield", "a thread that waits for a short time").elsewhere(),
        call("clock_gettime", "the time, where the vDSO has no clock").elsewhere(),
        call("clock_nanosleep", "waits for the warden's end").elsewhere(),
        call("restart_syscall", "a wait goes on after SIGSTOP and SIGCONT").elsewhere(),
        call("getrandom", "hash keys a stranger cannot guess").elsewhere(),
        call("rt_sigaction", "signals that mean stop and reload"),
        call("rt_sigprocmask", "a thread begins and ends without signals"),
        call("rt_sigreturn", "a signal was noted"),
        call("getpid", "says which process it is"),
        call("geteuid", "a new keeper must be its own").elsewhere(),
        call("gettid", "a thread's number in its messages"),
        call_if("tgkill", &[own_pid(0), arg(2, int(SIGABRT))], "abort() is SIGABRT, not SIGSYS").elsewhere(),
        call("wait4", "how the warden ended"),
    ]),
    absent: &[Absent { name: "clone3", reason: "its flags are in memory, where no filter looks; libc takes clone" }],
    includes: &[],
    files: Some(&[
        Beneath { place: Place::At("/proc"), reach: Reach::List, reason: "whether workers are confined; netfilter's queues" },
        Beneath { place: Place::At("/run/systemd"), reach: Reach::Connect, reason: "the journal; systemd" },
        Beneath { place: Place::Named(NOTIFY), reach: Reach::Connect, reason: "another service manager" },
        Beneath { place: Place::Named(CONFIGURATION), reach: Reach::List, reason: "it is read again on reload" },
        Beneath { place: Place::Named(RUNTIME), reach: Reach::Change, reason: "control.sock and the keeper's socket" },
        Beneath { place: Place::Named(AUDIT), reach: Reach::Change, reason: "the log, also after it was rotated" },
        Beneath { place: Place::Named(QUARANTINE), reach: Reach::Change, reason: "packets in hand of workers that died" },
    ]),
    namespaces: &[],
    caps: &[Keep { cap: Capability::CAP_NET_ADMIN, reason: "register helpers, give verdicts, create expectations" }],
    limits: &[],
};

/// Where `control.sock` is.
pub(crate) const RUNTIME: &str = "runtime folder";
/// The folder of the audit log, or the log itself if it is no file.
pub(crate) const AUDIT: &str = "audit log's folder";
/// Where packets in hand are kept.
pub(crate) const QUARANTINE: &str = "quarantine folder";
/// The folder of the configuration's file.
pub(crate) const CONFIGURATION: &str = "configuration's folder";
/// The socket of `$NOTIFY_SOCKET`.
pub(crate) const NOTIFY: &str = "service manager's socket";
