//! The keeper confines itself, for good, before it hears a word.

use cthelper_proto::ipc::Enforcement;
use nix::sys::prctl;
use nix::sys::stat::{Mode, umask};
use nix::unistd;

use super::launch::{Identity, close_from_3, drop_privileges, own_session, set_limits};
use super::seal::prepare;
use super::{ConfineError, While, filter, ruleset};
use crate::profiles::KEEPER;

/// Confines this process, which has one thread and wants no descriptor but 0 to 2, to [`KEEPER`]; says what landlock enforces.
///
/// As the launcher does it, but for two things. It has no parent-death signal: it is there for the time after its parent's death. And no
/// namespaces of its own: the sockets it is to hold belong to the host's, and it has no call that would show it anything of them.
///
/// It must end by the bare system call: std's own end would take down its handlers' stack first, which the filter has no calls for.
///
/// # Errors
/// A step failed, or uid or gid is 0: the keeper must end.
pub fn keeper(uid: u32, gid: u32) -> Result<Enforcement, ConfineError> {
    let identity = Identity::of(uid, gid)?;
    close_from_3().doing("close inherited descriptors")?;
    umask(Mode::from_bits_truncate(0o077));
    unistd::chdir("/").doing("change to the root folder")?;
    own_session().doing("start a session")?;
    drop_privileges(uid, gid, identity)?;
    set_limits(&KEEPER)?;
    prctl::set_no_new_privs().doing("set no_new_privs")?;
    prctl::set_dumpable(false).doing("become undumpable")?;
    prepare();
    let landlock = ruleset::apply(&KEEPER, &[])?;
    filter::apply(&KEEPER)?;
    Ok(landlock)
}
