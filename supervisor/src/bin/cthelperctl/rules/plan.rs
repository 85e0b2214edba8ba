//! Which helper is attached where: what the daemon serves, or else what the configuration and the protocols themselves say.

use cthelper_policy::config::Config;
use cthelper_proto::ctl::Status;
use cthelper_proto::types::{Family, L4};
use cthelper_supervisor::cli::ctl::rules::{Layer3, Options, Protocol};

use crate::exit::{Exit, Failure};

/// One helper's attachment over one protocol, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// As registered in the kernel.
    pub name: String,
    /// Protocol of the control connection.
    pub l4: L4,
    /// Families it is registered for, at least one: a rule for another makes a whole file of nft fail.
    pub families: Vec<Family>,
    /// Its ports, at least one.
    pub ports: Vec<u16>,
}

/// All of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which the helpers were named.
    pub attachments: Vec<Attachment>,
    /// Also for connections this machine opens itself.
    pub output: bool,
    /// Helpers that were not named and cannot be attached, and why.
    pub remarks: Vec<String>,
}

const BOTH: &[Family] = &Family::ALL;

/// Where known protocols live: name, protocol, families, ports (IANA; for tns those `VyOS` uses).
const KNOWN: [(&str, L4, &[Family], &[u16]); 12] = [
    ("amanda", L4::Udp, BOTH, &[10080]),
    ("dhcpv6", L4::Udp, &[Family::Inet6], &[547]),
    ("ftp", L4::Tcp, BOTH, &[21]),
    ("mdns", L4::Udp, BOTH, &[5353]),
    ("rpc", L4::Tcp, BOTH, &[111]),
    ("rpc", L4::Udp, BOTH, &[111]),
    ("sane", L4::Tcp, BOTH, &[6566]),
    ("sip", L4::Udp, BOTH, &[5060]),
    ("slp", L4::Udp, BOTH, &[427]),
    ("ssdp", L4::Udp, BOTH, &[1900]),
    ("tftp", L4::Udp, BOTH, &[69]),
    ("tns", L4::Tcp, BOTH, &[1521, 1525, 1536]),
];

fn usage(words: String) -> Failure {
    Failure::new(Exit::Usage, words)
}

/// The plan for what is wanted.
pub fn plan(wanted: &Options, config: Option<&Config>, served: Option<&Status>) -> Result<Plan, Failure> {
    if wanted.helpers.len() > 1 && !(wanted.ports.is_empty() && wanted.protocol.is_none()) {
        return Err(usage("--ports and --protocol are for one --helper; print the rules of the others separately".to_owned()));
    }
    let mut plan = Plan { attachments: Vec::new(), output: wanted.output, remarks: Vec::new() };
    for name in names_of(wanted, config, served) {
        match attach(&name, wanted, config, served) {
            Ok(found) => found.into_iter().for_each(|attachment| {
                if !plan.attachments.contains(&attachment) {
                    plan.attachments.push(attachment);
                }
            }),
            Err(failure) if wanted.helpers.is_empty() => plan.remarks.push(failure.words),
            Err(failure) => return Err(failure),
        }
    }
    if plan.attachments.is_empty() {
        return Err(Failure::new(Exit::Unavailable, format!("no helper to attach: {}", plan.remarks.join("; "))));
    }
    Ok(plan)
}

/// Those named; or else those served; or else those of the configuration; or else ftp.
fn names_of(wanted: &Options, config: Option<&Config>, served: Option<&Status>) -> Vec<String> {
    let served = || served.map(|status| status.helpers.iter().map(|helper| helper.name.clone()).collect::<Vec<_>>());
    let configured = || {
        let enabled =
            |config: &Config| config.helpers.values().filter(|helper| helper.enabled).map(|helper| helper.name.clone()).collect();
        config.map(enabled)
    };
    if !wanted.helpers.is_empty() {
        return wanted.helpers.clone();
    }
    let found = served().filter(|names| !names.is_empty()).or_else(configured).filter(|names: &Vec<String>| !names.is_empty());
    found.unwrap_or_else(|| vec!["ftp".to_owned()])
}

/// What is known of a helper: an attachment for each of its protocols. What the daemon serves is what is registered, and so counts first.
fn known(name: &str, config: Option<&Config>, served: Option<&Status>) -> Vec<Attachment> {
    if let Some(helper) = served.and_then(|status| status.helpers.iter().find(|helper| helper.name == name))
        && !helper.families.is_empty()
    {
        let attachment =
            |l4| Attachment { name: name.to_owned(), l4, families: helper.families.clone(), ports: helper.ports.clone() };
        return helper.l4.iter().map(attachment).collect();
    }
    let configured = config.and_then(|config| config.helpers.get(name));
    let ports = configured.and_then(|helper| helper.ports.as_deref());
    let families = configured.and_then(|helper| helper.families.as_deref());
    let attachment = |&(_, l4, own, usual): &(&str, L4, &[Family], &[u16])| Attachment {
        name: name.to_owned(),
        l4,
        families: families.unwrap_or(own).to_vec(),
        ports: ports.unwrap_or(usual).to_vec(),
    };
    KNOWN.iter().filter(|(known, ..)| *known == name).map(attachment).collect()
}

/// The attachments of one helper; a protocol that is spoken over both TCP and UDP has two.
fn attach(name: &str, wanted: &Options, config: Option<&Config>, served: Option<&Status>) -> Result<Vec<Attachment>, Failure> {
    // Only these bytes can be a registered helper's name, and all of them may stand between an nft file's quotes.
    if name.is_empty() || name.len() > 15 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
        return Err(usage(format!("'{name}' is no helper's name: 1 to 15 of [a-zA-Z0-9_.-]")));
    }
    let protocol = wanted.protocol.map(|protocol| match protocol {
        Protocol::Tcp => L4::Tcp,
        Protocol::Udp => L4::Udp,
    });
    let family = wanted.family.map(|family| match family {
        Layer3::Inet => Family::Inet,
        Layer3::Inet6 => Family::Inet6,
    });
    let configured = config.and_then(|config| config.helpers.get(name));
    // A helper that is only configured listens to questions, which are datagrams.
    let protocol = protocol.or_else(|| configured.and_then(|helper| helper.question.as_ref()).map(|_| L4::Udp));
    let mut found = known(name, config, served);
    found.retain(|attachment| protocol.is_none_or(|wanted| wanted == attachment.l4));
    if let (Some(l4), true) = (protocol, found.is_empty()) {
        let ports = configured.and_then(|helper| helper.ports.clone()).unwrap_or_default();
        let families = configured.and_then(|helper| helper.families.clone()).unwrap_or_else(|| BOTH.to_vec());
        found.push(Attachment { name: name.to_owned(), l4, families, ports });
    }
    for attachment in &mut found {
        if !wanted.ports.is_empty() {
            attachment.ports.clone_from(&wanted.ports);
        }
        attachment.families.retain(|one| family.is_none_or(|wanted| wanted == *one));
        if attachment.families.is_empty() {
            return Err(usage(format!("{name} is not for the family {}", family.map_or("", Family::name))));
        }
    }
    if found.is_empty() || found.iter().any(|attachment| attachment.ports.is_empty()) {
        return Err(usage(format!("the ports of '{name}' are not known here: say --protocol tcp|udp and --ports PORT")));
    }
    Ok(found)
}

/// The helpers' names that are attached for this family, each once, in the order of the plan.
pub fn names(plan: &Plan, family: Family) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for attachment in plan.attachments.iter().filter(|attachment| attachment.families.contains(&family)) {
        if !names.contains(&attachment.name.as_str()) {
            names.push(&attachment.name);
        }
    }
    names
}
