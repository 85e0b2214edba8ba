//! Profiles as an operator reads them.

use std::fmt;

use super::{Allow, Arg, Beneath, Place, Profile, Reach, Wanted};

impl fmt::Display for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.wanted {
            Wanted::Bits { mask: u32::MAX, value } => write!(f, "arg{} == {value}", self.index),
            Wanted::Bits { mask, value } => write!(f, "arg{} & {mask:#x} == {value:#x}", self.index),
            Wanted::OwnPid => write!(f, "arg{} is itself", self.index),
        }
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conditions: Vec<String> = self.when.iter().map(ToString::to_string).collect();
        let call =
            if conditions.is_empty() { self.name.into() } else { format!("{} if {}", self.name, conditions.join(" and ")) };
        let elsewhere = if self.elsewhere { " (not on every machine)" } else { "" };
        write!(f, "{call:<44} {}{elsewhere}", self.reason)
    }
}

impl fmt::Display for Beneath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place {
            Place::At(path) => path.to_owned(),
            Place::Named(what) => format!("<{what}>"),
        };
        let how = match self.reach {
            Reach::Read => "read",
            Reach::List => "read, list",
            Reach::Execute => "read, execute",
            Reach::Connect => "connect",
            Reach::Change => "read, write, create, remove",
        };
        write!(f, "{place:<44} {how}: {}", self.reason)
    }
}

/// A titled list; `none` says what it means that there is nothing in it.
fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, title: &str, none: &str, lines: impl Iterator<Item = T>) -> fmt::Result {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return writeln!(f, "{title}: {none}");
    }
    writeln!(f, "{title}:")?;
    lines.try_for_each(|line| writeln!(f, "  {line}"))
}

/// The table as an operator reads it: one line each, columns aligned.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "role {}", self.role)?;
        match self.syscalls {
            None => writeln!(f, "system calls: not filtered")?,
            Some(calls) => list(f, "system calls (any other kills the process)", "none", calls.iter())?,
        }
        self.includes.iter().try_for_each(|included| writeln!(f, "  and those of role {}", included.role))?;
        if !self.absent.is_empty() {
            let absent = self.absent.iter().map(|absent| format!("{:<44} {}", absent.name, absent.reason));
            list(f, "answered as if the kernel did not have them", "none", absent)?;
        }
        match self.files {
            None => writeln!(f, "files: not restricted")?,
            Some(files) => list(f, "files", "none", files.iter())?,
        }
        let own = self.namespaces.iter().map(|own| format!("{:<44} {}", own.namespace.to_string(), own.reason));
        list(f, "namespaces of its own", "none", own)?;
        let caps = self.caps.iter().map(|keep| format!("{:<44} {}", keep.cap.to_string(), keep.reason));
        list(f, "capabilities", "none", caps)?;
        let limits = self.limits.iter().map(|limit| {
            let what = format!("{:?} {}", limit.resource, limit.value);
            format!("{what:<44} {}", limit.reason)
        });
        list(f, "limits", "as inherited", limits)
    }
}
