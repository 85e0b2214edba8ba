//! Rules as commands of iptables and ip6tables.

use std::fmt::Write;

use cthelper_proto::types::Family;

use super::plan::{Plan, names};

/// One command a line, for a shell. The raw table precedes conntrack, so the helper is attached when the connection is created.
pub fn text(plan: &Plan) -> String {
    let mut out = heading(plan);
    for family in Family::ALL {
        for attachment in plan.attachments.iter().filter(|attachment| attachment.families.contains(&family)) {
            for chain in ["PREROUTING"].into_iter().chain(plan.output.then_some("OUTPUT")) {
                for port in &attachment.ports {
                    let (program, l4, name) = (program(family), attachment.l4, &attachment.name);
                    let _ = writeln!(out, "{program} -t raw -A {chain} -p {l4} --dport {port} -j CT --helper {name}");
                }
            }
        }
    }
    out
}

fn heading(plan: &Plan) -> String {
    let mut out = String::from(
        "# Attaches helpers to new connections. Each helper must be registered (cthelperd running) before this is run.\n\
         # A FORWARD (or INPUT, or OUTPUT) chain that drops by default must let in what the helpers expect:\n",
    );
    for family in Family::ALL {
        let names = names(plan, family);
        if names.is_empty() {
            continue;
        }
        let _ = writeln!(out, "#     {} -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT", program(family));
        for name in names {
            let rule = format!("-m conntrack --ctstate RELATED -m helper --helper {name} -j ACCEPT");
            let _ = writeln!(out, "#     {} -A FORWARD {rule}", program(family));
        }
    }
    out.push('\n');
    out
}

fn program(family: Family) -> &'static str {
    match family {
        Family::Inet => "iptables",
        Family::Inet6 => "ip6tables",
    }
}
