//! The list of flows, of a mirror that is full: readers that do not read it cost a piece of it each, and take nothing from others.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use cthelper_proto::types::Tuple;
use cthelper_supervisor::broker::link::Link;
use cthelper_supervisor::broker::protocol::{News, ToBroker, What};
use cthelper_tests::eventually;
use cthelper_tests::office::{Served, rest};
use nix::unistd::geteuid;

/// Of `mirror.rs`.
const FLOWS: u32 = 1 << 17;
/// Of `mirror.rs`: after that it forgets what the kernel has not told of.
const UNCONFIRMED: Duration = Duration::from_secs(60);
/// Readers that do not read.
const SILENT: usize = 64;
/// Address space of a broker with a full mirror and these readers, kB. It may have 256 MiB, and needs 128 of them for subscribers.
const BOUND: u64 = 96 << 10;

/// A lane's news of so many connections; waits where the broker is slower.
fn fill(link: &Link) {
    for n in 0..FLOWS {
        let [_, a, b, c] = n.to_be_bytes();
        let orig = Tuple { src: [10, a, b, c].into(), dst: [192, 0, 2, 1].into(), proto: 6, sport: 40_000, dport: 21 };
        let news = ToBroker::News(News { helper: "ftp".to_owned(), id: n + 1, orig, zone: 0, what: What::Read });
        loop {
            let lost = link.lost();
            link.tell(&news);
            if link.lost() == lost {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What a process has of this memory, kB.
fn memory(pid: u32, which: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(which)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn asks(served: &Served) -> UnixStream {
    let mut stream = served.connect();
    stream.write_all(b"{\"flows\":{}}\n").unwrap();
    stream
}

/// Of a line of the list, its connection's; read so, and not as JSON, because there are many.
fn id(line: &str) -> u32 {
    let (_, behind) = line.split_once(",\"id\":").unwrap();
    behind.split_once(',').unwrap().0.parse().unwrap()
}

#[test]
fn readers_of_the_flows_that_do_not_read_take_no_room_from_others() {
    if !geteuid().is_root() {
        return println!("skipped: the flows are root's");
    }
    let served = Served::start();
    let (pid, begun) = (served.broker().pid, Instant::now());
    fill(&served.link);
    let is_there = || served.metrics().contains(&format!("cthelperd_flows{{helper=\"ftp\"}} {FLOWS}\n"));
    eventually("a full mirror", || is_there().then_some(()));
    println!("full after {:.1?}, with {} kB of data", begun.elapsed(), memory(pid, "RssAnon:"));
    let mut lines = BufReader::new(asks(&served)).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "{\"ok\":\"flows\"}");
    let silent: Vec<UnixStream> = (0..SILENT).map(|_| asks(&served)).collect();
    let ids: Vec<u32> = lines.map(|line| id(&line)).collect();
    let (count, each) = (ids.len(), ids.iter().collect::<HashSet<_>>().len());
    let peak = || memory(pid, "VmPeak:");
    println!("{count} flows told after {:.1?}, beside {SILENT} that do not read, in {} kB", begun.elapsed(), peak());
    assert_eq!(count, each, "each once");
    if begun.elapsed() < UNCONFIRMED {
        assert_eq!(count, usize::try_from(FLOWS).unwrap());
    }
    let dropped = || served.figure("cthelperd_broker_dropped_clients_total{reason=\"slow\"}");
    eventually("the end of patience with those", || (dropped() == SILENT as u64).then_some(()));
    for mut stream in silent {
        let told = rest(&mut stream);
        assert!(told.starts_with("{\"ok\":\"flows\"}\n") && !told.ends_with('\n'), "it can be seen that more was to come");
    }
    assert!(peak() < BOUND, "{} kB", peak());
    assert_eq!(served.broker().pid, pid, "it is the same process");
    served.end();
}
