//! Imposters that go wrong before they serve: as the first worker of a lane, and as a later one.

use std::path::{Path, PathBuf};

use cthelper_proto::ctl::LaneState;
use cthelper_supervisor::lane::Ended;
use cthelper_tests::binaries::{binary, scratch};
use cthelper_tests::control::{Control, Net};
use cthelper_tests::eventually;
use cthelper_tests::fake_kernel::Released;
use cthelper_tests::stage::{Play, ends};
use nix::sys::signal::Signal;

/// What goes wrong, and what the lane says of it.
const STARTS: &[(&str, &str)] = &[
    ("exit", "exit 3"),
    ("ask-first", "Expect while Greeting"),
    ("ready-first", "Ready while Greeting"),
    ("launched-again", "Launched while Greeting"),
    ("verdict-first", "a verdict before Go"),
    ("garbage", "ask: unknown message"),
    ("huge", "an ask of 100000 bytes"),
    ("other-name", "manifest of another helper"),
    ("bad-name", "manifest: name: 1 to 15 of"),
    ("no-class", "manifest: classes: one to four"),
    ("wide-state", "manifest: state: at most 32 bytes"),
    ("other-version", "protocol version 4, ours is 3"),
    ("later-version", "protocol version 9, ours is 3"),
    ("hello-twice", "Hello while Confining"),
    ("unsealed", "Seccomp_filters: found 3, wanted at least 4"),
];

#[test]
fn a_first_worker_that_starts_wrong_is_refused_by_name_and_nothing_is_registered() {
    for (mode, said) in STARTS {
        let stage = Play::imposter(mode).open();
        let kernel = stage.kernel.clone();
        let Ended::NotStarted(reason) = stage.ends() else { panic!("{mode}: served") };
        assert!(reason.contains(said), "{mode}: {reason}");
        assert!(!reason.contains("was given a packet"), "{mode}: {reason}");
        assert_eq!(kernel.enabled(), Vec::<bool>::new(), "{mode}");
    }
}

#[test]
fn a_first_worker_that_stays_silent_is_not_waited_for() {
    for mode in ["silent", "not-ready"] {
        let Ended::NotStarted(reason) = Play::imposter(mode).open().ends() else { panic!("{mode}: served") };
        assert!(reason.contains("was silent past its deadline"), "{mode}: {reason}");
    }
}

/// Tells each worker to behave as the file `next` says: `bin/director` launches it.
struct Director {
    folder: PathBuf,
}

impl Director {
    fn new(name: &str) -> Self {
        let director = Self { folder: scratch(name) };
        director.next("honest");
        std::fs::copy(binary("imposter"), director.worker()).unwrap();
        director
    }

    fn worker(&self) -> PathBuf {
        self.folder.join("imposter")
    }

    fn next(&self, mode: &str) {
        std::fs::write(self.folder.join("next"), mode).unwrap();
    }

    fn play(&self, ends: u16) -> Play {
        let mut play = Play::imposter("as directed").bears(ends);
        play.recipe.launcher = binary("director");
        play.recipe.worker = self.worker();
        play
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all::<&Path>(&self.folder);
    }
}

#[test]
fn a_later_worker_that_starts_wrong_gets_no_packet_and_the_lane_trips() {
    let changed = [("other-class", "a manifest that differs from the pinned one")];
    for (mode, said) in STARTS.iter().chain(&changed) {
        let director = Director::new(mode);
        let stage = director.play(3).start();
        let mut flow = Control::over(Net::Plain4, 1);
        stage.kernel.carries(flow.client("hello"));
        let pid = stage.freeze();
        director.next(mode);
        let ids = stage.kernel.arrive([flow.client("in hand"), flow.client("waits"), flow.client("waits, too")]);
        stage.kernel.has_fetched(3);
        stage.signal(pid, Signal::SIGKILL);
        assert!(stage.kernel.come_back(&ids).iter().all(Released::is_as_it_came), "{mode}");
        stage.comes_to(LaneState::Tripped);
        let ends = ends(&stage.audited());
        assert!(ends[1..].iter().any(|end| end.contains(said)), "{mode}: {ends:?}");
        let boasts = format!("{:?}", stage.audited());
        assert!(!boasts.contains("was given a packet"), "{mode}: {boasts}");
        assert_eq!(stage.kernel.enabled(), [true, false], "{mode}");
        assert!(matches!(stage.stop(), Ended::Orderly), "{mode}");
    }
}

#[test]
fn after_bad_workers_a_good_one_serves_again() {
    let director = Director::new("recovery");
    let stage = director.play(1000).start();
    let mut flow = Control::over(Net::Plain4, 1);
    let pid = stage.serves();
    director.next("unsealed");
    stage.signal(pid, Signal::SIGKILL);
    stage.audits("two refusals", |_| {
        (ends(&stage.audited()).iter().filter(|end| end.starts_with("refused")).count() > 1).then_some(())
    });
    director.next("honest");
    stage.serves_after(pid);
    assert!(!stage.kernel.carries(flow.client("hello")).is_as_it_came());
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_spare_that_speaks_without_a_packet_ends_by_name_and_the_serving_one_goes_on() {
    let director = Director::new("talkative");
    let stage = director.play(1000).spares(1).start();
    let spare = || stage.status().workers.iter().find(|worker| worker.spare).map(|worker| worker.pid);
    let honest = eventually("a spare", spare);
    let serving = stage.serves();
    director.next("talkative");
    stage.signal(honest, Signal::SIGKILL);
    let said = "out of turn: a verdict of one that has no packet";
    stage.audits("the end", |_| ends(&stage.audited()).iter().any(|end| end == said).then_some(()));
    let mut flow = Control::over(Net::Plain4, 1);
    assert!(!stage.kernel.carries(flow.client("hello")).is_as_it_came());
    assert_eq!(stage.serves(), serving);
    assert!(matches!(stage.stop(), Ended::Orderly));
}
