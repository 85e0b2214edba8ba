//! Announced connections that have a helper of their own, and masters that are kept for what they announced.

use cthelper_proto::types::CtInfo;
use cthelper_supervisor::kernel::{Denied, Expected, Made};
use cthelper_supervisor::lane::Ended;
use cthelper_tests::control::{Control, Net, Packet};
use cthelper_tests::datagrams::Datagrams;
use cthelper_tests::fake_kernel::How;
use cthelper_tests::stage::{Play, Stage};
use nix::sys::signal::Signal;

const OURS: Expected = Expected { ours: true, counted_as: None };

/// Port, whether it goes beside a verdict, and whether it has a helper, of everything asked.
fn asked(stage: &Stage) -> Vec<(u16, bool, bool)> {
    stage.kernel.asked().iter().map(|asked| (asked.port, asked.beside, asked.helped)).collect()
}

#[test]
fn what_has_a_helper_is_expected_first_and_goes_beside_the_verdict_as_well() {
    let stage = Play::chain("admit").start();
    stage.kernel.also_serves("call");
    let flow = Datagrams::over(Net::Plain4, 1, 1719);
    let released = stage.kernel.carries(flow.server("LISTEN tcp 4000"));
    assert!(matches!(released.how, How::Changed { packet: None, .. }));
    assert_eq!(asked(&stage), [(4000, false, true), (4000, true, true)]);
    assert_eq!(stage.status().expectations, 1);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_helper_that_this_supervisor_does_not_serve_is_refused_by_name() {
    let stage = Play::chain("admit").start();
    stage.kernel.carries(Datagrams::over(Net::Plain4, 1, 1719).server("LISTEN tcp 4000"));
    assert_eq!(asked(&stage), []);
    assert_eq!(stage.status().refused["foreign-helper"], 1);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn one_packet_announces_one_connection_with_a_helper() {
    let stage = Play::chain("call").start();
    stage.kernel.also_serves("media");
    let mut flow = Control::over(Net::Plain4, 1);
    stage.kernel.carries(Packet { expected: Some(OURS), ..flow.server("LISTEN tcp 4000\r\nLISTEN tcp 4001\r\n") });
    assert_eq!(asked(&stage), [(4000, false, true), (4000, true, true)]);
    assert_eq!(stage.status().refused["second-helped"], 1);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn the_first_packet_of_an_announced_connection_announces_the_next() {
    let stage = Play::chain("call").start();
    stage.kernel.also_serves("media");
    for (n, net) in (0..).zip([Net::Plain4, Net::Plain6, Net::Snat4, Net::Dnat4]) {
        let flow = Datagrams::over(net, n, 4000);
        let first = flow.first(format!("LISTEN tcp 500{n}"));
        let expected = Some(Expected { ours: true, counted_as: Some(2) });
        stage.kernel.carries(Packet { info: CtInfo::Related, expected, ..first });
        let asked = *stage.kernel.asked().last().unwrap();
        assert_eq!((asked.flow, asked.dst, asked.port), (flow.flow, flow.flow.reply.dst, 5000 + n));
        assert_eq!((asked.beside, asked.helped, asked.counted_as), (true, true, Some(2)));
    }
    assert_eq!(stage.kernel.asked().len(), 4);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_connection_that_was_announced_for_nobody_passes_unread() {
    let stage = Play::chain("call").start();
    stage.kernel.also_serves("media");
    let mut flow = Control::over(Net::Plain4, 1);
    let data = Packet { expected: Some(Expected::default()), ..flow.server("LISTEN tcp 4000\r\n") };
    assert_eq!(stage.kernel.carries(data).how, How::AtIntake);
    assert_eq!(asked(&stage), []);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_worker_that_dies_before_its_verdict_does_not_cost_the_announced_connection_its_helper() {
    let stage = Play::chain("call").start();
    stage.kernel.also_serves("media");
    let mut flows: Vec<_> = (0..3).map(|n| Control::over(Net::Plain4, n)).collect();
    let (pid, ids) = super::in_flight(
        &stage,
        (0..)
            .zip(&mut flows)
            .map(|(n, flow): (u16, _)| Packet { expected: Some(OURS), ..flow.server(format!("LISTEN tcp 400{n}\r\n")) })
            .collect(),
    );
    stage.signal(pid, Signal::SIGKILL);
    stage.kernel.come_back(&ids);
    let beside = asked(&stage).iter().filter(|(_, beside, _)| *beside).count();
    assert_eq!(beside, 2, "the packet in hand passes without");
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn what_is_remembered_of_an_announced_connection_outlives_the_worker_and_is_not_told_to_the_kernel() {
    let stage = Play::chain("call").start();
    stage.kernel.also_serves("media");
    let mut flow = Control::over(Net::Plain4, 1);
    let opened = stage.kernel.carries(Packet { expected: Some(OURS), ..flow.client("OPEN\r\n") });
    assert!(opened.is_as_it_came(), "{:?}", opened.how);
    let pid = stage.serves();
    stage.signal(pid, Signal::SIGKILL);
    stage.serves_after(pid);
    stage.kernel.carries(Packet { expected: Some(OURS), ..flow.server("THEN LISTEN tcp 4000\r\n") });
    assert_eq!(asked(&stage), [(4000, false, true), (4000, true, true)]);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// What is not in the table any more may have been used by now, with its helper; what another has taken the place of is expected without.
#[test]
fn a_helper_that_the_kernel_did_not_take_is_counted_and_the_connection_stays_expected() {
    let stage = Play::chain("admit").start();
    stage.kernel.also_serves("call");
    stage.kernel.swallows([Ok(Made::Unseen), Err(Denied::Busy)]);
    for n in 0..2 {
        stage.kernel.carries(Datagrams::over(Net::Plain4, n, 1719).server(format!("LISTEN tcp 400{n}")));
    }
    let status = stage.status();
    assert_eq!((status.expectations, status.trouble["helper-unassigned"], status.trouble["expectation-unseen"]), (2, 1, 1));
    assert!(status.refused.is_empty(), "{:?}", status.refused);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_master_is_kept_for_what_it_announced_by_that_packet_alone() {
    let stage = Play::helper("amanda").start();
    let flow = Datagrams::over(Net::Plain4, 1, 10_080);
    let head = "Amanda 2.6 REP HANDLE 000-00010E5C SEQ 1119041234\n";
    let announces = stage.kernel.arrives(flow.server(format!("{head}CONNECT DATA 1024 MESG 2000 INDEX -1\n")));
    stage.kernel.comes_back(announces);
    assert!(stage.kernel.carries(flow.server(format!("{head}OPTIONS x;\n"))).is_as_it_came());
    assert_eq!(stage.kernel.kept(), [(announces, 300)]);
    assert!(matches!(stage.stop(), Ended::Orderly));
}
