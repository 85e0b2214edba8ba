//! Checks of the daemon, and of what is registered and attached.

use std::collections::{BTreeMap, BTreeSet};

use cthelper_policy::verify::{Expected, verify};
use cthelper_proto::ctl::{LaneState, Status};
use cthelper_proto::netlink::cthelper::{DISABLED, Helper};

use super::{Facts, Finding, Own, registered};
use crate::exit::Exit;
use crate::registry::{family, object, protocol};
use crate::status;

/// The helpers that shall work: those named, or else those the daemon serves, or without a daemon those it would serve.
fn wanted(facts: &Facts) -> Vec<&str> {
    match &facts.daemon {
        _ if !facts.wanted.is_empty() => facts.wanted.iter().map(String::as_str).collect(),
        Ok(status) => status.helpers.iter().map(|helper| helper.name.as_str()).collect(),
        Err(_) => facts.configured.iter().map(String::as_str).collect(),
    }
}

fn registered(facts: &Facts) -> &[Helper] {
    facts.registry.as_deref().unwrap_or_default()
}

/// The helpers' names, or `none`.
fn names(status: &Status) -> String {
    let names: Vec<&str> = status.helpers.iter().map(|helper| helper.name.as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Whether cthelperd runs, and in what state its lanes are.
pub fn daemon(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "daemon";
    let status = match &facts.daemon {
        Ok(status) => status,
        Err(failure) if failure.exit == Exit::Permission => {
            return vec![Finding::warn(CHECK, failure.words.clone(), "run it as root")];
        }
        Err(failure) => {
            return vec![Finding::fail(CHECK, failure.words.clone(), "cthelperd run --helper ftp, or systemctl start cthelperd")];
        }
    };
    let mut findings = vec![Finding::ok(CHECK, format!("cthelperd runs; helpers: {}", names(status)))];
    for helper in &status.helpers {
        let name = &helper.name;
        match helper.state {
            LaneState::Serving | LaneState::Disabled => {}
            LaneState::Restarting => {
                findings.push(Finding::warn(
                    CHECK,
                    format!("{name} waits for its next worker"),
                    "see the audit log if it stays so",
                ));
            }
            LaneState::Tripped => findings.push(Finding::fail(
                CHECK,
                format!("{name} crashed too often: {}", status::unserved(helper)),
                format!("cthelperctl crashes show last tells the cause; then cthelperctl restart {name}"),
            )),
        }
    }
    for name in facts.wanted.iter().filter(|name| !status.helpers.iter().any(|helper| helper.name == **name)) {
        findings.push(Finding::fail(CHECK, format!("cthelperd does not serve {name}"), format!("start it with --helper {name}")));
    }
    findings
}

/// Whether the kernel agrees that the workers are confined.
pub fn confinement(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "confinement";
    let workers = facts
        .daemon
        .iter()
        .flat_map(|status| &status.helpers)
        .flat_map(|helper| helper.workers.iter().map(move |worker| (helper.name.as_str(), worker)));
    let mut findings = Vec::new();
    for (name, worker) in workers {
        let Some(text) = facts.workers.get(&worker.pid) else { continue };
        let (gid, parent) = (first_number(text, "Gid:"), first_number(text, "PPid:"));
        let who = format!("worker {} of {name}", worker.pid);
        findings.push(match verify(text, &Expected::strict(worker.uid, gid.unwrap_or(0), parent.unwrap_or(0))) {
            Ok(seen) => Finding::ok(
                CHECK,
                format!(
                    "{who}: uid {}, {} seccomp filters, landlock {}, namespaces of its own: {}{}",
                    seen.uid,
                    seen.seccomp_filters,
                    worker.landlock,
                    worker.namespaces,
                    if worker.write_xor_execute { ", W^X" } else { "" }
                ),
            ),
            Err(deviation) => {
                Finding::fail(CHECK, format!("{who} is not confined: {deviation}"), "stop cthelperd and report this")
            }
        });
    }
    findings
}

/// The first number of a field of `/proc/PID/status`.
fn first_number(text: &str, field: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()
}

/// Whether the kernel's own helper has a name that we want.
pub fn names_taken(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "name";
    let mut findings = Vec::new();
    for (name, &own) in &facts.in_kernel {
        let module = format!("nf_conntrack_{}", name.replace('-', "_"));
        let (how, remedy) = way_out(name, &module, own);
        let registered = registered(facts).iter().any(|helper| helper.name == *name);
        if wanted(facts).contains(&name.as_str()) && !registered {
            findings.push(Finding::fail(CHECK, format!("the kernel's own helper has the name {name} ({how})"), remedy));
        } else if registered {
            let what = format!("{name} is registered beside the kernel's own ({how}): which one a rule finds is chance");
            findings.push(Finding::warn(CHECK, what, remedy));
        }
    }
    if findings.is_empty() && !wanted(facts).is_empty() {
        findings.push(Finding::ok(CHECK, "no name that is wanted is taken by a helper inside the kernel"));
    }
    findings
}

/// How the kernel has its own helper, and how to be rid of it.
fn way_out(name: &str, module: &str, own: Own) -> (String, String) {
    match own {
        Own::Module => (
            format!("{module} is loaded"),
            format!(
                "remove the rules that use it, then modprobe -r nf_nat_{} {module}, and keep it out: blacklist {module}",
                name.replace('-', "_")
            ),
        ),
        Own::BuiltIn => (
            format!("{module} is built into it"),
            format!("it cannot be removed: boot a kernel that has {module} as a module or not at all"),
        ),
    }
}

/// One name for one family twice: once for that family, once for any.
pub fn registered_twice(facts: &Facts) -> Vec<Finding> {
    let helpers = registered(facts);
    let twice = helpers
        .iter()
        .filter(|any| any.family == 0)
        .filter(|any| helpers.iter().any(|other| other.family != 0 && other.name == any.name && other.l4 == any.l4));
    twice
        .map(|any| {
            let what = format!("{} is registered twice, for any family and for one: which one a rule finds is chance", any.name);
            Finding::warn("twice", what, "nothing cthelperd registers is for any family: find out who did, and have it deleted")
        })
        .collect()
}

/// Registered, but packets pass without it. One line per name; not again those that the daemon takes for enabled.
pub fn disabled(facts: &Facts) -> Vec<Finding> {
    let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let disabled = registered(facts).iter().filter(|helper| helper.status == DISABLED);
    for helper in disabled.filter(|helper| !registered::is_to_be_enabled(facts, helper)) {
        let protocols = format!("{} {}", family(helper.family), protocol(helper.l4));
        by_name.entry(&helper.name).or_default().push(protocols);
    }
    let finding = |(name, protocols): (&str, Vec<String>)| {
        let what = format!("{name} ({}) is disabled: packets pass without it, nothing is expected", protocols.join(", "));
        Finding::warn("disabled", what, format!("serve it: start cthelperd with --helper {name}, or cthelperctl enable {name}"))
    };
    by_name.into_iter().map(finding).collect()
}

/// Enabled, with nobody at its queue. The kernel then lets packets pass without confirming their connection, and what is not
/// confirmed is not translated or tracked (`nf_confirm`, Linux 5.10 to 7.2).
pub fn unserved(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "queue";
    let enabled: Vec<&Helper> = registered(facts).iter().filter(|helper| helper.status != DISABLED).collect();
    if enabled.is_empty() {
        return Vec::new();
    }
    let queues = match &facts.queues {
        Ok(queues) => queues,
        Err(why) => {
            return vec![Finding::warn(
                CHECK,
                format!("whether the helpers' queues are served is not known: {why}"),
                "run it as root",
            )];
        }
    };
    let mut findings = Vec::new();
    for helper in enabled {
        let (who, queue) = (object(helper), helper.queue);
        match queues.iter().find(|bound| bound.number == queue) {
            None => findings.push(Finding::fail(
                CHECK,
                format!("{who} is ENABLED AND NOBODY SERVES ITS QUEUE {queue}: NEW CONNECTIONS WITH THIS HELPER BREAK NOW"),
                remedy_unserved(helper),
            )),
            Some(bound) if !bound.hands_out_packets() => findings.push(Finding::fail(
                CHECK,
                format!("{who}: queue {queue} is bound but not configured, every packet is DROPPED"),
                remedy_unserved(helper),
            )),
            Some(bound) if bound.is_of(&facts.estate) => findings.push(Finding::warn(
                CHECK,
                format!("{who}: queue {queue} is held and waits for the next daemon: connections pass without the helper"),
                "start cthelperd; if none is to come: cthelperctl disarm",
            )),
            Some(bound) if bound.lost() > 0 => findings.push(Finding::warn(
                CHECK,
                format!("{who}: queue {queue} is served, but was too full for {} packets", bound.lost()),
                "see PACKETS in cthelperctl status; attach the helper to its control port only",
            )),
            Some(_) => findings.push(Finding::ok(CHECK, format!("{who}: queue {queue} is served"))),
        }
    }
    findings
}

/// `nfct disable` where it has words for the object.
fn remedy_unserved(helper: &Helper) -> String {
    let other_namespace = "(if it is served in another network namespace: queues are per namespace, helpers are not)";
    match (helper.family, helper.l4) {
        (2 | 10, 6 | 17) => {
            let words = format!("{} {} {}", helper.name, family(helper.family), protocol(helper.l4));
            format!("start cthelperd, or at once: cthelperctl nfct disable helper {words} {other_namespace}")
        }
        _ => format!("start who serves it, or at once: cthelperctl nfct delete helper {} {other_namespace}", helper.name),
    }
}

/// Enabled, but no rule gives it to a connection.
pub fn unattached(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "rules";
    let enabled = registered(facts).iter().filter(|helper| helper.status != DISABLED);
    let names: BTreeSet<&str> = enabled.map(|helper| helper.name.as_str()).collect();
    let mut findings = Vec::new();
    for name in names {
        let load = format!("cthelperctl rules nft --helper {name} | nft -f -");
        findings.push(match (facts.attached.contains(name), &facts.rules_unknown) {
            (true, _) => Finding::ok(CHECK, format!("a rule attaches {name}")),
            (false, None) => Finding::warn(CHECK, format!("no rule attaches {name} here: no connection has it"), load),
            (false, Some(why)) => {
                Finding::warn(CHECK, format!("no rule seen that attaches {name}, but not all are known: {why}"), load)
            }
        });
    }
    findings
}
