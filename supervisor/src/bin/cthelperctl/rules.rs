//! `rules nft|iptables`: rules that attach helpers, ready to load; without a rule no connection has one.
//!
//! The chains run after conntrack and before destination NAT (priority -199 to -101): sequence adjustment of connections whose
//! destination is translated needs that before 6.1.167 and 6.12.64. What the forward chain must accept is the operator's own
//! decision, so it is printed as a comment.

use cthelper_policy::config::Config;
use cthelper_proto::types::{Family, L4};
use cthelper_supervisor::cli::ctl::rules::{Dialect, Layer3, Options, Protocol};

use crate::configuration;
use crate::exit::{Exit, Failure};

mod events;
mod iptables;
mod nft;

/// One helper's attachment, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// As registered in the kernel.
    name: String,
    /// Protocol of the control connection.
    l4: L4,
    /// Its ports, at least one.
    ports: Vec<u16>,
}

/// All of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    attachments: Vec<Attachment>,
    families: Vec<Family>,
    output: bool,
}

/// Where known protocols live: name, protocol, ports (IANA; for tns those `VyOS` uses).
const KNOWN: [(&str, L4, &[u16]); 12] = [
    ("amanda", L4::Udp, &[10080]),
    ("dhcpv6", L4::Udp, &[547]),
    ("ftp", L4::Tcp, &[21]),
    ("mdns", L4::Udp, &[5353]),
    ("rpc", L4::Tcp, &[111]),
    ("rpc", L4::Udp, &[111]),
    ("sane", L4::Tcp, &[6566]),
    ("sip", L4::Udp, &[5060]),
    ("slp", L4::Udp, &[427]),
    ("ssdp", L4::Udp, &[1900]),
    ("tftp", L4::Udp, &[69]),
    ("tns", L4::Tcp, &[1521, 1525, 1536]),
];

/// The text of the rules.
pub fn text(dialect: &Dialect) -> Result<String, Failure> {
    let wanted = match dialect {
        Dialect::Events(wanted) => return events::text(wanted),
        Dialect::Nft(wanted) | Dialect::Iptables(wanted) => wanted,
    };
    let config = match &wanted.config {
        Some(file) => Some(configuration::read(file)?),
        None if wanted.ports.is_empty() => configuration::standard()?,
        None => None,
    };
    let plan = plan(wanted, config.as_ref())?;
    Ok(match dialect {
        Dialect::Iptables(_) => iptables::text(&plan),
        Dialect::Nft(_) | Dialect::Events(_) => nft::text(&plan),
    })
}

fn usage(words: String) -> Failure {
    Failure::new(Exit::Usage, words)
}

fn plan(wanted: &Options, config: Option<&Config>) -> Result<Plan, Failure> {
    if wanted.helpers.len() > 1 && !(wanted.ports.is_empty() && wanted.protocol.is_none()) {
        return Err(usage("--ports and --protocol are for one --helper; print the rules of the others separately".to_owned()));
    }
    let mut attachments: Vec<Attachment> = Vec::new();
    for name in &wanted.helpers {
        let configured = config.and_then(|config| config.helpers.get(name)?.ports.as_deref());
        for attachment in attach(name, wanted, configured)? {
            if !attachments.contains(&attachment) {
                attachments.push(attachment);
            }
        }
    }
    let families = match wanted.family {
        None => Family::ALL.to_vec(),
        Some(Layer3::Inet) => vec![Family::Inet],
        Some(Layer3::Inet6) => vec![Family::Inet6],
    };
    Ok(Plan { attachments, families, output: wanted.output })
}

/// The attachments of one helper; a protocol that is spoken over both TCP and UDP has two. Its ports: those of the command line, or
/// else those of the configuration, or else the protocol's own.
fn attach(name: &str, wanted: &Options, configured: Option<&[u16]>) -> Result<Vec<Attachment>, Failure> {
    // Only these bytes can be a registered helper's name, and all of them may stand between an nft file's quotes.
    if name.is_empty() || name.len() > 15 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
        return Err(usage(format!("'{name}' is no helper's name: 1 to 15 of [a-zA-Z0-9_.-]")));
    }
    let protocol = wanted.protocol.map(|protocol| match protocol {
        Protocol::Tcp => L4::Tcp,
        Protocol::Udp => L4::Udp,
    });
    let attachment = |l4: L4, own: &[u16]| {
        let ports = if wanted.ports.is_empty() { configured.unwrap_or(own).to_vec() } else { wanted.ports.clone() };
        Attachment { name: name.to_owned(), l4, ports }
    };
    let mut found: Vec<Attachment> = Vec::new();
    for (_, l4, ports) in KNOWN.iter().filter(|(known, l4, _)| *known == name && protocol.is_none_or(|wanted| wanted == *l4)) {
        found.push(attachment(*l4, ports));
    }
    match protocol {
        Some(l4) if found.is_empty() => found.push(attachment(l4, &[])),
        _ => {}
    }
    if found.is_empty() || found.iter().any(|attachment| attachment.ports.is_empty()) {
        return Err(usage(format!("the ports of '{name}' are not known here: say --protocol tcp|udp and --ports PORT")));
    }
    Ok(found)
}

/// The helpers' names, each once, in the order of the plan.
fn names(plan: &Plan) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for attachment in &plan.attachments {
        if !names.contains(&attachment.name.as_str()) {
            names.push(&attachment.name);
        }
    }
    names
}

#[cfg(test)]
mod tests;
