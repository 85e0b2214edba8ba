//! The call that a filter forbade, as the registers of the process that dies of it still hold it.
//!
//! Before the kernel ends a process for a call, it puts the registers back to what they were at its entry (`syscall_rollback`); so number
//! and arguments are the caller's.

use cthelper_policy::syscall::name;
use cthelper_proto::events::Syscall;
use nix::libc::user_regs_struct;
use nix::sys::ptrace;
use nix::unistd::Pid;

/// What `PTRACE_GET_SYSCALL_INFO` calls the native architecture: `include/uapi/linux/audit.h`.
#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;
#[cfg(target_arch = "riscv64")]
const NATIVE: u32 = 0xc000_00f3;

/// The call in which a stopped child is; `None` if it is gone.
///
/// A number means another call at the entry for 32-bit programs, which a worker can use and its filter forbids: then it has no name, and
/// its arguments may be in other registers than the ones shown.
pub(super) fn call(child: Pid) -> Option<Syscall> {
    let (nr, args) = number_and_arguments(&ptrace::getregs(child).ok()?);
    let native = ptrace::syscall_info(child).map_or(true, |info| info.arch == NATIVE);
    let name = if native { name(nr) } else { Some("of another architecture") };
    Some(Syscall { nr, name: name.unwrap_or("unknown").to_owned(), args })
}

#[cfg(target_arch = "x86_64")]
fn number_and_arguments(regs: &user_regs_struct) -> (i64, [u64; 6]) {
    (regs.orig_rax.cast_signed(), [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9])
}

#[cfg(target_arch = "aarch64")]
fn number_and_arguments(regs: &user_regs_struct) -> (i64, [u64; 6]) {
    let [a0, a1, a2, a3, a4, a5, _, _, nr, ..] = regs.regs;
    (nr.cast_signed(), [a0, a1, a2, a3, a4, a5])
}

#[cfg(target_arch = "riscv64")]
fn number_and_arguments(regs: &user_regs_struct) -> (i64, [u64; 6]) {
    (regs.a7.cast_signed(), [regs.a0, regs.a1, regs.a2, regs.a3, regs.a4, regs.a5])
}
