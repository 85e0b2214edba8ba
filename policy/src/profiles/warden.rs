//! The warden: makes workers and ends them, for the supervisor that can do neither.

use caps::Capability;

use crate::profile::{Keep, Profile};

/// What the warden keeps.
pub const WARDEN: Profile = Profile {
    role: "warden",
    syscalls: None,
    includes: None,
    files: None,
    namespaces: &[],
    caps: &[
        Keep { cap: Capability::CAP_SETUID, reason: "a launcher takes the workers' uid" },
        Keep { cap: Capability::CAP_SETGID, reason: "a launcher takes the workers' gid and drops all groups" },
        Keep { cap: Capability::CAP_SETPCAP, reason: "a launcher empties its bounding set" },
        Keep { cap: Capability::CAP_SYS_ADMIN, reason: "a launcher enters namespaces of its own" },
        Keep { cap: Capability::CAP_KILL, reason: "end a worker, whose uid is another" },
    ],
    limits: &[],
};
