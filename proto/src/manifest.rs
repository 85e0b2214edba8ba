//! What a helper says of itself before it sees the first byte of traffic.
//!
//! The supervisor caps it by policy, pins it (a restarted worker must say the same), and registers the kernel's helper from it.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{Family, L4s, State};

/// A helper's self-description; const-constructible, so it is a `static` in the helper's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name in the kernel's registry and in rules: 1 to 15 bytes of `[a-zA-Z0-9_.-]`.
    pub name: Cow<'static, str>,
    /// Protocols of the control connection; with both, one queue and one worker serve them.
    pub l4s: L4s,
    /// Families it is registered for.
    pub families: Cow<'static, [Family]>,
    /// Expectation classes, 1 to 4; a class is named by its index.
    pub classes: Cow<'static, [Class]>,
    /// Private bytes per connection kept by the kernel, 0 to 32.
    pub state_len: u8,
    /// Ports of the control connection that printed rules attach to.
    pub ports: Cow<'static, [u16]>,
    /// Where the protocol is written down, such as `RFC 959`.
    pub source: Cow<'static, str>,
}

/// One kind of expected connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// Policy name in the kernel, 1 to 15 bytes.
    pub name: Cow<'static, str>,
    /// Whose addresses it may name.
    pub scope: Scope,
    /// Expectations one connection may have at a time, 1 to 255.
    pub expect_max: u8,
    /// How long the kernel waits for the expected connection, seconds.
    pub timeout_secs: u32,
    /// Protocols the expected connection may have.
    pub l4s: L4s,
    /// Whether an expectation of it may outlive its first connection.
    pub may_stay: bool,
    /// Whether it may name the port the announcing packet came from, be it below 1024: no door that is not open to the peer already.
    pub own_port: bool,
    /// A port below 1024 that it may name, because the protocol's receivers listen there.
    pub reserved: Option<u16>,
    /// The helper that its connections get, by name: this one, or another that the supervisor serves.
    pub helped_by: Option<Cow<'static, str>>,
    /// An announcement gives its master this much time until the next packet, seconds: the announced end may be slow to come.
    pub master_timeout_secs: Option<u32>,
}

impl Class {
    /// A class of TCP connections, each of which uses its expectation up.
    pub const fn new(name: &'static str, scope: Scope, expect_max: u8, timeout_secs: u32) -> Self {
        Self {
            name: Cow::Borrowed(name),
            scope,
            expect_max,
            timeout_secs,
            l4s: L4s::Tcp,
            may_stay: false,
            own_port: false,
            reserved: None,
            helped_by: None,
            master_timeout_secs: None,
        }
    }

    /// The same for UDP.
    #[must_use]
    pub const fn udp(mut self) -> Self {
        self.l4s = L4s::Udp;
        self
    }

    /// The same for TCP and UDP, as each announcement says.
    #[must_use]
    pub const fn tcp_or_udp(mut self) -> Self {
        self.l4s = L4s::Both;
        self
    }

    /// The same, with expectations that may stay until their timeout.
    #[must_use]
    pub const fn staying(mut self) -> Self {
        self.may_stay = true;
        self
    }

    /// The same, for answers to the port that asked.
    #[must_use]
    pub const fn to_own_port(mut self) -> Self {
        self.own_port = true;
        self
    }

    /// The same, for this port, too, which is below 1024.
    #[must_use]
    pub const fn to_reserved(mut self, port: u16) -> Self {
        self.reserved = Some(port);
        self
    }

    /// The same, with connections that the helper of this name reads: this one, or the next link of a chain.
    #[must_use]
    pub const fn helped_by(mut self, name: &'static str) -> Self {
        // No destructor runs in a constant; there is nothing in it to destroy.
        std::mem::forget(self.helped_by.replace(Cow::Borrowed(name)));
        self
    }

    /// The same, with a master that is kept for this long after an announcement.
    #[must_use]
    pub const fn keeping_master(mut self, seconds: u32) -> Self {
        self.master_timeout_secs = Some(seconds);
        self
    }

    /// The timeout as a duration.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.timeout_secs))
    }
}

/// Whose addresses an expectation of a class may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// From the peer of the announcing host to the announcing host: the two ends of the master, nobody else.
    BothEnds,
    /// From anybody to the announcing host (answers to a multicast question).
    AnyToEnd,
}

/// A helper as `cthelper-worker --list` tells of it, one of a JSON array.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// What it is registered from.
    #[serde(flatten)]
    pub manifest: Manifest,
    /// Whether it rewrites what is announced where addresses are translated; if not, the protocol carries no address of its own.
    pub rewrites: bool,
    /// Hostile traffic it has an answer to.
    pub attacks: Vec<String>,
}

/// Why a manifest cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadManifest(pub &'static str);

impl Manifest {
    /// Checks the kernel's limits, so that a worker's manifest can be trusted to register.
    pub fn check(&self) -> Result<(), BadManifest> {
        let name_fits =
            |name: &str| (1..=15).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if !name_fits(&self.name) {
            return Err(BadManifest("name: 1 to 15 of [a-zA-Z0-9_.-]"));
        }
        if self.families.is_empty() || self.families.len() > 2 {
            return Err(BadManifest("families: one or two"));
        }
        if self.classes.is_empty() || self.classes.len() > 4 {
            return Err(BadManifest("classes: one to four"));
        }
        if !self.classes.iter().all(|class| name_fits(&class.name) && class.expect_max > 0 && class.timeout_secs > 0) {
            return Err(BadManifest("class: name of 1 to 15, expect_max and timeout above 0"));
        }
        if !self.classes.iter().all(|class| class.helped_by.as_deref().is_none_or(name_fits)) {
            return Err(BadManifest("class: helped_by of 1 to 15 of [a-zA-Z0-9_.-]"));
        }
        if usize::from(self.state_len) > State::MAX {
            return Err(BadManifest("state: at most 32 bytes"));
        }
        if self.ports.len() > 16 || self.source.len() > 64 {
            return Err(BadManifest("ports: at most 16; source: at most 64 bytes"));
        }
        Ok(())
    }
}
