//! Checks of what the traffic meets: tables that are full, connections that pass beside conntrack, announcements that were refused.

use super::{Facts, Finding};

/// Whether the kernel attaches helpers of its own by port; up to 5.19 it could.
pub fn automatic(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "automatic";
    match facts.automatic {
        Some(true) => vec![Finding::warn(
            CHECK,
            "the kernel attaches helpers of its own to well-known ports (net.netfilter.nf_conntrack_helper = 1)",
            "sysctl -w net.netfilter.nf_conntrack_helper=0: rules attach what is wanted",
        )],
        _ => Vec::new(),
    }
}

/// Connections that a flowtable took pass beside conntrack, and so beside every helper. The kernel takes none that has a helper
/// (`nft_flow_offload_eval`), so what matters is those that should have had one.
pub fn offloaded(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "offload";
    let Ok(tracked) = &facts.tracked else { return Vec::new() };
    if facts.offloading.is_empty() && tracked.offloaded == 0 {
        return Vec::new();
    }
    let tables: Vec<&str> = facts.offloading.iter().map(String::as_str).collect();
    let tables = if tables.is_empty() { "a flowtable".to_owned() } else { format!("the flowtable of {}", tables.join(", ")) };
    let remedy = "attach the helper before the rule with `flow add` sees the connection, then close and open it again";
    vec![match (tracked.helped_offloaded, tracked.missed_offloaded) {
        (0, 0) => Finding::ok(CHECK, format!("{tables} has {} connections, none on a helper's port", tracked.offloaded)),
        (0, missed) => {
            Finding::fail(CHECK, format!("{tables} has {missed} connections on a helper's port: no helper sees them"), remedy)
        }
        (helped, _) => {
            Finding::fail(CHECK, format!("{tables} has {helped} connections with a helper: it does not see them"), remedy)
        }
    }]
}

/// What policy refused: the client asked for something that the operator may want to allow.
pub fn refused(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for helper in facts.daemon.iter().flat_map(|status| &status.helpers) {
        for (rule, count) in helper.refused.iter().filter(|(_, count)| **count > 0) {
            let what = format!("{}: {count} announcements refused by the rule {rule}", helper.name);
            findings.push(Finding::warn("refused", what, allowance(rule, &helper.name)));
        }
    }
    findings
}

/// The setting that would allow it.
fn allowance(rule: &str, name: &str) -> String {
    let setting = match rule {
        "foreign-address" => "loose = true",
        "privileged-port" => "privileged_ports = true",
        "rate" => "a higher `rate`",
        _ => return format!("the audit log says of whom; if these are honest clients, see [helper.{name}] in cthelperd.toml(5)"),
    };
    format!("the audit log says of whom; if these are honest clients: {setting} in [helper.{name}]")
}

/// Room in the table of connections; when it is full the kernel drops new ones.
pub fn conntracks(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "conntrack";
    const REMEDY: &str = "raise it: sysctl -w net.netfilter.nf_conntrack_max=N";
    let Some((count, max)) = facts.conntracks.filter(|(_, max)| *max > 0) else { return Vec::new() };
    let what = format!("{count} of {max} connections in use (net.netfilter.nf_conntrack_max)");
    vec![match count {
        count if count >= max => Finding::fail(CHECK, what, REMEDY),
        count if count.saturating_mul(10) >= max.saturating_mul(9) => Finding::warn(CHECK, what, REMEDY),
        _ => Finding::ok(CHECK, what),
    }]
}
