//! Every line of every filter is there because something honest needs it. `policy/src/confine/filter/tests.rs` shows, for every
//! architecture, that the filters allow the tables' lines and nothing else; here, that each line is used.

use cthelper_policy::profiles::{LAUNCHER, WORKER};
use cthelper_supervisor::lane::Ended;
use cthelper_tests::calls::{Call, Trace, filtered, idle, unused};
use cthelper_tests::control::{Control, Net};
use cthelper_tests::stage::Play;
use nix::unistd::geteuid;

/// The calls of warden, launchers and workers while they do this work.
fn traced(mut play: Play, work: &[&str]) -> Vec<Vec<Call>> {
    let trace = Trace::new();
    play.warden = trace.cthelperd();
    let stage = play.start();
    let mut flow = Control::over(Net::Plain4, 1);
    for line in work {
        stage.kernel.carries(flow.client(line));
    }
    assert!(matches!(stage.stop(), Ended::Orderly));
    trace.calls().into_values().collect()
}

#[test]
fn each_line_of_launcher_and_worker_is_used_by_honest_work() {
    if !geteuid().is_root() {
        return println!("skipped: tracing across identities needs root");
    }
    // The shipped worker, and one that has something to say in its log before it ends by itself.
    let mut processes = traced(Play::ftp(), &["PORT 10,0,1,2,7,208\r\n"; 20]);
    processes.extend(traced(Play::imposter("honest"), &["DO third-party", "DO exit"]));
    let (mut launching, mut serving) = (Vec::new(), Vec::new());
    for calls in &processes {
        if let [_, launcher, worker] = filtered(calls)[..] {
            launching.extend_from_slice(launcher);
            serving.extend_from_slice(worker);
        }
    }
    println!("{} calls of launchers, {} of workers; not needed on this machine:", launching.len(), serving.len());
    for line in idle(&LAUNCHER, &launching) {
        println!("  {line}");
    }
    assert_eq!(unused(&WORKER, &serving), [""; 0]);
    assert_eq!(unused(&LAUNCHER, &launching), [""; 0]);
}
