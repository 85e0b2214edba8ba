//! The worker closes the door behind itself.

use cthelper_proto::ipc::Confined;
use nix::sys::prctl;
use nix::sys::signal::{Signal, raise};

use super::{ConfineError, While, filter, ruleset};
use crate::profiles::WORKER;

/// Confines the worker for good: called once, after its start and before `Ready`, while it has one thread.
///
/// Order: faults get their default action back; landlock with nothing allowed; not dumpable (exec undid the launcher's; now no process
/// of the same uid can trace it or read its memory); the inner filter last, because it forbids the calls of the steps before.
///
/// Only for a program with std's `main`: without its handlers, the first step is the program's end.
///
/// # Errors
/// A step failed: the worker must end. A kernel without landlock is no error; it is reported.
pub fn seal_worker() -> Result<Confined, ConfineError> {
    use_up_std_handlers().doing("give faults their default action back")?;
    let landlock = ruleset::apply(&WORKER, None)?;
    prctl::set_dumpable(false).doing("become undumpable")?;
    filter::apply(&WORKER)?;
    Ok(Confined { landlock })
}

/// std catches SIGSEGV and SIGBUS to tell a stack overflow from other faults, which it cannot do in here: it may not read its maps.
/// Its handler puts the default action back the first time it is called for anything else, and returns. So it is called once, and
/// from then on a worker dies of such a signal at the first try, whoever sent it, and the supervisor sees which it was.
fn use_up_std_handlers() -> nix::Result<()> {
    raise(Signal::SIGSEGV)?;
    raise(Signal::SIGBUS)
}
