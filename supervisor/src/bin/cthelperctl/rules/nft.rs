//! Rules for `nft -f`.

use std::collections::BTreeSet;
use std::fmt::Write;

use cthelper_proto::types::Family;

use super::plan::{Attachment, Plan, names};

/// After conntrack (-200), before destination NAT (-100).
const PRIORITY: i32 = -150;

/// Removes the table, also where there is none.
pub const REMOVAL: &str = "table inet cthelperd\ndelete table inet cthelperd\n";

/// The whole file. Loading it again replaces the table in one transaction.
pub fn text(plan: &Plan) -> String {
    let mut out = heading(plan);
    out.push_str(REMOVAL);
    out.push_str("\ntable inet cthelperd {\n");
    for attachment in &plan.attachments {
        for &family in &attachment.families {
            out.push_str(&object(attachment, family));
        }
    }
    out.push_str(&chain(plan, "prerouting"));
    if plan.output {
        out.push('\n');
        out.push_str(&chain(plan, "output"));
    }
    out.push_str("}\n");
    out
}

fn heading(plan: &Plan) -> String {
    let mut out = String::from(
        "# Attaches helpers to new connections. Each helper must be registered (cthelperd running) before this is loaded.\n\
         # A forward (or input, or output) chain that drops by default must let in what the helpers expect:\n\
         #     ct state established accept\n",
    );
    for name in Family::ALL.into_iter().flat_map(|family| names(plan, family)).collect::<BTreeSet<_>>() {
        let _ = writeln!(out, "#     ct state related ct helper \"{name}\" accept");
    }
    out.push('\n');
    out
}

/// Name of the helper object in the table: nft wants a letter first, which a helper's name need not have.
fn object_name(attachment: &Attachment, family: Family) -> String {
    format!("helper-{}-{}-{family}", attachment.name, attachment.l4)
}

fn object(attachment: &Attachment, family: Family) -> String {
    let l3 = match family {
        Family::Inet => "ip",
        Family::Inet6 => "ip6",
    };
    format!(
        "\tct helper {} {{\n\t\ttype \"{}\" protocol {};\n\t\tl3proto {l3};\n\t}}\n\n",
        object_name(attachment, family),
        attachment.name,
        attachment.l4
    )
}

fn chain(plan: &Plan, hook: &str) -> String {
    let mut out = format!("\tchain {hook} {{\n\t\ttype filter hook {hook} priority {PRIORITY}; policy accept;\n");
    for attachment in &plan.attachments {
        for &family in &attachment.families {
            let version = match family {
                Family::Inet => "ipv4",
                Family::Inet6 => "ipv6",
            };
            let ports: Vec<String> = attachment.ports.iter().map(u16::to_string).collect();
            let ports = if let [port] = &ports[..] { port.clone() } else { format!("{{ {} }}", ports.join(", ")) };
            let object = object_name(attachment, family);
            let _ = writeln!(out, "\t\tmeta nfproto {version} {} dport {ports} ct helper set \"{object}\"", attachment.l4);
        }
    }
    out.push_str("\t}\n");
    out
}
