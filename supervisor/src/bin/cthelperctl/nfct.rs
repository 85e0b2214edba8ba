//! `nfct` of conntrack-tools: same words, same output, same exit status (0 or 1).
//!
//! Different on purpose: `get` with a protocol that matches nothing says so (nfct prints nothing and succeeds); `get` and `delete`
//! work with a family alone (nfct then asks for protocol 0 and finds nothing); `disable` takes any registered helper (nfct only those it knows).
//! `add` leaves a helper that is there as it is (nfct sets the limits that it was compiled with); one that is served may have any name and
//! other classes (nfct does not know the name, or blames a kernel module).
//! `version` names this program and no other's author. A name that is no plain text is shown with `\xNN` for its odd bytes (nfct writes it
//! raw), and taken that way, too.

mod builtin;
mod grammar;
mod listing;
mod timeout;

use std::io::{self, Write};

use cthelper_proto::netlink::cthelper::{DISABLED, Helper};
use nix::errno::Errno;

use crate::registry::{Protocols, Registry};
use grammar::{Command, Key, Which, Wrong};

/// What precedes every message.
const PREFIX: &str = concat!("nfct v", env!("CARGO_PKG_VERSION"), ": ");

/// Where the words go.
pub struct Streams<'a> {
    /// Data.
    pub out: &'a mut dyn Write,
    /// Words.
    pub err: &'a mut dyn Write,
}

/// A failure as it is printed, without [`PREFIX`]; may have several lines.
struct Said(String);

impl From<Errno> for Said {
    fn from(errno: Errno) -> Self {
        Self(format!("netlink error: {}", strerror(errno)))
    }
}

/// The C library's words for an error, which nfct prints; nix has its own for some.
fn strerror(errno: Errno) -> String {
    let text = io::Error::from(errno).to_string();
    text.split_once(" (os error").map_or(text.clone(), |(words, _)| words.to_owned())
}

/// Does what `words` say. `program` is how the user called us; `open` gives access to the kernel. Returns the exit status.
pub fn run<R: Registry + timeout::Policies>(
    program: &str,
    words: &[String],
    open: impl FnOnce() -> Result<R, Errno>,
    io: &mut Streams<'_>,
) -> u8 {
    let outcome = match grammar::parse(words) {
        Ok(command) => obey(&command, open, io.out),
        Err(wrong) => Err(complaint(program, wrong)),
    };
    match outcome {
        Ok(()) => 0,
        Err(Said(text)) => {
            let _ = writeln!(io.err, "{text}");
            1
        }
    }
}

fn complaint(program: &str, wrong: Wrong) -> Said {
    let usage = format!("Usage: {program} command subsystem [parameters]...");
    Said(match wrong {
        Wrong::TooFew => usage,
        Wrong::Word(text) => format!("{PREFIX}{text}\n{usage}"),
        Wrong::NotForHelpers(word) => format!(
            "{PREFIX}Unknown command: {word}\n{PREFIX}Missing command\n\
             {program} helper list|add|delete|disable|get|flush [parameters...]"
        ),
        Wrong::NotForTimeouts => format!(
            "{PREFIX}Missing command\n\
             {program} <list|add|delete|get|default-set|default-get|flush> timeout [<parameters>, ...]"
        ),
        Wrong::Parameters(text) => format!("{PREFIX}{text}"),
    })
}

fn obey<R: Registry + timeout::Policies>(
    command: &Command,
    open: impl FnOnce() -> Result<R, Errno>,
    out: &mut dyn Write,
) -> Result<(), Said> {
    if *command == Command::Version {
        return print(out, &version());
    }
    let mut kernel = open().map_err(|errno| Said(format!("{PREFIX}cannot open netlink: {}", strerror(errno))))?;
    let answer = match command {
        Command::Add(key) => add(&mut kernel, key),
        Command::List => kernel.list().map_err(Said::from).and_then(|helpers| show(out, &helpers)),
        Command::Get(which) => find(&mut kernel, which).and_then(|helper| show(out, &[helper])),
        Command::Delete(which) => delete(&mut kernel, which),
        Command::Disable(key) => disable(&mut kernel, key),
        Command::Flush => kernel.flush().map_err(Said::from),
        Command::Timeout(command) => timeout::obey(&mut kernel, command, out),
        Command::Version => Ok(()),
    };
    answer.map_err(|Said(text)| Said(format!("{PREFIX}{text}")))
}

fn version() -> String {
    format!(
        "{PREFIX}utility for the Netfilter's Connection Tracking System\nOf cthelperd, in place of that of conntrack-tools 1.4.7.\n"
    )
}

fn print(out: &mut dyn Write, text: &str) -> Result<(), Said> {
    out.write_all(text.as_bytes()).map_err(|error| Said(format!("cannot write the output: {error}")))
}

fn show(out: &mut dyn Write, helpers: &[Helper]) -> Result<(), Said> {
    helpers.iter().try_for_each(|helper| print(out, &listing::block(helper)))
}

/// What is there and served, or is as it would be made, stays: its limits are a daemon's.
/// EBUSY, or EEXIST before 6.1.151 and 6.12.46: an in-kernel helper has this name; or a class or the private length differs.
fn add(kernel: &mut impl Registry, key: &Key) -> Result<(), Said> {
    // Whoever may not list is told so by what follows.
    let there = kernel.list().unwrap_or_default().into_iter().find(|helper| key.is_of(helper));
    if there.as_ref().is_some_and(|helper| helper.status != DISABLED) {
        return Ok(());
    }
    let helper = builtin::definition(key).ok_or_else(|| Said("that helper is not supported".to_owned()))?;
    if there.as_ref().is_some_and(|there| alike(there, &helper)) {
        return Ok(());
    }
    kernel.add(&helper).map_err(|errno| {
        let words = Said::from(errno).0;
        match (errno, there) {
            (Errno::EBUSY, Some(_)) => {
                Said(format!("{words}\nMaybe 'nfct delete helper {}' first? Its classes differ.", key.name))
            }
            (Errno::EBUSY | Errno::EEXIST, _) => Said(format!("{words}\nMaybe unload nf_conntrack_{}.ko first?", key.name)),
            _ => Said(words),
        }
    })
}

/// In what the kernel lets nobody change.
fn alike(one: &Helper, other: &Helper) -> bool {
    let names = |helper: &Helper| helper.classes.iter().map(|class| class.name.clone()).collect::<Vec<_>>();
    one.state_len == other.state_len && names(one) == names(other)
}

/// EINVAL is the kernel's answer to a status for a helper that does not exist.
fn disable(kernel: &mut impl Registry, key: &Key) -> Result<(), Said> {
    kernel.disable(&key.name, (key.family.number().into(), key.l4.number())).map_err(|errno| match errno {
        Errno::EINVAL if builtin::definition(key).is_none() => Said("that helper is not supported".to_owned()),
        errno => errno.into(),
    })
}

/// Both protocols, if both are named. The kernel takes no family alone.
fn both(which: &Which) -> Option<Protocols> {
    Some((which.family?.number().into(), which.l4?.number()))
}

/// The registered helpers of this name whose family is the one named.
fn of_family(kernel: &mut impl Registry, which: &Which) -> Result<Vec<Helper>, Said> {
    let mut found = kernel.list()?;
    let family = which.family.map(|family| u16::from(family.number()));
    found.retain(|helper| helper.name == which.name && Some(helper.family) == family);
    if found.is_empty() { Err(Errno::ENOENT.into()) } else { Ok(found) }
}

fn find(kernel: &mut impl Registry, which: &Which) -> Result<Helper, Said> {
    let found = match (both(which), which.family) {
        (None, Some(_)) => of_family(kernel, which)?.into_iter().next(),
        (protocols, _) => kernel.get(&which.name, protocols)?,
    };
    found.ok_or_else(|| Errno::ENOENT.into())
}

fn delete(kernel: &mut impl Registry, which: &Which) -> Result<(), Said> {
    let protocols = both(which);
    if protocols.is_some() || which.family.is_none() {
        return Ok(kernel.delete(&which.name, protocols)?);
    }
    for helper in of_family(kernel, which)? {
        kernel.delete(&helper.name, Some((helper.family, helper.l4)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
