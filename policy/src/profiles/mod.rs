//! The tables of the roles.

mod broker;
mod keeper;
mod launcher;
mod supervisor;
mod warden;
mod worker;

pub use broker::{BROKER, BROKER_PEERS};
pub use keeper::{KEEPER, KEEPER_PEERS, KEEPER_SOCKETS};
pub use launcher::LAUNCHER;
pub(crate) use launcher::WORKERS_BINARY;
pub use supervisor::SUPERVISOR;
pub(crate) use supervisor::{AUDIT, CONFIGURATION, NOTIFY, QUARANTINE, RUNTIME};
pub use warden::WARDEN;
pub(crate) use warden::{LAUNCHERS, WORKERS_FOLDERS};
pub use worker::WORKER;

use crate::profile::Profile;

/// Every role with a table, in the order they start.
pub const ALL: &[&Profile] = &[&SUPERVISOR, &WARDEN, &KEEPER, &BROKER, &LAUNCHER, &WORKER];

/// The role of this name.
pub fn by_name(role: &str) -> Option<&'static Profile> {
    ALL.iter().copied().find(|profile| profile.role == role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_found_by_their_names() {
        assert!(ALL.iter().all(|profile| by_name(profile.role).is_some_and(|found| found.role == profile.role)));
        assert!(by_name("Worker").is_none());
    }
}
