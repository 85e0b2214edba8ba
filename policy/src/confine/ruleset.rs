//! A profile's files as a landlock ruleset.

use std::path::Path;

use cthelper_proto::ipc::Enforcement;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::{ConfineError, While};
use crate::profile::Profile;

/// The newest landlock we know: everything it can forbid is forbidden, as far as the kernel can. What an older kernel lacks is
/// reported as [`Enforcement::Partial`].
const NEWEST: ABI = ABI::V9;

/// Forbids this thread every file but the profile's and `program`, TCP in full, and signals and abstract sockets that lead out.
pub(super) fn apply(profile: &Profile, program: Option<&Path>) -> Result<Enforcement, ConfineError> {
    restrict(profile, program).map(|status| enforcement(&status)).doing("apply landlock")
}

fn restrict(profile: &Profile, program: Option<&Path>) -> Result<RestrictionStatus, RulesetError> {
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let files = profile.files.unwrap_or_default().iter().map(|beneath| (Path::new(beneath.path), beneath.execute));
    files
        .chain(program.map(|program| (program, true)))
        .filter_map(|(path, execute)| PathFd::new(path).ok().map(|fd| PathBeneath::new(fd, access(execute))))
        .try_fold(ruleset, RulesetCreatedAttr::add_rule)?
        .restrict_self()
}

/// Reading, perhaps executing; folders are not listed.
fn access(execute: bool) -> BitFlags<AccessFs> {
    if execute { AccessFs::ReadFile | AccessFs::Execute } else { AccessFs::ReadFile.into() }
}

fn enforcement(status: &RestrictionStatus) -> Enforcement {
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => kernel_abi.unwrap_or(effective_abi as i32),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    };
    let abi = u8::try_from(abi).unwrap_or(u8::MAX);
    match status.ruleset {
        RulesetStatus::FullyEnforced => Enforcement::Full { abi },
        RulesetStatus::PartiallyEnforced => Enforcement::Partial { abi },
        RulesetStatus::NotEnforced => Enforcement::None,
    }
}
