//! What a worker under a stranger's control would try next: each attempt is made twice, before the worker seals itself, when only the
//! launcher's confinement is around it, and after. It is denied, it kills, or it is bounded; and it leaves a record. The table is printed.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use cthelper_proto::events::{Crash, Event};
use cthelper_supervisor::lane::Ended;
use cthelper_supervisor::spawn::Identity;
use cthelper_tests::control::{Control, Net};
use cthelper_tests::fake_kernel::How;
use cthelper_tests::stage::{Play, Stage};

/// What comes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The kernel ended the worker: SIGSYS.
    Killed,
    /// It ended by another signal, of its own making.
    Dies(&'static str),
    /// The call returned an error.
    Denied,
    /// The call did something, which gets it nowhere; why.
    Harmless(&'static str),
    /// It was ended by the supervisor, at its deadline.
    Bounded,
}

use End::{Bounded, Denied, Dies, Harmless, Killed};

/// Whom an attempt is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    Nobody,
    Supervisor,
    Sibling,
}

/// Attempt, aim, what comes of it before the seal; after it, all but the [`SURVIVED`] kill.
const ATTEMPTS: &[(&str, Aim, End)] = &[
    // Files.
    ("open-file", Aim::Nobody, Denied),
    ("open-secret", Aim::Nobody, Denied),
    ("open-own-memory", Aim::Nobody, Denied),
    ("open-path-only", Aim::Nobody, Harmless("nothing can be read through it")),
    ("open-device", Aim::Nobody, Denied),
    ("create-file", Aim::Nobody, Denied),
    ("openat2", Aim::Nobody, Killed),
    ("open-by-handle", Aim::Nobody, Killed),
    ("truncate", Aim::Nobody, Killed),
    ("unlink", Aim::Nobody, Killed),
    ("mkdir", Aim::Nobody, Killed),
    ("mknod", Aim::Nobody, Killed),
    ("link", Aim::Nobody, Killed),
    ("chmod", Aim::Nobody, Killed),
    ("inotify", Aim::Nobody, Killed),
    // Sockets.
    ("inet", Aim::Nobody, Killed),
    ("inet6", Aim::Nobody, Killed),
    ("raw-socket", Aim::Nobody, Killed),
    ("packet-socket", Aim::Nobody, Killed),
    ("unix", Aim::Nobody, Killed),
    ("netlink", Aim::Nobody, Killed),
    ("vsock", Aim::Nobody, Killed),
    ("alg", Aim::Nobody, Killed),
    ("socketpair", Aim::Nobody, Killed),
    ("connect-inet", Aim::Nobody, Killed),
    ("connect-abstract", Aim::Nobody, Killed),
    ("bind-inet6", Aim::Nobody, Killed),
    ("bind-abstract", Aim::Nobody, Killed),
    ("listen", Aim::Nobody, Killed),
    ("accept", Aim::Nobody, Killed),
    ("peer", Aim::Nobody, Killed),
    ("buffer", Aim::Nobody, Killed),
    ("send-descriptor", Aim::Nobody, Killed),
    ("receive-descriptor", Aim::Nobody, Killed),
    ("send-to-address", Aim::Nobody, Denied),
    // Descriptors.
    ("inherited", Aim::Nobody, Denied),
    ("dup", Aim::Nobody, Killed),
    ("read-descriptor", Aim::Nobody, Denied),
    ("write-elsewhere", Aim::Nobody, Killed),
    ("terminal-input", Aim::Nobody, Killed),
    ("splice", Aim::Nobody, Killed),
    // Processes.
    ("fork", Aim::Nobody, Killed),
    ("vfork", Aim::Nobody, Killed),
    ("clone", Aim::Nobody, Killed),
    ("clone3", Aim::Nobody, Killed),
    ("clone-user", Aim::Nobody, Killed),
    ("clone-net", Aim::Nobody, Killed),
    ("clone-mount", Aim::Nobody, Killed),
    ("clone-pid", Aim::Nobody, Killed),
    ("clone-ipc", Aim::Nobody, Killed),
    ("clone-uts", Aim::Nobody, Killed),
    ("clone-cgroup", Aim::Nobody, Killed),
    ("unshare-user", Aim::Nobody, Killed),
    ("unshare-net", Aim::Nobody, Killed),
    ("unshare-mount", Aim::Nobody, Killed),
    ("unshare-pid", Aim::Nobody, Killed),
    ("unshare-ipc", Aim::Nobody, Killed),
    ("unshare-uts", Aim::Nobody, Killed),
    ("unshare-cgroup", Aim::Nobody, Killed),
    ("unshare-time", Aim::Nobody, Killed),
    ("setns", Aim::Nobody, Killed),
    ("exec", Aim::Nobody, Denied),
    ("execveat", Aim::Nobody, Killed),
    // Other processes.
    ("ptrace", Aim::Supervisor, Killed),
    ("ptrace", Aim::Sibling, Killed),
    ("read-process", Aim::Supervisor, Killed),
    ("read-process", Aim::Sibling, Killed),
    ("write-process", Aim::Supervisor, Killed),
    ("write-process", Aim::Sibling, Killed),
    ("kill", Aim::Supervisor, Killed),
    ("kill", Aim::Sibling, Killed),
    ("kill-all", Aim::Nobody, Killed),
    ("tgkill", Aim::Supervisor, Killed),
    ("tgkill", Aim::Sibling, Killed),
    ("fault", Aim::Supervisor, Killed),
    ("fault", Aim::Sibling, Killed),
    ("sigqueue", Aim::Sibling, Killed),
    ("limit-process", Aim::Supervisor, Killed),
    ("limit-process", Aim::Sibling, Killed),
    ("pidfd", Aim::Sibling, Killed),
    ("pidfd-signal", Aim::Sibling, Killed),
    ("pidfd-getfd", Aim::Sibling, Killed),
    ("nice-process", Aim::Sibling, Killed),
    ("kcmp", Aim::Sibling, Killed),
    // The system.
    ("mount", Aim::Nobody, Killed),
    ("umount", Aim::Nobody, Killed),
    ("chroot", Aim::Nobody, Killed),
    ("pivot-root", Aim::Nobody, Killed),
    ("fsopen", Aim::Nobody, Killed),
    ("open-tree", Aim::Nobody, Killed),
    ("bpf", Aim::Nobody, Killed),
    ("io-uring", Aim::Nobody, Killed),
    ("keyctl", Aim::Nobody, Killed),
    ("add-key", Aim::Nobody, Killed),
    ("userfaultfd", Aim::Nobody, Killed),
    ("perf", Aim::Nobody, Killed),
    ("module", Aim::Nobody, Killed),
    ("kexec", Aim::Nobody, Killed),
    ("reboot", Aim::Nobody, Killed),
    ("kernel-log", Aim::Nobody, Killed),
    ("clock", Aim::Nobody, Killed),
    ("shm", Aim::Nobody, Killed),
    ("mqueue", Aim::Nobody, Killed),
    ("memfd", Aim::Nobody, Killed),
    // Memory.
    ("mmap-executable", Aim::Nobody, Killed),
    ("mmap-write-execute", Aim::Nobody, Killed),
    ("mmap", Aim::Nobody, Harmless("its address space is limited")),
    ("mprotect-executable", Aim::Nobody, Killed),
    ("mprotect-write-execute", Aim::Nobody, Killed),
    ("pkey-mprotect", Aim::Nobody, Killed),
    ("read-implies-exec", Aim::Nobody, Killed),
    ("brk", Aim::Nobody, Harmless("its address space is limited")),
    ("mlock", Aim::Nobody, Killed),
    // Privileges and switches.
    ("setuid", Aim::Nobody, Killed),
    ("setgid", Aim::Nobody, Killed),
    ("setresuid", Aim::Nobody, Killed),
    ("setgroups", Aim::Nobody, Killed),
    ("capset", Aim::Nobody, Killed),
    ("dumpable", Aim::Nobody, Killed),
    ("outlive", Aim::Nobody, Killed),
    ("new-privileges", Aim::Nobody, Denied),
    ("seccomp-off", Aim::Nobody, Killed),
    ("mdwe-off", Aim::Nobody, Killed),
    ("subreaper", Aim::Nobody, Killed),
    ("name", Aim::Nobody, Killed),
    ("seccomp-listener", Aim::Nobody, Killed),
    ("landlock-rule", Aim::Nobody, Killed),
    ("more-descriptors", Aim::Nobody, Denied),
    ("block-signals", Aim::Nobody, Harmless("SIGKILL cannot be blocked")),
    ("real-time", Aim::Nobody, Killed),
    ("timer", Aim::Nobody, Killed),
    ("sleep", Aim::Nobody, Killed),
    #[cfg(target_arch = "x86_64")]
    ("i386-call", Aim::Nobody, Killed),
    #[cfg(target_arch = "x86_64")]
    ("x32-call", Aim::Nobody, Killed),
    // All there is.
    ("hoard", Aim::Nobody, Denied),
    ("bottomless", Aim::Nobody, Dies("signal SIGSEGV")),
    ("spin", Aim::Nobody, Bounded),
];

/// What does not kill after the seal.
const SURVIVED: &[(&str, End)] =
    &[("send-to-address", Denied), ("inherited", Denied), ("bottomless", Dies("signal SIGSEGV")), ("spin", Bounded)];

fn after_the_seal(attempt: &str) -> End {
    SURVIVED.iter().find(|(name, _)| *name == attempt).map_or(Killed, |(_, end)| *end)
}

/// What the supervisor's words for a worker's end say of its attempt; `log` is the worker's own.
fn outcome(order: &str, cause: &str, log: &str) -> Result<End, String> {
    let words = || format!("{order}: {cause}: {log}");
    assert!(log.starts_with(&format!("tries {order}")), "{}", words());
    let said = log.lines().nth(1).and_then(|line| line.strip_prefix(order)).unwrap_or_default();
    match cause {
        "signal SIGSYS" => Ok(Killed),
        "signal SIGSEGV" => Ok(Dies("signal SIGSEGV")),
        "was silent past its deadline" => Ok(Bounded),
        "exit 9" if said.starts_with(": denied: ") && !said.contains("ENOSYS") => Ok(Denied),
        "exit 9" if said == ": done" => Ok(Harmless("")),
        _ => Err(words()),
    }
}

fn is(end: End, wanted: End) -> bool {
    end == wanted || matches!((end, wanted), (Harmless(_), Harmless(_)))
}

/// The attempt as the imposter is told it.
fn order(attempt: &str, aim: Aim, sibling: u32) -> String {
    match aim {
        Aim::Nobody => attempt.to_owned(),
        Aim::Supervisor => format!("{attempt} {}", std::process::id()),
        Aim::Sibling => format!("{attempt} {sibling}"),
    }
}

/// One line of the printed table.
fn row(attempt: &str, aim: Aim, end: End, record: &str) -> String {
    let end = match end {
        Killed => "killed".to_owned(),
        Dies(signal) => format!("dies: {signal}"),
        Denied => "denied".to_owned(),
        Harmless(why) => format!("harmless: {why}"),
        Bounded => "bounded".to_owned(),
    };
    let aim = if aim == Aim::Nobody { String::new() } else { format!(" at {aim:?}").to_lowercase() };
    format!("  {:<30} {end:<42} {record}", format!("{attempt}{aim}"))
}

#[test]
fn each_attempt_before_the_seal_gets_nowhere() {
    let sibling = Play::imposter("honest").start();
    let pid = sibling.serves();
    let mut table = vec!["before the seal:".to_owned()];
    for (attempt, aim, wanted) in ATTEMPTS {
        let order = order(attempt, *aim, pid);
        let Ended::NotStarted(reason) = Play::imposter(&format!("early {order}")).open().ends() else {
            panic!("{order}: served")
        };
        let told = reason.strip_prefix("the first worker ").and_then(|reason| reason.split_once(": ")).unwrap();
        let end = outcome(&order, told.0, told.1).unwrap();
        assert!(is(end, *wanted), "{order}: {end:?}, not {wanted:?}: {reason}");
        table.push(row(attempt, *aim, *wanted, &format!("refused to start: {}", reason.escape_debug())));
    }
    println!("{}", table.join("\n"));
    assert_eq!(sibling.serves(), pid, "the sibling has noticed nothing");
    assert!(matches!(sibling.stop(), Ended::Orderly));
    assert!(!std::path::Path::new("/tmp/cthelper-escape").exists());
}

#[test]
fn each_attempt_after_the_seal_ends_its_worker_and_the_connection_goes_on() {
    let sibling = Play::imposter("honest").start();
    let pid = sibling.serves();
    let stage = Play::imposter("honest").bears(1000).deadline(Duration::from_secs(2)).start();
    let mut calm = Control::over(Net::Plain4, 0);
    let mut table = vec!["after the seal:".to_owned()];
    for (n, (attempt, aim, _)) in (1..).zip(ATTEMPTS) {
        let order = order(attempt, *aim, pid);
        let mut flow = Control::over(Net::Plain4, n);
        assert_eq!(stage.kernel.carries(flow.client(format!("DO {order}"))).how, How::Accepted, "{order}");
        let (event, crash) = recorded(&stage, &order);
        let end = outcome(&order, &crash.cause, &crash.log).unwrap();
        let wanted = after_the_seal(attempt);
        assert!(is(end, wanted), "{order}: {end:?}, not {wanted:?}: {crash:?}");
        assert_eq!(crash.in_flight, 1, "{order}");
        let forbidden = crash.fault.and_then(|fault| fault.syscall).map_or_else(String::new, |call| format!(" {}", call.name));
        table.push(row(attempt, *aim, wanted, &format!("{event}: {}{forbidden}, {}", crash.cause, crash.decision)));
        assert!(!stage.kernel.carries(calm.client("hello")).is_as_it_came(), "{order}: the next worker serves");
    }
    println!("{}", table.join("\n"));
    assert_eq!(sibling.serves(), pid, "the sibling has noticed nothing");
    assert!(matches!(sibling.stop(), Ended::Orderly));
    assert!(!std::path::Path::new("/tmp/cthelper-escape").exists());
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// The record of the worker that tried this.
fn recorded(stage: &Stage, order: &str) -> (&'static str, Crash) {
    let tried = |crash: &Crash| crash.log.lines().next() == Some(&format!("tries {order}"));
    stage.audits(order, |event| match event {
        Event::WorkerCrashed(crash) if tried(crash) => Some(("worker_crashed", (**crash).clone())),
        Event::WorkerHung(crash) if tried(crash) => Some(("worker_hung", (**crash).clone())),
        _ => None,
    })
}

/// What a process of a worker's uid could do to another worker if nothing but the kernel's own rules were around it: neither trace nor
/// read it, whatever the uid, for it is not dumpable; and with `[daemon] uids` not signal it either.
#[test]
fn a_uid_of_its_own_keeps_a_worker_from_the_signals_of_others() {
    if !nix::unistd::geteuid().is_root() {
        return println!("skipped: changing identities needs root");
    }
    let mut play = Play::imposter("honest");
    let identity = Identity { uid: 60_700, ..play.setup.identity };
    (play.setup.identity, play.recipe.identity) = (identity, identity);
    let stage = play.start();
    let (pid, gid) = (stage.serves(), identity.gid);
    assert_eq!(stage.status().workers[0].uid, 60_700);
    let succeeds = |uid: u32, what: &str| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", what]).uid(uid).gid(gid).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().success()
    };
    for uid in [60_700, 60_701] {
        assert!(!succeeds(uid, &format!("cat /proc/{pid}/mem")) && !succeeds(uid, &format!("ls /proc/{pid}/fd")), "{uid}");
        assert!(
            !succeeds(uid, &format!("cat /proc/{pid}/environ")) && !succeeds(uid, &format!("ls -l /proc/{pid}/exe")),
            "{uid}"
        );
    }
    assert!(succeeds(60_700, &format!("kill -0 {pid}")), "this is what the range is for");
    assert!(!succeeds(60_701, &format!("kill -0 {pid}")));
    assert!(matches!(stage.stop(), Ended::Orderly));
}
