//! Roles of this very program that the warden starts besides workers: keeper and broker.

use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::Identity;

/// How processes of a role are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleRecipe {
    /// The binary with the role: this very program, even if its file has been replaced meanwhile.
    pub program: PathBuf,
    /// Who it is to be.
    pub identity: Identity,
}

impl RoleRecipe {
    /// Processes that are this program.
    pub fn new(identity: Identity) -> Self {
        Self { program: PathBuf::from("/proc/self/exe"), identity }
    }

    /// The command of this role; its descriptors are the caller's to set.
    pub fn command(&self, role: &str) -> Command {
        let mut command = Command::new(&self.program);
        let Identity { uid, gid, .. } = self.identity;
        command.args([role, &uid.to_string(), &gid.to_string()]).env_clear().current_dir("/");
        command
    }
}
