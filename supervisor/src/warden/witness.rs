//! What the kernel shows of a worker's end, and to its tracer only: where a signal came from, and which call a filter forbade.
//!
//! The warden traces its children (ptrace(2)). A launcher says *trace me* first of all, while it is still of the warden's own kind, and
//! stops until its options are set; so no moment of it is unseen, and it asks for no capability. What a worker does for its packets is
//! not slowed down: it stops for signals, for exec, and once when it ends. While it is traced nobody else can trace it.
//!
//! These requests and no others: `PTRACE_TRACEME` (the launcher); `PTRACE_SETOPTIONS` with `EXITKILL`, `TRACEEXEC`, `TRACEEXIT`;
//! `PTRACE_CONT`, `PTRACE_DETACH`; `PTRACE_GETSIGINFO`, `PTRACE_GETEVENTMSG`; of a child that dies of SIGSYS `PTRACE_GETREGS` (x86-64;
//! elsewhere `PTRACE_GETREGSET` of `NT_PRSTATUS`) and `PTRACE_GET_SYSCALL_INFO`. None of them reads or writes its memory.
//!
//! Not told: the address of a fault. It is in a union of `siginfo_t`, which only `unsafe` reads.
//!
//! Where tracing is refused (`kernel.yama.ptrace_scope` above 1, another tracer), workers work, and their ends have no `fault`.

use cthelper_proto::events::Fault;
use nix::errno::Errno;
use nix::libc::{PTRACE_EVENT_EXEC, PTRACE_EVENT_EXIT};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::{class, registers};

/// Signals one child may get in its life. A start takes 3, an end 1, and a confined worker can send itself none; one that gets many costs the
/// warden's time, whoever sends them.
const SIGNALS: u8 = 32;

/// Has the parent trace this process, and waits until it does. To be called by the launcher, whose parent is the warden.
///
/// # Errors
/// This host does not let it; the process is then as it was.
pub fn trace_me() -> nix::Result<()> {
    ptrace::traceme()?;
    raise(Signal::SIGSTOP)
}

/// What has been seen of one child.
#[derive(Debug, Default)]
pub(super) struct Witness {
    is_worker: bool,
    signals: u8,
    seen: Option<Seen>,
}

/// The latest signal.
#[derive(Debug)]
struct Seen {
    signal: Signal,
    fault: Fault,
}

impl Witness {
    /// A child stands still until this returns: looks why, and has it go on. `signal` and `event` are its wait status' (ptrace(2)).
    pub(super) fn attend(&mut self, child: Pid, signal: i32, event: i32) {
        let going_on = match event {
            0 => self.signal(child, signal),
            PTRACE_EVENT_EXEC => {
                self.is_worker = true;
                ptrace::cont(child, None)
            }
            PTRACE_EVENT_EXIT => {
                self.exit(child);
                ptrace::cont(child, None)
            }
            _ => ptrace::cont(child, None),
        };
        match going_on {
            Ok(()) | Err(Errno::ESRCH) => {} // it has been killed meanwhile
            Err(_) => drop(kill(child, Signal::SIGKILL)),
        }
    }

    /// What there is to tell of a child that ended by `signal`.
    pub(super) fn fault(self, signal: Option<i32>) -> Option<Fault> {
        self.seen.filter(|seen| Some(seen.signal as i32) == signal).map(|seen| seen.fault)
    }

    /// A signal is about to reach the child: it is passed on.
    fn signal(&mut self, child: Pid, number: i32) -> nix::Result<()> {
        self.signals = self.signals.saturating_add(1);
        if self.signals > SIGNALS {
            return self.put_an_end(child, format!("killed by the warden: more than {SIGNALS} signals"));
        }
        match Signal::try_from(number) {
            Ok(Signal::SIGSTOP) if !self.is_worker => greet(child),
            // It has to stand still as it would without us, until somebody continues it; a tracer's stop is none that SIGCONT ends.
            Ok(stop @ (Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU)) => ptrace::detach(child, stop),
            Ok(signal) => {
                if let Ok(info) = ptrace::getsiginfo(child) {
                    self.note(signal, info.si_code);
                }
                ptrace::cont(child, signal)
            }
            // Whatever a worker is sent that it does not expect ends it; these cannot be passed on, as `nix` has no name for them.
            Err(_) => self.put_an_end(child, format!("killed by the warden: signal {number}, which no worker expects")),
        }
    }

    fn note(&mut self, signal: Signal, si_code: i32) {
        let class = class::class(signal, si_code).to_owned();
        self.seen = Some(Seen { signal, fault: Fault { si_code, class, syscall: None } });
    }

    fn put_an_end(&mut self, child: Pid, class: String) -> nix::Result<()> {
        let si_code = ptrace::getsiginfo(child).map_or(0, |info| info.si_code);
        self.seen = Some(Seen { signal: Signal::SIGKILL, fault: Fault { si_code, class, syscall: None } });
        kill(child, Signal::SIGKILL)
    }

    /// The child ends, and still has its registers. A filter's SIGSYS gets here without having been a signal that can be seen before
    /// (`SA_IMMUTABLE`, Linux 5.16); one that somebody sent was.
    fn exit(&mut self, child: Pid) {
        let sent = self.seen.as_ref().is_some_and(|seen| seen.signal == Signal::SIGSYS && seen.fault.si_code != class::SECCOMP);
        if sent || !ends_by_sigsys(child) {
            return;
        }
        self.note(Signal::SIGSYS, class::SECCOMP);
        if let Some(Seen { fault, .. }) = &mut self.seen {
            fault.syscall = registers::call(child);
        }
    }
}

/// The launcher waits for this.
fn greet(child: Pid) -> nix::Result<()> {
    match ptrace::setoptions(child, Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACEEXIT) {
        Ok(()) => ptrace::cont(child, None),
        Err(_) => ptrace::detach(child, None),
    }
}

fn ends_by_sigsys(child: Pid) -> bool {
    let status = ptrace::getevent(child).ok().and_then(|message| i32::try_from(message).ok());
    let status = status.map(|status| WaitStatus::from_raw(child, status));
    matches!(status, Some(Ok(WaitStatus::Signaled(_, Signal::SIGSYS, _))))
}
