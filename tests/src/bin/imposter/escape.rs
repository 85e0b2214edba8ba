//! What a worker under a stranger's control would try next: by bare system calls, which `raw.c` has.

use nix::unistd::sethostname;

/// Tries, says what came of it, and ends: so that nothing after it is taken for it. `order` is the attempt's name, then perhaps the
/// process it is aimed at.
pub(crate) fn attempt(order: &str) -> ! {
    eprintln!("tries {order}");
    // No host gets a name: the linker leads this call to `raw.c`.
    match sethostname(order) {
        Ok(()) => eprintln!("{order}: done"),
        Err(errno) => eprintln!("{order}: denied: {errno:?}"),
    }
    signal_hook::low_level::exit(EXIT)
}

/// Exit code after an attempt that was survived.
const EXIT: i32 = 9;
