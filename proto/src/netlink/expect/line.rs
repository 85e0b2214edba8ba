//! The line that shows an expectation, as `conntrack -E expect` and `conntrack -L expect` print it: scripts read it, so each byte counts.
//!
//! `[tag] timeout proto= src= dst= <ports> mask-src= mask-dst= <ports> master-src= master-dst= <ports> [zone=] [flags] class= helper=`

use std::fmt;

use super::super::conntrack::Event;
use super::super::text::side;
use super::{Expectation, INACTIVE, PERMANENT, USERSPACE};

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(timeout) = self.timeout {
            write!(f, "{timeout} ")?;
        }
        write!(f, "proto={} ", self.tuple.proto)?;
        side(f, "", &self.tuple)?;
        side(f, "mask-", &self.mask.tuple(&self.tuple))?;
        side(f, "master-", &self.master)?;
        if self.zone != 0 {
            write!(f, "zone={} ", self.zone)?;
        }
        flags(f, self.flags)?;
        write!(f, "class={}", self.class)?;
        match &self.helper {
            Some(helper) => write!(f, " helper={helper}"),
            None => Ok(()),
        }
    }
}

impl Expectation {
    /// The line of an event, its tag right-aligned to nine columns.
    pub fn event_line(&self, event: Event) -> String {
        let tag = match event {
            Event::New => "[NEW]",
            Event::Update => "[UPDATE]",
            Event::Destroy => "[DESTROY]",
        };
        format!("{tag:>9} {self}")
    }
}

/// The flags that are set, comma-joined, with one blank behind them.
fn flags(f: &mut fmt::Formatter<'_>, flags: u32) -> fmt::Result {
    let mut delimiter = "";
    for (bit, name) in [(PERMANENT, "PERMANENT"), (INACTIVE, "INACTIVE"), (USERSPACE, "USERSPACE")] {
        if flags & bit != 0 {
            write!(f, "{delimiter}{name}")?;
            delimiter = ",";
        }
    }
    f.write_str(if delimiter.is_empty() { "" } else { " " })
}
