//! The supervisor after its boot: the capabilities it keeps, each for one thing it does.

use caps::Capability;

use crate::profile::{Keep, Profile};

/// What the supervisor keeps.
pub const SUPERVISOR: Profile = Profile {
    role: "supervisor",
    syscalls: None,
    absent: &[],
    includes: &[],
    files: None,
    namespaces: &[],
    caps: &[Keep { cap: Capability::CAP_NET_ADMIN, reason: "register helpers, give verdicts, create expectations" }],
    limits: &[],
};
