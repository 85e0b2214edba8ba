//! `make bench-events`: the kernel's events through the broker to 1, 10 and 100 subscribers, with a filter and without, and to
//! `conntrack -E` and ulogd2 (NFCT to LOGEMU) for comparison. Needs root, and a kernel with conntrack events and nftables; it works in a network of its own.
//!
//! The real office and a real confined broker, without helpers. Each connection is one datagram to another port of the loopback, at a rate
//! of so many a second, or as fast as they can be sent. Printed are, for each row, how many events the kernel dropped, how many subscribers
//! lost by being slow, and what the broker cost. Kernel's drops + read by the broker = connections made; read + lost = events × subscribers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench says what it means"
)]

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cthelper_policy::config::{Config, Daemon};
use cthelper_proto::ctl::{BrokerState, Evidence};
use cthelper_supervisor::audit::Audit;
use cthelper_supervisor::broker::board::Board;
use cthelper_supervisor::broker::link::Link;
use cthelper_supervisor::broker::office::{Equipment, Office};
use cthelper_supervisor::broker::setting::Names;
use cthelper_supervisor::configuration::Source;
use cthelper_supervisor::control::{Governor, Kept};
use cthelper_supervisor::spawn::{Identity, RoleRecipe};
use cthelper_supervisor::warden::{Hiring, Warden};
use cthelper_tests::binaries::{binary, scratch};
use cthelper_tests::eventually;

/// Connections of a row.
const FLOWS: u32 = 40_000;
/// Rates tried, connections a second; 0 = as fast as they can be sent.
const RATES: [u32; 3] = [5_000, 20_000, 0];
/// Queues of the configuration below.
const ALL: u16 = 1;
const FILTERED: u16 = 2;

const CONFIG: &str = "[helper.ftp]\n[events.queue.1]\nevents = [\"new\"]\n\
     [events.queue.2]\nevents = [\"new\"]\nfilter = \"proto udp and dst 127.0.0.0/8 and not dport 1-9999 and not addr 10.0.0.0/8\"\n";

struct Bench {
    socket: PathBuf,
    pid: u32,
    end: tokio::sync::oneshot::Sender<()>,
    office: std::thread::JoinHandle<()>,
    _warden: Warden,
}

impl Bench {
    fn start(config: &str) -> Self {
        let identity = Identity::find(Daemon::USER, Daemon::USER).unwrap();
        let mut hiring = Hiring::start(&binary("cthelperd")).unwrap();
        let brokers = hiring.broker(&RoleRecipe { program: binary("cthelperd"), identity }).unwrap();
        let warden = hiring.seal().unwrap();
        let socket = scratch("bench-events").join("events.sock");
        let events = UnixListener::bind(&socket).unwrap();
        events.set_nonblocking(true).unwrap();
        let config = Config::parse(config, "bench").unwrap();
        let equipment = Equipment { events: events.into(), metrics: None, names: Names::default(), settings: config.events };
        let (audit, _records) = Audit::channel();
        let board = Board::new(config.queues.clone());
        let kept = Kept { audit: audit.clone(), places: Evidence::default(), broker: board.clone() };
        let governor = Governor::new(Vec::new(), Source::default(), config, kept);
        let office = Office::new(brokers, identity, equipment, Link::default(), board.clone(), audit);
        let (end, over) = tokio::sync::oneshot::channel();
        let office = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.spawn(office.keep(governor));
            let _ = runtime.block_on(over);
        });
        let serving = eventually("a broker", || Some(board.read()).filter(|broker| broker.state == BrokerState::Serving));
        Self { socket, pid: serving.pid, end, office, _warden: warden }
    }

    fn end(self) {
        let _ = self.end.send(());
        self.office.join().unwrap();
    }

    fn metric(&self, name: &str) -> u64 {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.write_all(b"{\"metrics\":{}}\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}\n{text}"));
        line.trim().parse().unwrap()
    }

    /// A subscriber on a thread, that counts the bytes of its frames until `over`.
    fn subscriber(&self, queue: u16, format: &str, over: Arc<AtomicBool>, read: Arc<AtomicU64>) -> std::thread::JoinHandle<()> {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.write_all(format!("{{\"queue\":{queue},\"format\":\"{format}\"}}\n").as_bytes()).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while !over.load(Ordering::Relaxed) {
                if let Ok(length) = stream.read(&mut buffer) {
                    read.fetch_add(lines(&buffer[..length]), Ordering::Relaxed);
                }
            }
        })
    }
}

/// Processor time of a process so far, to the nanosecond: the first number of its `schedstat`.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

fn run(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(done.is_ok_and(|status| status.success()), "{program} {args:?}");
}

/// Ends the connections of the row before, which are events, too.
fn clear() {
    run("conntrack", &["-F"]);
    std::thread::sleep(Duration::from_secs(2));
}

/// So many new connections; returns how long it took.
fn connections(rate: u32) -> Duration {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let begin = Instant::now();
    for n in 0..FLOWS {
        let port = u16::try_from(10_000 + n).unwrap();
        let _ = socket.send_to(b"x", ("127.0.0.1", port)).or_else(|_| socket.send_to(b"x", ("127.0.0.1", port)));
        while rate > 0 && n % 64 == 0 && begin.elapsed() < Duration::from_secs(1) * n / rate {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    begin.elapsed()
}

fn micros(cpu: Duration) -> f64 {
    cpu.as_secs_f64() * 1e6 / f64::from(FLOWS)
}

/// Returns the broker's CPU per event, µs.
fn row(bench: &Bench, queue: u16, subscribers: u64, rate: u32) -> f64 {
    clear();
    let over = Arc::new(AtomicBool::new(false));
    let heard = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..subscribers).map(|_| bench.subscriber(queue, "text", over.clone(), heard.clone())).collect();
    eventually("all subscribers", || (bench.metric("cthelperd_broker_subscribers ") == subscribers).then_some(()));
    let names = [
        "cthelperd_broker_events_total{kind=\"new\"}",
        "cthelperd_broker_lost_events_total",
        "cthelperd_broker_kernel_dropped_messages_total",
    ];
    std::thread::sleep(Duration::from_millis(300)); // a dump may be under way after the clearing
    let before = names.map(|name| bench.metric(name));
    heard.store(0, Ordering::Relaxed);
    let busy = cpu(bench.pid);
    let took = connections(rate);
    let mut seen = u64::MAX;
    while heard.load(Ordering::Relaxed) != seen {
        seen = heard.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(700));
    }
    let spent = cpu(bench.pid).saturating_sub(busy);
    let [events, lost, dropped] = std::array::from_fn(|at| bench.metric(names[at]) - before[at]);
    over.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().unwrap();
    }
    println!(
        "{:<9} {subscribers:>11} {:>9.0} {events:>8} {dropped:>8} {:>9} {lost:>8} {:>10.1}",
        if queue == FILTERED { "filtered" } else { "all" },
        f64::from(FLOWS) / took.as_secs_f64(),
        seen,
        micros(spent),
    );
    micros(spent)
}

/// Another program that writes each event as a line into a file, and the most its buffer may hold. Returns its CPU per event, µs.
fn other(name: &str, rate: u32) -> f64 {
    clear();
    let folder = scratch(&format!("bench-{name}"));
    let out = folder.join("lines");
    let file = std::fs::File::create(&out).unwrap();
    let mut command = if name == "conntrack -E" {
        let mut command = Command::new("conntrack");
        command.args(["-E", "-e", "NEW", "-b", "16777216"]).stdout(file);
        command
    } else {
        let config = folder.join("ulogd.conf");
        std::fs::write(&config, ulogd_config(&out)).unwrap();
        let mut command = Command::new("/usr/sbin/ulogd");
        command.arg("-c").arg(config).stdout(Stdio::null());
        command
    };
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let busy = cpu(child.id());
    let took = connections(rate);
    let mut seen = u64::MAX;
    while std::fs::metadata(&out).unwrap().len() != seen {
        seen = std::fs::metadata(&out).unwrap().len();
        std::thread::sleep(Duration::from_millis(700));
    }
    let spent = cpu(child.id()).saturating_sub(busy);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), nix::sys::signal::Signal::SIGTERM).unwrap();
    child.wait().unwrap();
    let read = lines(&std::fs::read(&out).unwrap());
    let dropped = u64::from(FLOWS).saturating_sub(read);
    let (per_second, each) = (f64::from(FLOWS) / took.as_secs_f64(), micros(spent));
    println!("{name:<12} {:>8} {per_second:>9.0} {:>8} {dropped:>8} {read:>9} {:>8} {each:>10.1}", 1, "", "");
    each
}

/// NFCT to GPRINT, as ulogd.conf(5) of 2.0.8 has it: events as they come, NEW only, nothing remembered.
fn ulogd_config(out: &std::path::Path) -> String {
    let modules = "/usr/lib/x86_64-linux-gnu/ulogd";
    format!(
        "[global]\nlogfile=\"/dev/null\"\nloglevel=8\nplugin=\"{modules}/ulogd_inpflow_NFCT.so\"\n\
         plugin=\"{modules}/ulogd_filter_IP2STR.so\"\nplugin=\"{modules}/ulogd_filter_PRINTFLOW.so\"\n\
         plugin=\"{modules}/ulogd_output_LOGEMU.so\"\n\
         stack=ct1:NFCT,ip2str1:IP2STR,print1:PRINTFLOW,emu1:LOGEMU\n\
         [ct1]\nhash_enable=0\nevent_mask=0x00000001\nnetlink_socket_buffer_size=16777216\nnetlink_socket_buffer_maxsize=16777216\n\
         [emu1]\nfile=\"{}\"\nsync=0\n",
        out.display()
    )
}

/// What the kernel's socket filter saves: nobody wants these events, and the kernel can tell, or only the broker.
fn cut(filter: &str) {
    let config = format!("[helper.ftp]\n[events.queue.{ALL}]\nevents = [\"new\"]\nfilter = \"{filter}\"\n");
    let bench = Bench::start(&config);
    print!("{filter:<30} ");
    row(&bench, ALL, 1, 20_000);
    bench.end();
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.split(|byte| *byte == b'\n').count() as u64 - 1
}

fn main() {
    if !nix::unistd::geteuid().is_root() {
        return println!("skipped: joining the kernel's event groups needs root");
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    run("ip", &["link", "set", "lo", "up"]);
    run(
        "nft",
        &["add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c ct state new counter"],
    );
    let bench = Bench::start(CONFIG);
    println!(
        "{FLOWS} new connections a row; load {}",
        std::fs::read_to_string("/proc/loadavg").unwrap().split(' ').next().unwrap()
    );
    println!(
        "{:<9} {:>11} {:>9} {:>8} {:>8} {:>9} {:>8} {:>10}",
        "queue", "subscribers", "per s", "events", "dropped", "read", "lost", "µs/event"
    );
    for rate in RATES {
        let ours = row(&bench, ALL, 1, rate);
        let ratios = ["conntrack -E", "ulogd2"].map(|name| (name, other(name, rate) / ours));
        for (queue, subscribers) in [(FILTERED, 1), (ALL, 10), (FILTERED, 10), (ALL, 100)] {
            row(&bench, queue, subscribers, rate);
        }
        println!("CPU per event, to that of the broker with one subscriber: {ratios:.2?}");
    }
    bench.end();
    println!("events that nobody wants: the kernel can tell, or only the broker");
    cut("proto tcp");
    cut("reply-src 192.0.2.1");
}
