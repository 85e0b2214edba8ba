//! `crashes export`: the packet a worker died on, or the record, in a file of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::log::Death;
use crate::exit::{Exit, Failure};

/// Longest file that is read, bytes: a packet of 64 KiB, its comments, and room.
const LONGEST: u64 = 256 * 1024;
/// `O_NOFOLLOW`.
const NO_FOLLOW: i32 = nix::fcntl::OFlag::O_NOFOLLOW.bits();

pub fn run(death: &Death, file: &Path, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let bytes = if json { format!("{}\n", death.line).into_bytes() } else { packet(death)? };
    if file != Path::new("-") {
        return write(file, &bytes);
    }
    if !json && io::stdout().is_terminal() {
        return Err(Failure::new(Exit::Usage, "a pcapng is nothing for a terminal: name a file, or pipe it somewhere"));
    }
    out.write_all(&bytes)?;
    Ok(())
}

/// The pcapng the packet is kept in.
fn packet(death: &Death) -> Result<Vec<u8>, Failure> {
    let missing = |words: String| Failure::new(Exit::NoInput, words);
    let id = &death.crash.id;
    let in_hand = death.crash.in_hand.as_ref().ok_or_else(|| missing(format!("crash {id}: the worker had no packet in hand")))?;
    let path = in_hand.file.as_deref().ok_or_else(|| {
        missing(format!("crash {id}: its packet was not kept; start cthelperd with --quarantine-dir DIR to keep the next one"))
    })?;
    let read = || {
        let file = OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(path)?;
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes).map(|_| bytes)
    };
    read().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::new(Exit::Permission, format!("not allowed to read {path}: try sudo")),
        io::ErrorKind::NotFound => missing(format!("{path} is not there any more: newer packets needed its room")),
        _ => missing(format!("cannot read {path}: {error}")),
    })
}

/// Into a file that is not there yet, for this user alone: the packet is a stranger's traffic.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    created.and_then(|mut file: File| file.write_all(bytes)).map_err(|error| {
        let words = match error.kind() {
            io::ErrorKind::AlreadyExists => format!("{} exists already: name another file", path.display()),
            _ => format!("cannot write {}: {error}", path.display()),
        };
        Failure::new(Exit::CantCreate, words)
    })
}
