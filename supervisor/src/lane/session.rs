//! One worker's life with us: what it may say now, and the end of whoever says anything else.

use std::fmt;
use std::time::Instant;

use cthelper_policy::verify::{self, Deviation, Expected};
use cthelper_proto::ipc::{self, Ask, Enforcement, Namespaces};
use cthelper_proto::manifest::Manifest;

use crate::spawn::Channels;

/// How far a worker has come. It gets packets in `Serving` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The launcher puts the confinement around itself.
    Launching,
    /// The worker has started and has not introduced itself.
    Greeting,
    /// It closes the last doors behind itself.
    Confining,
    /// Verified; it waits for the end of the one that serves.
    Spare,
    /// Verified; packets flow.
    Serving,
}

/// A worker said something its phase does not allow, or does not keep to the protocol. Fatal for it, not for us.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutOfTurn(pub(super) String);

impl OutOfTurn {
    /// It speaks another version of the protocol.
    pub(super) fn of_another_version(version: u16) -> Self {
        Self(format!(
            "protocol version {version}, ours is {}: a worker must be made for the cthelperd that starts it",
            ipc::VERSION
        ))
    }
}

impl fmt::Display for OutOfTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A worker and what we know of it.
pub(super) struct Session {
    pub(super) channels: Channels,
    pub(super) phase: Phase,
    pub(super) generation: u64,
    /// The launcher's process id, then the worker's; unknown until the warden says it.
    pub(super) pid: Option<u32>,
    /// It says it is ready, before its process id is known.
    pub(super) ready: Option<Enforcement>,
    pub(super) since: Instant,
    pub(super) packets: u64,
    pub(super) landlock: Enforcement,
    pub(super) own: Namespaces,
    pub(super) write_xor_execute: bool,
    pub(super) filters: u32,
    /// The warden will see how it ends.
    pub(super) witnessed: bool,
    pub(super) log: super::log::Tail,
}

impl Session {
    pub(super) fn new(channels: Channels, generation: u64, now: Instant) -> Self {
        Self {
            channels,
            phase: Phase::Launching,
            generation,
            pid: None,
            ready: None,
            since: now,
            packets: 0,
            landlock: Enforcement::None,
            own: Namespaces::default(),
            write_xor_execute: false,
            filters: 0,
            witnessed: false,
            log: super::log::Tail::default(),
        }
    }

    /// Whether it has been verified.
    pub(super) fn is_verified(&self) -> bool {
        matches!(self.phase, Phase::Spare | Phase::Serving)
    }

    /// Whether `ask` may be said now; moves on to the next phase. The table is the protocol's whole grammar.
    pub(super) fn admit(&mut self, ask: &Ask) -> Result<(), OutOfTurn> {
        let next = match (self.phase, ask) {
            (Phase::Launching, Ask::Launched(_)) => Phase::Greeting,
            (Phase::Greeting, Ask::Hello(..)) => Phase::Confining,
            (Phase::Confining, Ask::Ready(_)) if self.ready.is_none() => Phase::Confining, // `Lane::serve` moves on, once it is verified
            (Phase::Serving, Ask::Expect(..) | Ask::Withdraw(..)) => Phase::Serving,
            (phase, ask) => return Err(OutOfTurn(format!("{} while {phase:?}", ask.name()))),
        };
        self.phase = next;
        Ok(())
    }

    /// Checks an introduction against the protocol, the kernel's limits, and what was said by earlier workers of the lane.
    pub(super) fn greet(version: u16, manifest: &Manifest, name: &str, pinned: Option<&Manifest>) -> Result<(), OutOfTurn> {
        if version != ipc::VERSION {
            return Err(OutOfTurn::of_another_version(version));
        }
        manifest.check().map_err(|bad| OutOfTurn(format!("manifest: {}", bad.0)))?;
        if manifest.name != name {
            return Err(OutOfTurn("manifest of another helper".to_owned()));
        }
        match pinned {
            Some(pinned) if pinned != manifest => Err(OutOfTurn("a manifest that differs from the pinned one".to_owned())),
            _ => Ok(()),
        }
    }

    /// Reads what the kernel says of the process and compares it with what a worker must be. Of namespaces, the kernel shows us without
    /// `CAP_SYS_PTRACE` only what is in the network's: nothing, if it is the worker's own.
    pub(super) fn verify(&mut self, expected: &Expected) -> Result<(), Deviation> {
        let pid = self.pid.unwrap_or_default();
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
        if self.own.contains(ipc::Namespace::Network) {
            verify::network_is_empty(&read("net/dev").unwrap_or_default())?;
        }
        let seen = verify::verify(&read("status").unwrap_or_default(), expected)?;
        (self.filters, self.witnessed) = (seen.seccomp_filters, seen.witnessed);
        Ok(())
    }
}
