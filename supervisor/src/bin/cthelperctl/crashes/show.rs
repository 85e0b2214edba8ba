//! `crashes show`: everything that is known of one.

use std::io::Write;
use std::path::Path;

use cthelper_policy::config::Config;
use cthelper_proto::events::{Crash, Exit as End, Fault, InHand};

use super::list::{time, way};
use super::log::Death;
use crate::exit::Failure;
use crate::text::printable;

pub fn run(death: &Death, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if json {
        writeln!(out, "{}", death.line)?;
        return Ok(());
    }
    for (name, value) in facts(death) {
        let lines = value.lines().map(printable).collect::<Vec<_>>();
        writeln!(out, "{name:<10}{}", lines.join("\n          "))?;
    }
    Ok(())
}

fn facts(death: &Death) -> Vec<(&'static str, String)> {
    let crash = &death.crash;
    let mut facts = vec![
        ("crash", crash.id.clone()),
        ("time", time(death.time)),
        ("helper", crash.helper.clone()),
        (
            "worker",
            format!("process {}, generation {}: {} packets in {:.3} s", crash.pid, crash.generation, crash.packets, crash.uptime),
        ),
        ("end", format!("{}: {}", death.kind, crash.cause)),
        ("exit", exit(&crash.exit)),
    ];
    facts.extend(crash.fault.iter().flat_map(fault));
    facts.extend(crash.panic.as_ref().map(|panic| {
        let at = panic.location.as_deref().unwrap_or("an unknown place");
        ("panic", format!("{}\nat {at} (the worker's own word)", panic.message))
    }));
    facts.extend(crash.in_hand.iter().flat_map(in_hand));
    let included = if crash.in_hand.is_some() { ", the one in hand included" } else { "" };
    facts.push(("in flight", format!("{}{included}", crash.in_flight)));
    facts.push(("landlock", crash.landlock.clone()));
    facts.push(("then", then(crash)));
    facts.push(("log", if crash.log.is_empty() { "it said nothing".to_owned() } else { crash.log.clone() }));
    facts
}

fn exit(exit: &End) -> String {
    match exit {
        End::Code(code) => format!("code {code}"),
        End::Signal { name, number } => format!("signal {number} {name}"),
        End::Unknown => "not reaped in time".to_owned(),
    }
}

fn fault(fault: &Fault) -> Vec<(&'static str, String)> {
    let mut facts = vec![("fault", format!("{} (si_code {})", fault.class, fault.si_code))];
    facts.extend(fault.syscall.as_ref().map(|call| {
        let args: Vec<String> = call.args.iter().map(|arg| format!("{arg:#x}")).collect();
        ("call", format!("{} {}({})", call.nr, call.name, args.join(", ")))
    }));
    facts
}

fn in_hand(in_hand: &InHand) -> Vec<(&'static str, String)> {
    let sender = if in_hand.direction == "reply" { "replier" } else { "originator" };
    let mut facts = vec![
        ("in hand", format!("{}, from the {sender}, {} bytes", way(in_hand), in_hand.length)),
        ("hash", in_hand.hash.clone()),
    ];
    match &in_hand.file {
        None => facts.push(("kept", "no: the daemon runs without --quarantine-dir, or the disk was too slow".to_owned())),
        Some(file) if Path::new(file).exists() => {
            facts.push(("kept", file.clone()));
            facts.push(("repeat", repeat(file)));
        }
        Some(file) => facts.push(("kept", format!("not any more, or not for this user to see: {file}"))),
    }
    facts
}

/// The command that shows the packet to another worker.
fn repeat(file: &str) -> String {
    let config = if Path::new(Config::PATH).exists() { format!("--config {} ", Config::PATH) } else { String::new() };
    format!("cthelperd replay {config}{file}")
}

fn then(crash: &Crash) -> String {
    match crash.next_delay_ms {
        Some(_) => crash.decision.clone(),
        None => format!("{}; nobody starts the next worker by himself", crash.decision),
    }
}
