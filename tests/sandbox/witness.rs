//! What the warden sees of a worker's end. Workers are made by hand, without a lane, where a lane would end them too soon.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use cthelper_policy::config::Daemon;
use cthelper_proto::events::{Crash, Event, Syscall};
use cthelper_proto::ipc::{Answer, Ask, Settings, decode, encode};
use cthelper_supervisor::lane::Ended;
use cthelper_supervisor::spawn::{Channels, Identity, Recipe};
use cthelper_supervisor::warden::{End, Hiring, News, Post, Warden};
use cthelper_tests::binaries::binary;
use cthelper_tests::control::{Control, Net};
use cthelper_tests::stage::{Play, Stage, ends};
use cthelper_tests::{PATIENCE, eventually};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::unistd::Pid;

/// A warden with one post and no lane.
struct Yard {
    post: Post,
    warden: Warden,
    generation: u64,
}

/// A worker that says it is ready; nobody has said `Go`.
struct Hand {
    channels: Channels,
    pid: Pid,
    start: Duration,
}

impl Yard {
    fn open(mode: &str) -> Self {
        let identity = Identity::find(Daemon::USER, Daemon::USER).unwrap();
        let mut recipe = Recipe::new(mode, binary("imposter"), identity);
        recipe.launcher = binary("cthelperd");
        let mut hiring = Hiring::start(&binary("cthelperd")).unwrap();
        let post = hiring.post(&recipe).unwrap();
        Self { post, warden: hiring.seal().unwrap(), generation: 0 }
    }

    fn order(&mut self) -> Channels {
        self.generation += 1;
        self.post.spawn(self.generation).unwrap()
    }

    fn hire(&mut self) -> Hand {
        let since = Instant::now();
        let channels = self.order();
        loop {
            waits_for(channels.asks.as_fd());
            let mut record = [0; 4096];
            let length = recv(channels.asks.as_raw_fd(), &mut record, MsgFlags::empty()).unwrap();
            match decode(&record[..length]).unwrap().0 {
                Ask::Hello(..) => {
                    let welcome = encode(&Answer::Welcome(Settings::default())).unwrap();
                    send(channels.asks.as_raw_fd(), &welcome, MsgFlags::empty()).unwrap();
                }
                Ask::Ready(_) => break,
                _ => {}
            }
        }
        let start = since.elapsed();
        let News::Spawned { pid, .. } = self.news() else { panic!("not spawned") };
        Hand { channels, pid: Pid::from_raw(pid.try_into().unwrap()), start }
    }

    fn news(&self) -> News {
        loop {
            waits_for(self.post.as_fd());
            if let Some(news) = self.post.news().unwrap() {
                return news;
            }
        }
    }

    fn hears_of_the_end(&self) -> End {
        loop {
            if let News::Ended { end, .. } = self.news() {
                return end;
            }
        }
    }
}

fn waits_for(fd: BorrowedFd<'_>) {
    let patience = PollTimeout::try_from(PATIENCE).unwrap();
    assert!(poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], patience).unwrap() > 0, "waited {PATIENCE:?} in vain");
}

fn figures(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!("{what}: min {:?}, median {:?}, p90 {:?}, p99 {:?}, max {:?}", at(0), at(50), at(90), at(99), at(100));
}

/// How a worker ended that a signal or an order has ended: signal and class.
fn told(end: &End) -> (Option<i32>, Option<&str>) {
    (end.signal, end.fault.as_ref().map(|fault| fault.class.as_str()))
}

fn crash_by(stage: &Stage, order: &str) -> Crash {
    stage.kernel.carries(Control::over(Net::Plain4, 1).client(format!("DO {order}")));
    stage.audits(order, |event| match event {
        Event::WorkerCrashed(crash) => Some((**crash).clone()),
        _ => None,
    })
}

#[test]
fn a_forbidden_call_is_named_with_its_arguments() {
    for (order, name, args) in [
        ("netlink", "socket", &[16, 3, 12][..]),
        ("read-implies-exec", "personality", &[0x40_0000]),
        ("setuid", "setuid", &[0]),
        ("more-descriptors", "prlimit64", &[0, 7]),
    ] {
        let stage = Play::imposter("honest").start();
        let crash = crash_by(&stage, order);
        let fault = crash.fault.unwrap();
        assert_eq!((fault.si_code, fault.class.as_str()), (1, "system call that its filter forbids"), "{order}");
        let Syscall { name: said, args: seen, .. } = fault.syscall.unwrap();
        assert_eq!((said.as_str(), &seen[..args.len()]), (name, args), "{order}");
        assert_eq!(crash.cause, "signal SIGSYS");
        assert!(matches!(stage.stop(), Ended::Orderly));
    }
}

#[test]
fn a_fault_is_told_from_a_signal_that_was_sent() {
    let stage = Play::imposter("honest").start();
    let crash = crash_by(&stage, "overflow");
    let fault = crash.fault.unwrap();
    assert_eq!((crash.cause.as_str(), fault.si_code), ("signal SIGSEGV", 1));
    assert_eq!((fault.class.as_str(), fault.syscall), ("address that is not mapped", None));
    assert!(matches!(stage.stop(), Ended::Orderly));

    let mut yard = Yard::open("honest");
    for signal in [Signal::SIGSEGV, Signal::SIGSYS, Signal::SIGTERM] {
        let hand = yard.hire();
        kill(hand.pid, signal).unwrap();
        let end = yard.hears_of_the_end();
        assert_eq!(told(&end), (Some(signal as i32), Some("sent by a process")));
        assert_eq!(end.fault.unwrap().syscall, None);
    }
    let hand = yard.hire();
    kill(hand.pid, Signal::SIGKILL).unwrap();
    assert_eq!(told(&yard.hears_of_the_end()), (Some(9), None));
}

#[test]
fn a_signal_that_a_worker_raises_is_its_own() {
    let mut yard = Yard::open("raise");
    let _channels = yard.order();
    assert_eq!(told(&yard.hears_of_the_end()), (Some(11), Some("raised by itself")));
}

#[test]
fn an_orderly_end_has_no_fault() {
    let mut yard = Yard::open("honest");
    drop(yard.hire().channels);
    let end = yard.hears_of_the_end();
    assert_eq!((end.code, told(&end)), (Some(0), (None, None)));
}

#[test]
fn a_worker_that_somebody_stops_stands_still_until_he_continues_it_or_the_deadline_ends_it() {
    let mut yard = Yard::open("honest");
    let hand = yard.hire();
    let letter =
        || std::fs::read_to_string(format!("/proc/{}/stat", hand.pid)).unwrap().rsplit_once(") ").unwrap().1[..1].to_owned();
    kill(hand.pid, Signal::SIGSTOP).unwrap();
    eventually("the worker to stand still", || (letter() == "T").then_some(()));
    kill(hand.pid, Signal::SIGCONT).unwrap();
    eventually("the worker to wait for Go again", || (letter() == "S").then_some(()));

    let stage = Play::imposter("honest").deadline(Duration::from_secs(1)).start();
    stage.freeze();
    assert!(stage.kernel.carries(Control::over(Net::Plain4, 1).client("hello")).is_as_it_came());
    let crash = stage.audits("a worker that hung", |event| match event {
        Event::WorkerHung(crash) => Some(crash.clone()),
        _ => None,
    });
    assert_eq!((ends(&stage.audited()), crash.fault), (vec!["hung".to_owned()], None));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn signals_cannot_keep_the_warden_busy() {
    let mut yard = Yard::open("honest");
    let Hand { pid, channels: _channels, .. } = yard.hire();
    // Nobody but a tracer notices this one.
    let end = eventually("the warden's patience to end", || {
        let _ = kill(pid, Signal::SIGWINCH);
        yard.post.news().unwrap().and_then(|news| if let News::Ended { end, .. } = news { Some(end) } else { None })
    });
    assert_eq!(told(&end), (Some(9), Some("killed by the warden: more than 32 signals")));
}

#[test]
fn a_real_time_signal_ends_a_worker_too() {
    let mut yard = Yard::open("honest");
    let Hand { pid, channels: _channels, .. } = yard.hire();
    let sent = Command::new("sh").args(["-c", &format!("kill -40 {pid}")]).status().unwrap();
    assert!(sent.success());
    assert_eq!(told(&yard.hears_of_the_end()), (Some(9), Some("killed by the warden: signal 40, which no worker expects")));
}

#[test]
fn nobody_else_can_trace_a_worker() {
    let mut yard = Yard::open("honest");
    let Hand { pid, channels: _channels, .. } = yard.hire();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains(&format!("\nTracerPid:\t{}\n", yard.warden.pid())), "{status}");
    assert_eq!(ptrace::attach(pid), Err(Errno::EPERM));
}

#[test]
fn two_hundred_workers_leave_no_zombie_and_no_stopped_process() {
    let mut yard = Yard::open("honest");
    let (mut starts, mut hangups, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..200 {
        let hand = yard.hire();
        starts.push(hand.start);
        let since = Instant::now();
        kill(hand.pid, Signal::SIGKILL).unwrap();
        waits_for(hand.channels.packets.as_fd());
        hangups.push(since.elapsed());
        assert_eq!(yard.hears_of_the_end().signal, Some(Signal::SIGKILL as i32));
        ends.push(since.elapsed());
    }
    figures("spawn to Ready", starts);
    figures("death to hang-up", hangups);
    figures("death to the warden's word", ends);
    let children = format!("/proc/{0}/task/{0}/children", yard.warden.pid());
    assert_eq!(std::fs::read_to_string(children).unwrap(), "");
}
