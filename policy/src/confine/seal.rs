//! The worker closes the door behind itself.

use cthelper_proto::ipc::Confined;
use nix::sys::prctl;
use nix::sys::signal::{Signal, raise};

use super::{ConfineError, While, filter, ruleset};
use crate::profiles::WORKER;

/// Confines the worker for good: called once, after its start and before `Ready`, while it has one thread.
///
/// Order: what serving needs and the filter forbids is done ([`prepare`]); faults get their default action back; landlock with nothing allowed; not dumpable (exec undid the launcher's; now no process
/// of the same uid can trace it or read its memory); the inner filter last, because it forbids the calls of the steps before.
///
/// Only for a program with std's `main`: without its handlers, the first step is the program's end.
///
/// # Errors
/// A step failed: the worker must end. A kernel without landlock is no error; it is reported.
pub fn seal_worker() -> Result<Confined, ConfineError> {
    prepare();
    use_up_std_handlers().doing("give faults their default action back")?;
    let landlock = ruleset::apply(&WORKER, &[])?;
    prctl::set_dumpable(false).doing("become undumpable")?;
    filter::apply(&WORKER)?;
    Ok(Confined { landlock })
}

/// Memory a worker has while it serves, bytes. With its program it stays below the limit on its address space, 64 MiB.
const ROOM: usize = 32 << 20;

/// Does now what would take a system call later. The filter has none for memory, so a worker that outgrows [`ROOM`] dies of SIGSYS at
/// `brk` or `mmap`; it has none for randomness, and none for the one-time initialisation of unwinding.
pub(super) fn prepare() {
    reserve();
    let _ = std::hint::black_box(std::hash::RandomState::new()); // a thread draws keys once, and counts on from them
    let _ = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(()))); // without a word: no hook is called
}

/// Leaves [`ROOM`] free bytes in glibc's heap, untouched, so that they take address space and no memory.
///
/// The first block is mapped by itself; when such a block is freed, glibc raises its threshold for mapping to that size, and the one for
/// giving memory back to twice that (mallopt(3), `M_MMAP_THRESHOLD`, `M_TRIM_THRESHOLD`). So the second one, a bit smaller, comes from
/// the heap, and stays in it when it is freed; and so does all that is smaller.
fn reserve() {
    for size in [ROOM - MARGIN, ROOM - 2 * MARGIN] {
        drop(std::hint::black_box(Vec::<u8>::with_capacity(size)));
    }
}

/// More than an allocation's bookkeeping and rounding; the threshold can rise to 32 MiB at most.
const MARGIN: usize = 64 << 10;

/// std catches SIGSEGV and SIGBUS to tell a stack overflow from other faults, which it cannot do in here: it may not read its maps.
/// Its handler puts the default action back the first time it is called for anything else, and returns. So it is called once, and
/// from then on a worker dies of such a signal at the first try, whoever sent it, and the supervisor sees which it was.
fn use_up_std_handlers() -> nix::Result<()> {
    raise(Signal::SIGSEGV)?;
    raise(Signal::SIGBUS)
}
