//! Whether the kernel agrees that a process is confined: judges the text of `/proc/PID/status` (`proc_pid_status(5)`).

use std::fmt;

use crate::profile::Profile;

/// What a confined worker must look like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its uid: real, effective, saved and of the file system.
    pub uid: u32,
    /// Its gid, likewise.
    pub gid: u32,
    /// Who made it.
    pub parent: u32,
    /// seccomp filters it has at least: launcher's and its own, and those of its parent.
    pub filters_min: u32,
    /// An ordinary user launched it, who cannot drop the groups it is in.
    pub groups_may_remain: bool,
    /// An ordinary user launched it, who may not be able to empty the bounding set. With `no_new_privs` the set gives nothing.
    pub bounding_may_remain: bool,
}

impl Expected {
    /// Launched by a supervisor with privileges: everything must hold.
    pub fn strict(uid: u32, gid: u32, parent: u32) -> Self {
        Self { uid, gid, parent, filters_min: 2, groups_may_remain: false, bounding_may_remain: false }
    }

    /// Launched by an ordinary user under its own name (`cthelperd replay`).
    pub fn unprivileged(uid: u32, gid: u32, parent: u32) -> Self {
        Self { groups_may_remain: true, bounding_may_remain: true, ..Self::strict(uid, gid, parent) }
    }
}

impl Expected {
    /// With as many filters more as its parent has, by the parent's `/proc/PID/status`: a child inherits them.
    #[must_use]
    pub fn beneath(self, parent_status: &str) -> Self {
        let inherited = Status(parent_status).field("Seccomp_filters").and_then(|text| text.parse::<u32>().ok());
        Self { filters_min: self.filters_min.saturating_add(inherited.unwrap_or(0)), ..self }
    }
}

/// What was seen, for status and audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The uid.
    pub uid: u32,
    /// The gid.
    pub gid: u32,
    /// How many filters.
    pub seccomp_filters: u32,
    /// Its parent traces it, will see how it ends, and keeps every other tracer away. No condition: some hosts do not allow it, and only
    /// root could be the other.
    pub witnessed: bool,
}

/// The first field that is not as it must be; the worker is not served with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// The field's name in `/proc/PID/status`.
    pub field: &'static str,
    /// Its text, at most 64 characters; empty when the field is missing.
    pub found: String,
    /// What it must be.
    pub wanted: String,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = if self.found.is_empty() { "nothing" } else { &self.found };
        write!(f, "{}: found {found}, wanted {}", self.field, self.wanted)
    }
}

impl std::error::Error for Deviation {}

/// Judges the text of `/proc/PID/status`.
///
/// # Errors
/// The first field that deviates. A missing field deviates: a kernel that cannot say so is not believed.
pub fn verify(status_text: &str, expected: &Expected) -> Result<Verified, Deviation> {
    let status = Status(status_text);
    status.ids("Uid", expected.uid)?;
    status.ids("Gid", expected.gid)?;
    if !expected.groups_may_remain {
        status.is("Groups", "", str::is_empty)?;
    }
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        status.no_capability(set)?;
    }
    if !expected.bounding_may_remain {
        status.no_capability("CapBnd")?;
    }
    status.number("NoNewPrivs", 1)?;
    status.number("Seccomp", 2)?;
    status.number("Threads", 1)?;
    status.number("PPid", expected.parent)?;
    let seccomp_filters = status.at_least("Seccomp_filters", expected.filters_min)?;
    let witnessed = status.number("TracerPid", expected.parent).is_ok();
    Ok(Verified { uid: expected.uid, gid: expected.gid, seccomp_filters, witnessed })
}

/// Judges the text of `/proc/PID/status` of a role that holds capabilities: it has its profile's and no other, cannot get any by an exec,
/// and is filtered.
///
/// # Errors
/// The first field that deviates.
pub fn verify_role(status_text: &str, profile: &Profile) -> Result<(), Deviation> {
    let status = Status(status_text);
    let kept = profile.kept().fold(0, |mask, cap| mask | cap.bitmask());
    for set in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        let wanted = format!("nothing beyond {kept:#x}");
        status.is(set, &wanted, |text| u64::from_str_radix(text, 16).is_ok_and(|held| held & !kept == 0))?;
    }
    status.number("NoNewPrivs", 1)?;
    status.number("Seccomp", 2)?;
    status.at_least("Seccomp_filters", 2).map(drop)
}

/// Judges the text of `/proc/PID/net/dev` (`proc_pid_net(5)`): two lines of headings, then one per interface of the process's network.
///
/// # Errors
/// There is an interface besides the loopback, so the network is somebody's.
pub fn network_is_empty(dev_text: &str) -> Result<(), Deviation> {
    let mut interfaces = dev_text.lines().skip(2).filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim());
    match interfaces.find(|name| *name != "lo") {
        Some(name) => {
            Err(Deviation { field: "net/dev", found: name.chars().take(64).collect(), wanted: "no interface but lo".into() })
        }
        None => Ok(()),
    }
}

struct Status<'a>(&'a str);

impl<'a> Status<'a> {
    /// The text behind `field:`, without the white space around it.
    fn field(&self, field: &str) -> Option<&'a str> {
        let mut lines = self.0.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(name, _)| *name == field).map(|(_, text)| text.trim())
    }

    fn is(&self, field: &'static str, wanted: &str, good: impl Fn(&str) -> bool) -> Result<&'a str, Deviation> {
        let found = self.field(field);
        if let Some(text) = found.filter(|text| good(text)) {
            return Ok(text);
        }
        let wanted = if wanted.is_empty() { "none" } else { wanted };
        Err(Deviation { field, found: found.unwrap_or_default().chars().take(64).collect(), wanted: wanted.into() })
    }

    /// Four ids that are all `wanted`; 0 is never right, whatever is wanted.
    fn ids(&self, field: &'static str, wanted: u32) -> Result<(), Deviation> {
        let right = |text: &str| {
            let ids: Vec<_> = text.split_ascii_whitespace().map(str::parse::<u32>).collect();
            wanted != 0 && ids.len() == 4 && ids.iter().all(|id| *id == Ok(wanted))
        };
        let wanted = if wanted == 0 { "anything but 0".into() } else { format!("{wanted} four times") };
        self.is(field, &wanted, right).map(drop)
    }

    fn no_capability(&self, field: &'static str) -> Result<(), Deviation> {
        self.is(field, "no capability", |text| u64::from_str_radix(text, 16) == Ok(0)).map(drop)
    }

    fn number(&self, field: &'static str, wanted: u32) -> Result<(), Deviation> {
        self.is(field, &wanted.to_string(), |text| text.parse() == Ok(wanted)).map(drop)
    }

    fn at_least(&self, field: &'static str, least: u32) -> Result<u32, Deviation> {
        let wanted = format!("at least {least}");
        let text = self.is(field, &wanted, |text| text.parse().is_ok_and(|count: u32| count >= least))?;
        Ok(text.parse().unwrap_or(least))
    }
}

#[cfg(test)]
mod tests;
