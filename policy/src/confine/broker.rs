//! The broker confines itself before it is given a socket.

use cthelper_proto::ipc::{Enforcement, Namespaces};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd;

use super::launch::{Identity, close_from_3, drop_privileges, own_namespaces, own_session, set_limits};
use super::seal::prepare;
use super::{ConfineError, While, filter, ruleset};
use crate::profiles::BROKER;

/// Confines this process, which has one thread and wants no descriptor but 0 to 2, to [`BROKER`]; says what landlock enforces and which namespaces
/// are its own.
///
/// As the launcher does it. The namespaces take nothing from the sockets it will be given: a socket stays in the network it was made in.
///
/// It must end by the bare system call: std's own end would take down its handlers' stack first, which the filter has no calls for.
///
/// # Errors
/// A step failed, or uid or gid is 0: the broker must end.
pub fn broker(uid: u32, gid: u32) -> Result<(Enforcement, Namespaces), ConfineError> {
    let parent = unistd::getppid();
    let identity = Identity::of(uid, gid)?;
    close_from_3().doing("close inherited descriptors")?;
    umask(Mode::from_bits_truncate(0o077));
    unistd::chdir("/").doing("change to the root folder")?;
    let own = own_namespaces(&BROKER, identity);
    own_session().doing("start a session")?;
    drop_privileges(uid, gid, identity)?;
    set_limits(&BROKER)?;
    prctl::set_pdeathsig(Signal::SIGKILL).doing("set the parent-death signal")?;
    if unistd::getppid() != parent {
        return Err(ConfineError::new("start: the supervisor is gone", nix::errno::Errno::ESRCH));
    }
    prctl::set_no_new_privs().doing("set no_new_privs")?;
    prctl::set_dumpable(false).doing("become undumpable")?;
    prepare();
    let landlock = ruleset::apply(&BROKER, &[])?;
    filter::apply(&BROKER)?;
    Ok((landlock, own))
}
