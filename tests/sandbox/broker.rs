//! The broker as a process: made by a warden, confined as the kernel sees it, replaced when it ends, and undisturbed by its clients.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use cthelper_policy::config::{Config, Daemon};
use cthelper_policy::profiles::BROKER;
use cthelper_proto::events::Event;
use cthelper_supervisor::spawn::Identity;
use cthelper_tests::binaries::binary;
use cthelper_tests::calls::{Trace, filtered, idle, unused};
use cthelper_tests::eventually;
use cthelper_tests::office::{Served, rest};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, geteuid};

#[test]
fn whoever_may_connect_gets_the_metrics_by_socket_or_port() {
    let served = Served::start();
    let text = served.metrics();
    assert!(text.starts_with("{\"ok\":\"metrics\"}\n# HELP cthelperd_build_info ") && text.ends_with("# EOF\n"), "{text}");
    let by_port = |request: &[u8]| {
        let mut stream = TcpStream::connect(served.port).unwrap();
        stream.write_all(request).unwrap();
        rest(&mut stream)
    };
    let answer = by_port(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())) && body.ends_with("# EOF\n"));
    assert!(by_port(b"GET /etc/passwd HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    served.end();
}

#[test]
fn a_broker_that_is_killed_is_replaced_and_that_is_audited() {
    if !geteuid().is_root() {
        return println!("skipped: signals across identities need root");
    }
    let served = Served::start();
    let first = served.broker();
    assert_eq!(first.uid, Identity::find(Daemon::USER, Daemon::USER).unwrap().uid);
    nix::sys::signal::kill(Pid::from_raw(first.pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
    let second = eventually("another", || Some(served.broker()).filter(|broker| broker.pid != first.pid));
    assert_eq!(second.restarts, 1);
    let ended = served.records.try_iter().find_map(|record| match record.event {
        Event::BrokerEnded { pid, cause, decision } => Some((pid, cause, decision)),
        _ => None,
    });
    assert_eq!(ended, Some((first.pid, "signal SIGKILL".to_owned(), "restart after 0 ms".to_owned())));
    assert_eq!(served.figure("cthelperd_broker_restarts_total"), 1);
    served.end();
}

#[test]
fn clients_that_misbehave_are_told_or_dropped_and_counted_and_disturb_nobody() {
    let served = Served::start();
    let before = served.broker().pid;
    let silent = served.connect();
    let mut half = served.connect();
    half.write_all(b"{\"metr").unwrap();
    assert!(
        served.says(b"GET / HTTP/1.1\r\n\r\n").starts_with("{\"error\":{\"code\":\"bad-request\",\"reason\":\"expected value")
    );
    assert!(served.says(b"{\"queue\":70000}\n").starts_with("{\"error\":"));
    assert_eq!(
        served.says(&vec![b'x'; 1 << 20]),
        "{\"error\":{\"code\":\"bad-request\",\"reason\":\"a request has at most 1024 bytes\"}}\n"
    );
    let gone = served.connect();
    gone.shutdown(Shutdown::Both).unwrap();
    let crowd: Vec<UnixStream> = (0..1000).map(|_| served.connect()).collect();
    // All these are one user's, who gets 256 places; root has as many as there are.
    let turned_away = crowd.len().saturating_sub(if geteuid().is_root() { 1022 } else { 254 });
    drop(crowd);
    assert!(served.figure("cthelperd_broker_dropped_clients_total{reason=\"too-many\"}") >= turned_away as u64);
    assert_eq!(served.figure("cthelperd_broker_dropped_clients_total{reason=\"garbage\"}"), 3);
    for mut idle in [silent, half] {
        assert_eq!(rest(&mut idle), "{\"error\":{\"code\":\"bad-request\",\"reason\":\"no request came in time\"}}\n");
    }
    assert!(served.figure("cthelperd_broker_dropped_clients_total{reason=\"silent\"}") >= 2);
    assert_eq!(served.broker().pid, before, "it is the same process");
    served.end();
}

/// Connections of the kernel's, in a network of the thread's own; nothing where that cannot be had.
struct Network(UdpSocket);

impl Network {
    fn own() -> Option<Self> {
        let run = |program: &str, args: &[&str]| {
            let done = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
            done.is_ok_and(|status| status.success())
        };
        let rules = "add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c ct state new counter";
        let is_made = geteuid().is_root()
            && unshare(CloneFlags::CLONE_NEWNET).is_ok()
            && run("ip", &["link", "set", "lo", "up"])
            && run("nft", &[rules]);
        is_made.then(|| Self(UdpSocket::bind("127.0.0.1:0").unwrap()))
    }

    /// So many new ones, to the ports from `first` on.
    fn connects(&self, first: u16, count: u16) {
        for port in first..first + count {
            let send = || self.0.send_to(b"x", ("127.0.0.1", port));
            let _ = send().or_else(|_| send()); // the error of an earlier one
        }
    }
}

/// Lines up to the one that is the last.
fn lines_until(reader: &mut BufReader<UnixStream>, last: impl Fn(&str) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "after {:?}", lines.last());
        lines.push(line.trim_end().to_owned());
        if last(&line) {
            return lines;
        }
    }
}

/// A reader that sleeps loses its own events and is told how many, to the last one; one that reads gets all.
#[test]
fn of_the_kernels_events_a_slow_subscriber_reads_or_is_told_to_have_lost_every_one() {
    let Some(network) = Network::own() else { return println!("skipped: no network of its own with nftables") };
    let queue = "events = [\"new\"]\nfilter = \"proto udp\"\n";
    let config = format!("[events.queue.1]\n{queue}[events.queue.2]\nrecords = 64\n{queue}");
    let served = Served::by(&binary("cthelperd"), &config);
    let mut fast = served.subscribed("{\"queue\":1}\n");
    let mut slow = served.subscribed("{\"queue\":2}\n");
    let is_last = |line: &str| line.contains("dport=13999 ");
    let all = std::thread::scope(|scope| {
        let reader = scope.spawn(|| lines_until(&mut fast, is_last));
        for part in 0..40 {
            network.connects(10_000 + part * 100, 100);
            std::thread::sleep(Duration::from_millis(5)); // the kernel's buffer is not what is tried here
        }
        reader.join().unwrap()
    });
    assert_eq!(all.len(), 4000);
    let late = lines_until(&mut slow, is_last);
    let lost: usize = late.iter().filter_map(|line| line.strip_prefix("# lost ")?.parse::<usize>().ok()).sum();
    let got = late.iter().filter(|line| !line.starts_with('#')).count();
    println!("of 4000 events {got} were read and {lost} told as lost");
    assert!(lost > 0 && got + lost == 4000, "{got} + {lost}");
    assert_eq!(served.figure("cthelperd_broker_lost_events_total"), lost as u64);
    served.end();
}

/// What no queue wants and the mirror does not need never reaches the broker: the kernel is told, and told again by a reload.
#[test]
fn the_kernel_delivers_what_some_queue_may_want_and_follows_a_reload() {
    let Some(network) = Network::own() else { return println!("skipped: no network of its own with nftables") };
    let queue = |filter: &str| format!("[events.queue.1]\nevents = [\"new\", \"update\"]\nfilter = \"{filter}\"\n");
    let served = Served::by(&binary("cthelperd"), &queue("proto udp and dport 10100-10199"));
    let read = || served.figure("cthelperd_broker_events_total{kind=\"new\"}");
    let mut reader = served.subscribed("{\"queue\":1}\n");
    network.connects(10_000, 1000);
    assert_eq!(lines_until(&mut reader, |line| line.contains("dport=10199 ")).len(), 100);
    assert_eq!(read(), 100);
    let config = Config::parse(&format!("[helper.ftp]\n{}", queue("proto udp and not sport 1")), "test").unwrap();
    served.board.set_queues(&config.queues);
    // What is told after a request was answered under the new configuration is judged by it.
    let widened = |port: u16| {
        network.connects(port, 1);
        std::thread::sleep(Duration::from_millis(20));
        (read() > 100).then_some(port)
    };
    let mut ports = 20_000_u16..30_000;
    let first = eventually("the reload", || widened(ports.next()?));
    lines_until(&mut reader, |line| line.contains(&format!("dport={first} ")));
    let before = read();
    network.connects(11_000, 500);
    lines_until(&mut reader, |line| line.contains("dport=11499 "));
    assert_eq!(read(), before + 500);
    served.end();
}

/// A gap is told, and followed by everything there is. What was read and what the kernel says it dropped is all there was.
#[test]
fn after_a_gap_a_subscriber_is_given_everything_there_is() {
    let Some(network) = Network::own() else { return println!("skipped: no network of its own with nftables") };
    let config = "[events]\nbuffer = 4096\n[events.queue.1]\nevents = [\"new\"]\nfilter = \"proto udp\"\n";
    let served = Served::by(&binary("cthelperd"), config);
    let mut reader = served.subscribed("{\"queue\":1,\"resync\":true}\n");
    lines_until(&mut reader, |line| line == "# resync end\n");
    network.connects(10_000, 3000);
    lines_until(&mut reader, |line| line == "# gap\n");
    // The last of the gaps is followed by a resync that shows all connections.
    let shown = loop {
        lines_until(&mut reader, |line| line == "# resync begin\n");
        let lines = lines_until(&mut reader, |line| line == "# resync end\n");
        let udp = lines.iter().filter(|line| line.starts_with("udp ")).count();
        if udp >= 3000 {
            break udp;
        }
    };
    println!("{shown} connections were shown");
    let [gaps, dropped, read] = [
        "cthelperd_broker_gaps_total",
        "cthelperd_broker_kernel_dropped_messages_total",
        "cthelperd_broker_events_total{kind=\"new\"}",
    ]
    .map(|name| served.figure(name));
    println!("of 3000 events {read} were read, and {dropped} dropped by the kernel, in {gaps} gaps");
    assert!(gaps > 0 && dropped > 0 && read + dropped == 3000, "{read} + {dropped}, {gaps} gaps");
    served.end();
}

#[test]
fn each_line_of_its_table_is_used() {
    if !geteuid().is_root() {
        return println!("skipped: tracing across identities needs root");
    }
    let trace = Trace::new();
    let served = Served::by(&trace.cthelperd("all"), "");
    let pid = served.broker().pid;
    served.metrics();
    served.end();
    let mut calls = trace.calls();
    let own = calls.remove(&pid).unwrap();
    let serving = *filtered(&own).last().unwrap();
    println!("{} calls; not needed on this machine:", serving.len());
    for line in idle(&BROKER, serving) {
        println!("  {line}");
    }
    assert_eq!(unused(&BROKER, serving), [""; 0]);
}

#[test]
fn without_what_the_warden_gives_it_it_does_not_start() {
    for arguments in [&["broker"][..], &["broker", "x", "y"], &["broker", "0", "0"], &["broker", "60642", "60642"]] {
        let output = Command::new(binary("cthelperd")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("broker: "), "{arguments:?}");
    }
}
