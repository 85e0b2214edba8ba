//! The worker closes the door behind itself.

use cthelper_proto::ipc::Confined;
use nix::sys::prctl;

use super::{ConfineError, While, filter, ruleset};
use crate::profiles::WORKER;

/// Confines the worker for good: called once, after its start and before `Ready`, while it has one thread.
///
/// Order: landlock with nothing allowed, then not dumpable (exec undid the launcher's; now no process of the same uid can trace it or
/// read its memory), and the inner filter last because it forbids the calls of the steps before.
///
/// # Errors
/// A step failed: the worker must end. A kernel without landlock is no error; it is reported.
pub fn seal_worker() -> Result<Confined, ConfineError> {
    let landlock = ruleset::apply(&WORKER, None)?;
    prctl::set_dumpable(false).doing("become undumpable")?;
    filter::apply(&WORKER)?;
    Ok(Confined { landlock })
}
