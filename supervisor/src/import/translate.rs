//! Instances of conntrackd's helpers as tables of cthelperd's configuration.
//!
//! conntrackd has a queue for each name, family and protocol, and one set of policies for each name and protocol; cthelperd has one queue
//! and one set of classes for each name.

use std::fmt::Write as _;

use cthelper_policy::config::HelperConfig;
use cthelper_proto::types::Family;

use super::parse::{Instance, Policy};
use super::{Remark, known};

/// Longest queue that the configuration takes, packets.
const LENGTH_MAX: u32 = 65_536;
/// Longest life of an expectation that it takes, seconds.
const TIMEOUT_MAX: u32 = 86_400;
/// Most expectations of a class.
const EXPECT_MAX: u32 = 255;

/// The text of the configuration.
pub(super) fn toml(instances: &[Instance], file: &str, remarks: &mut Vec<Remark>) -> String {
    let mut names: Vec<&str> = Vec::new();
    for instance in instances {
        if !names.contains(&instance.name.as_str()) {
            names.push(&instance.name);
        }
    }
    let file: String = file.chars().filter(|c| !c.is_control()).collect();
    let mut out = format!("# Imported from {file} by cthelperctl import.\n");
    let mut queues = Vec::new();
    for name in names {
        let of_name: Vec<&Instance> = instances.iter().filter(|instance| instance.name == name).collect();
        table(&of_name, &mut queues, remarks, &mut out);
    }
    out
}

/// A key as TOML writes it: one with a dot stands in quotation marks.
fn key(name: &str) -> String {
    if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() }
}

/// `[helper.NAME]` and what is under it.
fn table(instances: &[&Instance], queues: &mut Vec<u32>, remarks: &mut Vec<Remark>, out: &mut String) {
    let [first, ..] = instances else { return };
    protocols(first, instances, remarks);
    let _ = write!(out, "\n[helper.{}]\n", key(&first.name));
    if let Some(queue) = queue(first, instances, queues, remarks) {
        let _ = writeln!(out, "queue = {queue}");
    }
    if let Some(length) = length(first, instances, remarks) {
        let _ = writeln!(out, "queue_length = {length}");
    }
    let families: Vec<String> = families(instances, remarks).iter().map(|family| format!("\"{family}\"")).collect();
    let _ = writeln!(out, "families = [{}]", families.join(", "));
    for policy in policies(instances, remarks) {
        class(&first.name, policy, remarks, out);
    }
}

/// What cthelperd serves beyond what was asked, or may not have.
fn protocols(first: &Instance, instances: &[&Instance], remarks: &mut Vec<Remark>) {
    let name = &first.name;
    match known::protocols(name) {
        None => {
            let words = format!("{name} is no helper of conntrackd's: cthelperd needs a worker for it (`worker = \"/path\"`)");
            remarks.push(Remark::new(first.at, words));
        }
        Some(both) if both.len() > 1 && both.iter().any(|l4| instances.iter().all(|instance| instance.l4 != *l4)) => {
            let words = format!(
                "a table has no protocol: cthelperd serves all that {name} speaks, tcp and udp; rules attach what you want"
            );
            remarks.push(Remark::new(first.at, words));
        }
        Some(_) => {}
    }
}

/// The number of the first that has one, unless another helper has it already.
fn queue(first: &Instance, instances: &[&Instance], taken: &mut Vec<u32>, remarks: &mut Vec<Remark>) -> Option<u32> {
    let name = &first.name;
    let mut numbers = instances.iter().filter_map(|instance| instance.queue);
    let Some((at, number)) = numbers.next() else {
        remarks.push(Remark::new(
            first.at,
            format!("{name}: no QueueNum, which is queue 0 in conntrackd; cthelperd picks a free one"),
        ));
        return None;
    };
    for (at, other) in numbers.filter(|(_, other)| *other != number) {
        remarks.push(Remark::new(at, format!("{name}: one queue serves every family and protocol: {number}, not also {other}")));
    }
    if taken.contains(&number) {
        remarks.push(Remark::new(at, format!("{name}: queue {number} belongs to another helper; cthelperd picks a free one")));
        return None;
    }
    taken.push(number);
    Some(number)
}

/// The longest that is asked for.
fn length(first: &Instance, instances: &[&Instance], remarks: &mut Vec<Remark>) -> Option<u32> {
    let (name, ours) = (&first.name, HelperConfig::QUEUE_LENGTH);
    let asked = instances.iter().filter_map(|instance| instance.length).filter(|(_, length)| *length > 0);
    let Some((at, length)) = asked.max_by_key(|(_, length)| *length) else {
        remarks.push(Remark::new(
            first.at,
            format!("{name}: no QueueLen, which is 1024 packets in conntrackd and {ours} in cthelperd"),
        ));
        return None;
    };
    if length > LENGTH_MAX {
        remarks.push(Remark::new(at, format!("{name}: QueueLen {length} becomes {LENGTH_MAX}, the most there is")));
    }
    Some(length.min(LENGTH_MAX))
}

/// Those asked for, in the kernel's order; dhcpv6 has only its own.
fn families(instances: &[&Instance], remarks: &mut Vec<Remark>) -> Vec<Family> {
    let asked = |family: Family| instances.iter().find(|instance| instance.family == family);
    let mut families = Vec::new();
    for family in Family::ALL {
        match asked(family) {
            Some(instance) if instance.name == "dhcpv6" && family == Family::Inet => {
                remarks.push(Remark::new(instance.at, "dhcpv6: nobody speaks it over IPv4; it is imported for inet6"));
            }
            Some(_) => families.push(family),
            None => {}
        }
    }
    if families.is_empty() { vec![Family::Inet6] } else { families }
}

/// The policies that hold: conntrackd keeps one set for all families, so the last `Type` that has one counts.
fn policies<'a>(instances: &[&'a Instance], remarks: &mut Vec<Remark>) -> Vec<&'a Policy> {
    let mut policies: Vec<&Policy> = Vec::new();
    for policy in instances.iter().flat_map(|instance| &instance.policies) {
        match policies.iter_mut().find(|other| other.name == policy.name) {
            Some(other) => {
                if (other.max, other.timeout) != (policy.max, policy.timeout) {
                    let words = format!("policy `{}` is overruled by the one in line {}", other.name, policy.at.line);
                    remarks.push(Remark::new(other.at, words));
                }
                *other = policy;
            }
            None => policies.push(policy),
        }
    }
    policies
}

/// `[helper.NAME.classes.CLASS]`, if anything of it can be said.
fn class(helper: &str, policy: &Policy, remarks: &mut Vec<Remark>, out: &mut String) {
    let mut remark = |words: String| remarks.push(Remark::new(policy.at, format!("policy `{}`: {words}", policy.name)));
    let mut lines = String::new();
    match policy.max {
        None | Some(0) => {
            remark(
                "conntrackd would ask for 0 expectations, which kernels read differently; the helper's own number is kept"
                    .to_owned(),
            );
        }
        Some(max) => {
            if max > EXPECT_MAX {
                remark(format!("ExpectMax {max} becomes {EXPECT_MAX}, the most the kernel takes"));
            }
            let _ = writeln!(lines, "expect_max = {}", max.min(EXPECT_MAX));
        }
    }
    match policy.timeout {
        None | Some(0) => remark("conntrackd would let expectations live 0 s; the helper's own time is kept".to_owned()),
        Some(seconds) => {
            if seconds > TIMEOUT_MAX {
                remark(format!("ExpectTimeout {seconds} becomes {TIMEOUT_MAX}, a day"));
            }
            let _ = writeln!(lines, "expect_timeout = \"{}s\"", seconds.min(TIMEOUT_MAX));
        }
    }
    if !lines.is_empty() {
        let _ = write!(out, "\n[helper.{}.classes.{}]\n{lines}", key(helper), key(&policy.name));
    }
}
