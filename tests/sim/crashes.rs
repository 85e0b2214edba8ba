//! The journey of packets when workers die, hang, or are replaced.

use std::time::{Duration, Instant};

use cthelper_proto::ctl::LaneState;
use cthelper_proto::events::{Crash, Event};
use cthelper_supervisor::kernel::Denied;
use cthelper_supervisor::lane::{Command, Ended};
use cthelper_tests::control::{Control, Net};
use cthelper_tests::fake_kernel::{How, Released};
use cthelper_tests::stage::{Play, Stage, ends};
use nix::sys::signal::Signal;

use crate::{ANSWERED, PORT, in_flight};

fn crash(stage: &Stage) -> Crash {
    stage.audits("a crash", |event| match event {
        Event::WorkerCrashed(crash) => Some((**crash).clone()),
        _ => None,
    })
}

#[test]
fn of_a_killed_workers_packets_the_one_in_hand_passes_and_the_others_are_served_by_the_next() {
    for (signal, name) in [(Signal::SIGKILL, "signal SIGKILL"), (Signal::SIGSEGV, "signal SIGSEGV")] {
        let stage = Play::ftp().start();
        let mut flows: Vec<Control> = (0..20).map(|n| Control::over(Net::Snat4, n)).collect();
        if signal == Signal::SIGSEGV {
            stage.disarm(stage.serves(), signal);
        }
        let (pid, ids) = in_flight(&stage, flows.iter_mut().map(|flow| flow.client(PORT)).collect());
        stage.signal(pid, signal);
        stage.signal(pid, Signal::SIGCONT);
        let released = stage.kernel.come_back(&ids);
        let in_hand = released.iter().find(|released| released.id == ids[0]).unwrap();
        assert!(in_hand.is_as_it_came());
        for other in released.iter().filter(|released| released.id != ids[0]) {
            assert!(other.payload().starts_with(b"PORT 10,0,2,1,"), "{other:?}");
        }
        let crash = crash(&stage);
        assert_eq!((crash.pid, crash.generation, crash.cause.as_str(), crash.in_flight), (pid, 1, name, 20));
        assert_eq!(crash.in_hand.unwrap().flow.sport, 40_000);
        assert_eq!(stage.kernel.asked().iter().filter(|asked| asked.answer == Ok(true)).count(), 19);
        // The connection of the packet in hand goes on.
        assert!(stage.kernel.carries(flows[0].client("PORT 10,0,1,2,7,209\r\n")).payload().starts_with(b"PORT 10,0,2,1,"));
        assert_eq!(stage.status().restarts, 1);
        assert!(matches!(stage.stop(), Ended::Orderly));
    }
}

#[test]
fn what_the_dead_worker_knew_lies_in_the_kernel() {
    let stage = Play::ftp().start();
    let mut flow = Control::over(Net::Plain4, 1);
    stage.kernel.carries(flow.client("EPSV ALL\r\n"));
    let (pid, ids) = in_flight(&stage, vec![flow.client("NOOP\r\n"), flow.client(PORT)]);
    stage.signal(pid, Signal::SIGKILL);
    stage.kernel.come_back(&ids);
    stage.kernel.carries(flow.client(PORT));
    assert_eq!(stage.kernel.asked(), [], "after EPSV ALL");
    stage.kernel.carries(flow.server("229 Extended (|||6446|)\r\n"));
    assert_eq!(stage.kernel.asked()[0].port, 6446);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn verdicts_given_before_the_death_count() {
    let stage = Play::ftp().start();
    let mut flows: Vec<Control> = (0..60).map(|n| Control::over(Net::Snat4, n)).collect();
    let pid = stage.serves();
    let gate = stage.kernel.hold_flush();
    let ids = stage.kernel.arrive(flows.iter_mut().map(|flow| flow.client("NOOP\r\n")));
    stage.kernel.has_fetched(60);
    std::thread::sleep(ANSWERED);
    stage.signal(pid, Signal::SIGKILL);
    std::thread::sleep(ANSWERED);
    drop(gate);
    stage.kernel.come_back(&ids);
    assert_eq!((crash(&stage).in_flight, crash(&stage).in_hand), (0, None));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_worker_that_hangs_is_replaced_after_its_deadline() {
    let stage = Play::ftp().deadline(Duration::from_secs(2)).start();
    let mut flows: Vec<Control> = (0..3).map(|n| Control::over(Net::Snat4, n)).collect();
    let start = Instant::now();
    let (pid, ids) = in_flight(&stage, flows.iter_mut().map(|flow| flow.client(PORT)).collect());
    let released = stage.kernel.come_back(&ids);
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert!(released[0].is_as_it_came() && released[0].id == ids[0]);
    assert!(released[1..].iter().all(|released| released.payload().starts_with(b"PORT 10,0,2,1,")));
    stage.audits("the hang", |event| matches!(event, Event::WorkerHung(crash) if crash.pid == pid).then_some(()));
    assert_eq!(stage.status().restarts, 1);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn an_idle_worker_that_dies_takes_no_packet_along() {
    let stage = Play::ftp().start();
    let pid = stage.serves();
    stage.signal(pid, Signal::SIGKILL);
    stage.serves_after(pid);
    assert_eq!((crash(&stage).in_flight, crash(&stage).in_hand), (0, None));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_flow_that_kills_twice_is_left_alone() {
    let stage = Play::ftp().start();
    let (mut poison, mut other) = (Control::over(Net::Snat4, 1), Control::over(Net::Snat4, 2));
    for _ in 0..2 {
        let (pid, ids) = in_flight(&stage, vec![poison.client("NOOP\r\n")]);
        stage.signal(pid, Signal::SIGKILL);
        assert!(stage.kernel.come_back(&ids)[0].is_as_it_came());
        stage.serves_after(pid);
    }
    stage.freeze();
    assert_eq!(stage.kernel.carries(poison.client(PORT)).how, How::AtIntake);
    assert_eq!(stage.status().trouble.get("flow-left-alone"), Some(&1));
    let [alone] = stage.status().left_alone[..] else { panic!("{:?}", stage.status().left_alone) };
    assert!(alone.id == poison.flow.id.0 && (3500..=3600).contains(&alone.for_secs), "{alone:?}");
    let waits = stage.kernel.arrives(other.client(PORT));
    let pid = stage.serves();
    stage.signal(pid, Signal::SIGCONT);
    assert!(stage.kernel.comes_back(waits).payload().starts_with(b"PORT 10,0,2,1,"), "others are served");
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_burst_of_poison_of_one_flow_kills_two_workers_and_no_more() {
    let stage = Play::imposter("honest").start();
    let mut flow = Control::over(Net::Plain4, 1);
    let ids = stage.kernel.arrive((0..12).map(|_| flow.client("DO abort")));
    stage.kernel.come_back(&ids);
    let mut other = Control::over(Net::Plain4, 2);
    stage.kernel.carries(other.client("hello"));
    assert_eq!(ends(&stage.audited()), ["crashed signal SIGSYS"; 2]);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn too_many_ends_open_the_circuit_and_the_operator_closes_it() {
    let stage = Play::ftp().bears(3).start();
    let mut flow = Control::over(Net::Snat4, 1);
    let mut pid = 0;
    for _ in 0..3 {
        pid = stage.serves_after(pid);
        stage.signal(pid, Signal::SIGKILL);
    }
    stage.serves_after(pid);
    let (last, ids) = in_flight(&stage, vec![flow.client(PORT), flow.client("NOOP\r\n")]);
    stage.signal(last, Signal::SIGKILL);
    stage.comes_to(LaneState::Tripped);
    assert!(stage.kernel.come_back(&ids).iter().all(Released::is_as_it_came));
    stage.audits("the circuit", |event| matches!(event, Event::CircuitOpened { .. }).then_some(()));
    assert_eq!(stage.kernel.enabled(), [true, false]);
    assert_eq!(stage.kernel.arrives(flow.client(PORT)), 0, "it passes unqueued");
    assert_eq!(stage.answer(Command::Restart), Ok(()));
    stage.serves();
    assert_eq!(stage.kernel.enabled(), [true, false, true]);
    stage.audits("the closing", |event| matches!(event, Event::CircuitClosed { .. }).then_some(()));
    assert!(stage.kernel.carries(flow.client("PORT 10,0,1,2,7,209\r\n")).payload().starts_with(b"PORT 10,0,2,1,"));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn the_operator_replaces_a_worker_without_harm_to_its_packets() {
    let stage = Play::ftp().start();
    let mut flows: Vec<Control> = (0..5).map(|n| Control::over(Net::Snat4, n)).collect();
    let (pid, ids) = in_flight(&stage, flows.iter_mut().map(|flow| flow.client(PORT)).collect());
    assert_eq!(stage.answer(Command::Restart), Ok(()));
    let released = stage.kernel.come_back(&ids);
    assert!(released.iter().all(|released| released.payload().starts_with(b"PORT 10,0,2,1,")), "also the one in hand");
    stage.serves_after(pid);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn disabled_and_enabled_by_the_operator() {
    let stage = Play::ftp().start();
    let mut flow = Control::over(Net::Snat4, 1);
    assert_eq!(stage.answer(Command::Disable), Ok(()));
    assert_eq!((stage.status().state, stage.kernel.arrives(flow.client("NOOP\r\n"))), (LaneState::Disabled, 0));
    assert_eq!(stage.answer(Command::Enable), Ok(()));
    assert!(stage.kernel.carries(flow.client(PORT)).payload().starts_with(b"PORT 10,0,2,1,"));
    assert_eq!(stage.kernel.enabled(), [true, false, true]);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// Another program may have changed what the lane has registered: `enable` is no lie then.
#[test]
fn enabling_registers_anew_also_what_is_up() {
    let stage = Play::ftp().start();
    stage.serves();
    assert_eq!(stage.answer(Command::Enable), Ok(()));
    assert_eq!((stage.kernel.updated(), stage.kernel.enabled()), (vec![true], vec![true]));
    assert_eq!(stage.answer(Command::Disable), Ok(()));
    assert_eq!(stage.answer(Command::Enable), Ok(()));
    assert_eq!((stage.kernel.updated(), stage.kernel.enabled()), (vec![true, false], vec![true, false, true]));
    let [class] = &stage.status().classes[..] else { panic!("{:?}", stage.status()) };
    assert_eq!((class.name.as_str(), class.expect_max, class.timeout_secs), ("ftp", 1, 300));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// What the kernel was told does not change because a worker comes or goes.
#[test]
fn disabled_stays_disabled_until_the_operator_says_otherwise() {
    let stage = Play::ftp().start();
    let pid = stage.serves();
    assert_eq!(stage.answer(Command::Disable), Ok(()));
    stage.signal(pid, Signal::SIGKILL);
    stage.audits("the end", |event| matches!(event, Event::WorkerCrashed(crash) if crash.pid == pid).then_some(()));
    assert_eq!((stage.status().state, stage.kernel.enabled()), (LaneState::Disabled, vec![true, false]));
    assert_eq!(stage.answer(Command::Restart), Ok(()));
    assert_eq!(stage.kernel.enabled(), [true, false, true]);
    let mut flow = Control::over(Net::Snat4, 1);
    assert!(stage.kernel.carries(flow.client(PORT)).payload().starts_with(b"PORT 10,0,2,1,"));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// The receiver has the first copy as it came; a longer second one would put its end behind the first as new bytes.
#[test]
fn what_has_gone_on_as_it_came_is_not_made_longer_when_it_is_repeated() {
    let stage = Play::ftp().start();
    let mut flow = Control::over(Net::Snat4, 1);
    let line = flow.client("PORT 10,0,1,2,7,208\r\n");
    let (pid, ids) = in_flight(&stage, vec![line.clone()]);
    stage.signal(pid, Signal::SIGKILL);
    assert!(stage.kernel.come_back(&ids)[0].is_as_it_came());
    stage.kernel.denies([Denied::Busy; 9]); // another port, of more digits
    let repeated = stage.kernel.carries(line);
    assert!(repeated.is_as_it_came() || repeated.payload().len() == "PORT 10,0,1,2,7,208\r\n".len(), "{repeated:?}");
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn stop_disables_first_and_answers_what_is_queued() {
    let stage = Play::ftp().start();
    let mut flows: Vec<Control> = (0..5).map(|n| Control::over(Net::Snat4, n)).collect();
    let (pid, ids) = in_flight(&stage, flows.iter_mut().map(|flow| flow.client(PORT)).collect());
    let kernel = stage.kernel.clone();
    let thaw = std::thread::spawn(move || {
        std::thread::sleep(ANSWERED);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.try_into().unwrap()), Signal::SIGCONT).unwrap();
    });
    assert!(matches!(stage.stop(), Ended::Orderly));
    thaw.join().unwrap();
    assert_eq!(kernel.enabled(), [true, false]);
    assert!(kernel.come_back(&ids).iter().all(|released| released.payload().starts_with(b"PORT 10,0,2,1,")));
}

#[test]
fn a_lane_that_is_handed_over_answers_what_it_has_and_leaves_the_helper_enabled() {
    let stage = Play::ftp().start();
    let mut flows: Vec<Control> = (0..5).map(|n| Control::over(Net::Snat4, n)).collect();
    let (pid, ids) = in_flight(&stage, flows.iter_mut().map(|flow| flow.client(PORT)).collect());
    let kernel = stage.kernel.clone();
    stage.hand_over();
    stage.signal(pid, Signal::SIGCONT);
    assert!(matches!(stage.ends(), Ended::Orderly));
    assert_eq!(kernel.enabled(), [true]);
    assert!(kernel.come_back(&ids).iter().all(|released| released.payload().starts_with(b"PORT 10,0,2,1,")));
}

#[test]
fn stop_ends_also_while_no_worker_comes_up() {
    let stage = Play::ftp().bears(0).start();
    let mut flow = Control::over(Net::Snat4, 1);
    stage.kernel.carries(flow.client(PORT));
    let pid = stage.serves();
    stage.signal(pid, Signal::SIGKILL);
    stage.comes_to(LaneState::Tripped);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn the_packet_in_hand_is_kept_for_the_analyst() {
    let folder = cthelper_tests::binaries::scratch("quarantine");
    let mut play = Play::ftp();
    play.quarantine = Some(folder.clone());
    let stage = play.start();
    let mut flow = Control::over(Net::Snat4, 1);
    let packet = flow.client(PORT);
    let (pid, ids) = in_flight(&stage, vec![packet.clone()]);
    stage.signal(pid, Signal::SIGKILL);
    stage.kernel.come_back(&ids);
    let in_hand = crash(&stage).in_hand.unwrap();
    assert_eq!((in_hand.direction.as_str(), in_hand.length), ("orig", packet.bytes.len()));
    assert!(matches!(stage.stop(), Ended::Orderly));
    let kept: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [kept] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!(in_hand.file.as_deref(), kept.to_str());
    let file = std::fs::read(kept).unwrap();
    assert!(file.windows(packet.bytes.len()).any(|window| window == packet.bytes));
    std::fs::remove_dir_all(folder).unwrap();
}
