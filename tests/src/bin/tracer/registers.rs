//! Where an architecture keeps a system call's number and arguments (syscall(2)).

use nix::libc::user_regs_struct;

/// Number and arguments of the call that is about to be made.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call(registers: &user_regs_struct) -> (u64, [u64; 6]) {
    let user_regs_struct { orig_rax, rdi, rsi, rdx, r10, r8, r9, .. } = *registers;
    (orig_rax, [rdi, rsi, rdx, r10, r8, r9])
}

/// Number and arguments of the call that is about to be made.
#[cfg(target_arch = "aarch64")]
pub(crate) fn call(registers: &user_regs_struct) -> (u64, [u64; 6]) {
    (registers.regs[8], std::array::from_fn(|at| registers.regs[at]))
}

/// Number and arguments of the call that is about to be made.
#[cfg(target_arch = "riscv64")]
pub(crate) fn call(registers: &user_regs_struct) -> (u64, [u64; 6]) {
    let user_regs_struct { a0, a1, a2, a3, a4, a5, a7, .. } = *registers;
    (a7, [a0, a1, a2, a3, a4, a5])
}
