//! A profile's files as a landlock ruleset.

use std::path::Path;

use cthelper_proto::ipc::Enforcement;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::{ConfineError, While};
use crate::profile::{Place, Profile, Reach};

/// The newest landlock we know: everything it can forbid is forbidden, as far as the kernel can. What an older kernel lacks is
/// reported as [`Enforcement::Partial`].
const NEWEST: ABI = ABI::V9;

/// Forbids this thread every file but the profile's, TCP in full, and signals and abstract sockets that lead out. `named` has the paths
/// of the profile's [`Place::Named`].
pub(super) fn apply(profile: &Profile, named: &[(&str, &Path)]) -> Result<Enforcement, ConfineError> {
    restrict(profile, named).map(|status| enforcement(&status)).doing("apply landlock")
}

fn restrict(profile: &Profile, named: &[(&str, &Path)]) -> Result<RestrictionStatus, RulesetError> {
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let files = profile.files.unwrap_or_default().iter();
    files
        .flat_map(|beneath| paths(beneath.place, named).map(|path| (path, beneath.reach)))
        .filter_map(|(path, reach)| PathFd::new(path).ok().map(|fd| PathBeneath::new(fd, access(path, reach))))
        .try_fold(ruleset, RulesetCreatedAttr::add_rule)?
        .restrict_self()
}

/// Where a place is; one name may stand for several paths.
fn paths<'a>(place: Place, named: &'a [(&str, &'a Path)]) -> impl Iterator<Item = &'a Path> {
    let at = match place {
        Place::At(path) => Some(Path::new(path)),
        Place::Named(_) => None,
    };
    let named =
        named.iter().filter(move |(name, _)| matches!(place, Place::Named(wanted) if wanted == *name)).map(|(_, path)| *path);
    at.into_iter().chain(named)
}

/// What a reach means. A rule on a file cannot hold what only folders have.
fn access(path: &Path, reach: Reach) -> BitFlags<AccessFs> {
    let access = match reach {
        Reach::Read => AccessFs::ReadFile.into(),
        Reach::List => AccessFs::ReadFile | AccessFs::ReadDir,
        Reach::Execute => AccessFs::ReadFile | AccessFs::Execute,
        Reach::Connect => AccessFs::ResolveUnix.into(),
        Reach::Change => {
            AccessFs::ReadFile
                | AccessFs::ResolveUnix
                | AccessFs::ReadDir
                | AccessFs::WriteFile
                | AccessFs::Truncate
                | AccessFs::MakeReg
                | AccessFs::MakeDir
                | AccessFs::MakeSock
                | AccessFs::RemoveFile
                | AccessFs::RemoveDir
        }
    };
    if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) }
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
