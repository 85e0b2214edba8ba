//! `tracer all|alone FILE PROGRAM ARGS…`: becomes that program, while a child of it writes down each system call that it makes: `all` = it
//! and its descendants; `alone` = it and its threads, so that its children can be traced by somebody else.
//!
//! Tracing from a child leaves the program its own process id and its own children, as the roles of cthelperd need them.
//!
//! FILE gets a line for each call, as it begins, with the number of the thread's process, the call's number and its arguments, all but the
//! first in hexadecimal: `PID NR A0 … A5`; and the line `end` when nothing is left to trace. Native calls only; needs `CAP_SYS_PTRACE`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "nobody relies on it")]

mod registers;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::ptrace::{self, Event, Options};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--attach", whom, pid, file] => {
            trace(whom == "all", Pid::from_raw(pid.parse().unwrap()), BufWriter::new(File::create(file).unwrap()));
        }
        [whom, file, program, ref args @ ..] => {
            let mut watcher = Command::new(std::env::current_exe().unwrap());
            watcher.args(["--attach", whom, &std::process::id().to_string(), file]).stdin(Stdio::null()).stdout(Stdio::piped());
            let mut ready = watcher.spawn().unwrap().stdout.take().unwrap();
            assert_eq!(ready.read(&mut [0]).unwrap(), 1, "the watcher has ended");
            drop(ready);
            panic!("{program}: {}", Command::new(program).args(args).exec());
        }
        _ => panic!("usage: tracer all|alone FILE PROGRAM ARGS..."),
    }
}

/// Writes down every call until there is nobody left who could make one.
fn trace(children: bool, first: Pid, mut file: BufWriter<File>) {
    let mut follow = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEEXEC;
    if children {
        follow |= Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_EXITKILL;
    }
    ptrace::seize(first, follow).unwrap();
    ptrace::interrupt(first).unwrap();
    let mut threads: HashMap<Pid, Thread> = HashMap::new();
    print!("!");
    std::io::stdout().flush().unwrap();
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::__WALL)) {
        let (pid, signal) = match status {
            WaitStatus::PtraceSyscall(pid) => {
                threads.entry(pid).or_insert_with(|| Thread::of(pid)).stops(pid, &mut file);
                (pid, None)
            }
            WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
            WaitStatus::PtraceEvent(pid, _, event) => {
                if event == Event::PTRACE_EVENT_EXEC as i32 {
                    threads.remove(&pid);
                    threads.insert(pid, Thread { process: pid, inside: true });
                }
                (pid, None)
            }
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                threads.remove(&pid);
                continue;
            }
            _ => continue,
        };
        let _ = ptrace::syscall(pid, signal); // one that was killed meanwhile is heard of as ended
    }
    writeln!(file, "end").unwrap();
}

struct Thread {
    process: Pid,
    /// The next stop is the end of the call that it is in.
    inside: bool,
}

impl Thread {
    fn of(thread: Pid) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
        let process = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
        Self { process: process.map_or(thread, Pid::from_raw), inside: false }
    }

    fn stops(&mut self, thread: Pid, file: &mut impl Write) {
        self.inside = !self.inside;
        if let (true, Ok(registers)) = (self.inside, ptrace::getregs(thread)) {
            let (nr, args) = registers::call(&registers);
            let args = args.map(|arg| format!(" {arg:x}")).concat();
            writeln!(file, "{} {nr}{args}", self.process).unwrap();
        }
    }
}
