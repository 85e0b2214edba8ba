//! The man pages there are.

use std::io;

use clap::Command;
use roff::Roff;

use crate::{commands, prose};

/// One page: Markdown, and where it says so the part that comes from a command line.
pub(crate) struct Page {
    name: &'static str,
    section: &'static str,
    manual: &'static str,
    /// Its text.
    pub(crate) prose: &'static str,
    command: Option<fn() -> Command>,
}

/// Where a page wants its commands and options, on a line of its own.
const COMMANDS: &str = "{{commands}}\n";

const ADMINISTRATION: &str = "System administration";

/// All of them.
pub(crate) const PAGES: [Page; 4] = [
    Page {
        name: "cthelperd",
        section: "8",
        manual: ADMINISTRATION,
        prose: include_str!("../../man/cthelperd.8.md"),
        command: Some(commands::daemon),
    },
    Page {
        name: "cthelperctl",
        section: "8",
        manual: ADMINISTRATION,
        prose: include_str!("../../man/cthelperctl.8.md"),
        command: Some(commands::ctl),
    },
    Page {
        name: "cthelperd.toml",
        section: "5",
        manual: "File formats",
        prose: include_str!("../../man/cthelperd.toml.5.md"),
        command: None,
    },
    Page { name: "nfct", section: "8", manual: ADMINISTRATION, prose: include_str!("../../man/nfct.8.md"), command: None },
];

impl Page {
    /// `cthelperd.8`.
    pub(crate) fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.section)
    }

    /// What man reads. It has no date, so that the same source gives the same bytes.
    pub(crate) fn roff(&self) -> io::Result<String> {
        let mut title = Roff::new();
        let source = concat!("cthelperd ", env!("CARGO_PKG_VERSION"));
        title.control("TH", [self.name, self.section, "", source, self.manual]);
        let mut text = title.render();
        let (before, after) = self.prose.split_once(COMMANDS).unwrap_or((self.prose, ""));
        text.push_str(&prose::roff(before));
        if let Some(command) = self.command {
            text.push_str(&commands::sections(&command())?);
        }
        text.push_str(&prose::roff(after));
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
