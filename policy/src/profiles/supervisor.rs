//! The supervisor after its boot: the capabilities it keeps, each for one thing it does.

use caps::Capability;

use crate::profile::{Keep, Profile};

/// What the supervisor keeps.
pub const SUPERVISOR: Profile = Profile {
    role: "supervisor",
    syscalls: None,
    includes: None,
    files: None,
    namespaces: &[],
    caps: &[
        Keep { cap: Capability::CAP_NET_ADMIN, reason: "register helpers, give verdicts, create expectations" },
        Keep { cap: Capability::CAP_SETUID, reason: "a launcher takes the workers' uid" },
        Keep { cap: Capability::CAP_SETGID, reason: "a launcher takes the workers' gid and drops all groups" },
        Keep { cap: Capability::CAP_SETPCAP, reason: "a launcher empties its bounding set" },
        Keep { cap: Capability::CAP_SYS_ADMIN, reason: "a launcher enters a network namespace of its own" },
        Keep { cap: Capability::CAP_KILL, reason: "end a worker, whose uid is another" },
    ],
    limits: &[],
};
