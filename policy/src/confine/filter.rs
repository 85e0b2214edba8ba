//! A profile's system calls as a seccomp filter.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::{ConfineError, While};
use crate::profile::{Allow, Arg, Profile};
use crate::profiles::WORKER;
use crate::syscall::number;

/// Applies the profile's filter to this thread and its children to come; it cannot be taken off again. What is to look absent takes a
/// filter of its own: one has one answer for what it does not allow.
pub(super) fn apply(profile: &Profile) -> Result<(), ConfineError> {
    let arch = TargetArch::try_from(ARCH).doing("find a system call filter for this architecture")?;
    if !profile.absent.is_empty() {
        let program = hide(profile, arch).doing("compile the filter of absent system calls")?;
        seccompiler::apply_filter(&program).doing("apply the filter of absent system calls")?;
    }
    let program = compile(profile, arch, std::process::id()).doing("compile the system call filter")?;
    seccompiler::apply_filter(&program).doing("apply the system call filter")
}

/// The worker's own filter for this architecture: for workers that are not in Rust, which put it on themselves (worker/PROTOCOL.md).
///
/// # Errors
/// There is none for this architecture.
pub fn worker_program() -> Result<BpfProgram, ConfineError> {
    let arch = TargetArch::try_from(ARCH).doing("find a system call filter for this architecture")?;
    compile(&WORKER, arch, 0).doing("compile the system call filter") // no line of the worker's names a process
}

/// Answers the profile's absent calls with `ENOSYS`, and leaves every other to the next filter.
fn hide(profile: &Profile, arch: TargetArch) -> Result<BpfProgram, BackendError> {
    let absent = profile.absent.iter().filter_map(|absent| number(absent.name, arch)).map(|nr| (nr, Vec::new())).collect();
    let answer = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    SeccompFilter::new(absent, SeccompAction::Allow, answer, arch)?.try_into()
}

/// The filter's program: an allow-list for one architecture and the process `pid`; anything else ends the process with SIGSYS.
fn compile(profile: &Profile, arch: TargetArch, pid: u32) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Option<Vec<SeccompRule>>> = BTreeMap::new();
    for allow in profile.all_syscalls() {
        let Some(nr) = number(allow.name, arch) else { continue };
        let entry = rules.entry(nr).or_insert_with(|| Some(Vec::new()));
        match (rule(allow, pid)?, entry) {
            (Some(rule), Some(alternatives)) => alternatives.push(rule),
            (None, entry) => *entry = None,
            (Some(_), None) => {}
        }
    }
    for nr in profile.absent.iter().filter_map(|absent| number(absent.name, arch)) {
        rules.insert(nr, None); // the other filter's answer goes before this one's
    }
    // An empty list of alternatives means "whatever the arguments" to seccompiler.
    let rules = rules.into_iter().map(|(nr, alternatives)| (nr, alternatives.unwrap_or_default())).collect();
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch)?.try_into()
}

/// The conditions of a line; `None` = it has none.
fn rule(allow: &Allow, pid: u32) -> Result<Option<SeccompRule>, BackendError> {
    if allow.when.is_empty() {
        return Ok(None);
    }
    let conditions: Result<Vec<_>, _> = allow.when.iter().map(|arg| condition(arg, pid)).collect();
    SeccompRule::new(conditions?).map(Some)
}

fn condition(arg: &Arg, pid: u32) -> Result<SeccompCondition, BackendError> {
    let (mask, value) = arg.bits(pid);
    let operator = match mask {
        u32::MAX => SeccompCmpOp::Eq,
        mask => SeccompCmpOp::MaskedEq(u64::from(mask)),
    };
    SeccompCondition::new(arg.index, SeccompCmpArgLen::Dword, operator, u64::from(value))
}

#[cfg(test)]
mod tests;
