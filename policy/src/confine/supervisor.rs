//! Supervisor and warden give up what they will not need.

use std::collections::HashSet;
use std::path::Path;

use caps::{CapSet, Capability, CapsHashSet};
use cthelper_proto::ipc::Enforcement;
use nix::sys::prctl;

use super::launch::own_mounts;
use super::{ConfineError, While, filter, ruleset};
use crate::profile::Profile;
use crate::profiles::{AUDIT, CONFIGURATION, LAUNCHERS, NOTIFY, QUARANTINE, RUNTIME, SUPERVISOR, WARDEN, WORKERS_FOLDERS};

/// Paths of the supervisor's profile that the operator names; one that is not there when the supervisor confines itself stays closed to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places<'a> {
    /// Holds `control.sock`.
    pub runtime: Option<&'a Path>,
    /// The audit log.
    pub audit_log: Option<&'a Path>,
    /// Packets in hand of dead workers.
    pub quarantine: Option<&'a Path>,
    /// The configuration's file.
    pub configuration: Option<&'a Path>,
    /// The socket on which a service manager is told how we are.
    pub notify: Option<&'a Path>,
}

impl<'a> Places<'a> {
    fn named(&self) -> Vec<(&'static str, &'a Path)> {
        // A device or a pipe is itself the place; a file may be replaced by another of its name.
        let log = self.audit_log.and_then(|log| if log.exists() && !log.is_file() { Some(log) } else { log.parent() });
        let configuration = self.configuration.and_then(Path::parent);
        let places = [
            (RUNTIME, self.runtime),
            (AUDIT, log),
            (QUARANTINE, self.quarantine),
            (CONFIGURATION, configuration),
            (NOTIFY, self.notify),
        ];
        places.into_iter().filter_map(|(name, path)| Some((name, path?))).collect()
    }
}

/// Confines the supervisor: its profile's capabilities, files and system calls, and no more. To be called before it has threads.
///
/// # Errors
/// A step failed; the process then still holds too much and must not go on. A kernel without landlock is no error; it is reported.
pub fn supervisor(places: &Places<'_>) -> Result<Enforcement, ConfineError> {
    reduce(&SUPERVISOR)?;
    let landlock = ruleset::apply(&SUPERVISOR, &places.named())?;
    filter::apply(&SUPERVISOR)?;
    Ok(landlock)
}

/// Confines the warden, before it serves, and with it its launchers to come. `launchers` may be executed, and whatever lies in `folders`,
/// those of the workers' binaries: an upgrade puts new files there.
///
/// # Errors
/// As [`supervisor`].
pub fn warden(launchers: &[&Path], folders: &[&Path]) -> Result<Enforcement, ConfineError> {
    reduce(&WARDEN)?;
    // Landlock lets nobody arrange mounts, so it is done once, here; without privileges a launcher gets such a tree of its own anyway.
    let _ = own_mounts();
    let launchers = launchers.iter().map(|path| (LAUNCHERS, *path));
    let folders = folders.iter().map(|path| (WORKERS_FOLDERS, *path));
    let landlock = ruleset::apply(&WARDEN, &launchers.chain(folders).collect::<Vec<_>>())?;
    filter::apply(&WARDEN)?;
    Ok(landlock)
}

/// Reduces this process to what the profile keeps, in every set, for good: a capability it does not have now is not gained. Without `CAP_SETPCAP` the
/// bounding set stays as it is, and means nothing under `no_new_privs`.
///
/// Capabilities belong to a thread and are inherited by the threads it makes: call this before there are any. `no_new_privs` reaches
/// the launchers too, and takes nothing from them: root's exec keeps what its parent had (`cap_bprm_creds_from_file`, Linux 6.1).
fn reduce(profile: &Profile) -> Result<(), ConfineError> {
    let keep: CapsHashSet = profile.kept().collect();
    let had = caps::read(None, CapSet::Permitted).doing("read the capabilities")?;
    let ambient = caps::read(None, CapSet::Ambient).doing("read the ambient capabilities")?;
    prctl::set_no_new_privs().doing("set no_new_privs")?;
    if had.contains(&Capability::CAP_SETPCAP) {
        drop_bounding(&keep)?;
    }
    // Lowering the permitted set lowers the ambient one with it, so inheritable must hold what a launcher is to inherit.
    let kept: CapsHashSet = had.intersection(&keep).copied().collect();
    let inherited: CapsHashSet = ambient.intersection(&keep).copied().collect();
    caps::set(None, CapSet::Effective, &kept).doing("reduce the effective capabilities")?;
    caps::set(None, CapSet::Permitted, &kept).doing("reduce the permitted capabilities")?;
    caps::set(None, CapSet::Inheritable, &inherited).doing("reduce the inheritable capabilities")?;
    caps::set(None, CapSet::Ambient, &inherited).doing("reduce the ambient capabilities")
}

/// Takes all but `keep` out of the bounding set, so that no exec can bring them back.
///
/// # Errors
/// There is something to take out, and no `CAP_SETPCAP` to do it with.
pub(super) fn drop_bounding(keep: &HashSet<Capability, impl std::hash::BuildHasher>) -> Result<(), ConfineError> {
    let bounding = caps::read(None, CapSet::Bounding).doing("read the bounding set")?;
    let mut surplus = bounding.into_iter().filter(|cap| !keep.contains(cap));
    surplus.try_for_each(|cap| caps::drop(None, CapSet::Bounding, cap)).doing("reduce the bounding set")
}
