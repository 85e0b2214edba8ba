//! The kernel's side: a network of the bench's own, connections in it, and what the kernel counts.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cthelper_proto::netlink::message::{flag, request};
use cthelper_supervisor::kernel::netfilter::socket::Nfnl;

/// `NFNL_SUBSYS_CTNETLINK`, `IPCTNL_MSG_CT_DELETE`.
const CONNTRACK: u8 = 1;
const DELETE: u8 = 2;
/// `NETLINK_NETFILTER`, as /proc/net/netlink shows it.
const PROTOCOL: &str = "12";
const SYSCTL: &str = "/proc/sys/net/netfilter";
/// Connections go to the ports from here on.
const FIRST_PORT: u16 = 10_000;

/// Moves this process into a network of its own, where connections are tracked and none ends by itself. What is missing is said.
pub(super) fn network() -> Result<(), String> {
    let tool = |name, package| program(name).ok_or_else(|| format!("{name} is missing: package {package} is not installed"));
    let (ip, nft) = (tool("ip", "iproute2")?, tool("nft", "nftables")?);
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).map_err(|errno| format!("a network of its own: {errno}"))?;
    run(Command::new(ip).args(["link", "set", "lo", "up"]))?;
    let rules =
        "add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c ct state new counter";
    run(Command::new(nft).arg(rules))?;
    std::fs::write(format!("{SYSCTL}/nf_conntrack_udp_timeout"), "3600").map_err(|error| format!("{SYSCTL}: {error}"))
}

/// A program's path, if it is installed.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn run(command: &mut Command) -> Result<(), String> {
    let done = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&done.stderr);
    done.status.success().then_some(()).ok_or_else(|| format!("{command:?}: {said}"))
}

/// Ends all connections.
pub(super) fn clear() {
    let flush = |out: &mut Vec<u8>, seq| request(out, CONNTRACK, DELETE, flag::ACK, seq, 0, 0, |_| ());
    Nfnl::open().unwrap().request(flush, |_| ()).unwrap();
    std::thread::sleep(Duration::from_secs(1));
}

/// Connections that are there.
pub(super) fn count() -> u64 {
    number("nf_conntrack_count")
}

/// How many there may be.
pub(super) fn most() -> u64 {
    number("nf_conntrack_max")
}

fn number(sysctl: &str) -> u64 {
    std::fs::read_to_string(format!("{SYSCTL}/{sysctl}")).unwrap().trim().parse().unwrap()
}

/// So many new connections, so many a second (0: as fast as they can be sent); returns how long it took.
pub(super) fn connections(flows: u16, rate: u32) -> Duration {
    let socket = UdpSocket::bind(("127.0.0.1", FIRST_PORT - 1)).unwrap();
    let begin = Instant::now();
    for n in 0..flows {
        let to = ("127.0.0.1", FIRST_PORT + n);
        let _ = socket.send_to(b"x", to).or_else(|_| socket.send_to(b"x", to));
        while rate > 0 && n % 16 == 0 && begin.elapsed() < Duration::from_secs(1) * n.into() / rate {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    begin.elapsed()
}

/// Processor time of a process so far, to the nanosecond: the first number of each thread's `schedstat`.
pub(super) fn cpu(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |thread: PathBuf| {
        let stat = std::fs::read_to_string(thread.join("schedstat")).unwrap();
        stat.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    Duration::from_nanos(threads.map(|thread| of(thread.unwrap().path())).sum())
}

/// A netfilter socket, as /proc/net/netlink shows it.
struct Shown {
    groups: u32,
    /// Bytes that wait to be read.
    waiting: u64,
    /// Messages that the kernel has dropped because it was full.
    drops: u64,
}

/// Those that a process has.
fn sockets(pid: u32) -> Vec<Shown> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let inode = |link: PathBuf| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    let inodes: BTreeSet<String> =
        open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).filter_map(inode).collect();
    let table = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    let lines = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    lines.filter_map(|columns| shown(&columns, &inodes)).collect()
}

fn shown(columns: &[&str], inodes: &BTreeSet<String>) -> Option<Shown> {
    let [_sk, protocol, _port, groups, waiting, _wmem, _dump, _locks, drops, inode] = columns else { return None };
    (*protocol == PROTOCOL && inodes.contains(*inode)).then(|| Shown {
        groups: u32::from_str_radix(groups, 16).unwrap(),
        waiting: waiting.parse().unwrap(),
        drops: drops.parse().unwrap(),
    })
}

/// Messages that the kernel has dropped because the process did not read in time.
pub(super) fn dropped(pid: u32) -> u64 {
    sockets(pid).iter().map(|socket| socket.drops).sum()
}

/// Bytes that it has not read yet.
pub(super) fn waiting(pid: u32) -> u64 {
    sockets(pid).iter().map(|socket| socket.waiting).sum()
}

/// Whether it listens to the kernel's events.
pub(super) fn has_joined(pid: u32) -> bool {
    sockets(pid).iter().any(|socket| socket.groups != 0)
}
