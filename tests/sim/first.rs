//! Announcements in a connection's first packet, whose expectation goes out with the verdict.

use cthelper_proto::types::{CtInfo, Dir};
use cthelper_supervisor::kernel::{Denied, Expected, Made};
use cthelper_supervisor::lane::Ended;
use cthelper_tests::control::{Net, Packet};
use cthelper_tests::datagrams::Datagrams;
use cthelper_tests::fake_kernel::Asked;
use cthelper_tests::stage::Play;
use nix::errno::Errno;
use nix::sys::signal::Signal;

/// An announced connection that is to be read by the helper of the lane.
const OURS: Expected = Expected { ours: true, counted_as: None };
const READ: &[u8] = b"\0\x01file\0octet\0";

/// What is asked of the kernel for a client that the server knows at this address and port.
fn asked(flow: &Datagrams, beside: bool) -> Asked {
    let (server, client) = (flow.flow.reply.src, flow.flow.reply.dst);
    let nat = flow.flow.is_translated().then_some(Dir::Reply);
    Asked {
        flow: flow.flow,
        src: Some(server),
        dst: client,
        port: flow.flow.reply.dport,
        saved: flow.flow.orig.sport,
        nat,
        answer: Ok(true),
        beside,
        helped: false,
        counted_as: None,
    }
}

#[test]
fn a_first_packet_takes_its_expectation_along() {
    let stage = Play::helper("tftp").start();
    for (n, net) in (0..).zip([Net::Plain4, Net::Plain6, Net::Snat4, Net::Dnat4]) {
        let mut flow = Datagrams::over(net, n, 69);
        if net == Net::Snat4 {
            flow.flow.reply.dport = 1024; // another client of the same port was first
        }
        let released = stage.kernel.carries(flow.first(READ));
        assert_eq!(released.payload(), READ);
        assert_eq!(stage.kernel.asked().last(), Some(&asked(&flow, true)));
        stage.kernel.carries(flow.server(b"\0\x05\0\x01no\0"));
    }
    assert_eq!(stage.status().expectations, 4);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_repeated_request_of_a_known_connection_asks_the_kernel_as_ever() {
    let stage = Play::helper("tftp").start();
    let flow = Datagrams::over(Net::Plain4, 1, 69);
    stage.kernel.carries(flow.first(READ));
    stage.kernel.carries(flow.client(READ));
    let again = Asked { answer: Ok(false), ..asked(&flow, false) };
    assert_eq!(stage.kernel.asked(), [asked(&flow, true), again]);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn what_the_kernel_swallowed_is_refused_by_name() {
    let stage = Play::helper("tftp").start();
    let made = [Err(Denied::Busy), Err(Denied::Other(Errno::ENOENT)), Err(Denied::TableFull), Ok(Made::Unseen)];
    stage.kernel.swallows(made);
    for n in 0..4 {
        let flow = Datagrams::over(Net::Plain4, n, 69);
        assert!(!stage.kernel.carries(flow.first(READ)).payload().is_empty());
    }
    let status = stage.status();
    assert_eq!(status.expectations, 1, "the one that may have been used up at once");
    assert_eq!(status.refused.values().sum::<u64>(), 3, "{:?}", status.refused);
    assert_eq!(status.trouble["expectation-unseen"], 1);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn what_stands_in_the_way_is_seen_before_the_verdict() {
    let stage = Play::helper("tftp").start();
    stage.kernel.denies([Denied::Busy]);
    let flow = Datagrams::over(Net::Snat4, 1, 69);
    stage.kernel.carries(flow.first(READ));
    assert_eq!(stage.kernel.asked(), [], "no other port is tried: the server has this one from the packet");
    assert_eq!(stage.status().refused["overlap"], 1);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn a_worker_that_dies_between_grant_and_verdict_takes_its_grant_along() {
    let stage = Play::helper("tftp").start();
    let pid = stage.freeze();
    let flows: Vec<_> = (0..3).map(|n| Datagrams::over(Net::Plain4, n, 69)).collect();
    let ids = stage.kernel.arrive(flows.iter().map(|flow| flow.first(READ)));
    stage.kernel.has_fetched(3);
    stage.signal(pid, Signal::SIGKILL);
    stage.kernel.come_back(&ids);
    // The packet in hand passes without; the others are read anew, and asked for once.
    let wanted: Vec<_> = flows.iter().skip(1).map(|flow| asked(flow, true)).collect();
    assert_eq!(stage.kernel.asked(), wanted);
    assert_eq!(stage.status().expectations, 2);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn answers_of_anybody_are_expected_at_the_port_that_asked() {
    let stage = Play::helper("mdns").start();
    let question = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x04_ipp\x05local\0\0\x0c\0\x01";
    let flow = Datagrams::over(Net::Plain4, 1, 5353).to("224.0.0.251");
    stage.kernel.carries(flow.first(question));
    assert_eq!(stage.kernel.asked(), [Asked { src: None, ..asked(&flow, true) }]);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn answers_are_read_where_the_helper_says_so_and_take_their_own_expectation_along() {
    let stage = Play::helper("ssdp").start();
    let search = "M-SEARCH * HTTP/1.1\r\nMAN: \"ssdp:discover\"\r\nST: ssdp:all\r\n\r\n";
    let asks = Datagrams::over(Net::Plain4, 1, 1900).to("239.255.255.250");
    stage.kernel.carries(asks.first(search));
    let answer = Datagrams::over(Net::Plain4, 2, 40_001);
    let found = format!("HTTP/1.1 200 OK\r\nLOCATION: http://{}:5000/\r\n\r\n", answer.flow.orig.src);
    stage.kernel.carries(Packet { info: CtInfo::Related, expected: Some(OURS), ..answer.first(found) });
    let told: Vec<_> = stage.kernel.asked().iter().map(|asked| (asked.src, asked.port, asked.helped)).collect();
    assert_eq!(told, [(None, 40_001, true), (Some(answer.flow.orig.dst), 5000, true)]);
    assert!(matches!(stage.stop(), Ended::Orderly));
}
