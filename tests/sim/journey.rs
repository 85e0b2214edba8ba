//! The journey of packets while all goes well.

use cthelper_proto::events::Event;
use cthelper_proto::types::Dir;
use cthelper_supervisor::kernel::{Denied, Expected};
use cthelper_supervisor::lane::{Command, Ended};
use cthelper_tests::control::{Control, Net, Packet};
use cthelper_tests::fake_kernel::{Asked, How, first};
use cthelper_tests::stage::Play;

use crate::{ANSWERED, PORT};

#[test]
fn packets_come_back_once_each_and_in_order() {
    let stage = Play::ftp().start();
    let mut flows: Vec<Control> = (0..8).map(|n| Control::over(Net::Plain4, n)).collect();
    let mut ids = Vec::new();
    for round in 0..40 {
        for flow in &mut flows {
            ids.push(stage.kernel.arrives(flow.client(format!("NOOP {round}\r\n"))));
            ids.push(stage.kernel.arrives(flow.server(format!("200 {round}\r\n"))));
        }
    }
    stage.kernel.come_back(&ids);
    let status = stage.status();
    assert_eq!((status.packets, status.verdicts, status.restarts), (640, 640, 0));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_segment_without_payload_never_reaches_the_worker() {
    let stage = Play::ftp().start();
    stage.freeze();
    let flow = Control::over(Net::Plain4, 1);
    assert_eq!(stage.kernel.carries(flow.ack()).how, How::AtIntake);
    assert_eq!(stage.kernel.carries(first(flow.ack())).how, How::AtIntake);
}

#[test]
fn an_announcement_is_expected_from_peer_to_announcer() {
    let stage = Play::ftp().start();
    let mut flow = Control::over(Net::Plain4, 1);
    let released = stage.kernel.carries(flow.client(PORT));
    assert_eq!(released.payload(), PORT.as_bytes());
    let (client, server) = (flow.flow.orig.src, flow.flow.orig.dst);
    let asked = Asked {
        flow: flow.flow,
        src: Some(server),
        dst: client,
        port: 2000,
        saved: 2000,
        nat: None,
        answer: Ok(true),
        beside: false,
        helped: false,
        counted_as: None,
    };
    assert_eq!(stage.kernel.asked(), [asked]);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn private_bytes_go_on_from_packet_to_packet() {
    let stage = Play::ftp().start();
    let mut flow = Control::over(Net::Plain4, 1);
    stage.kernel.carries(flow.server("220 ready\r\n"));
    stage.kernel.carries(flow.client("EPSV ALL\r\n"));
    stage.kernel.carries(flow.server("200 ok\r\n"));
    assert_ne!(stage.kernel.state(&flow.flow).unwrap().as_bytes(), [0; 24]);
    stage.kernel.carries(flow.client(PORT));
    assert_eq!(stage.kernel.asked(), [], "after EPSV ALL");
    stage.kernel.carries(flow.server("229 Extended (|||6446|)\r\n"));
    assert_eq!(stage.kernel.asked()[0].port, 6446);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn private_bytes_go_on_within_a_burst_too() {
    let stage = Play::ftp().start();
    let mut flow = Control::over(Net::Plain4, 1);
    let burst = [flow.client("EPSV ALL\r\n"), flow.server("200 ok\r\n"), flow.client(PORT), flow.client("NOOP\r\n")];
    let ids = stage.kernel.arrive(burst);
    stage.kernel.come_back(&ids);
    assert_eq!(stage.kernel.asked(), []);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_packet_queued_before_the_flush_goes_on_from_the_newest_private_bytes() {
    let stage = Play::ftp().start();
    let (mut flow, mut other) = (Control::over(Net::Plain4, 1), Control::over(Net::Plain4, 2));
    let gate = stage.kernel.hold_flush();
    let promise = stage.kernel.arrives(flow.client("EPSV ALL\r\n"));
    stage.kernel.has_fetched(1);
    std::thread::sleep(ANSWERED);
    // One turn of the lane: the verdict on EPSV ALL, then the other packet, then the flush. What is queued in between is a copy of what
    // was before.
    stage.kernel.arrives_after_drain(flow.client(PORT));
    let noise = stage.kernel.arrives(other.client("NOOP\r\n"));
    drop(gate);
    stage.kernel.come_back(&[promise, noise, noise + 1]);
    assert_eq!(stage.kernel.asked(), [], "after EPSV ALL");
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn under_snat_the_announcement_is_rewritten_with_right_checksums() {
    let stage = Play::ftp().start();
    for (net, said, told, grown) in [
        (Net::Snat4, PORT, "PORT 10,0,2,1,7,208\r\n", 0),
        (Net::Snat4, "EPRT |1|10.0.1.2|2001|\r\n", "EPRT |1|10.0.2.1|2001|\r\n", 0),
        (Net::Snat4, "PORT 010,0,1,2,7,210\r\n", "PORT 10,0,2,1,7,210\r\n", -1),
        (Net::Snat6, "EPRT |2|2001:db8:1::2|2003|\r\n", "EPRT |2|2001:db8:2::1|2003|\r\n", 0),
        (Net::Snat6, "EPRT |2|2001:0db8:1:0:0:0:0:2|2004|\r\n", "EPRT |2|2001:db8:2::1|2004|\r\n", -8),
    ] {
        let n = u16::try_from(stage.kernel.released().len()).unwrap();
        let mut flow = Control::over(net, n);
        let released = stage.kernel.carries(flow.client(said));
        assert_eq!(String::from_utf8_lossy(released.payload()), told);
        assert!(matches!(released.how, How::Changed { grown: by, .. } if by == grown), "{:?}", released.how);
        let asked = *stage.kernel.asked().last().unwrap();
        assert_eq!((asked.dst, asked.nat), (flow.flow.reply.dst, Some(Dir::Reply)));
        assert_eq!(asked.port, asked.saved);
    }
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn under_dnat_the_reply_is_rewritten_to_what_the_client_knows() {
    let stage = Play::ftp().start();
    let mut flow = Control::over(Net::Dnat4, 1);
    stage.kernel.carries(flow.client("PASV\r\n"));
    let released = stage.kernel.carries(flow.server("227 Entering (10,0,2,2,7,208).\r\n"));
    assert_eq!(String::from_utf8_lossy(released.payload()), "227 Entering (10,0,1,1,7,208).\r\n");
    let asked = stage.kernel.asked()[0];
    assert_eq!((asked.src, asked.dst, asked.nat), (Some([10, 0, 1, 2].into()), [10, 0, 1, 1].into(), Some(Dir::Orig)));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn the_port_granted_after_busy_is_the_one_announced() {
    let stage = Play::ftp().start();
    stage.kernel.denies([Denied::Busy, Denied::Busy]);
    let mut flow = Control::over(Net::Snat4, 1);
    let released = stage.kernel.carries(flow.client(PORT));
    let asked = stage.kernel.asked();
    assert_eq!(asked.iter().map(|asked| asked.answer).collect::<Vec<_>>(), [Err(Denied::Busy), Err(Denied::Busy), Ok(true)]);
    let [high, low] = asked[2].port.to_be_bytes();
    assert_ne!(asked[2].port, 2000);
    assert_eq!(asked[2].saved, 2000);
    assert_eq!(String::from_utf8_lossy(released.payload()), format!("PORT 10,0,2,1,{high},{low}\r\n"));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn what_the_kernel_refuses_passes_and_is_counted_by_name() {
    let stage = Play::ftp().start();
    for (n, denied, net, rule) in [
        (1, Denied::TableFull, Net::Snat4, "table-full"),
        (2, Denied::Gone, Net::Snat4, "unconfirmed"),
        (3, Denied::Other(nix::errno::Errno::EPERM), Net::Snat4, "kernel"),
        (4, Denied::Busy, Net::Plain4, "overlap"),
    ] {
        stage.kernel.denies([denied]);
        let mut flow = Control::over(net, n);
        assert_eq!(stage.kernel.carries(flow.client(PORT)).payload(), PORT.as_bytes());
        assert_eq!(stage.status().refused.get(rule), Some(&1), "{rule}");
        stage.audits(rule, |event| matches!(event, Event::ExpectationRefused { rule: said, .. } if said == rule).then_some(()));
    }
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_retransmission_is_edited_alike_and_creates_no_second_expectation() {
    let stage = Play::ftp().start();
    stage.kernel.denies([Denied::Busy]);
    let mut flow = Control::over(Net::Snat4, 1);
    let announcement = flow.client(PORT);
    let one = stage.kernel.carries(announcement.clone());
    let two = stage.kernel.carries(announcement.clone());
    assert_eq!(one.payload(), two.payload());
    let pid = stage.serves();
    stage.signal(pid, nix::sys::signal::Signal::SIGKILL);
    stage.serves_after(pid);
    let three = stage.kernel.carries(announcement);
    assert_eq!(one.payload(), three.payload(), "after a restart");
    assert_eq!(stage.kernel.asked().iter().filter(|asked| asked.answer == Ok(true)).count(), 1);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// Some kernels give it its master's helper. What it carries is a stranger's file, whatever the file says.
#[test]
fn an_expected_connection_never_reaches_the_worker() {
    let stage = Play::ftp().start();
    let mut flow = Control::over(Net::Snat4, 1);
    let data = Packet { expected: Some(Expected::default()), ..flow.client(PORT) };
    assert_eq!(stage.kernel.carries(data).how, How::AtIntake);
    assert_eq!(stage.kernel.asked(), []);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// What the broker says of a connection's end is a hint: what the worker has cached of it goes. Whether it had, shows in half a line.
#[test]
fn of_an_ended_connection_the_worker_forgets_half_a_line_and_of_others_not() {
    let stage = Play::ftp().start();
    let mut flows = [Control::over(Net::Plain4, 1), Control::over(Net::Plain4, 2)];
    for flow in &mut flows {
        stage.kernel.carries(flow.client("PORT 10,0,1,2,"));
    }
    let ended = &flows[0].flow;
    assert!(stage.orders(Command::Closed(vec![(ended.id, ended.orig)])));
    stage.status(); // the order before it has been obeyed
    for flow in &mut flows {
        stage.kernel.carries(flow.client("7,208\r\n"));
    }
    let asked: Vec<_> = stage.kernel.asked().iter().map(|asked| asked.flow).collect();
    assert_eq!(asked, [flows[1].flow]);
    assert!(matches!(stage.stop(), Ended::Orderly));
}
