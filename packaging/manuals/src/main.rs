//! `cthelper-manuals DIR` writes the man pages into `DIR/man` and the completions into `DIR/completions`.
//!
//! What is said twice is wrong once: options come from the command lines that the programs parse by, prose from `packaging/man`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Command;
use clap_complete::{Shell, generate_to};

mod commands;
mod page;
mod prose;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(folder), None) = (words.next(), words.next()) else {
        eprintln!("usage: cthelper-manuals DIR");
        return ExitCode::from(64);
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cthelper-manuals: {}: {error}", folder.display());
            ExitCode::from(73)
        }
    }
}

fn write(folder: &Path) -> io::Result<()> {
    let man = folder.join("man");
    fs::create_dir_all(&man)?;
    for page in page::PAGES {
        fs::write(man.join(page.file_name()), page.roff()?)?;
    }
    let completions = folder.join("completions");
    fs::create_dir_all(&completions)?;
    for command in [commands::daemon(), commands::ctl()] {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            complete(command.clone(), shell, &completions)?;
        }
    }
    Ok(())
}

fn complete(mut command: Command, shell: Shell, folder: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    generate_to(shell, &mut command, name, folder).map(drop)
}
