//! Confinement on the kernel at hand: real launchers and workers, seen from outside.
//!
//! Run as root, all of it; as another user, what such a user can do, and the rest is named as skipped.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test says what it means; it has its own main")]

mod roles;

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Instant;

use cthelper_policy::verify::{Deviation, Expected, Verified, verify};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

/// An id without a name on any usual system.
const WORKER: u32 = 64_321;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    if let Some(code) = roles::dispatch(&words) {
        return code;
    }
    let root = nix::unistd::geteuid().is_root();
    let binary = Binary::placed();
    let mut ran = 0;
    for (name, needs_root, test) in TESTS {
        if *needs_root && !root {
            println!("test {name} ... skipped (not root)");
            continue;
        }
        test(&binary.0);
        println!("test {name} ... ok");
        ran += 1;
    }
    println!("{ran} of {} ran", TESTS.len());
    ExitCode::SUCCESS
}

type Test = fn(&Path);

const TESTS: &[(&str, bool, Test)] = &[
    ("worker_passes_verification", true, worker_passes_verification),
    ("worker_of_an_ordinary_user_passes_verification", false, worker_of_an_ordinary_user_passes_verification),
    ("honest_work_is_possible", true, honest_work_is_possible),
    ("each_escape_ends_in_sigsys", true, each_escape_ends_in_sigsys),
    ("each_fault_ends_in_its_own_signal", true, each_fault_ends_in_its_own_signal),
    ("before_the_seal_files_and_programs_are_refused", true, before_the_seal_files_and_programs_are_refused),
    ("root_is_refused_as_a_workers_identity", true, root_is_refused_as_a_workers_identity),
    ("another_identity_is_refused_without_privileges", true, another_identity_is_refused_without_privileges),
    ("unsealed_worker_fails_verification", true, unsealed_worker_fails_verification),
    ("orphaned_worker_dies", true, orphaned_worker_dies),
    ("supervisor_keeps_one_capability", true, supervisor_keeps_one_capability),
    ("reduced_warden_can_launch", true, reduced_warden_can_launch),
];

/// A copy of this binary where any uid can reach it; a checkout below /root would not do.
struct Binary(PathBuf);

impl Binary {
    fn placed() -> Self {
        let folder = std::env::temp_dir().join(format!("cthelper-confinement-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
        let copy = folder.join("worker");
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        Self(copy)
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        self.0.parent().map(std::fs::remove_dir_all);
    }
}

/// A launcher on its way to be a worker, and our ends of its channels.
struct Cage {
    child: Child,
    packets: OwnedFd,
    asks: OwnedFd,
    start: Instant,
}

impl Cage {
    fn start(command: &mut Command) -> Self {
        let pair = || socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let ((packets, stdin), (asks, stdout)) = (pair(), pair());
        let start = Instant::now();
        let child = command.stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(Stdio::piped()).spawn().unwrap();
        // Its ends must be open nowhere else, or its death would not be seen.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Self { child, packets, asks, start }
    }

    fn launch(binary: &Path, action: &str) -> Self {
        let id = WORKER.to_string();
        Self::start(Command::new(binary).args(["role", "launcher", &id, &id, action]))
    }

    /// The next record on the ask channel; empty when the worker is gone.
    fn heard(&self) -> String {
        let mut record = [0; 512];
        let length = recv(self.asks.as_raw_fd(), &mut record, MsgFlags::empty()).unwrap_or(0);
        String::from_utf8_lossy(&record[..length]).into_owned()
    }

    fn go(&self) {
        send(self.packets.as_raw_fd(), b"go", MsgFlags::MSG_NOSIGNAL).unwrap();
    }

    fn status(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap()
    }

    fn link(&self, name: &str) -> PathBuf {
        std::fs::read_link(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    /// How it ended, and what it wrote on stderr.
    fn ended(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (status, log)
    }
}

fn strict() -> Expected {
    Expected::strict(WORKER, WORKER, std::process::id())
}

fn worker_passes_verification(binary: &Path) {
    let cage = Cage::launch(binary, "idle");
    let launched = cage.heard();
    assert!(launched.contains("own network, ipc, mounts, names"), "{launched}");
    let sealed = cage.heard();
    println!("  {launched} {sealed}; ready after {:?}", cage.start.elapsed());
    assert_eq!(
        verify(&cage.status(), &strict()),
        Ok(Verified { uid: WORKER, gid: WORKER, seccomp_filters: 2, witnessed: false })
    );
    assert_ne!(cage.link("ns/net"), std::fs::read_link("/proc/self/ns/net").unwrap());
    assert_eq!(cage.link("cwd"), Path::new("/"));
    let fds = std::fs::read_dir(format!("/proc/{}/fd", cage.child.id())).unwrap().count();
    assert_eq!(fds, 3);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", cage.child.id())).unwrap();
    let row =
        |name: &str| limits.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(row("Max processes"), "Max processes 0 0 processes");
    assert_eq!(row("Max open files"), "Max open files 8 8 files");
    assert_eq!(row("Max core file size"), "Max core file size 0 0 bytes");
    assert_eq!(row("Max address space"), "Max address space 67108864 67108864 bytes");
    let interfaces = std::fs::read_to_string(format!("/proc/{}/net/dev", cage.child.id())).unwrap();
    assert_eq!(interfaces.lines().skip(2).map(|line| line.split(':').next().unwrap().trim()).collect::<Vec<_>>(), ["lo"]);
    cage.go();
    assert_eq!(cage.heard(), "idle");
    assert!(cage.ended().0.success());
}

fn worker_of_an_ordinary_user_passes_verification(binary: &Path) {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    let (uid, gid) = if uid.is_root() { (WORKER, WORKER) } else { (uid.as_raw(), gid.as_raw()) };
    let mut command = Command::new(binary);
    if nix::unistd::geteuid().is_root() {
        command.uid(uid).gid(gid);
    }
    let cage = Cage::start(command.args(["role", "launcher", &uid.to_string(), &gid.to_string(), "idle"]));
    println!("  {} {}", cage.heard(), cage.heard());
    let expected = Expected::unprivileged(uid, gid, std::process::id());
    assert_eq!(verify(&cage.status(), &expected), Ok(Verified { uid, gid, seccomp_filters: 2, witnessed: false }));
    cage.go();
    assert_eq!(cage.heard(), "idle");
    assert!(cage.ended().0.success());
}

fn honest_work_is_possible(binary: &Path) {
    let cage = Cage::launch(binary, "work");
    let (_, _) = (cage.heard(), cage.heard());
    cage.go();
    let heard = [cage.heard(), cage.heard(), cage.heard()];
    let (status, log) = cage.ended();
    assert_eq!(heard, ["one", "two", "worked on 8388608 bytes, 2 records"], "{status} {log}");
    assert!(status.success(), "{status}");
    assert!(log.starts_with("a log line"), "{log}");
}

fn each_escape_ends_in_sigsys(binary: &Path) {
    let escapes = [
        "open",
        "proc",
        "exec",
        "spawn",
        "thread",
        "socket",
        "unix",
        "kill",
        "dumpable",
        "setuid",
        "seccomp-off",
        "write",
        "sleep",
    ];
    for escape in escapes {
        let cage = Cage::launch(binary, escape);
        let (_, _) = (cage.heard(), cage.heard());
        cage.go();
        assert_eq!(cage.heard(), "", "{escape} returned");
        assert_eq!(cage.ended().0.signal(), Some(Signal::SIGSYS as i32), "{escape}");
    }
}

/// More memory than there is takes a call that there is not; so does `abort()`. A stack overflow dies as SIGSEGV without a word: std's handlers are used up by then.
fn each_fault_ends_in_its_own_signal(binary: &Path) {
    let faults = [("hoard", Signal::SIGSYS, ""), ("abort", Signal::SIGSYS, ""), ("overflow", Signal::SIGSEGV, "")];
    for (fault, signal, said) in faults {
        let cage = Cage::launch(binary, fault);
        let (_, _) = (cage.heard(), cage.heard());
        cage.go();
        let (status, log) = cage.ended();
        assert_eq!(status.signal(), Some(signal as i32), "{fault}: {status} {log}");
        assert!(log.contains(said), "{fault}: {log}");
        assert!(!status.core_dumped());
    }
}

fn before_the_seal_files_and_programs_are_refused(binary: &Path) {
    for (early, outcome) in [("open", "Err(PermissionDenied)"), ("proc", "Err(PermissionDenied)"), ("exec", "PermissionDenied")] {
        let cage = Cage::launch(binary, &format!("early-{early}"));
        assert!(cage.heard().contains("Launched"));
        assert_eq!(cage.heard(), outcome, "{early}");
    }
    for early in ["spawn", "thread", "socket", "unix", "kill", "setuid"] {
        let cage = Cage::launch(binary, &format!("early-{early}"));
        assert!(cage.heard().contains("Launched"));
        assert_eq!(cage.heard(), "", "{early} returned");
        assert_eq!(cage.ended().0.signal(), Some(Signal::SIGSYS as i32), "{early}");
    }
}

fn root_is_refused_as_a_workers_identity(binary: &Path) {
    for (uid, gid) in [("0", "64321"), ("64321", "0")] {
        let cage = Cage::start(Command::new(binary).args(["role", "launcher", uid, gid, "idle"]));
        assert_eq!(cage.heard(), "failed: cannot launch a worker as root: EINVAL: Invalid argument");
        assert_eq!(cage.ended().0.code(), Some(1));
    }
}

fn another_identity_is_refused_without_privileges(binary: &Path) {
    let mut command = Command::new(binary);
    let cage = Cage::start(command.uid(WORKER).gid(WORKER).args(["role", "launcher", "64322", "64321", "idle"]));
    assert_eq!(cage.heard(), "failed: cannot take another identity: CAP_SETUID is missing");
    assert_eq!(cage.ended().0.code(), Some(1));
}

/// A worker that only says it is confined is found out: here it has the launcher's filter alone.
fn unsealed_worker_fails_verification(binary: &Path) {
    let cage = Cage::launch(binary, "early-wait");
    let (_, _) = (cage.heard(), cage.heard());
    let deviation = Deviation { field: "Seccomp_filters", found: "1".into(), wanted: "at least 2".into() };
    assert_eq!(verify(&cage.status(), &strict()), Err(deviation));
    cage.go();
    assert!(cage.ended().0.success());
}

fn orphaned_worker_dies(binary: &Path) {
    let id = WORKER.to_string();
    let mut cage = Cage::start(Command::new(binary).args(["role", "supervisor", &id, &id, "idle"]));
    let (_, sealed) = (cage.heard(), cage.heard());
    assert!(sealed.contains("Confined"), "{sealed}");
    cage.child.kill().unwrap();
    // The worker's end of the channel closes only when it is gone: it still waits for its "go".
    assert_eq!(cage.heard(), "");
}

fn supervisor_keeps_one_capability(binary: &Path) {
    let output = Command::new(binary).args(["role", "supervisor"]).output().unwrap();
    let status = String::from_utf8(output.stdout).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let kept = format!("{:016x}", 1 << 12); // NET_ADMIN
    assert_eq!([field("CapPrm:"), field("CapEff:"), field("CapBnd:")], [kept.clone(), kept.clone(), kept]);
    assert_eq!([field("CapInh:"), field("CapAmb:")], ["0000000000000000", "0000000000000000"]);
    assert_eq!(field("NoNewPrivs:"), "1");
}

fn reduced_warden_can_launch(binary: &Path) {
    let id = WORKER.to_string();
    let cage = Cage::start(Command::new(binary).args(["role", "supervisor", &id, &id, "idle"]));
    let launched = cage.heard();
    assert!(launched.contains("own network, ipc, mounts, names"), "{launched}");
    assert!(cage.heard().contains("Confined"));
    cage.go();
    assert_eq!(cage.heard(), "idle");
    assert!(cage.ended().0.success());
}
