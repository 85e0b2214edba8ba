//! Names and numbers of system calls, on every architecture that has a filter.
//!
//! The `syscalls` crate has them for all architectures, whichever this is compiled for; `libc` has those of the native one only.

use std::env::consts::ARCH;

use seccompiler::TargetArch;
use syscalls::{aarch64, riscv64, x86_64};

/// Every architecture that has a filter.
pub const ARCHES: [TargetArch; 3] = [TargetArch::x86_64, TargetArch::aarch64, TargetArch::riscv64];

/// The number of the call with this name; `None` = this architecture does not have it.
pub fn number(name: &str, arch: TargetArch) -> Option<i64> {
    let id = match arch {
        TargetArch::x86_64 => name.parse::<x86_64::Sysno>().ok()?.id(),
        TargetArch::aarch64 => name.parse::<aarch64::Sysno>().ok()?.id(),
        TargetArch::riscv64 => name.parse::<riscv64::Sysno>().ok()?.id(),
    };
    Some(i64::from(id))
}

/// The name of the call with this number, here.
pub fn name(number: i64) -> Option<&'static str> {
    let number = usize::try_from(number).ok()?;
    match TargetArch::try_from(ARCH).ok()? {
        TargetArch::x86_64 => x86_64::Sysno::new(number).map(|call| call.name()),
        TargetArch::aarch64 => aarch64::Sysno::new(number).map(|call| call.name()),
        TargetArch::riscv64 => riscv64::Sysno::new(number).map(|call| call.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the kernel's own tables: `arch/x86/entry/syscalls/syscall_64.tbl`, `include/uapi/asm-generic/unistd.h`.
    #[test]
    fn numbers_are_those_of_the_kernels_tables() {
        let table = [
            ("write", Some(1), Some(64)),
            ("recvfrom", Some(45), Some(207)),
            ("exit_group", Some(231), Some(94)),
            ("execve", Some(59), Some(221)),
            ("seccomp", Some(317), Some(277)),
            ("landlock_restrict_self", Some(446), Some(446)),
            ("access", Some(21), None),
            ("poll", Some(7), None),
            ("no such call", None, None),
        ];
        for (name, x86, generic) in table {
            assert_eq!(ARCHES.map(|arch| number(name, arch)), [x86, generic, generic], "{name}");
        }
        assert_eq!(ARCHES.map(|arch| number("riscv_hwprobe", arch)), [None, None, Some(258)]);
    }

    #[test]
    fn the_native_numbers_are_libcs() {
        for (nr, called) in [
            (libc::SYS_write, "write"),
            (libc::SYS_ppoll, "ppoll"),
            (libc::SYS_newfstatat, "newfstatat"),
            (libc::SYS_faccessat, "faccessat"),
            (libc::SYS_rseq, "rseq"),
            (libc::SYS_prlimit64, "prlimit64"),
        ] {
            assert_eq!(name(nr), Some(called));
        }
        assert_eq!(name(-1), None);
    }
}
