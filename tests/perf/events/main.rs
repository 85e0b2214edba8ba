//! `make bench-events`, and in a virtual machine `make bench`: the kernel's events through the broker to 1, 10 and 100 subscribers, with a
//! filter and without, and into a file by `cthelperctl events`, beside `conntrack -E` and ulogd2 (NFCT to LOGEMU) doing the same.
//!
//! Needs root, and a kernel with conntrack events and nftables; it works in a network of its own. Each connection is one datagram to another port
//! of the loopback. All counts are the kernel's or the readers': connections made (`nf_conntrack_count`), events it dropped
//! (/proc/net/netlink), lines that arrived, and lines that say how many were lost. Of the broker, (made − dropped) × readers = arrived + told
//! lost, or the bench fails.
//!
//! `--flows N` connections a row, `--rates A,B,C` a second (0: as fast as they can be sent).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench says what it means"
)]

mod broker;
mod kernel;
mod programs;
mod row;

use std::process::ExitCode;
use std::time::Duration;

use broker::Broker;
use cthelper_tests::eventually;
use programs::Program;
use row::Row;

/// Queues of the configuration below.
const ALL: u16 = 1;
const FILTERED: u16 = 2;

const QUEUES: &str = "[events.queue.1]\nevents = [\"new\"]\n\
     [events.queue.2]\nevents = [\"new\"]\nfilter = \"proto udp and dst 127.0.0.0/8 and not dport 1-9999 and not addr 10.0.0.0/8\"\n";

/// How often those are measured that do the same.
const ROUNDS: usize = 3;

/// Another program enlarges its buffer after it has joined the group.
const SETTLING: Duration = Duration::from_secs(1);

/// What is to be measured.
struct Wanted {
    flows: u16,
    rates: Vec<u32>,
}

impl Wanted {
    fn from_arguments() -> Self {
        let arguments: Vec<String> = std::env::args().collect();
        let after = |name: &str| arguments.iter().position(|argument| argument == name).and_then(|at| arguments.get(at + 1));
        let flows = after("--flows").map_or(40_000, |flows| flows.parse().unwrap());
        let rates = after("--rates").map_or("5000,20000,0", |rates| rates);
        Self { flows, rates: rates.split(',').map(|rate| rate.parse().unwrap()).collect() }
    }
}

/// The bench, and whether all of the broker's rows added up so far.
struct Bench {
    wanted: Wanted,
    is_exact: bool,
}

impl Bench {
    /// Returns the broker's CPU per event, µs.
    fn queue(&mut self, broker: &Broker, name: &str, queue: u16, readers: u64, rate: u32) -> f64 {
        kernel::clear();
        let all = broker.readers(queue, readers);
        let progress = || all.tally().arrived + all.tally().told;
        let row = Row::measure(&self.wanted, rate, readers, &[broker.pid], progress).got(all.tally());
        all.end();
        broker.has_subscribers(0);
        self.ours(name, &row)
    }

    fn ours(&mut self, name: &str, row: &Row) -> f64 {
        row.print(name);
        self.is_exact &= row.unaccounted() == 0;
        row.micros()
    }

    /// The broker and `cthelperctl events`, into a file. Returns the CPU of both per event.
    fn file(&mut self, broker: &Broker, rate: u32) -> f64 {
        kernel::clear();
        let reader = Program::cthelperctl(broker.folder(), ALL);
        broker.has_subscribers(1);
        let row = Row::measure(&self.wanted, rate, 1, &[broker.pid, reader.pid()], || reader.written());
        let (got, _) = reader.end();
        broker.has_subscribers(0);
        self.ours("broker + cthelperctl", &row.got(got))
    }

    /// Another program's CPU per event; `None`, and said, if it is not installed.
    fn other(&self, name: &str, rate: u32, start: impl Fn() -> Result<Program, String>) -> Option<f64> {
        kernel::clear();
        let program = start().inspect_err(|missing| println!("{name:<22} left out: {missing}")).ok()?;
        eventually(name, || kernel::has_joined(program.pid()).then_some(()));
        std::thread::sleep(SETTLING);
        let row = Row::measure(&self.wanted, rate, 1, &[program.pid()], || program.written());
        let (got, said) = program.end();
        let row = row.got(got);
        row.print(name);
        if let Some(line) = said.lines().find(|line| line.contains("ENOBUFS")) {
            println!("{:<22} said: {line}", "");
        }
        Some(row.micros())
    }

    /// All rows at this rate. Those that are compared take turns, for the machine is not evenly busy; of each the middle counts.
    fn rate(&mut self, broker: &Broker, rate: u32) {
        let (mut ours, mut conntrack, mut ulogd) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(self.file(broker, rate));
            conntrack.extend(self.other("conntrack -E", rate, Program::conntrack));
            ulogd.extend(self.other("ulogd2", rate, Program::ulogd));
        }
        for (name, queue, readers) in [
            ("broker", ALL, 1),
            ("broker, filtered", FILTERED, 1),
            ("broker", ALL, 10),
            ("broker, filtered", FILTERED, 10),
            ("broker", ALL, 100),
        ] {
            self.queue(broker, name, queue, readers, rate);
        }
        let ours = middle(ours).unwrap_or(f64::NAN);
        println!("a file each, CPU per event: broker + cthelperctl {ours:.1}");
        for (name, theirs) in [("conntrack -E", conntrack), ("ulogd2", ulogd)] {
            if let Some(theirs) = middle(theirs) {
                println!("  {name} {theirs:.1}, {:.2} times as much", theirs / ours);
            }
        }
    }

    /// What the kernel's socket filter saves: nobody wants these events, and the kernel can tell, or only the broker.
    fn unwanted(&self, filter: &str) {
        let broker = Broker::start(&format!("[events.queue.{ALL}]\nevents = [\"new\"]\nfilter = \"{filter}\"\n"));
        kernel::clear();
        let readers = broker.readers(ALL, 1);
        let read = || broker.metric("cthelperd_broker_events_total{kind=\"new\"}");
        let before = read();
        let rate = self.wanted.rates.iter().max().copied().unwrap_or_default();
        let row = Row::measure(&self.wanted, rate, 1, &[broker.pid], || 0);
        println!("{filter:<24} read by the broker {:>6}, µs/event {:.1}", read() - before, row.micros());
        assert_eq!(readers.tally().arrived, 0, "nobody wants them");
        readers.end();
        broker.end();
    }
}

fn middle(mut all: Vec<f64>) -> Option<f64> {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

fn main() -> ExitCode {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: joining the kernel's event groups needs root");
        return ExitCode::SUCCESS;
    }
    if let Err(missing) = kernel::network() {
        println!("skipped: {missing}");
        return ExitCode::SUCCESS;
    }
    let mut bench = Bench { wanted: Wanted::from_arguments(), is_exact: true };
    assert!(u64::from(bench.wanted.flows) < kernel::most(), "nf_conntrack_max is {}", kernel::most());
    let broker = Broker::start(QUEUES);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    println!("{} new connections a row; load {}", bench.wanted.flows, load.split(' ').next().unwrap());
    println!("{}", Row::head());
    for rate in bench.wanted.rates.clone() {
        bench.rate(&broker, rate);
    }
    broker.end();
    println!("events that nobody wants: the kernel can tell, or only the broker");
    bench.unwanted("proto tcp");
    bench.unwanted("reply-src 192.0.2.1");
    if bench.is_exact {
        return ExitCode::SUCCESS;
    }
    println!("a row of the broker's does not add up");
    ExitCode::FAILURE
}
