//! The keeper as a process: made by a warden, confined as the kernel sees it, there when the warden is gone; and nothing in its table
//! that it does not use.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cthelper_policy::config::Daemon;
use cthelper_policy::profiles::KEEPER;
use cthelper_policy::verify::{Expected, verify};
use cthelper_supervisor::keeper::client::{Gone, Keeper};
use cthelper_supervisor::keeper::heir::port_id;
use cthelper_supervisor::keeper::succession::{Shop, succeed};
use cthelper_supervisor::kernel::netfilter::socket::Nfnl;
use cthelper_supervisor::spawn::{Identity, RoleRecipe};
use cthelper_supervisor::warden::{Hiring, Warden};
use cthelper_tests::binaries::{binary, scratch};
use cthelper_tests::calls::{Trace, filtered, idle, unused};
use cthelper_tests::eventually;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, socket, sockopt};
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

/// Where keepers that are this program can be ordered.
fn shop(program: &Path) -> (Shop, Warden) {
    let recipe = RoleRecipe { program: program.to_owned(), identity: identity() };
    let mut hiring = Hiring::start(&binary("cthelperd")).unwrap();
    let post = hiring.keeper(&recipe).unwrap();
    (Shop::new(post, identity()), hiring.seal().unwrap())
}

fn hired(folder: &Path) -> (Keeper, u32) {
    let (mut shop, warden) = shop(&binary("cthelperd"));
    let keeper = shop.keeper(folder, &[]).unwrap();
    let pid = child_of(warden.pid());
    let expected = Expected { filters_min: 1, ..identity().expected(warden.pid()) };
    verify(&status(pid).unwrap(), &expected).unwrap();
    (keeper, pid)
}

/// The one keeper that can be found.
fn found(folder: &Path) -> Option<Keeper> {
    let mut found = Keeper::find(folder);
    assert!(found.len() < 2, "{found:?}");
    found.pop()
}

/// What it holds: helper, queue, port id.
fn holds(keeper: &Keeper) -> Vec<(String, u16, u32)> {
    let (kept, _) = keeper.take().unwrap();
    kept.into_iter().map(|kept| (kept.helper, kept.queue, port_id(kept.socket.as_fd()).unwrap())).collect()
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
    eventually("the socket is held", || (found(&folder)?.take().ok()?.0.len() == 1).then_some(()));
    assert!(status(pid).is_some(), "the warden is gone, it is not");
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count);
    if geteuid().is_root() {
        // 0 to 2, the socket, this connection, and maybe the last visitor's.
        assert!((5..=6).contains(&descriptors.unwrap()));
    }
    drop(keeper);
    eventually("the socket is small", || (getsockopt(&socket, sockopt::RcvBuf).unwrap() < 5000).then_some(()));
    let successor = found(&folder).unwrap();
    assert_eq!(holds(&successor), [("ftp".to_owned(), 6200, port_id(socket.as_fd()).unwrap())]);
    assert!(successor.bye());
    eventually("its end", || status(pid).is_none().then_some(()));
    assert!(found(&folder).is_none());
}

/// A supervisor takes everything from the keepers it finds, and has one of its own hold it.
fn next_life(folder: &Path, program: &Path) -> (Result<Keeper, String>, u32, Vec<Keeper>) {
    let mut formers = Keeper::find(folder);
    let kept: Vec<_> = formers.iter().flat_map(|former| former.take().unwrap().0).collect();
    let (mut shop, warden) = shop(program);
    let sockets = kept.iter().map(|kept| (kept.helper.as_str(), kept.queue, kept.socket.as_fd()));
    let begun = Instant::now();
    let keeper = succeed(folder, &mut shop, sockets, &mut formers);
    println!("a keeper was replaced in {:.1?}, {} sockets", begun.elapsed(), kept.len());
    let pid = if keeper.is_ok() { child_of(warden.pid()) } else { 0 };
    (keeper, pid, formers)
}

#[test]
fn each_life_has_a_keeper_of_its_own_that_holds_what_the_one_before_held() {
    let folder = scratch("succession");
    let other = scratch("another-build").join("cthelperd");
    std::fs::copy(binary("cthelperd"), &other).unwrap();
    let sockets = [queue_socket(), queue_socket()];
    let all = ["ftp", "sip"].into_iter().zip(6200..).zip(&sockets);
    let all: Vec<_> = all.map(|((helper, queue), socket)| (helper.to_owned(), queue, port_id(socket.as_fd()).unwrap())).collect();
    let (first, mut before) = hired(&folder);
    first.entrust([("ftp", 6200, sockets[0].as_fd()), ("sip", 6201, sockets[1].as_fd())]).unwrap();
    drop((first, sockets)); // from here on keepers alone have them
    for program in [&other, &binary("cthelperd"), &other] {
        let (keeper, pid, formers) = next_life(&folder, program);
        assert_eq!(holds(&keeper.unwrap()), all);
        assert_ne!(pid, before);
        assert!(formers.is_empty());
        eventually("the former's end", || status(before).is_none().then_some(()));
        if geteuid().is_root() {
            assert_eq!(std::fs::read_link(format!("/proc/{pid}/exe")).unwrap(), *program);
        }
        assert!(folder.join("keeper.sock").exists(), "where an older version looks");
        before = pid;
    }
    assert!(found(&folder).unwrap().bye());
}

/// A supervisor that is killed while it replaces a keeper leaves two, and each can be found.
#[test]
fn of_two_that_a_killed_supervisor_left_one_remains() {
    let folder = scratch("two");
    let (socket, (first, before)) = (queue_socket(), hired(&folder));
    first.entrust([("ftp", 6200, socket.as_fd())]).unwrap();
    let (mut shop, warden) = shop(&binary("cthelperd"));
    let second = shop.keeper(&folder, &[first]).unwrap();
    second.entrust([("ftp", 6200, socket.as_fd())]).unwrap();
    let beside = child_of(warden.pid());
    drop((second, shop, warden));
    assert_eq!(Keeper::find(&folder).len(), 2);
    let (keeper, pid, formers) = next_life(&folder, &binary("cthelperd"));
    drop(keeper.unwrap());
    assert!(formers.is_empty());
    for pid in [before, beside] {
        eventually("the formers' end", || status(pid).is_none().then_some(()));
    }
    let last = found(&folder).unwrap();
    assert_eq!(holds(&last).len(), 1);
    assert!(last.bye());
    eventually("its end", || status(pid).is_none().then_some(()));
}

#[test]
fn where_none_can_be_started_the_former_goes_on() {
    let folder = scratch("no-successor");
    let (socket, (first, pid)) = (queue_socket(), hired(&folder));
    first.entrust([("ftp", 6200, socket.as_fd())]).unwrap();
    let (keeper, _, formers) = next_life(&folder, Path::new("/bin/true"));
    println!("{}", keeper.unwrap_err());
    assert_eq!(formers.iter().map(holds).collect::<Vec<_>>().concat().len(), 1);
    assert!(status(pid).is_some());
    drop(formers);
    assert!(found(&folder).unwrap().bye());
}

#[test]
fn one_that_stands_still_is_not_waited_for_and_ends_when_it_goes_on() {
    if !geteuid().is_root() {
        return println!("skipped: signals across identities need root");
    }
    let folder = scratch("standing-keeper");
    let (socket, (first, stopped)) = (queue_socket(), hired(&folder));
    first.entrust([("ftp", 6200, socket.as_fd())]).unwrap();
    let (mut shop, warden) = shop(&binary("cthelperd"));
    let mut formers = vec![first];
    signal(stopped, Signal::SIGSTOP);
    let keeper = succeed(&folder, &mut shop, [("ftp", 6200, socket.as_fd())], &mut formers).unwrap();
    assert_eq!(formers.len(), 1, "it has not ended");
    assert_eq!(holds(&keeper).len(), 1);
    // One of this life is ended by the warden, whatever it does.
    let pid = child_of(warden.pid());
    signal(pid, Signal::SIGSTOP);
    shop.discard();
    eventually("the end of one of this life", || status(pid).is_none().then_some(()));
    drop(formers);
    signal(stopped, Signal::SIGCONT);
    eventually("the end of one of an earlier life", || status(stopped).is_none().then_some(()));
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
    assert!(keeper.bye());
}

fn signal(pid: u32, signal: Signal) {
    nix::sys::signal::kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

fn listener(folder: &Path) -> OwnedFd {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(socket.as_raw_fd(), &UnixAddr::new(&folder.join("keeper.sock")).unwrap()).unwrap();
    listen(&socket, Backlog::new(1).unwrap()).unwrap();
    socket
}

/// A listener and a traced keeper on it.
fn traced(trace: &Trace, folder: &Path) -> std::process::Child {
    let Identity { uid, gid, .. } = identity();
    let mut command = Command::new(trace.cthelperd("all"));
    command.args(["keeper", &uid.to_string(), &gid.to_string()]);
    command.stdin(Stdio::from(listener(folder))).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn each_line_of_its_table_is_used() {
    if !geteuid().is_root() {
        return println!("skipped: tracing across identities needs root");
    }
    let (trace, folder) = (Trace::new(), scratch("traced-keeper"));
    let mut child = traced(&trace, &folder);
    let first = found(&folder).unwrap();
    eventually("it answers", || first.take().ok());
    let socket = queue_socket();
    first.hold("ftp", 6200, socket.as_fd()).unwrap();
    first.hold("sip", 6201, socket.as_fd()).unwrap();
    first.forget(6201).unwrap();
    eventually("three answers", || first.heed().ok());
    drop(first);
    eventually("the socket is small", || (getsockopt(&socket, sockopt::RcvBuf).unwrap() < 5000).then_some(()));
    let second = found(&folder).unwrap();
    assert_eq!(second.take().unwrap().0.len(), 1);
    assert!(second.bye());
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
        assert!(keeper.bye());
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
