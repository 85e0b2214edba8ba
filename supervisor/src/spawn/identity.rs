//! Who a worker is: never root, in no group.

use cthelper_policy::config::Daemon;
use cthelper_policy::verify::Expected;
use nix::unistd::{Group, Uid, User, getegid, geteuid};
use serde::{Deserialize, Serialize};

/// Used where the package's account does not exist: a number in a range that systemd's UIDs-GIDs document lists as unused.
const UNNAMED: u32 = 60_642;

/// User and group of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User id, never 0.
    pub uid: u32,
    /// Group id, never 0.
    pub gid: u32,
    /// Whether we are root and change to it; otherwise workers keep the identity we run under.
    pub change: bool,
}

/// The operator names a user or group that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadIdentity(pub String);

impl std::fmt::Display for BadIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Identity {
    /// The named user and group. Where the default account does not exist, a number that nobody uses.
    pub fn find(user: &str, group: &str) -> Result<Self, BadIdentity> {
        if !geteuid().is_root() {
            return Ok(Self { uid: geteuid().as_raw(), gid: getegid().as_raw(), change: false });
        }
        let uid = User::from_name(user).ok().flatten().map(|account| account.uid.as_raw());
        let gid = Group::from_name(group).ok().flatten().map(|group| group.gid.as_raw());
        let unnamed = |name: &str| (name == Daemon::USER).then_some(UNNAMED);
        let uid = uid.or_else(|| unnamed(user)).ok_or_else(|| missing("user", user, "useradd -r"))?;
        let gid = gid.or_else(|| unnamed(group)).ok_or_else(|| missing("group", group, "groupadd -r"))?;
        if uid == 0 || gid == 0 {
            return Err(BadIdentity("a worker never runs as root; name another user and group".to_owned()));
        }
        Ok(Self { uid, gid, change: true })
    }

    /// With a uid of the helper's own, `[daemon] uids`; it takes root to change to it. `user` may own it, and nobody else.
    pub fn with_uid(self, uid: Option<u32>, user: &str) -> Result<Self, BadIdentity> {
        let Some(uid) = uid.filter(|_| self.change) else { return Ok(self) };
        match User::from_uid(Uid::from_raw(uid)).ok().flatten() {
            Some(account) if account.name != user => {
                let owner = account.name.escape_debug();
                Err(BadIdentity(format!("uid {uid} belongs to the user {owner}; name another range in [daemon] uids")))
            }
            _ => Ok(Self { uid, ..self }),
        }
    }

    /// What `/proc/PID/status` of such a worker must say, made by the process `parent`.
    pub fn expected(&self, parent: u32) -> Expected {
        let expected = if self.change {
            Expected::strict(self.uid, self.gid, parent)
        } else {
            Expected::unprivileged(self.uid, self.gid, parent)
        };
        expected.beneath(&std::fs::read_to_string(format!("/proc/{parent}/status")).unwrap_or_default())
    }

    pub(super) fn launcher_args(&self) -> [String; 3] {
        [super::launcher::ROLE.to_owned(), self.uid.to_string(), self.gid.to_string()]
    }
}

fn missing(what: &str, name: &str, remedy: &str) -> BadIdentity {
    BadIdentity(format!("the workers' {what} {name:?} does not exist; create it: {remedy} {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_of_its_own_is_anybodys_but_another_accounts() {
        let root = Identity { uid: 990, gid: 990, change: true };
        assert_eq!(root.with_uid(Some(60_700), "cthelperd"), Ok(Identity { uid: 60_700, ..root }));
        assert_eq!(root.with_uid(None, "cthelperd"), Ok(root));
        let refused = root.with_uid(Some(1), "cthelperd").unwrap_err().to_string();
        assert_eq!(refused, "uid 1 belongs to the user daemon; name another range in [daemon] uids");
        let ordinary = Identity { change: false, ..root };
        assert_eq!(ordinary.with_uid(Some(60_700), "cthelperd"), Ok(ordinary));
    }
}
