//! `nfct … timeout`: timeout policies. Words, messages and output are those of nfct 1.4.7, compared with the program itself.

mod kernel;
mod protocols;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;

use cthelper_proto::netlink::cttimeout::{NAME_MAX, Timeouts, states};
use cthelper_proto::netlink::name;

use super::grammar::{Verb, layer3, none};
use super::{Said, print};

pub use kernel::Policies;

/// What is asked about timeout policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `list timeout`
    List,
    /// `add timeout NAME FAMILY PROTOCOL STATE SECONDS ...`
    Add(Timeouts),
    /// `get timeout NAME`
    Get(String),
    /// `delete timeout NAME`
    Delete(String),
    /// `flush timeout`
    Flush,
    /// `default-set timeout FAMILY PROTOCOL STATE SECONDS ...`
    DefaultSet(Timeouts),
    /// `default-get timeout FAMILY PROTOCOL`: layer 3 and 4.
    DefaultGet(u16, u8),
}

/// Reads what follows `nfct VERB timeout`.
pub fn parse(verb: Verb, parameters: &[String]) -> Result<Command, String> {
    let missing = |syntax: &str| Err(format!("missing parameters\nsyntax: nfct {syntax}"));
    match (verb, parameters) {
        (Verb::List, _) => none(parameters).map(|()| Command::List),
        (Verb::Flush, _) => none(parameters).map(|()| Command::Flush),
        (Verb::Get, _) => only_name(parameters).map(Command::Get),
        (Verb::Delete, _) => only_name(parameters).map(Command::Delete),
        (Verb::Add, [name, family, protocol, pairs @ ..]) => {
            let timeouts = timeouts(family, protocol, pairs)?;
            Ok(Command::Add(Timeouts { name: Some(cut(name)), ..timeouts }))
        }
        (Verb::Add, _) => missing("add timeout name family protocol state1 timeout1 ..."),
        (Verb::DefaultSet, [family, protocol, pairs @ ..]) if !pairs.is_empty() => {
            timeouts(family, protocol, pairs).map(Command::DefaultSet)
        }
        (Verb::DefaultSet, _) => missing("default-set timeout family protocol state1 timeout1..."),
        // Words after them are ignored, as nfct does.
        (Verb::DefaultGet, [family, protocol, ..]) => {
            let (l3, l4) = both(family, protocol)?;
            Ok(Command::DefaultGet(l3, l4))
        }
        (Verb::DefaultGet, _) => missing("default-get timeout family protocol"),
        (Verb::Disable, _) => Err("timeouts cannot be disabled".to_owned()),
    }
}

/// `NAME` and nothing more.
fn only_name(parameters: &[String]) -> Result<String, String> {
    match parameters {
        [] => Err("missing timeout policy name".to_owned()),
        [name] => Ok(cut(name)),
        _ => Err("too many arguments".to_owned()),
    }
}

/// As much of a name as the kernel keeps: nfct cuts it too, instead of refusing it.
fn cut(name: &str) -> String {
    let bytes = name::bytes(name);
    name::shown(bytes.get(..NAME_MAX).unwrap_or(&bytes)).into_owned()
}

fn both(family: &str, protocol: &str) -> Result<(u16, u8), String> {
    let l3 = layer3(family)?;
    let l4 = protocols::number(protocol).ok_or_else(|| "unknown layer 4 protocol".to_owned())?;
    Ok((l3.number().into(), l4))
}

/// `FAMILY PROTOCOL STATE SECONDS ...`; of a state named twice the last counts.
fn timeouts(family: &str, protocol: &str, pairs: &[String]) -> Result<Timeouts, String> {
    let (l3, l4) = both(family, protocol)?;
    let mut seconds = BTreeMap::new();
    for pair in pairs.chunks(2) {
        let [state, value] = pair else { return Err("missing value for this timeout".to_owned()) };
        let kind = states(l4).iter().position(|known| known.eq_ignore_ascii_case(state));
        let kind = kind.and_then(|at| u16::try_from(at + 1).ok());
        let kind = kind.ok_or_else(|| format!("Wrong state name: `{state}' for protocol `{protocol}'"))?;
        seconds.insert(kind, number(value));
    }
    Ok(Timeouts { name: None, l3, l4, seconds: seconds.into_iter().collect() })
}

/// A number as C's `atoi` reads it, which is what nfct does with it: what is no number is 0, -1 the greatest there is.
fn number(word: &str) -> u32 {
    let word = word.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\u{b}');
    let (negative, digits) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let digits = digits.bytes().take_while(u8::is_ascii_digit);
    let value = digits.fold(0_i64, |value, digit| {
        let digit = i64::from(digit - b'0');
        let digit = if negative { -digit } else { digit };
        value.saturating_mul(10).saturating_add(digit)
    });
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Does it, and prints what there is to print.
pub fn obey(kernel: &mut impl Policies, command: &Command, out: &mut dyn Write) -> Result<(), Said> {
    let found = match command {
        Command::List => kernel.policies()?,
        Command::Get(name) => kernel.policy(name)?,
        Command::DefaultGet(l3, l4) => kernel.defaults(*l3, *l4)?,
        Command::Add(timeouts) => return Ok(kernel.add_policy(timeouts)?),
        Command::DefaultSet(timeouts) => return Ok(kernel.set_defaults(timeouts)?),
        Command::Delete(name) => return Ok(kernel.delete_policy(name)?),
        Command::Flush => return Ok(kernel.flush_policies()?),
    };
    found.iter().try_for_each(|timeouts| print(out, &block(timeouts)))
}

/// Byte for byte what `nfct_timeout_snprintf` of `libnetfilter_cttimeout` 1.0 writes, and a newline: defaults have a last brace, but no first.
fn block(timeouts: &Timeouts) -> String {
    let mut text = timeouts.name.as_ref().map_or_else(String::new, |name| format!(".{name} = {{\n"));
    let _ = write!(text, "\t.l3proto = {},\n\t.l4proto = {},\n\t.policy = {{\n", timeouts.l3, timeouts.l4);
    for (kind, state) in (1..).zip(states(timeouts.l4)) {
        if let Some((_, seconds)) = timeouts.seconds.iter().find(|(shown, _)| *shown == kind) {
            let _ = writeln!(text, "\t\t.{state} = {seconds},");
        }
    }
    text + "\t},\n};\n"
}

#[cfg(test)]
mod tests;
