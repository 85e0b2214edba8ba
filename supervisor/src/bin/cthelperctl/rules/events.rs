//! `rules events N`: rules that choose connections for an event queue, by the mark or label that it follows (`select`).
//!
//! They stand after conntrack (priority -200), where the connection is known, and see its first packet, before it is confirmed: only then
//! can its mask of events be set.

use std::fmt::Write;

use cthelper_policy::config::{QueueConfig, Select};
use cthelper_policy::events::filter::Mark;
use cthelper_proto::netlink::report::Kind;
use cthelper_supervisor::cli::ctl::rules::Events;

use crate::configuration;
use crate::exit::{Exit, Failure};

/// Where rules see the first packet of a connection.
const HOOKS: [&str; 2] = ["prerouting", "output"];

/// The text of the rules.
pub fn text(wanted: &Events) -> Result<String, Failure> {
    let config = match &wanted.config {
        Some(file) => configuration::read(file)?,
        None => configuration::standard()?.ok_or_else(|| {
            Failure::new(Exit::NoInput, format!("no {}: name another --config", cthelper_policy::config::Config::PATH))
        })?,
    };
    let number = wanted.queue;
    let queue = config.queues.get(&number).ok_or_else(|| {
        let there: Vec<String> = config.queues.keys().map(u16::to_string).collect();
        let there = if there.is_empty() { "no event queue at all".to_owned() } else { format!("only {}", there.join(", ")) };
        Failure::new(Exit::NoInput, format!("the configuration has no [events.queue.{number}], {there}"))
    })?;
    let select = queue.select.ok_or_else(|| {
        let hint = format!("add a line such as select = {{ label = {} }}", number.min(127));
        Failure::new(Exit::NoInput, format!("event queue {number} follows no mark and no label: {hint}"))
    })?;
    Ok(if wanted.iptables { iptables(queue, select) } else { nft(queue, select) })
}

/// Names of the kernel's events (`enum ip_conntrack_events`) that a queue's events need, as nft and iptables spell them, and the one
/// that tells of the choice itself.
fn mask(queue: &QueueConfig, select: Select) -> String {
    let chosen = match select {
        Select::Mark(_) => "mark",
        Select::Label(_) => "label",
    };
    let names = queue.kinds.iter().flat_map(|kind| -> &[&str] {
        match kind {
            Kind::New => &["new", "related"],
            Kind::Update => &["reply", "assured", "protoinfo", "helper"],
            Kind::Destroy => &["destroy"],
            Kind::ExpectNew | Kind::ExpectDestroy => &[],
        }
    });
    names.copied().chain([chosen]).collect::<Vec<_>>().join(",")
}

fn heading(queue: &QueueConfig, select: Select, example: &str, narrowing: &str) -> String {
    let what = match select {
        Select::Mark(mark) => format!("mark {mark}"),
        Select::Label(label) => format!("label {label}"),
    };
    format!(
        "# Chooses connections for event queue {} by {what}: as it stands, every new one. Narrow it down, for example by\n\
         #     {example}\n\
         # The kernel makes events only where net.netfilter.nf_conntrack_events is not 0. It can be told on the first packet of a\n\
         # connection which events to make of it at all, for every listener; those of this queue need\n\
         #     {narrowing}\n\
         # in front of the rule. Without the last of them the choice itself makes no event.\n\n",
        queue.number
    )
}

/// A file for `nft -f`, which replaces the table in one transaction each time.
fn nft(queue: &QueueConfig, select: Select) -> String {
    let set = match select {
        Select::Label(label) => format!("ct label set {label}"),
        Select::Mark(mark) => match (mark.value(), mark.mask()) {
            (value, u32::MAX) => format!("ct mark set {value:#x}"),
            (value, under) => format!("ct mark set ct mark and {:#x} or {value:#x}", !under),
        },
    };
    let table = format!("table inet cthelperd-events-{}", queue.number);
    let example = format!("ct state new ip saddr 192.0.2.0/24 tcp dport {{ 80, 443 }} {set}");
    let mut out = heading(queue, select, &example, &format!("ct event set {}", mask(queue, select)));
    let _ = writeln!(out, "{table}\ndelete {table}\n\n{table} {{");
    for hook in HOOKS {
        let _ = writeln!(
            out,
            "\tchain {hook} {{\n\t\ttype filter hook {hook} priority -150; policy accept;\n\t\tct state new {set}\n\t}}"
        );
    }
    out.push_str("}\n");
    out
}

/// One command a line, for a shell.
fn iptables(queue: &QueueConfig, select: Select) -> String {
    let set = match select {
        Select::Label(label) => format!("-m connlabel --label {label} --set"),
        Select::Mark(mark) => format!("-j CONNMARK --set-xmark {}", with_mask(mark)),
    };
    let new = "-m conntrack --ctstate NEW";
    let example = format!("iptables -t mangle -A PREROUTING -s 192.0.2.0/24 -p tcp --dport 443 {new} {set}");
    let narrowing = format!("iptables -t raw -A PREROUTING -j CT --ctevents {}", mask(queue, select));
    let mut out = heading(queue, select, &example, &narrowing);
    for program in ["iptables", "ip6tables"] {
        for hook in HOOKS {
            let _ = writeln!(out, "{program} -t mangle -A {} {new} {set}", hook.to_uppercase());
        }
    }
    out
}

fn with_mask(mark: Mark) -> String {
    format!("{:#x}/{:#x}", mark.value(), mark.mask())
}

#[cfg(test)]
mod tests {
    use cthelper_policy::config::Config;

    use super::*;

    fn queue(keys: &str) -> QueueConfig {
        let mut config = Config::parse(&format!("[helper.ftp]\n[events.queue.7]\n{keys}"), "f").unwrap();
        config.queues.remove(&7).unwrap()
    }

    fn rules(keys: &str, render: fn(&QueueConfig, Select) -> String) -> Vec<String> {
        let queue = queue(keys);
        let text = render(&queue, queue.select.unwrap());
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn the_rule_sets_what_the_queue_follows() {
        assert!(rules("select.label = 5", nft).contains(&"ct state new ct label set 5".to_owned()));
        assert!(rules("select.mark = 16", nft).contains(&"ct state new ct mark set 0x10".to_owned()));
        let masked = rules("select.mark = '0x10/0xf0'", nft);
        assert!(masked.contains(&"ct state new ct mark set ct mark and 0xffffff0f or 0x10".to_owned()), "{masked:?}");
        let commands = rules("select.label = 5", iptables);
        assert!(
            commands
                .contains(&"ip6tables -t mangle -A OUTPUT -m conntrack --ctstate NEW -m connlabel --label 5 --set".to_owned())
        );
        let commands = rules("select.mark = '0x10/0xf0'", iptables);
        assert!(commands.contains(
            &"iptables -t mangle -A PREROUTING -m conntrack --ctstate NEW -j CONNMARK --set-xmark 0x10/0xf0".to_owned()
        ));
    }

    #[test]
    fn the_mask_has_what_the_queue_needs_and_the_choice_itself() {
        let of = |keys: &str| {
            let queue = queue(keys);
            mask(&queue, queue.select.unwrap())
        };
        assert_eq!(of("select.label = 5\nevents = ['destroy']"), "destroy,label");
        assert_eq!(of("select.mark = 5"), "new,related,reply,assured,protoinfo,helper,destroy,mark");
    }

    #[test]
    fn a_queue_that_follows_nothing_is_said_so() {
        let path = std::env::temp_dir().join(format!("cthelperctl-rules-events-{}.toml", std::process::id()));
        std::fs::write(&path, "[helper.ftp]\n[events.queue.7]\n").unwrap();
        let failure = |queue| text(&Events { queue, iptables: false, config: Some(path.clone()) }).unwrap_err();
        assert!(failure(7).words.contains("follows no mark and no label: add a line such as select = { label = 7 }"));
        assert!(failure(8).words.contains("no [events.queue.8], only 7"));
        assert_eq!(failure(8).exit, Exit::NoInput);
        std::fs::remove_file(&path).unwrap();
    }
}
