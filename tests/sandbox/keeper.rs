//! The keeper as a process: made by a warden, confined as the kernel sees it, there when the warden is gone; and nothing in its table
//! that it does not use.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cthelper_policy::config::Daemon;
use cthelper_policy::profiles::KEEPER;
use cthelper_policy::verify::{Expected, verify};
use cthelper_supervisor::keeper::client::{Gone, Keeper, listener};
use cthelper_supervisor::kernel::netfilter::socket::Nfnl;
use cthelper_supervisor::spawn::{Identity, RoleRecipe};
use cthelper_supervisor::warden::Hiring;
use cthelper_tests::binaries::{binary, scratch};
use cthelper_tests::calls::{Trace, filtered, idle, unused};
use cthelper_tests::eventually;
use nix::sys::signal::Signal;
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Pid, geteuid};

fn identity() -> Identity {
    Identity::find(Daemon::USER, Daemon::USER).unwrap()
}

/// A bound netfilter socket; anybody may have one.
fn queue_socket() -> OwnedFd {
    Nfnl::open().unwrap().as_fd().try_clone_to_owned().unwrap()
}

fn status(pid: u32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/status")).ok().filter(|status| !status.contains("State:\tZ"))
}

fn hired(folder: &Path) -> (Keeper, u32) {
    let recipe = RoleRecipe { program: binary("cthelperd"), identity: identity() };
    let mut hiring = Hiring::start(&binary("cthelperd")).unwrap();
    let post = hiring.keeper(&recipe).unwrap();
    let warden = hiring.seal().unwrap();
    let listener = listener(folder).unwrap();
    let keeper = Keeper::start(folder, listener.as_fd(), &post, 1, identity()).unwrap();
    let pid = child_of(warden.pid());
    let expected = Expected { filters_min: 1, ..identity().expected(warden.pid()) };
    verify(&status(pid).unwrap(), &expected).unwrap();
    drop((warden, post));
    (keeper, pid)
}

/// The only child of a process.
fn child_of(parent: u32) -> u32 {
    let of_parent = |pid: &u32| status(*pid).is_some_and(|status| status.contains(&format!("PPid:\t{parent}\n")));
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let found: Vec<u32> = processes.filter(of_parent).collect();
    let [pid] = found[..] else { panic!("{found:?}") };
    pid
}

#[test]
fn it_outlives_the_warden_that_made_it_and_holds_what_it_was_given() {
    let folder = scratch("keeper");
    let (keeper, pid) = hired(&folder);
    let socket = queue_socket();
    keeper.hold("ftp", 6200, socket.as_fd()).unwrap();
    eventually("the socket is held", || (Keeper::find(&folder).ok()?.take().ok()?.0.len() == 1).then_some(()));
    assert!(status(pid).is_some(), "the warden is gone, it is not");
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count);
    if geteuid().is_root() {
        // 0 to 2, the socket, this connection, and maybe the last visitor's.
        assert!((5..=6).contains(&descriptors.unwrap()));
    }
    drop(keeper);
    eventually("the socket is small", || (getsockopt(&socket, sockopt::RcvBuf).unwrap() < 5000).then_some(()));
    let successor = Keeper::find(&folder).unwrap();
    let (kept, _) = successor.take().unwrap();
    assert_eq!(kept.iter().map(|kept| (kept.helper.as_str(), kept.queue)).collect::<Vec<_>>(), [("ftp", 6200)]);
    successor.bye();
    eventually("its end", || status(pid).is_none().then_some(()));
    assert!(Keeper::find(&folder).is_err());
}

#[test]
fn it_does_not_linger_with_nothing_to_hold() {
    let folder = scratch("lingering");
    let (keeper, pid) = hired(&folder);
    drop(keeper);
    std::thread::sleep(Duration::from_secs(2));
    assert!(status(pid).is_some(), "a supervisor that restarts finds it");
    for _ in 0..100 {
        if status(pid).is_none() {
            return;
        }
        std::thread::sleep(Duration::from_millis(150));
    }
    panic!("it is still there");
}

/// The kernel ends a poll that is stopped, as all are when a machine goes to sleep, and has it called again under another name.
#[test]
fn it_can_be_stopped_and_goes_on() {
    if !geteuid().is_root() {
        return println!("skipped: signals across identities need root");
    }
    let folder = scratch("stopped-keeper");
    let (keeper, pid) = hired(&folder);
    let stopped = || status(pid).is_some_and(|status| status.contains("State:\tT"));
    for _ in 0..3 {
        signal(pid, Signal::SIGSTOP);
        eventually("it is stopped", || stopped().then_some(()));
        signal(pid, Signal::SIGCONT);
        eventually("it goes on", || (!stopped()).then_some(()));
        assert_eq!(keeper.take().unwrap().0.len(), 0);
    }
    keeper.bye();
}

fn signal(pid: u32, signal: Signal) {
    nix::sys::signal::kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// A listener and a traced keeper on it.
fn traced(trace: &Trace, folder: &Path) -> std::process::Child {
    let Identity { uid, gid, .. } = identity();
    let mut command = Command::new(trace.cthelperd("all"));
    command.args(["keeper", &uid.to_string(), &gid.to_string()]);
    command.stdin(Stdio::from(listener(folder).unwrap())).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn each_line_of_its_table_is_used() {
    if !geteuid().is_root() {
        return println!("skipped: tracing across identities needs root");
    }
    let (trace, folder) = (Trace::new(), scratch("traced-keeper"));
    let mut child = traced(&trace, &folder);
    let first = Keeper::find(&folder).unwrap();
    eventually("it answers", || first.take().ok());
    let socket = queue_socket();
    first.hold("ftp", 6200, socket.as_fd()).unwrap();
    first.hold("sip", 6201, socket.as_fd()).unwrap();
    first.forget(6201).unwrap();
    eventually("three answers", || first.heed().ok());
    drop(first);
    eventually("the socket is small", || (getsockopt(&socket, sockopt::RcvBuf).unwrap() < 5000).then_some(()));
    let second = Keeper::find(&folder).unwrap();
    assert_eq!(second.take().unwrap().0.len(), 1);
    second.bye();
    assert!(child.wait().unwrap().success());
    let calls = trace.calls();
    let serving: Vec<_> = calls.values().filter_map(|calls| filtered(calls).get(1).copied()).flatten().copied().collect();
    println!("{} calls; not needed on this machine:", serving.len());
    for line in idle(&KEEPER, &serving) {
        println!("  {line}");
    }
    assert_eq!(unused(&KEEPER, &serving), [""; 0]);
}

#[test]
fn a_keeper_that_is_killed_is_noticed() {
    let folder = scratch("killed-keeper");
    let (keeper, pid) = hired(&folder);
    if geteuid().is_root() {
        signal(pid, Signal::SIGKILL);
        eventually("hang-up", || (keeper.heed() == Err(Gone)).then_some(()));
    } else {
        keeper.bye();
    }
}

#[test]
fn without_arguments_that_make_sense_it_does_not_start() {
    for arguments in [&["keeper"][..], &["keeper", "x", "y"], &["keeper", "0", "0"]] {
        let output = Command::new(binary("cthelperd")).args(arguments).stdin(Stdio::null()).output().unwrap();
        let code = output.status.code().unwrap();
        assert!([64, 77].contains(&code), "{arguments:?}: {code}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("keeper: "), "{arguments:?}");
    }
}
