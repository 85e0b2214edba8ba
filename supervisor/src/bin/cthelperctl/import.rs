//! `import`: the helpers of a conntrackd.conf as a configuration of cthelperd.
//!
//! What conntrackd 1.4.x accepts is read as conntrackd reads it, also where that is odd; what it refuses is refused, with the place.
//! The configuration goes to stdout and is complete; what will differ goes to stderr, a line each with its place in the old file.

mod known;
mod lex;
mod parse;
mod translate;

use std::fs;
use std::io::Write;
use std::path::Path;

use cthelper_policy::config::Config;

use crate::exit::{Exit, Failure};
use crate::text::printable;

/// A place in the file: line and column from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    line: usize,
    column: usize,
}

/// Something to be said about a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    at: Place,
    words: String,
}

impl Remark {
    fn new(at: Place, words: impl Into<String>) -> Self {
        Self { at, words: words.into() }
    }

    /// `file:line:column: words`, which editors can jump to.
    fn line(&self, file: &str) -> String {
        format!("{file}:{}:{}: {}", self.at.line, self.at.column, self.words)
    }
}

/// What became of a file.
#[derive(Debug, PartialEq, Eq)]
struct Imported {
    /// The configuration.
    toml: String,
    /// What differs, in the order of the file.
    remarks: Vec<Remark>,
}

/// Prints the configuration to `out` and the remarks to `err`.
pub fn run(file: &Path, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failure> {
    let name = file.display().to_string();
    // A comment may be in any encoding; what is not UTF-8 elsewhere is no word of conntrackd's.
    let bytes = fs::read(file).map_err(|error| Failure::new(Exit::NoInput, format!("{name}: {error}")))?;
    let text = String::from_utf8_lossy(&bytes);
    let imported = import(&text, &name).map_err(|wrong| Failure::new(Exit::Config, wrong.line(&name)))?;
    // What is printed must be what `cthelperd check` takes.
    Config::parse(&imported.toml, "the result").map_err(|error| Failure::new(Exit::Software, error.to_string()))?;
    for remark in &imported.remarks {
        writeln!(err, "{}", printable(&remark.line(&name)))?;
    }
    out.write_all(imported.toml.as_bytes())?;
    Ok(())
}

fn import(text: &str, name: &str) -> Result<Imported, Remark> {
    let read = parse::file(text)?;
    if read.instances.is_empty() {
        let place = read.helper_block.unwrap_or(Place { line: 1, column: 1 });
        return Err(Remark::new(place, "no helper to import: no `Helper { Type ... }`"));
    }
    let mut remarks = read.remarks;
    let toml = translate::toml(&read.instances, name, &mut remarks);
    remarks.sort_by_key(|remark| remark.at);
    Ok(Imported { toml, remarks })
}

#[cfg(test)]
mod tests;
