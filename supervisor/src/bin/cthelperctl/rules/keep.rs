//! `rules nft --apply`: loads the rules and keeps them, so that the unit loads them again after the next start and unloads them on a stop.
//!
//! The supervisor starts no program, so none of this is its work: `ExecStartPost` of its unit calls `rules kept load`, and cthelperd-disarm,
//! which systemd stops when no next start follows, `rules kept unload`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::nft::REMOVAL;
use crate::exit::{Exit, Failure};

/// The file's name in the daemon's state folder.
const NAME: &str = "rules.nft";

/// Loads `rules`, then keeps them; what nft refuses is not kept.
pub fn apply(rules: &str, folder: &Path) -> Result<(), Failure> {
    load(rules)?;
    let file = folder.join(NAME);
    write_whole(&file, rules).map_err(|error| {
        let words = format!("the rules are loaded, but will not be after the next start: {}: {error}", file.display());
        Failure::new(Exit::CantCreate, words)
    })
}

/// The old file or the new one, never half of one.
fn write_whole(file: &Path, text: &str) -> io::Result<()> {
    let next = file.with_extension("nft.new");
    fs::write(&next, text)?;
    fs::rename(&next, file)
}

/// Unloads the table and forgets it.
pub fn remove(folder: &Path) -> Result<(), Failure> {
    load(REMOVAL)?;
    let file = folder.join(NAME);
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::new(Exit::CantCreate, format!("{}: {error}", file.display())))
        }
        _ => Ok(()),
    }
}

/// Loads what is kept, if anything is and its table is not there. A table that outlived the daemon is left alone: taking its chains away would
/// have the kernel drop all packets that wait in queues for the next daemon (`nf_queue_nf_hook_drop`).
pub fn load_kept(folder: &Path) -> Result<(), Failure> {
    let file = folder.join(NAME);
    match fs::read_to_string(&file) {
        Ok(_) if is_loaded() => Ok(()),
        Ok(rules) => load(&rules),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::new(Exit::NoInput, format!("{}: {error}", file.display()))),
    }
}

/// Whether the kernel has the table. Where nft cannot say it, `load` says why.
fn is_loaded() -> bool {
    let list =
        Command::new("nft").args(["list", "table", "inet", "cthelperd"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    list.is_ok_and(|status| status.success())
}

/// Unloads the table, and keeps the rules.
pub fn unload() -> Result<(), Failure> {
    load(REMOVAL)
}

/// Has nft load a file, as one transaction.
fn load(rules: &str) -> Result<(), Failure> {
    let unavailable = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new(Exit::Unavailable, "nft is not installed (package nftables)"),
        _ => Failure::new(Exit::Unavailable, format!("nft: {error}")),
    };
    let mut nft = Command::new("nft");
    nft.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = nft.spawn().map_err(|error| unavailable(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // nft that ends early says why itself.
        let _ = stdin.write_all(rules.as_bytes());
    }
    let ended = child.wait_with_output().map_err(|error| unavailable(&error))?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let first = said.lines().find(|line| !line.trim().is_empty()).map_or_else(|| ended.status.to_string(), str::to_owned);
    let hint =
        if first.contains("No such file") { "; is each helper registered, for each family? see cthelperctl doctor" } else { "" };
    let exit = if first.contains("not permitted") { Exit::Permission } else { Exit::Unavailable };
    Err(Failure::new(exit, format!("nft refuses the rules: {first}{hint}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_rules_has_nothing_to_load() {
        assert_eq!(load_kept(Path::new("/nowhere")), Ok(()));
    }
}
