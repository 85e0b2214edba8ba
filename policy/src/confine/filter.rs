//! A profile's system calls as a seccomp filter.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::{ConfineError, While};
use crate::profile::{Allow, Arg, Profile};

/// Applies the profile's filter to this thread and its children to come; it cannot be taken off again.
pub(super) fn apply(profile: &Profile) -> Result<(), ConfineError> {
    let program = compile(profile).doing("compile the system call filter")?;
    seccompiler::apply_filter(&program).doing("apply the system call filter")
}

/// The filter's program: an allow-list for the native architecture; anything else ends the process with SIGSYS.
pub(super) fn compile(profile: &Profile) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Option<Vec<SeccompRule>>> = BTreeMap::new();
    for allow in profile.all_syscalls() {
        let entry = rules.entry(allow.nr).or_insert_with(|| Some(Vec::new()));
        match (rule(allow)?, entry) {
            (Some(rule), Some(alternatives)) => alternatives.push(rule),
            (None, entry) => *entry = None,
            (Some(_), None) => {}
        }
    }
    // An empty list of alternatives means "whatever the arguments" to seccompiler.
    let rules = rules.into_iter().map(|(nr, alternatives)| (nr, alternatives.unwrap_or_default())).collect();
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, TargetArch::try_from(ARCH)?)?.try_into()
}

/// The conditions of a line; `None` = it has none.
fn rule(allow: &Allow) -> Result<Option<SeccompRule>, BackendError> {
    if allow.when.is_empty() {
        return Ok(None);
    }
    let conditions: Result<Vec<_>, _> = allow.when.iter().map(condition).collect();
    SeccompRule::new(conditions?).map(Some)
}

fn condition(arg: &Arg) -> Result<SeccompCondition, BackendError> {
    let operator = match arg.mask {
        u32::MAX => SeccompCmpOp::Eq,
        mask => SeccompCmpOp::MaskedEq(u64::from(mask)),
    };
    SeccompCondition::new(arg.index, SeccompCmpArgLen::Dword, operator, u64::from(arg.value))
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "words of a register")]
mod tests {
    use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS};

    use super::*;
    use crate::profiles::{LAUNCHER, WORKER};

    /// `struct seccomp_data` of a native call, as 32-bit words (little-endian).
    fn data(nr: i64, args: [u64; 6]) -> Vec<u32> {
        let arch = match ARCH {
            "x86_64" => 0xc000_003e,
            "aarch64" => 0xc000_00b7,
            "riscv64" => 0xc000_00f3,
            other => panic!("{other}"),
        };
        let words = args.into_iter().flat_map(|arg| [arg as u32, (arg >> 32) as u32]);
        [nr as u32, arch, 0, 0].into_iter().chain(words).collect()
    }

    /// What the kernel would decide: the few instructions of classic BPF that seccompiler emits (linux/filter.h).
    fn decide(program: &BpfProgram, data: &[u32]) -> u32 {
        let (mut at, mut acc) = (0, 0);
        loop {
            let op = &program[at];
            at += 1;
            let taken = match op.code {
                0x20 => {
                    acc = data[op.k as usize / 4];
                    continue;
                }
                0x54 => {
                    acc &= op.k;
                    continue;
                }
                0x05 => {
                    at += op.k as usize;
                    continue;
                }
                0x06 => return op.k,
                0x15 => acc == op.k,
                0x25 => acc > op.k,
                0x35 => acc >= op.k,
                code => panic!("unknown instruction {code:#x}"),
            };
            at += usize::from(if taken { op.jt } else { op.jf });
        }
    }

    fn allowed(profile: &Profile, nr: i64, args: [u64; 6]) -> bool {
        match decide(&compile(profile).unwrap(), &data(nr, args)) {
            SECCOMP_RET_ALLOW => true,
            SECCOMP_RET_KILL_PROCESS => false,
            other => panic!("{other:#x}"),
        }
    }

    #[test]
    fn filters_are_far_below_the_kernels_limit_of_4096_instructions() {
        assert!(compile(&WORKER).unwrap().len() < 250);
        assert!(compile(&LAUNCHER).unwrap().len() < 400);
    }

    #[test]
    fn exactly_the_tables_calls_are_allowed() {
        for profile in [&WORKER, &LAUNCHER] {
            let program = compile(profile).unwrap();
            for nr in 0..600 {
                let lines: Vec<_> = profile.all_syscalls().filter(|call| call.nr == nr).collect();
                let whatever = lines.iter().any(|call| call.when.is_empty());
                if lines.is_empty() || whatever {
                    let wanted = if whatever { SECCOMP_RET_ALLOW } else { SECCOMP_RET_KILL_PROCESS };
                    assert_eq!(decide(&program, &data(nr, [0; 6])), wanted, "{} {nr}", profile.role);
                }
            }
        }
    }

    #[test]
    fn foreign_abis_are_killed() {
        let program = compile(&WORKER).unwrap();
        let x32 = data(libc::SYS_getpid | 0x4000_0000, [0; 6]);
        assert_eq!(decide(&program, &x32), SECCOMP_RET_KILL_PROCESS);
        let mut i386 = data(libc::SYS_getpid, [0; 6]);
        i386[1] = 0x4000_0003;
        assert_eq!(decide(&program, &i386), SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn conditions_are_judged_bit_by_bit() {
        let mmap = |prot: i32, flags: i32| allowed(&WORKER, libc::SYS_mmap, [0, 4096, prot as u64, flags as u64, u64::MAX, 0]);
        let (rw, plain) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        assert!(mmap(rw, plain));
        assert!(mmap(rw, plain | libc::MAP_STACK | libc::MAP_NORESERVE));
        assert!(!mmap(rw | libc::PROT_EXEC, plain));
        assert!(!mmap(rw, libc::MAP_PRIVATE), "of a file");
        assert!(!mmap(rw, libc::MAP_SHARED | libc::MAP_ANONYMOUS));
        assert!(!mmap(rw, libc::MAP_SHARED_VALIDATE | libc::MAP_ANONYMOUS));

        let write = |fd: u64| allowed(&WORKER, libc::SYS_write, [fd, 0, 0, 0, 0, 0]);
        assert_eq!([write(0), write(1), write(2), write(3)], [false, false, true, false]);

        let tgkill = |signal: i32| allowed(&WORKER, libc::SYS_tgkill, [1, 1, signal as u64, 0, 0, 0]);
        assert!(tgkill(libc::SIGABRT));
        assert!(!tgkill(libc::SIGKILL));

        let sigaction = |signal: i32| allowed(&WORKER, libc::SYS_rt_sigaction, [signal as u64, 0, 0, 8, 0, 0]);
        assert!(sigaction(libc::SIGABRT));
        assert!(![libc::SIGSEGV, libc::SIGBUS, libc::SIGSYS].into_iter().any(sigaction));
        assert!(allowed(&LAUNCHER, libc::SYS_rt_sigaction, [libc::SIGPIPE as u64, 0, 0, 8, 0, 0]));

        let prctl = |option: i32| allowed(&LAUNCHER, libc::SYS_prctl, [option as u64, 1, 0, 0, 0, 0]);
        assert!(prctl(libc::PR_SET_NO_NEW_PRIVS) && prctl(libc::PR_SET_DUMPABLE));
        assert!(!prctl(libc::PR_SET_PDEATHSIG) && !prctl(libc::PR_SET_SECCOMP));
    }
}
