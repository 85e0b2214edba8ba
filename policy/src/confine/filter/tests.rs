//! Every filter, for every architecture, run by a small interpreter of the kernel's: what is allowed is what the tables say.

#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "words of a register")]

use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS};

use super::*;
use crate::bpf_machine::{self, Op};
use crate::profiles::{ALL, LAUNCHER};
use crate::syscall::ARCHES;

/// The process the filters are for.
const PID: u32 = 4711;

/// What the kernel calls the architecture: `AUDIT_ARCH_*` of `linux/audit.h`.
fn audit_arch(arch: TargetArch) -> u32 {
    match arch {
        TargetArch::x86_64 => 0xc000_003e,
        TargetArch::aarch64 => 0xc000_00b7,
        TargetArch::riscv64 => 0xc000_00f3,
    }
}

/// `struct seccomp_data` of a call, as 32-bit words (all three are little-endian).
fn data(audit_arch: u32, nr: i64, args: [u64; 6]) -> Vec<u32> {
    let words = args.into_iter().flat_map(|arg| [arg as u32, (arg >> 32) as u32]);
    [nr as u32, audit_arch, 0, 0].into_iter().chain(words).collect()
}

/// What the kernel would decide.
fn decide(program: &BpfProgram, data: &[u32]) -> u32 {
    let program: Vec<Op> = program.iter().map(|op| (op.code, op.jt, op.jf, op.k)).collect();
    bpf_machine::run(&program, |load| data.get(load.at as usize / 4).copied())
}

struct Filter {
    program: BpfProgram,
    arch: TargetArch,
}

impl Filter {
    fn of(profile: &Profile, arch: TargetArch) -> Self {
        Self { program: compile(profile, arch, PID).unwrap(), arch }
    }

    fn allows(&self, name: &str, args: [u64; 6]) -> bool {
        let nr = number(name, self.arch).unwrap();
        allowed(decide(&self.program, &data(audit_arch(self.arch), nr, args)))
    }
}

fn allowed(verdict: u32) -> bool {
    match verdict {
        SECCOMP_RET_ALLOW => true,
        SECCOMP_RET_KILL_PROCESS => false,
        other => panic!("{other:#x}"),
    }
}

/// Every filtered role on every architecture.
fn filters() -> impl Iterator<Item = (&'static Profile, Filter)> {
    let filtered = ALL.iter().filter(|profile| profile.syscalls.is_some());
    filtered.flat_map(|profile| ARCHES.map(|arch| (*profile, Filter::of(profile, arch))))
}

#[test]
fn filters_are_far_below_the_kernels_limit_of_4096_instructions() {
    for (profile, filter) in filters() {
        assert!(filter.program.len() < 1000, "{}: {}", profile.role, filter.program.len());
    }
    assert!(ARCHES.map(|arch| Filter::of(&WORKER, arch).program.len()).into_iter().all(|length| length < 40));
}

#[test]
fn exactly_the_tables_calls_are_allowed() {
    for (profile, filter) in filters() {
        for nr in 0..600 {
            let lines: Vec<_> = profile.all_syscalls().filter(|call| number(call.name, filter.arch) == Some(nr)).collect();
            let absent = profile.absent.iter().any(|absent| number(absent.name, filter.arch) == Some(nr));
            let wanted = absent || lines.iter().any(|call| call.permits([0; 6], PID));
            let verdict = decide(&filter.program, &data(audit_arch(filter.arch), nr, [0; 6]));
            assert_eq!(allowed(verdict), wanted, "{} {nr}", profile.role);
        }
    }
}

/// The kernel takes the answer of the strictest filter: a refusal goes before the permission that the other one gives.
#[test]
fn exactly_the_absent_calls_look_as_if_the_kernel_did_not_have_them() {
    for profile in ALL.iter().filter(|profile| !profile.absent.is_empty()) {
        for arch in ARCHES {
            let program = hide(profile, arch).unwrap();
            for nr in 0..600 {
                let absent = profile.absent.iter().any(|absent| number(absent.name, arch) == Some(nr));
                let wanted = if absent { SECCOMP_RET_ERRNO | libc::ENOSYS as u32 } else { SECCOMP_RET_ALLOW };
                assert_eq!(decide(&program, &data(audit_arch(arch), nr, [0; 6])), wanted, "{} {nr}", profile.role);
            }
        }
    }
}

/// Each line with the arguments it asks for is allowed; with any condition broken, it is not, unless another line says so.
#[test]
fn each_line_allows_what_it_says_and_each_condition_forbids() {
    for (profile, filter) in filters() {
        for line in profile.all_syscalls().filter(|line| number(line.name, filter.arch).is_some()) {
            let mut args = [0; 6];
            for arg in line.when {
                args[usize::from(arg.index)] |= u64::from(arg.bits(PID).1);
            }
            assert!(filter.allows(line.name, args), "{} {line}", profile.role);
            for arg in line.when {
                let mut wrong = args;
                wrong[usize::from(arg.index)] ^= u64::from(1_u32 << arg.bits(PID).0.trailing_zeros());
                let other = profile.all_syscalls().any(|other| other.name == line.name && other.permits(wrong, PID));
                assert_eq!(filter.allows(line.name, wrong), other, "{} {line}: {wrong:?}", profile.role);
            }
        }
    }
}

#[test]
fn foreign_abis_are_killed() {
    for (profile, filter) in filters() {
        let nr = number("exit_group", filter.arch).unwrap();
        for foreign in ARCHES.into_iter().filter(|arch| *arch != filter.arch).map(audit_arch).chain([0x4000_0003, 0x4000_0028]) {
            assert!(!allowed(decide(&filter.program, &data(foreign, nr, [0; 6]))), "{} {foreign:#x}", profile.role);
        }
        let x32 = data(audit_arch(filter.arch), nr | 0x4000_0000, [0; 6]);
        assert!(!allowed(decide(&filter.program, &x32)), "{}", profile.role);
    }
}

#[test]
fn memory_is_never_writable_and_executable() {
    for arch in ARCHES {
        let launcher = Filter::of(&LAUNCHER, arch);
        let mmap = |prot: i32, flags: i32| launcher.allows("mmap", [0, 4096, prot as u64, flags as u64, u64::MAX, 0]);
        let (rw, rx) = (libc::PROT_READ | libc::PROT_WRITE, libc::PROT_READ | libc::PROT_EXEC);
        let (memory, file) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, libc::MAP_PRIVATE);
        assert!(mmap(rw, memory) && mmap(rw, file) && mmap(rx, file));
        assert!(!mmap(rx, memory), "not of a file");
        assert!(!mmap(rw | rx, file) && !mmap(rw | rx, memory));
        let mprotect = |prot: i32| launcher.allows("mprotect", [0, 4096, prot as u64, 0, 0, 0]);
        assert!(mprotect(rw) && mprotect(libc::PROT_READ) && !mprotect(rx) && !mprotect(rw | rx));
    }
}

#[test]
fn an_argument_is_judged_by_its_low_half_as_the_kernel_reads_an_int() {
    for arch in ARCHES {
        let worker = Filter::of(&WORKER, arch);
        let write = |fd: u64| worker.allows("write", [fd, 0, 0, 0, 0, 0]);
        assert_eq!([0, 1, 2, 3, 0xffff_ffff].map(write), [false, false, true, false, false]);
        assert!(write(1 << 32 | 2));
    }
}

#[test]
fn a_launcher_signals_and_limits_nobody_but_itself() {
    for arch in ARCHES {
        let launcher = Filter::of(&LAUNCHER, arch);
        let tgkill = |pid: u32, signal: i32| launcher.allows("tgkill", [u64::from(pid), 1, signal as u64, 0, 0, 0]);
        assert!(tgkill(PID, libc::SIGSEGV) && tgkill(PID, libc::SIGBUS));
        assert!(!tgkill(PID + 1, libc::SIGSEGV) && !tgkill(1, libc::SIGBUS) && !tgkill(PID, libc::SIGKILL));
        let prlimit = |pid: u32| launcher.allows("prlimit64", [u64::from(pid), 0, 0, 0, 0, 0]);
        assert!(prlimit(0) && !prlimit(1));
    }
}
