//! The helpers of a conntrackd.conf as a configuration of cthelperd.
//!
//! What conntrackd 1.4.x accepts is read as conntrackd reads it, also where that is odd; what it refuses is refused, with the place.
//! Operators run it by hand on a file of theirs (`cthelperctl import`); the daemon never does.

mod known;
mod lex;
mod parse;
mod translate;

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
    pub fn line(&self, file: &str) -> String {
        format!("{file}:{}:{}: {}", self.at.line, self.at.column, self.words)
    }
}

/// What became of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Imported {
    /// The configuration.
    pub toml: String,
    /// What differs, in the order of the file.
    pub remarks: Vec<Remark>,
}

/// Translates the text of the file `name`; the error is why it cannot be.
pub fn import(text: &str, name: &str) -> Result<Imported, Remark> {
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
