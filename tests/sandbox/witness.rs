//! What the warden sees of a worker's end, and what seeing costs: workers made by hand, without a lane.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use cthelper_policy::config::Daemon;
use cthelper_proto::ipc::{Answer, Ask, Settings, decode, encode};
use cthelper_supervisor::spawn::{Channels, Identity, Recipe};
use cthelper_supervisor::warden::{End, Hiring, News, Post, Warden};
use cthelper_tests::PATIENCE;
use cthelper_tests::binaries::binary;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
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
    fn open() -> Self {
        let identity = Identity::find(Daemon::USER, Daemon::USER).unwrap();
        let mut recipe = Recipe::new("honest", binary("imposter"), identity);
        recipe.launcher = binary("cthelperd");
        let mut hiring = Hiring::start(&binary("cthelperd")).unwrap();
        let post = hiring.post(&recipe).unwrap();
        Self { post, warden: hiring.seal().unwrap(), generation: 0 }
    }

    fn hire(&mut self) -> Hand {
        self.generation += 1;
        let since = Instant::now();
        let channels = self.post.spawn(self.generation).unwrap();
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
        let News::Ended { end, .. } = self.news() else { panic!("another end was awaited") };
        end
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

#[test]
fn two_hundred_workers_leave_no_zombie_and_no_stopped_process() {
    let mut yard = Yard::open();
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
