//! Finds the facts out: the only part of `doctor` that touches the system.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use cthelper_proto::ctl::{HelperStatus, Status};
use cthelper_proto::netlink::entry::Entry;
use cthelper_proto::netlink::message::{Body, Message, subsystem};
use cthelper_proto::netlink::{conntrack, expect, queue};
use cthelper_supervisor::cli::ctl::doctor::{FlowEnds, Options};
use cthelper_supervisor::keeper::ledger;
use cthelper_supervisor::kernel::netfilter::socket::Nfnl;
use nix::errno::Errno;

use super::flow::Tracked;
use super::{Facts, Own, kernel, ruleset};
use crate::configuration;
use crate::control;
use crate::exit::Failure;
use crate::queues::{self, Queue};
use crate::registry::Registry;

/// `CAP_NET_ADMIN`'s bit in `CapEff`.
const NET_ADMIN: u64 = 1 << 12;
/// The initial user namespace's inode number (`PROC_USER_INIT_INO`).
const INITIAL_USERNS: &str = "user:[4026531837]";
/// Helpers inside the kernel that have a module of their own, as they are registered.
const IN_KERNEL: [&str; 9] = ["amanda", "ftp", "irc", "netbios-ns", "pptp", "sane", "sip", "snmp", "tftp"];

/// Everything there is to know.
pub fn facts(wanted: &Options, runtime_dir: &Path) -> Facts {
    let release =
        nix::sys::utsname::uname().map_or_else(|_| String::new(), |uname| uname.release().to_string_lossy().into_owned());
    let queues = queues::bound();
    let Rules { attached, offloading, unknown } = rules();
    let daemon = control::status(runtime_dir);
    Facts {
        distribution: distribution(),
        kconfig: kconfig(&release),
        release,
        net_admin: net_admin(),
        initial_userns: fs::read_link("/proc/self/ns/user").ok().map(|namespace| namespace.as_os_str() == INITIAL_USERNS),
        registry: Nfnl::open().and_then(|mut socket| socket.list()),
        glue: glue(queues.as_deref().unwrap_or_default()),
        expectations: expectations(),
        expect_max: number_in("/proc/sys/net/netfilter/nf_conntrack_expect_max"),
        in_kernel: IN_KERNEL.into_iter().filter_map(|name| Some((name.to_owned(), own(name)?))).collect(),
        queues,
        estate: ledger::estate(),
        attached,
        offloading,
        rules_unknown: unknown,
        tracked: tracked(&daemon, wanted.flow),
        flow: wanted.flow,
        conntracks: number_in("/proc/sys/net/netfilter/nf_conntrack_count")
            .zip(number_in("/proc/sys/net/netfilter/nf_conntrack_max")),
        automatic: number_in("/proc/sys/net/netfilter/nf_conntrack_helper").map(|on| on != 0),
        workers: workers(&daemon),
        daemon,
        wanted: wanted.helpers.clone(),
        configured: configured(),
    }
}

/// `ID` of os-release(5).
fn distribution() -> String {
    let text = fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release")).unwrap_or_default();
    let id = text.lines().find_map(|line| line.strip_prefix("ID="));
    id.unwrap_or_default().trim_matches('"').to_owned()
}

/// The options that matter, from the file most distributions install beside the kernel, or from the running kernel.
fn kconfig(release: &str) -> Option<BTreeMap<String, String>> {
    let files = [
        format!("/boot/config-{release}"),
        format!("/lib/modules/{release}/config"),
        format!("/lib/modules/{release}/build/.config"),
    ];
    let text =
        files.iter().find_map(|file| fs::read_to_string(file).ok()).or_else(|| output("zcat", &["/proc/config.gz"]).ok())?;
    let set = text.lines().filter_map(|line| line.split_once('=')).filter(|(option, _)| kernel::OPTIONS.contains(option));
    Some(set.map(|(option, value)| (option.to_owned(), value.to_owned())).collect())
}

fn net_admin() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|caps| caps & NET_ADMIN != 0)
}

/// Binds a queue nobody uses, asks for conntrack data, and gives it back by closing the socket.
fn glue(bound: &[Queue]) -> Result<(), Errno> {
    let unused =
        (0..=u16::MAX).rev().find(|number| bound.iter().all(|queue| queue.number != u32::from(*number))).ok_or(Errno::EBUSY)?;
    let mut socket = Nfnl::open()?;
    socket.request(|out, seq| queue::bind(out, seq, unused), |_| ()).map_err(|refusal| refusal.errno)?;
    let flags = queue::config::CONNTRACK;
    let config = queue::Config { copy_range: 0, max_len: 1, flags, mask: flags };
    socket.request(|out, seq| queue::configure(out, seq, unused, &config), |_| ()).map_err(|refusal| refusal.errno)
}

fn expectations() -> Result<usize, Errno> {
    let mut count = 0;
    Nfnl::open()?.request(|out, seq| expect::dump(out, seq, 0), |_| count += 1).map_err(|refusal| refusal.errno)?;
    Ok(count)
}

fn number_in(file: &str) -> Option<usize> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// A built-in module has a folder in sysfs too, for its parameters, but no state: `param_sysfs_builtin` makes it,
/// and only `mod_sysfs_setup` of a loaded one adds the state (Linux 6.1).
fn own(helper: &str) -> Option<Own> {
    let folder = Path::new("/sys/module").join(format!("nf_conntrack_{}", helper.replace('-', "_")));
    let loaded = folder.join("initstate").exists() || folder.join("refcnt").exists();
    folder.is_dir().then_some(if loaded { Own::Module } else { Own::BuiltIn })
}

/// The enabled helpers of the configuration; FTP if there is none that can be read.
fn configured() -> Vec<String> {
    let Ok(Some(config)) = configuration::standard() else { return vec!["ftp".to_owned()] };
    config.helpers.into_values().filter(|helper| helper.enabled).map(|helper| helper.name).collect()
}

/// What the loaded rules do.
#[derive(Default)]
struct Rules {
    /// Helpers they attach.
    attached: BTreeSet<String>,
    /// Tables that hand connections to a flowtable.
    offloading: BTreeSet<String>,
    /// Why there may be more.
    unknown: Option<String>,
}

fn rules() -> Rules {
    let mut rules = Rules::default();
    let mut unknown = Vec::new();
    let nft = output("nft", &["-j", "list", "ruleset"]).and_then(|json| {
        rules.offloading = ruleset::offloading(&json);
        ruleset::attached_by_nft(&json).ok_or_else(|| "nft speaks no JSON".to_owned())
    });
    let tables =
        ["iptables-save", "ip6tables-save"].map(|program| output(program, &[]).map(|text| ruleset::attached_by_iptables(&text)));
    let none_installed = missing("nft") && missing("iptables-save");
    for (program, found) in ["nft", "iptables-save", "ip6tables-save"].into_iter().zip([nft].into_iter().chain(tables)) {
        match found {
            Ok(names) => rules.attached.extend(names),
            // Rules of a tool that is not installed are unlikely, as long as another one is.
            Err(_) if missing(program) && !none_installed => {}
            Err(why) => unknown.push(why),
        }
    }
    rules.unknown = (!unknown.is_empty()).then(|| unknown.join("; "));
    rules
}

/// Looks at every connection once.
fn tracked(daemon: &Result<Status, Failure>, asked: Option<FlowEnds>) -> Result<Tracked, Errno> {
    let served = daemon.iter().flat_map(|status| &status.helpers);
    let over = |helper: &HelperStatus| {
        let ports = helper.ports.clone();
        helper.l4.iter().flat_map(move |l4| ports.clone().into_iter().map(move |port| (l4.number(), port))).collect::<Vec<_>>()
    };
    let ports: Vec<(u8, u16)> = served.flat_map(over).collect();
    let mut tracked = Tracked::default();
    let mut socket = Nfnl::open()?;
    let look = |message: &Message<'_>| {
        if let Body::Nf { subsystem: subsystem::CONNTRACK, attrs, .. } = message.body
            && let Ok(entry) = Entry::parse(attrs)
        {
            tracked.count(&entry, &ports, asked);
        }
    };
    socket.request(|out, seq| conntrack::dump(out, seq, 0), look).map_err(|refusal| refusal.errno)?;
    for flow in &mut tracked.asked {
        let count = &mut flow.expectations;
        // A connection that has just ended has none.
        let _ = socket.request(|out, seq| expect::dump_of_master(out, seq, &flow.orig, 0), |_| *count += 1);
    }
    Ok(tracked)
}

/// Whether no folder of `PATH` has this program.
fn missing(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    !std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// What a program prints, or in words why it does not.
fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let run =
        Command::new(program).args(arguments).stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if run.status.success() {
        return Ok(String::from_utf8_lossy(&run.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&run.stderr);
    Err(format!("{program}: {}", words.lines().next().map_or_else(|| run.status.to_string(), str::to_owned)))
}

fn workers(daemon: &Result<Status, Failure>) -> BTreeMap<u32, String> {
    let pids = daemon.iter().flat_map(|status| &status.helpers).flat_map(|helper| &helper.workers).map(|worker| worker.pid);
    pids.filter_map(|pid| Some((pid, fs::read_to_string(format!("/proc/{pid}/status")).ok()?))).collect()
}
