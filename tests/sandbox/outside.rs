//! The helper in C (`tests/outside-c`): its seal is what the kernel says and what the profile says, and its end leaves a whole record.

use std::collections::BTreeSet;
use std::path::PathBuf;

use cthelper_policy::profiles::{LAUNCHER, WORKER};
use cthelper_proto::events::{Crash, Event};
use cthelper_proto::types::{CtInfo, FlowId};
use cthelper_supervisor::lane::Ended;
use cthelper_tests::control::{Control, Net};
use cthelper_tests::outside::{in_c, in_rust};
use cthelper_tests::stage::{Play, Stage};
use nix::sys::signal::Signal;

fn dial(worker: PathBuf) -> Play {
    let mut play = Play::helper("dial").bears(1000);
    play.recipe.worker = worker;
    play
}

/// What became of the worker that got this line, by its record.
fn dies_of(stage: &Stage, flow: u16, line: &str) -> Crash {
    let before = crashes(stage).len();
    let packet = Control::over(Net::Plain4, flow).server(format!("FAULT{line}\r\n"));
    assert_eq!(packet.info, CtInfo::EstablishedReply);
    assert!(stage.kernel.carries(packet).is_as_it_came(), "{line}");
    stage.audits(line, |_| crashes(stage).get(before).cloned())
}

fn crashes(stage: &Stage) -> Vec<Crash> {
    let crash = |event| if let Event::WorkerCrashed(crash) = event { Some(*crash) } else { None };
    stage.audited().into_iter().filter_map(crash).collect()
}

/// What the first worker says landlock enforces on it.
fn landlock(stage: &Stage) -> String {
    let said = |event: &Event| if let Event::WorkerStarted { landlock, .. } = event { Some(landlock.clone()) } else { None };
    stage.audits("the start", said)
}

#[test]
fn a_worker_in_c_is_sealed_as_the_kernel_says_and_drains() {
    let stage = dial(in_c(&[])).start();
    let pid = stage.serves();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t")).unwrap().to_owned();
    let warden = std::fs::read_to_string(format!("/proc/{}/status", stage.warden())).unwrap();
    let filters =
        |status: &str| status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:\t")?.parse::<u32>().ok()).unwrap();
    assert_eq!(filters(&status), filters(&warden) + 2, "the launcher's and its own");
    assert_eq!(
        (field("NoNewPrivs"), field("Seccomp"), field("CapEff"), field("Threads")),
        ("1".into(), "2".into(), "0000000000000000".into(), "1".into())
    );
    assert_eq!(field("THP_enabled"), "0", "a huge page would be most of its memory");
    // Nobody may look into a process that is not dumpable: its files in /proc are root's (proc_pid(5)).
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(format!("/proc/{pid}/environ")).unwrap());
    assert_eq!(owner, 0);
    assert_eq!(landlock(&stage), landlock(&Play::ftp().start()), "as the SDK's");
    let mut flow = Control::over(Net::Dnat4, 0);
    stage.kernel.carries(flow.server("DIAL 4000\r\n"));
    assert_eq!(stage.status().expectations, 1);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn behind_its_seal_a_worker_in_c_has_four_calls_and_its_record_names_any_other() {
    let stage = dial(in_c(&["-DFAULTS"])).start();
    let own: BTreeSet<&str> = WORKER.all_syscalls().map(|allow| allow.name).collect();
    // What the launcher's filter still lets through is what only the worker's own takes away. `rt_sigreturn` is no call but a way back.
    let calls: BTreeSet<&str> = LAUNCHER.all_syscalls().map(|allow| allow.name).filter(|name| !own.contains(name)).collect();
    let here = |name: &&str| {
        cthelper_policy::syscall::number(name, std::env::consts::ARCH.try_into().unwrap())
            .map(|number| (name.to_string(), number))
    };
    let calls: Vec<(String, i64)> = calls.iter().filter_map(here).collect();
    assert!(calls.len() > 20, "{calls:?}");
    for (flow, (name, number)) in (1..).zip(&calls) {
        let crash = dies_of(&stage, flow, &format!(" call {number}"));
        assert_eq!(
            (crash.cause.as_str(), crash.fault.and_then(|fault| fault.syscall).map(|call| call.name)),
            ("signal SIGSYS", Some(name.clone()))
        );
    }
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_fault_of_a_worker_in_c_is_on_record_with_its_packet_and_the_next_one_serves() {
    let stage = dial(in_c(&["-DFAULTS"])).start();
    let pid = stage.serves();
    let crash = dies_of(&stage, 0, "");
    assert_eq!((crash.cause.as_str(), crash.pid), ("signal SIGSEGV", pid));
    let fault = crash.fault.unwrap();
    assert_eq!((fault.class.as_str(), fault.syscall), ("address that is not mapped", None));
    assert!(crash.in_hand.is_some(), "no packet in hand");
    stage.serves_after(pid);
    let mut flow = Control::over(Net::Plain4, 1);
    stage.kernel.carries(flow.server("DIAL 4000\r\n"));
    assert_eq!(stage.status().expectations, 1);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_worker_in_c_without_its_own_filter_is_refused_by_name() {
    let stage = dial(in_c(&["-DUNSEALED"])).bears(1).open();
    let kernel = stage.kernel.clone();
    let Ended::NotStarted(reason) = stage.ends() else { panic!("served") };
    assert!(reason.contains("Seccomp_filters: found 3, wanted at least 4"), "{reason}");
    assert_eq!(kernel.enabled(), Vec::<bool>::new());
}

/// The client's word is still with the worker when the server's answer comes: so it is when TCP sends the word again.
#[test]
fn a_worker_of_ones_own_learns_of_a_connection_from_both_ends() {
    for worker in [in_rust(), in_c(&[])] {
        let stage = dial(worker).start();
        let mut flow = Control::over(Net::Snat6, 1);
        let pid = stage.freeze();
        let ids = stage.kernel.arrive([flow.client("SPLIT\n"), flow.server("DIAL ")]);
        stage.kernel.has_fetched(ids.len());
        stage.signal(pid, Signal::SIGCONT);
        stage.kernel.come_back(&ids);
        stage.kernel.carries(flow.server("4000\r\n"));
        assert_eq!(stage.status().expectations, 1);
        assert!(matches!(stage.stop(), Ended::Orderly));
    }
}

/// A connection's id is any number: one line stands open on each of 300 connections, whose ids differ in high bits only.
#[test]
fn a_worker_of_ones_own_keeps_every_connections_line_whatever_their_ids() {
    const CONNECTIONS: u16 = 300;
    for worker in [in_rust(), in_c(&[])] {
        let stage = dial(worker).start();
        let mut flows: Vec<Control> = (0..CONNECTIONS).map(|n| Control::over(Net::Plain4, n)).collect();
        for (flow, high) in flows.iter_mut().zip(0..) {
            flow.flow.id = FlowId(0x1000 | high << 16);
            stage.kernel.carries(flow.server("DIAL "));
        }
        for (flow, port) in flows.iter_mut().zip(4000..) {
            stage.kernel.carries(flow.server(format!("{port}\r\n")));
        }
        assert_eq!(stage.status().expectations, u64::from(CONNECTIONS));
        assert!(matches!(stage.stop(), Ended::Orderly));
    }
}
