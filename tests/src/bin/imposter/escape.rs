//! What a worker under a stranger's control would try next. Nothing here succeeds; if something did, it would say so on stderr.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::sys::{personality, prctl, ptrace};
use nix::unistd::{Gid, Uid, getppid};

/// Tries, and says what came of it.
pub(crate) fn attempt(what: &str) {
    eprintln!("tries {what}");
    let outcome = match what {
        "open" => said(std::fs::read("/etc/passwd")),
        "create" => said(std::fs::write("/tmp/cthelper-escape", b"here")),
        "list" => said(std::fs::read_dir("/")),
        "memory-of-parent" => said(std::fs::read(format!("/proc/{}/mem", getppid()))),
        "inet-connect" => said(std::net::TcpStream::connect("127.0.0.1:22")),
        "inet-bind" => said(std::net::UdpSocket::bind("0.0.0.0:0")),
        "unix-connect" => said(std::os::unix::net::UnixStream::connect("/run/cthelperd/control.sock")),
        "netlink" => said(netlink()),
        "fork" => said(Command::new("/bin/true").spawn()),
        "exec" => said::<(), _>(Err(Command::new("/bin/sh").exec())),
        "thread" => said(std::thread::Builder::new().spawn(|| ())),
        "ptrace" => said(ptrace::attach(getppid())),
        "kill" => said(kill(getppid(), Signal::SIGTERM)),
        "setuid" => said(nix::unistd::setuid(Uid::from_raw(0))),
        "setgroups" => said(nix::unistd::setgroups(&[Gid::from_raw(0)])),
        "user-namespace" => said(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)),
        "mount" => said(nix::mount::umount("/proc")),
        "chroot" => said(nix::unistd::chroot("/")),
        // From here on every readable page would be executable: the way round a ban on PROT_EXEC.
        "executable-memory" => said(personality::set(personality::Persona::READ_IMPLIES_EXEC)),
        "dumpable" => said(prctl::set_dumpable(true)),
        "outlive" => said(prctl::set_pdeathsig(None)),
        "memfd" => said(nix::sys::memfd::memfd_create("x", nix::sys::memfd::MFdFlags::empty())),
        "duplicate" => said(nix::unistd::dup(std::io::stdin())),
        "send-descriptor" => {
            crate::channel::send_descriptor();
            "sent".to_owned()
        }
        "more-memory" => {
            use nix::sys::resource::{Resource, setrlimit};
            said(setrlimit(Resource::RLIMIT_AS, u64::MAX, u64::MAX))
        }
        "sleep" => {
            std::thread::sleep(std::time::Duration::from_millis(1));
            "slept".to_owned()
        }
        other => panic!("unknown order {other}"),
    };
    eprintln!("{what}: {outcome}");
}

fn said<T, E: std::fmt::Display>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(error) => format!("denied: {error}"),
    }
}

fn netlink() -> nix::Result<std::os::fd::OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
    socket(AddressFamily::Netlink, SockType::Raw, SockFlag::empty(), SockProtocol::NetlinkNetFilter)
}
