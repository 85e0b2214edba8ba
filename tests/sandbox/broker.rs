//! The broker as a process: made by a warden, confined as the kernel sees it, replaced when it ends, and undisturbed by its clients.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cthelper_policy::config::{Config, Daemon, EventsConfig};
use cthelper_policy::profiles::BROKER;
use cthelper_proto::ctl::{BrokerState, BrokerStatus, Evidence};
use cthelper_proto::events::Event;
use cthelper_supervisor::audit::{Audit, Records};
use cthelper_supervisor::broker::BrokerRecipe;
use cthelper_supervisor::broker::board::Board;
use cthelper_supervisor::broker::link::Link;
use cthelper_supervisor::broker::office::{Equipment, Office};
use cthelper_supervisor::broker::setting::Names;
use cthelper_supervisor::configuration::Source;
use cthelper_supervisor::control::{Governor, Kept};
use cthelper_supervisor::spawn::Identity;
use cthelper_supervisor::warden::{Hiring, Warden};
use cthelper_tests::binaries::{binary, scratch};
use cthelper_tests::calls::{Trace, filtered, idle, unused};
use cthelper_tests::eventually;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, geteuid};

/// An office with a broker, and no helper.
struct Served {
    office: std::thread::JoinHandle<()>,
    end: tokio::sync::oneshot::Sender<()>,
    board: Board,
    records: Records,
    socket: PathBuf,
    port: std::net::SocketAddr,
    _warden: Warden,
}

impl Served {
    /// `warden` is a program that becomes one.
    fn by(warden: &Path) -> Self {
        let identity = Identity::find(Daemon::USER, Daemon::USER).unwrap();
        let mut hiring = Hiring::start(warden).unwrap();
        let post = hiring.broker(&BrokerRecipe { program: binary("cthelperd"), identity }).unwrap();
        let warden = hiring.seal().unwrap();
        let socket = scratch("broker").join("events.sock");
        let events = UnixListener::bind(&socket).unwrap();
        let metrics = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = metrics.local_addr().unwrap();
        for nonblocking in [events.set_nonblocking(true), metrics.set_nonblocking(true)] {
            nonblocking.unwrap();
        }
        let equipment = Equipment {
            events: events.into(),
            metrics: Some(metrics.into()),
            names: Names::default(),
            settings: EventsConfig::default(),
        };
        let (audit, records) = Audit::channel();
        let board = Board::default();
        let kept = Kept { audit: audit.clone(), places: Evidence::default(), broker: board.clone() };
        let governor = Governor::new(Vec::new(), Source::default(), Config::default(), kept);
        let office = Office::new(post, identity, equipment, Link::default(), board.clone(), audit);
        let (end, over) = tokio::sync::oneshot::channel();
        let office = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.spawn(office.keep(governor));
            let _ = runtime.block_on(over);
        });
        let served = Self { office, end, board, records, socket, port: address, _warden: warden };
        served.broker();
        served
    }

    fn start() -> Self {
        Self::by(&binary("cthelperd"))
    }

    /// The broker that serves.
    fn broker(&self) -> BrokerStatus {
        eventually("a broker that serves", || Some(self.board.read()).filter(|broker| broker.state == BrokerState::Serving))
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// What it answers to these bytes, until it closes.
    fn says(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(request); // it may have heard enough before the end
        rest(&mut stream)
    }

    fn metrics(&self) -> String {
        self.says(b"{\"metrics\":{}}\n")
    }

    fn figure(&self, name: &str) -> u64 {
        let text = self.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}\n{text}"));
        line.trim().parse().unwrap()
    }

    fn end(self) {
        self.end.send(()).unwrap();
        self.office.join().unwrap();
    }
}

fn rest(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

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

#[test]
fn each_line_of_its_table_is_used() {
    if !geteuid().is_root() {
        return println!("skipped: tracing across identities needs root");
    }
    let trace = Trace::new();
    let served = Served::by(&trace.cthelperd("all"));
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
        let output = std::process::Command::new(binary("cthelperd")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("broker: "), "{arguments:?}");
    }
}
