//! Where a signal came from, in words: signal and `si_code`, as `include/uapi/asm-generic/siginfo.h` numbers them.

use nix::libc::{SI_KERNEL, SI_QUEUE, SI_TKILL, SI_USER};
use nix::sys::signal::Signal;

/// `si_code` of a SIGSYS for a call that a filter forbids (`SYS_SECCOMP`).
pub(super) const SECCOMP: i32 = 1;

/// What the kernel means by this `si_code` of this signal. Codes above 0 are the kernel's own; no process can send one to another.
pub(super) fn class(signal: Signal, code: i32) -> &'static str {
    match (signal, code) {
        (_, SI_USER | SI_QUEUE) => "sent by a process",
        (_, SI_TKILL) => "raised by itself",
        (_, ..0) => "sent in the name of a process",
        (Signal::SIGSEGV, _) => segv(code),
        (Signal::SIGBUS, 1) => "address that is not aligned",
        (Signal::SIGBUS, 2) => "address that nothing lies behind",
        (Signal::SIGBUS, 3) => "failure of the hardware",
        (Signal::SIGBUS, 4 | 5) => "failure of the memory",
        (Signal::SIGILL, 1) => "unknown instruction",
        (Signal::SIGILL, 2) => "instruction that is meant to trap",
        (Signal::SIGILL, 5 | 6) => "privileged instruction",
        (Signal::SIGFPE, 1) => "integer division by zero",
        (Signal::SIGFPE, 2) => "integer overflow",
        (Signal::SIGFPE, 3..=8) => "floating-point exception",
        (Signal::SIGSYS, SECCOMP) => "system call that its filter forbids",
        (_, SI_KERNEL) => "sent by the kernel",
        _ => "of a kind we have no word for",
    }
}

fn segv(code: i32) -> &'static str {
    match code {
        1 => "address that is not mapped",
        2 => "access that the mapping forbids",
        3 => "address outside its bounds",
        4 => "access that a protection key forbids",
        10 => "return to an address that is not the caller's",
        SI_KERNEL => "non-canonical address or protection fault",
        _ => "of a kind we have no word for",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_code_means_another_thing_for_another_signal() {
        assert_eq!(class(Signal::SIGSEGV, 1), "address that is not mapped");
        assert_eq!(class(Signal::SIGFPE, 1), "integer division by zero");
        assert_eq!(class(Signal::SIGSYS, 1), "system call that its filter forbids");
        assert_eq!(class(Signal::SIGSEGV, SI_KERNEL), "non-canonical address or protection fault");
        assert_eq!(class(Signal::SIGTERM, SI_KERNEL), "sent by the kernel");
        assert_eq!(class(Signal::SIGTERM, 1), "of a kind we have no word for");
    }

    #[test]
    fn what_was_sent_is_told_from_what_happened_whatever_the_signal() {
        for signal in [Signal::SIGSEGV, Signal::SIGSYS, Signal::SIGTERM] {
            assert_eq!(class(signal, SI_USER), "sent by a process");
            assert_eq!(class(signal, SI_TKILL), "raised by itself");
            assert_eq!(class(signal, -2), "sent in the name of a process");
        }
    }
}
