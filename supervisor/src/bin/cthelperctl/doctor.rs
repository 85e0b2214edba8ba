//! `doctor`: what is missing for helpers to work on this machine, and what to do about it.
//!
//! Facts are gathered once, by [`gather`]; every check is a pure function over them. Nothing is changed, but the kernel may load
//! the modules that are asked for.

mod checks;
mod flow;
mod gather;
mod helped;
mod kernel;
mod registered;
mod ruleset;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use cthelper_proto::ctl::Status;
use cthelper_proto::netlink::cthelper::Helper;
use cthelper_supervisor::cli::ctl::doctor::{FlowEnds, Options};
use cthelper_supervisor::keeper::ledger::Life;
use nix::errno::Errno;
use serde::Serialize;

use crate::exit::Failure;
use crate::queues::Queue;
use crate::text::printable;

/// What is known of the machine. `Err` and `None` are facts too: it could not be found out.
#[derive(Debug)]
pub struct Facts {
    /// `uname -r`.
    release: String,
    /// `ID` of os-release, or empty.
    distribution: String,
    /// Options of the kernel's configuration that matter here, `y` or `m`; `None` = configuration not found.
    kconfig: Option<BTreeMap<String, String>>,
    /// This process has `CAP_NET_ADMIN`.
    net_admin: bool,
    /// This process is in the initial user namespace.
    initial_userns: Option<bool>,
    /// Registered user-space helpers.
    registry: Result<Vec<Helper>, Errno>,
    /// Whether a queue can be told to send conntrack data along.
    glue: Result<(), Errno>,
    /// How many expectations there are.
    expectations: Result<usize, Errno>,
    /// How many there may be.
    expect_max: Option<usize>,
    /// Helpers that the kernel has itself, by their names.
    in_kernel: BTreeMap<String, Own>,
    /// Bound queues of this network namespace; `Err` = not readable, in words.
    queues: Result<Vec<Queue>, String>,
    /// Queues that a dead daemon left and somebody holds.
    estate: Life,
    /// Helpers that a loaded rule attaches.
    attached: BTreeSet<String>,
    /// Tables whose rules hand connections to a flowtable.
    offloading: BTreeSet<String>,
    /// Connections that have a helper and those that are offloaded, as far as they matter here.
    tracked: Result<flow::Tracked, Errno>,
    /// The connection that is asked about.
    flow: Option<FlowEnds>,
    /// How many connections are tracked, and how many may be.
    conntracks: Option<(usize, usize)>,
    /// `net.netfilter.nf_conntrack_helper`: the kernel attaches its own helpers by port. `None` = it cannot any more.
    automatic: Option<bool>,
    /// Why the rules are not all known, in words; `None` = they are.
    rules_unknown: Option<String>,
    /// What the daemon says of itself.
    daemon: Result<Status, Failure>,
    /// `/proc/PID/status` of the daemon's workers.
    workers: BTreeMap<u32, String>,
    /// Helpers that shall work, as far as they were named.
    wanted: Vec<String>,
    /// Helpers that shall work if none is named and no daemon answers.
    configured: Vec<String>,
}

/// How the kernel has a helper of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// As a module, which can be removed.
    Module,
    /// Built in; only another kernel is without it.
    BuiltIn,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// May be meant so, or could not be found out.
    Warn,
    /// Helpers cannot work, or connections break.
    Fail,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad.
    level: Level,
    /// Which check says so.
    check: &'static str,
    /// What was found.
    what: String,
    /// What to do; none when all is well.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { level: Level::Ok, check, what: what.into(), remedy: None }
    }

    fn warn(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warn, check, what: what.into(), remedy: Some(remedy.into()) }
    }

    fn fail(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Fail, check, what: what.into(), remedy: Some(remedy.into()) }
    }
}

/// Every check, in the order of the report: the kernel first, because the rest depends on it.
const CHECKS: [fn(&Facts) -> Vec<Finding>; 18] = [
    kernel::privilege,
    kernel::registry,
    kernel::glue,
    kernel::ctnetlink,
    kernel::room,
    checks::daemon,
    checks::confinement,
    checks::names_taken,
    registered::as_served,
    checks::registered_twice,
    checks::disabled,
    checks::unserved,
    checks::unattached,
    traffic::automatic,
    traffic::offloaded,
    traffic::refused,
    traffic::conntracks,
    flow::explain,
];

/// Prints the report; `true` = nothing failed.
pub fn run(wanted: &Options, runtime_dir: &Path, out: &mut dyn Write) -> Result<bool, Failure> {
    let facts = gather::facts(wanted, runtime_dir);
    let findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(&facts)).collect();
    if wanted.json {
        writeln!(out, "{}", serde_json::json!({ "findings": findings }))?;
    } else {
        write!(out, "{}", report(&findings))?;
    }
    Ok(findings.iter().all(|finding| finding.level != Level::Fail))
}

fn report(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let level = match finding.level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        let _ = writeln!(out, "{level}  {:<11}  {}", finding.check, printable(&finding.what));
        if let Some(remedy) = &finding.remedy {
            let _ = writeln!(out, "{:17}  -> {}", "", printable(remedy));
        }
    }
    out
}

#[cfg(test)]
mod tests;
