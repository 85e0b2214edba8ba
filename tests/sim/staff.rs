//! Who serves when workers come and go: spares, planned replacement, what packets do meanwhile, the half-open circuit, new settings.

use std::time::{Duration, Instant};

use cthelper_policy::config::ClassConfig;
use cthelper_policy::restart::{Limit, OnCrash, OnDown};
use cthelper_proto::ctl::{HelperStatus, LaneState};
use cthelper_proto::events::Event;
use cthelper_supervisor::lane::{Command, Ended};
use cthelper_tests::control::{Control, Net};
use cthelper_tests::eventually;
use cthelper_tests::fake_kernel::{How, Released};
use cthelper_tests::stage::{Play, Stage, ends};
use nix::sys::signal::Signal;

use crate::{PORT, in_flight};

fn spares(status: &HelperStatus) -> Vec<u32> {
    status.workers.iter().filter(|worker| worker.spare).map(|worker| worker.pid).collect()
}

/// Waits until there are as many spares.
fn has_spares(stage: &Stage, count: usize) -> Vec<u32> {
    eventually("spares", || Some(spares(&stage.status())).filter(|spares| spares.len() == count))
}

fn is_helped(released: &Released) -> bool {
    released.payload().starts_with(b"PORT 10,0,2,1,")
}

#[test]
fn a_spare_takes_over_what_the_dead_one_left_and_another_spare_is_made() {
    let stage = Play::ftp().spares(1).start();
    let [spare] = has_spares(&stage, 1)[..] else { panic!() };
    let mut flows: Vec<Control> = (0..5).map(|n| Control::over(Net::Snat4, n)).collect();
    let (pid, ids) = in_flight(&stage, flows.iter_mut().map(|flow| flow.client(PORT)).collect());
    assert_ne!(pid, spare);
    stage.signal(pid, Signal::SIGKILL);
    let released = stage.kernel.come_back(&ids);
    assert!(released[0].is_as_it_came() && released[1..].iter().all(is_helped));
    assert_eq!(stage.serves_after(pid), spare, "the one that waited");
    assert_ne!(has_spares(&stage, 1)[0], spare);
    assert_eq!(stage.status().state, LaneState::Serving);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// Nobody may be started for a long time after the first end; the spares carry on.
#[test]
fn spares_bridge_the_pause_before_a_restart() {
    let mut play = Play::ftp().spares(2);
    let long = Duration::from_secs(3600);
    play.setup.config.restart.backoff.initial = long;
    play.setup.config.restart.backoff.max = long;
    let stage = play.start();
    has_spares(&stage, 2);
    let mut flow = Control::over(Net::Snat4, 1);
    for left in [2, 1] {
        let pid = stage.serves();
        stage.signal(pid, Signal::SIGKILL);
        stage.serves_after(pid);
        assert!(is_helped(&stage.kernel.carries(flow.client(PORT))), "{left}");
    }
    assert_eq!(ends(&stage.audited()).len(), 2);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_spare_that_dies_is_recorded_and_replaced_and_no_packet_notices() {
    let stage = Play::ftp().spares(1).start();
    let [spare] = has_spares(&stage, 1)[..] else { panic!() };
    let serving = stage.serves();
    stage.signal(spare, Signal::SIGKILL);
    stage.audits("the end", |event| matches!(event, Event::WorkerCrashed(crash) if crash.pid == spare).then_some(()));
    let mut flow = Control::over(Net::Snat4, 1);
    assert!(is_helped(&stage.kernel.carries(flow.client(PORT))));
    assert_ne!(has_spares(&stage, 1)[0], spare);
    assert_eq!(stage.serves(), serving);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_worker_is_relieved_after_its_packets_and_none_is_lost_or_counted_as_an_end() {
    let mut play = Play::ftp().spares(1);
    play.setup.config.restart.max_packets = Some(10);
    let stage = play.start();
    let mut flow = Control::over(Net::Snat4, 1);
    for _ in 0..100 {
        stage.kernel.carries(flow.client("NOOP\r\n"));
    }
    let retired = |event: &Event| matches!(event, Event::WorkerRetired { packets, .. } if *packets >= 10).then_some(());
    stage.audits("a relief", retired);
    assert!(is_helped(&stage.kernel.carries(flow.client(PORT))));
    assert_eq!((ends(&stage.audited()), stage.status().restarts), (Vec::new(), 0));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_worker_is_relieved_at_its_age_also_without_spares() {
    let mut play = Play::ftp();
    play.setup.config.restart.max_age = Some(Duration::from_millis(300));
    let stage = play.start();
    let pid = stage.serves();
    assert_ne!(stage.serves_after(pid), pid);
    assert_eq!(ends(&stage.audited()), Vec::<String>::new());
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// With nobody to come for an hour.
fn down(on_down: OnDown) -> Stage {
    let mut play = Play::ftp();
    play.setup.config.restart.on_down = on_down;
    let long = Duration::from_secs(3600);
    play.setup.config.restart.backoff.initial = long;
    play.setup.config.restart.backoff.max = long;
    let stage = play.start();
    for _ in 0..2 {
        let pid = stage.serves();
        stage.signal(pid, Signal::SIGKILL);
        stage.audits("the end", |event| matches!(event, Event::WorkerCrashed(crash) if crash.pid == pid).then_some(()));
        if ends(&stage.audited()).len() < 2 {
            stage.serves_after(pid);
        }
    }
    stage
}

#[test]
fn while_nobody_serves_packets_pass_or_are_dropped_or_wait_a_while_and_pass() {
    let mut flow = Control::over(Net::Snat4, 1);
    let stage = down(OnDown::Pass);
    assert_eq!(stage.kernel.carries(flow.client(PORT)).how, How::AtIntake);
    assert_eq!(stage.status().on_down, "pass");
    assert!(matches!(stage.stop(), Ended::Orderly));

    let stage = down(OnDown::Drop);
    assert_eq!(stage.kernel.carries(flow.client(PORT)).how, How::Dropped);
    assert_eq!(stage.kernel.enabled(), [true], "it goes on to ask for the packets");
    assert!(matches!(stage.stop(), Ended::Orderly));

    let time = Duration::from_millis(700);
    let stage = down(OnDown::Hold(time));
    let since = Instant::now();
    assert!(stage.kernel.carries(flow.client(PORT)).is_as_it_came());
    assert!(since.elapsed() < time + Duration::from_secs(5));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn an_open_circuit_drops_what_may_not_pass_unhelped() {
    let mut play = Play::ftp().bears(1);
    play.setup.config.restart.on_down = OnDown::Drop;
    let stage = play.start();
    let mut flow = Control::over(Net::Snat4, 1);
    let pid = stage.serves();
    stage.signal(pid, Signal::SIGKILL);
    let next = stage.serves_after(pid);
    stage.signal(next, Signal::SIGKILL);
    stage.comes_to(LaneState::Tripped);
    assert_eq!(stage.kernel.carries(flow.client(PORT)).how, How::Dropped);
    assert_eq!(stage.kernel.enabled(), [true]);
    assert_eq!(stage.answer(Command::Restart), Ok(()));
    stage.serves();
    assert!(is_helped(&stage.kernel.carries(flow.client(PORT))));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn the_packet_in_hand_is_dropped_where_the_operator_wants_it() {
    let mut play = Play::ftp();
    play.setup.config.restart.on_crash_packet = OnCrash::Drop;
    let stage = play.start();
    let mut flow = Control::over(Net::Snat4, 1);
    let line = flow.client(PORT);
    let (pid, ids) = in_flight(&stage, vec![line.clone()]);
    stage.signal(pid, Signal::SIGKILL);
    assert_eq!(stage.kernel.come_back(&ids)[0].how, How::Dropped);
    assert!(is_helped(&stage.kernel.carries(line)), "TCP repeats it, and now it is helped");
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_flow_is_served_again_after_its_penalty() {
    let mut play = Play::imposter("honest").bears(1000);
    play.setup.config.restart.blame.times = 1;
    play.setup.config.restart.blame.penalty = Duration::from_millis(400);
    let stage = play.start();
    let mut flow = Control::over(Net::Plain4, 1);
    stage.kernel.carries(flow.client("DO abort"));
    assert_eq!(stage.kernel.carries(flow.client("hello")).how, How::AtIntake, "left alone");
    stage.audits("the flow", |event| matches!(event, Event::FlowQuarantined { .. }).then_some(()));
    eventually("the end of the penalty", || (stage.kernel.carries(flow.client("hello")).how != How::AtIntake).then_some(()));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn an_open_circuit_is_tried_with_one_worker_and_closes_when_that_one_lives() {
    let mut play = Play::ftp().spares(1).bears(1);
    play.setup.config.restart.limit = Limit { burst: 1, interval: Duration::from_secs(2) };
    play.setup.config.restart.probe = Some(Duration::from_millis(300));
    let stage = play.start();
    for _ in 0..2 {
        let pid = stage.serves();
        has_spares(&stage, 1);
        stage.signal(pid, Signal::SIGKILL);
        stage.audits("the end", |event| matches!(event, Event::WorkerCrashed(crash) if crash.pid == pid).then_some(()));
    }
    stage.audits("the circuit", |event| matches!(event, Event::CircuitOpened { .. }).then_some(()));
    let probe = stage.serves();
    assert_eq!(stage.kernel.enabled(), [true, false, true]);
    let mut flow = Control::over(Net::Snat4, 1);
    assert!(is_helped(&stage.kernel.carries(flow.client(PORT))), "half-open is open to packets");
    assert_eq!(spares(&stage.status()), Vec::<u32>::new(), "one worker");
    // Its end opens the circuit again at once.
    stage.signal(probe, Signal::SIGKILL);
    stage.comes_to(LaneState::Tripped);
    stage.serves_after(probe);
    stage.audits("the closing", |event| matches!(event, Event::CircuitClosed { .. }).then_some(()));
    has_spares(&stage, 1);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// Another program has made something else of the helper: the circuit stays open, as the record has it, and is the operator's to close.
#[test]
fn an_open_circuit_whose_helper_cannot_be_enabled_stays_open() {
    let mut play = Play::ftp();
    play.setup.config.restart.limit = Limit { burst: 1, interval: Duration::from_secs(2) };
    play.setup.config.restart.probe = Some(Duration::from_millis(300));
    let stage = play.start();
    stage.kernel.refuses(true);
    let first = stage.serves();
    stage.signal(first, Signal::SIGKILL);
    stage.signal(stage.serves_after(first), Signal::SIGKILL);
    stage.comes_to(LaneState::Tripped);
    let probe = eventually("the probe", || stage.status().workers.first().map(|worker| worker.pid));
    std::thread::sleep(Duration::from_secs(3)); // it has lived long enough by now
    let workers = stage.status().workers;
    assert_eq!((stage.status().state, workers.len(), workers[0].pid), (LaneState::Tripped, 1, probe));
    assert_eq!(stage.kernel.enabled(), [true, false]);
    assert!(stage.answer(Command::Enable).is_err());
    stage.kernel.refuses(false);
    assert_eq!(stage.answer(Command::Enable), Ok(()));
    assert_eq!((stage.serves(), stage.kernel.enabled()), (probe, vec![true, false, true]));
    let closed = stage.audited().iter().filter(|event| matches!(event, Event::CircuitClosed { .. })).count();
    assert_eq!(closed, 1, "when it was");
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn new_settings_apply_while_packets_flow() {
    let play = Play::ftp().spares(1);
    let mut config = play.setup.config.clone();
    let stage = play.start();
    let mut flow = Control::over(Net::Plain4, 1);
    let (client, elsewhere) = (stage.serves(), "PORT 10,9,9,9,7,208\r\n");
    stage.kernel.carries(flow.client(elsewhere));
    assert_eq!(stage.status().refused.get("foreign-address"), Some(&1));
    config.rules.loose = true;
    config.restart.spares = 2;
    config.restart.on_down = OnDown::Drop;
    assert_eq!(stage.answer(|answer| Command::Reconfigure(Box::new(config.clone()), answer)), Ok(()));
    assert_ne!(stage.serves_after(client), client, "a worker that was told otherwise is relieved");
    stage.kernel.carries(flow.client(elsewhere));
    assert_eq!(stage.kernel.asked().len(), 1);
    has_spares(&stage, 2);
    config.restart.spares = 0;
    assert_eq!(stage.answer(|answer| Command::Reconfigure(Box::new(config.clone()), answer)), Ok(()));
    has_spares(&stage, 0);
    assert_eq!((stage.status().on_down.as_str(), ends(&stage.audited())), ("drop", Vec::new()));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// Every setting that applies at once is changed while packets are with the worker and more come.
#[test]
fn a_reload_loses_no_packet_that_is_under_way() {
    let play = Play::ftp().spares(1);
    let mut config = play.setup.config.clone();
    let stage = play.start();
    has_spares(&stage, 1);
    let mut flows: Vec<Control> = (0..5).map(|n| Control::over(Net::Snat4, n)).collect();
    let (pid, before) = in_flight(&stage, flows.iter_mut().map(|flow| flow.client(PORT)).collect());
    config.rules.loose = true;
    config.restart.on_down = OnDown::Drop;
    config.queue_length = 4096;
    config.classes.insert("ftp".to_owned(), ClassConfig { expect_max: Some(4), ..ClassConfig::default() });
    assert_eq!(stage.answer(|answer| Command::Reconfigure(Box::new(config), answer)), Ok(()));
    let behind = stage.kernel.arrive(flows.iter_mut().map(|flow| flow.client("NOOP\r\n")));
    stage.signal(pid, Signal::SIGCONT);
    assert!(stage.kernel.come_back(&before).iter().all(is_helped), "by the one that had them");
    assert!(stage.kernel.come_back(&behind).iter().all(|released| released.payload() == b"NOOP\r\n"));
    assert_ne!(stage.serves_after(pid), pid, "which was told otherwise, and is relieved");
    assert_eq!((ends(&stage.audited()), stage.status().restarts), (Vec::new(), 0));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn settings_that_do_not_fit_the_helper_change_nothing() {
    let play = Play::ftp();
    let mut config = play.setup.config.clone();
    let stage = play.start();
    config.classes.insert("data".to_owned(), ClassConfig::default());
    config.restart.on_down = OnDown::Drop;
    let answer = stage.answer(|answer| Command::Reconfigure(Box::new(config.clone()), answer));
    assert_eq!(answer, Err("helper ftp: it has no class data".to_owned()));
    assert_eq!(stage.status().on_down, "hold");
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn without_its_warden_a_lane_ends_disabled_and_every_packet_comes_back() {
    let stage = Play::ftp().spares(1).start();
    let mut flows: Vec<Control> = (0..5).map(|n| Control::over(Net::Snat4, n)).collect();
    let (pid, ids) = in_flight(&stage, flows.iter_mut().map(|flow| flow.client(PORT)).collect());
    stage.signal(stage.warden(), Signal::SIGKILL);
    let kernel = stage.kernel.clone();
    assert!(kernel.come_back(&ids).iter().all(Released::is_as_it_came));
    let Ended::Fault(fault) = stage.ends() else { panic!() };
    assert_eq!(fault.doing, "reach the warden: it is gone");
    assert_eq!(kernel.enabled(), [true, false]);
    eventually("the end of its workers", || (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
}
