//! Attacks by name, each against the whole: a capture through `cthelperd replay`, or a lane on a scripted kernel with a real worker.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what it means")]

use std::time::{Duration, Instant};

use cthelper_proto::events::Event;
use cthelper_proto::types::CtInfo;
use cthelper_supervisor::kernel::Expected;
use cthelper_supervisor::lane::{Command, Ended};
use cthelper_tests::capture::{Link, pcap};
use cthelper_tests::control::{Control, Net, Packet};
use cthelper_tests::datagrams::Datagrams;
use cthelper_tests::fake_kernel::How;
use cthelper_tests::program::replay;
use cthelper_tests::stage::{Play, Stage};

const PORT: &str = "PORT 10,0,1,2,7,208\r\n";

/// The events that `cthelperd replay --json` tells of client segments, without the summary.
fn told(segments: &[&str]) -> Vec<String> {
    let mut control = Control::over(Net::Plain4, 0);
    let mut packets: Vec<_> = control.handshake().into_iter().map(|packet| packet.bytes).collect();
    packets.push(control.server("220 ready\r\n").bytes);
    packets.extend(segments.iter().map(|segment| control.client(segment).bytes));
    let said = replay("attack.pcap", &pcap(Link::Raw, &packets));
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let event = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].as_str().unwrap().to_owned();
    let mut events: Vec<_> = said.out.lines().map(event).collect();
    assert_eq!(events.pop().as_deref(), Some("summary"));
    events
}

/// FTP bounce (CERT CA-1997-27): an announcement that names somebody else.
#[test]
fn bounce() {
    assert_eq!(told(&["PORT 192,0,2,9,7,208\r\n"]), ["refused"]);
    assert_eq!(told(&["EPRT |1|192.0.2.9|2000|\r\n"]), ["refused"]);
    let stage = Play::ftp().start();
    for (n, address) in (0..).zip(["192,0,2,9", "10,0,1,3", "127,0,0,1", "255,255,255,255", "0,0,0,0", "224,0,0,1"]) {
        let mut flow = Control::over(Net::Snat4, n);
        let line = format!("PORT {address},7,208\r\n");
        assert_eq!(stage.kernel.carries(flow.client(&line)).payload(), line.as_bytes(), "not rewritten either");
    }
    assert_eq!(stage.kernel.asked(), []);
    assert_eq!(stage.status().refused.values().sum::<u64>(), 6);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// The server's own address in the client's `PORT`: a hole towards the server itself.
#[test]
fn announcement_for_the_other_end() {
    assert_eq!(told(&["PORT 10,0,2,2,7,208\r\n"]), ["refused"]);
}

/// A web page that makes a browser subscribe: to a device that wants to call another port of the browser's machine.
#[test]
fn ssdp_subscription_by_a_web_page() {
    let stage = Play::helper("ssdp").start();
    let (callback, origin) = ("CALLBACK: <http://10.0.1.2:5900/>\r\n", "Origin: http://attacker.example\r\n");
    for (n, segments) in (0..).zip([
        [&format!("{callback}{origin}\r\n"), ""],
        [&format!("{origin}{callback}\r\n"), ""],
        [callback, &format!("{origin}\r\n")],
    ]) {
        let mut flow = Control::over(Net::Snat4, n);
        stage.kernel.carries(flow.client(format!("SUBSCRIBE /e HTTP/1.1\r\n{}", segments[0])));
        if !segments[1].is_empty() {
            stage.kernel.carries(flow.client(segments[1]));
        }
    }
    assert_eq!(stage.kernel.asked(), []);
    let status = stage.status();
    assert_eq!((status.malformed["ssdp Origin"], status.malformed["ssdp request without an end"]), (2, 1));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// A well-known service of the announcing host itself.
#[test]
fn privileged_port() {
    for line in ["PORT 10,0,1,2,0,22\r\n", "EPRT |1|10.0.1.2|445|\r\n", "PORT 10,0,1,2,3,255\r\n"] {
        assert_eq!(told(&[line]), ["refused"], "{line}");
    }
}

/// NAT slipstreaming (2020): a browser is made to send a form to port 21 that is so long that a segment begins with an announcement.
#[test]
fn slipstream_over_a_segment_boundary() {
    let body = "a".repeat(1200);
    let head = format!("POST / HTTP/1.1\r\nHost: attacker.example\r\nContent-Length: 9999\r\n\r\nx={body}");
    assert_eq!(told(&[&head, PORT]), Vec::<String>::new());
    assert_eq!(told(&["a", PORT, "\r\n"]), Vec::<String>::new());
    // Also when the first segment was lost on its way to us, or its worker has died.
    let stage = Play::ftp().start();
    let mut flow = Control::over(Net::Snat4, 1);
    stage.kernel.carries(flow.client("NOOP\r\n"));
    let _lost = flow.client(&head);
    stage.kernel.carries(flow.client(PORT));
    let mut flow = Control::over(Net::Snat4, 2);
    stage.kernel.carries(flow.client(&head));
    let pid = stage.serves();
    stage.signal(pid, nix::sys::signal::Signal::SIGKILL);
    stage.serves_after(pid);
    assert_eq!(stage.kernel.carries(flow.client(PORT)).payload(), PORT.as_bytes());
    assert_eq!(stage.kernel.asked(), []);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// As above, with the announcement on a line of its own in the form's body.
#[test]
fn slipstream_on_a_line_of_its_own() {
    let head = "POST / HTTP/1.1\r\nHost: attacker.example\r\nContent-Length: 9999\r\n\r\n";
    assert_eq!(told(&[head, "PORT 10,0,1,2,31,144\r\n"]), Vec::<String>::new());
}

/// As above, with a request line that is longer than any line the helper reads, whole or over two segments.
#[test]
fn slipstream_with_a_long_url() {
    assert_eq!(told(&["NOOP\r\n", "PORT 10,0,1,2,31,144\r\n"]).len(), 1, "without it the announcement counts");
    let url = "a".repeat(1200);
    for head in [format!("POST /{url} HTTP/1.1\r\n\r\n"), format!("POST /{url}"), format!("GET /{url}")] {
        let events = told(&[&head, " HTTP/1.1\r\n\r\n", "PORT 10,0,1,2,31,144\r\n"]);
        assert_eq!(events, Vec::<String>::new());
    }
}

/// A browser that is made to speak TLS to port 21, with an announcement on a line of its own in a field that a stranger chooses
/// (session id, server name).
#[test]
fn tls_on_the_control_port() {
    for hello in ["\u{16}\u{3}\u{1}\u{2}\0\r\nPORT 10,0,1,2,31,144\r\n", "\u{16}\u{3}\u{1}\n"] {
        assert_eq!(told(&[hello, "PORT 10,0,1,2,31,144\r\n"]), Vec::<String>::new());
    }
}

/// An announcement within a line, an argument or a text.
#[test]
fn announcement_in_the_middle_of_a_line() {
    for line in
        ["STOR PORT 10,0,1,2,7,208\r\n", " PORT 10,0,1,2,7,208\r\n", "xPORT 10,0,1,2,7,208\r\n", "PORT\r10,0,1,2,7,208\r\n"]
    {
        assert_eq!(told(&[line]), Vec::<String>::new(), "{line:?}");
    }
    assert_eq!(told(&["227 Entering Passive Mode (10,0,1,2,7,208)\r\n"]), Vec::<String>::new(), "a reply from the client");
}

/// A file's name in a reply's text, and two announcements of which another reader might take the other.
#[test]
fn announcement_in_a_text_and_two_in_one_reply() {
    let stage = Play::ftp().start();
    let mut flow = Control::over(Net::Plain4, 1);
    for reply in [
        "213-status of\r\n227 Entering (10,0,2,2,7,208)\r\n213 end\r\n",
        "227 Entering (10,0,2,2,7,208) or (10,0,2,2,0,22)\r\n",
        "229 Entering (|||2000|) (|||2001|)\r\n",
        "550 227 (10,0,2,2,7,208): no such file\r\n",
    ] {
        assert_eq!(stage.kernel.carries(flow.server(reply)).payload(), reply.as_bytes());
    }
    assert_eq!(stage.kernel.asked(), []);
    assert_eq!(stage.status().malformed.get("two announcements"), Some(&2));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// Announcements without end: in one packet, and one after another.
#[test]
fn flood_of_announcements() {
    let stage = Play::ftp().start();
    let mut flow = Control::over(Net::Plain4, 1);
    stage.kernel.carries(flow.client(PORT.repeat(40)));
    stage.kernel.carries(flow.client((0..40).map(|n| format!("PORT 10,0,1,2,8,{n}\r\n")).collect::<Vec<_>>().concat()));
    assert_eq!(granted(&stage), 5, "one that is repeated, and four others");
    let start = Instant::now();
    let ids: Vec<u32> = (0..600_u16)
        .map(|n| stage.kernel.arrives(flow.client(format!("PORT 10,0,1,2,{},{}\r\n", 20 + n / 256, n % 256))))
        .collect();
    stage.kernel.come_back(&ids);
    // A full bucket, and what has come back into it.
    let most = 128 + 32 * (start.elapsed().as_secs() + 1);
    assert!(u64::try_from(granted(&stage)).unwrap() <= most, "{} of at most {most}", granted(&stage));
    assert!(stage.status().refused["rate"] > 0);
    stage.audits("a refusal by rate", |event| {
        matches!(event, Event::ExpectationRefused { rule, .. } if rule == "rate").then_some(())
    });
    let mut other = Control::over(Net::Plain4, 2);
    let before = granted(&stage);
    stage.kernel.carries(other.client("PORT 10,0,1,2,99,99\r\n"));
    assert_eq!(granted(&stage), before + 1, "another connection has its own rate");
    assert!(matches!(stage.stop(), Ended::Orderly));
}

fn granted(stage: &Stage) -> usize {
    stage.kernel.asked().iter().filter(|asked| asked.answer.is_ok()).count()
}

/// A process's resident memory, kB.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Half a line for ever, on one connection and on many: memory stays bounded, and the connection is served again after the line's end.
#[test]
fn half_a_line_for_ever() {
    let stage = Play::ftp().start();
    let mut flow = Control::over(Net::Plain4, 1);
    stage.kernel.carries(flow.client("NOOP\r\n"));
    let pid = stage.serves();
    let before = memory(pid);
    for _ in 0..20 {
        let ids: Vec<u32> = (0..100).map(|_| stage.kernel.arrives(flow.client([b'x'; 1400]))).collect();
        stage.kernel.come_back(&ids);
    }
    let after_one = memory(pid);
    assert!(after_one < before + 2048, "{before} kB before, {after_one} kB after 2.8 MB of one line");
    let mut many: Vec<Control> = (2..20_000).map(|n| Control::over(Net::Plain4, n)).collect();
    for flows in many.chunks_mut(500) {
        let ids = stage.kernel.arrive(flows.iter_mut().map(|flow| flow.client([b'y'; 500])));
        let last = *ids.last().unwrap();
        stage.kernel.comes_back(last);
    }
    let after_many = memory(pid);
    assert!(after_many < before + 16 * 1024, "{before} kB before, {after_many} kB after 20000 halves of lines");
    stage.kernel.carries(flow.client("\r\n"));
    stage.kernel.carries(flow.client(PORT));
    assert_eq!((granted(&stage), stage.serves()), (1, pid), "by the same worker");
}

/// Under NAT a cut announcement is asked for again; one that never ends must not stop the connection.
#[test]
fn half_an_announcement_for_ever_under_nat() {
    let stage = Play::ftp().start();
    let mut flow = Control::over(Net::Snat4, 1);
    let half = flow.client("PORT 10,0,");
    let hows: Vec<How> = (0..6).map(|_| stage.kernel.carries(half.clone()).how).collect();
    assert_eq!(hows.iter().filter(|how| **how == How::Dropped).count(), 3, "{hows:?}");
    assert!(hows[3..].iter().all(|how| *how != How::Dropped), "{hows:?}");
    stage.kernel.carries(flow.client("0,0,0,0\r\n"));
    assert!(stage.kernel.carries(flow.client(PORT)).payload().starts_with(b"PORT 10,0,2,1,"));
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// Bytes that no FTP line holds, and numbers that no field holds: each passes as it came, and a counter names the field.
#[test]
fn malformed_lines_pass_and_are_counted_by_field() {
    let stage = Play::ftp().start();
    let mut flow = Control::over(Net::Snat4, 1);
    let long = format!("PORT 10,0,1,2,7,208{}\r\n", "0".repeat(4000));
    // A control byte in the first line of all would be another protocol.
    stage.kernel.carries(flow.client("NOOP\r\n"));
    for (line, field) in [
        ("PORT 10,0,1,2,7,208\0\r\n", "control byte in a command"),
        ("PO\0RT 10,0,1,2,7,208\r\n", "control byte in a command"),
        ("PORT 10,0,1,256,7,208\r\n", "number over 255"),
        ("PORT 10,0,1,2,7,4294967504\r\n", "number over 255"),
        ("PORT 10,0,1,2,7,208,1\r\n", "more than six numbers"),
        ("PORT 10,0,1,2,0,0\r\n", "port 0"),
        ("PORT -10,0,1,2,7,208\r\n", "PORT argument"),
        ("EPRT |1|10.0.1.2|65536|\r\n", "port over 65535"),
        ("EPRT |1|10.0.1.2\r\n", "EPRT argument"),
        ("EPRT |1|10.0.1.2|\r\n", "port missing"),
        ("EPRT |9|10.0.1.2|2000|\r\n", "EPRT family"),
        (long.as_str(), "line length"),
    ] {
        let before = stage.status().malformed.get(field).copied().unwrap_or(0);
        assert_eq!(stage.kernel.carries(flow.client(line)).payload(), line.as_bytes());
        assert_eq!(stage.status().malformed.get(field), Some(&(before + 1)), "{line:?}: {:?}", stage.status().malformed);
    }
    assert_eq!(stage.kernel.asked(), []);
    assert_eq!(stage.status().restarts, 0);
    assert!(stage.kernel.carries(flow.client(PORT)).payload().starts_with(b"PORT 10,0,2,1,"), "the connection is served on");
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// A worker that is killed again and again while announcements come must not lose count: limits are the supervisor's.
#[test]
fn a_crash_resets_no_limit() {
    let stage = Play::ftp().bears(1000).start();
    let mut flow = Control::over(Net::Plain4, 1);
    let start = Instant::now();
    for n in 0..200_u8 {
        stage.kernel.carries(flow.client(format!("PORT 10,0,1,2,20,{n}\r\n")));
        if n % 40 == 39 {
            assert_eq!(stage.answer(Command::Restart), Ok(()));
            stage.serves();
        }
    }
    let refilled = 32 * (start.elapsed() + Duration::from_secs(1)).as_secs();
    let granted = u64::try_from(granted(&stage)).unwrap();
    assert!(granted <= 128 + refilled, "{granted} granted, {refilled} refilled");
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// Somebody sends one question after another, each from another port: each is a first packet with an announcement of its own.
#[test]
fn flood_of_first_packets() {
    let stage = Play::helper("mdns").start();
    let question = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x04_ipp\x05local\0\0\x0c\0\x01";
    let ask = |n| Datagrams::over(Net::Plain4, n, 5353).to("224.0.0.251").first(question);
    let ids = stage.kernel.arrive((0..2000).map(ask));
    stage.kernel.come_back(&ids);
    let status = stage.status();
    assert_eq!((status.packets, status.verdicts, status.expectations, status.restarts), (2000, 2000, 2000, 0));
    // One connection that repeats itself is held to its rate; the packets pass.
    let ids = stage.kernel.arrive((0..1000).map(|_| Datagrams::over(Net::Plain4, 7, 5353).to("224.0.0.251").client(question)));
    stage.kernel.come_back(&ids);
    let status = stage.status();
    assert!(status.refused["rate"] > 500, "{:?}", status.refused);
    assert_eq!(status.verdicts, 3000);
    assert!(matches!(stage.stop(), Ended::Orderly));
}

/// A device that names another's address, or a service that is none of its own, as the place of its description; and a subscriber that
/// wants somebody else to be called.
#[test]
fn ssdp_bounce() {
    let stage = Play::helper("ssdp").start();
    for (n, place) in
        (0..).zip(["192.0.2.9:5000", "10.0.2.2:5000", "127.0.0.1:5000", "239.255.255.250:1900", "10.0.1.2:22", "10.0.1.2:445"])
    {
        let answer = Datagrams::over(Net::Plain4, n, 40_001);
        let found = format!("HTTP/1.1 200 OK\r\nLOCATION: http://{place}/\r\n\r\n");
        let released = stage.kernel.carries(Packet {
            info: CtInfo::Related,
            expected: Some(Expected { ours: true, counted_as: None }),
            ..answer.first(&found)
        });
        assert_eq!(released.payload(), found.as_bytes());
    }
    for (n, place) in (10..).zip(["192.0.2.9:5000", "10.0.2.2:5000", "10.0.1.2:80", "10.0.1.2:22"]) {
        let subscribe = format!("SUBSCRIBE /e HTTP/1.1\r\nCALLBACK: <http://{place}/>\r\n\r\n");
        stage.kernel.carries(Control::over(Net::Plain4, n).client(&subscribe));
    }
    assert_eq!(stage.kernel.asked(), []);
    let status = stage.status();
    assert_eq!(status.refused.values().sum::<u64>(), 8, "{:?}", status.refused);
    assert_eq!(status.malformed["ssdp CALLBACK"], 2);
    assert!(matches!(stage.stop(), Ended::Orderly));
}
