//! Roles of this very program that the warden starts: how keeper and broker are made, and how a process learns that it is to be one of them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::Identity;

/// Why a process will not be what it was started for.
pub(crate) const NOT_FOR_HANDS: &str = "this role is the warden's to start";

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

/// What stands behind the name of a role: who to be, and what else the role needs to know.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Called<const MORE: usize> {
    pub uid: u32,
    pub gid: u32,
    pub more: [OsString; MORE],
}

/// What this process was started with, `None` if that is not `role`; what is wrong with it.
pub(crate) fn called<const MORE: usize>(role: &str) -> Option<Result<Called<MORE>, &'static str>> {
    read(std::env::args_os().skip(1), role)
}

/// Arguments are not always text: whatever a user types after the program's name comes here.
fn read<const MORE: usize>(mut args: impl Iterator<Item = OsString>, role: &str) -> Option<Result<Called<MORE>, &'static str>> {
    if args.next()? != role {
        return None;
    }
    let (Some(uid), Some(gid), Ok(more)) = (args.next(), args.next(), args.collect::<Vec<_>>().try_into()) else {
        return Some(Err(NOT_FOR_HANDS));
    };
    let number = |text: OsString| text.to_str().and_then(|text| text.parse().ok());
    let numbers = number(uid).zip(number(gid));
    Some(numbers.map(|(uid, gid)| Called { uid, gid, more }).ok_or("uid and gid must be numbers"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn keeper<const MORE: usize>(words: &[&[u8]]) -> Option<Result<Called<MORE>, &'static str>> {
        read(words.iter().map(|word| OsString::from_vec(word.to_vec())), "keeper")
    }

    #[test]
    fn only_the_name_of_the_role_calls_it_whatever_bytes_follow() {
        assert_eq!(keeper::<0>(&[]), None);
        assert_eq!(keeper::<0>(&[b"run", b"\xff"]), None);
        assert_eq!(keeper::<0>(&[b"keeper\xff"]), None);
        assert_eq!(keeper(&[b"keeper", b"7", b"8"]), Some(Ok(Called { uid: 7, gid: 8, more: [] })));
        assert_eq!(
            keeper(&[b"keeper", b"7", b"8", b"\xff"]),
            Some(Ok(Called { uid: 7, gid: 8, more: [OsString::from_vec(vec![0xff])] }))
        );
    }

    #[test]
    fn words_too_few_too_many_or_no_numbers_are_refused() {
        for words in [&[b"keeper" as &[u8], b"7"] as &[&[u8]], &[b"keeper", b"7", b"8", b"9"]] {
            assert_eq!(keeper::<0>(words), Some(Err(NOT_FOR_HANDS)));
        }
        for uid in [b"\xff" as &[u8], b"-1", b"4294967296", b""] {
            assert_eq!(keeper::<0>(&[b"keeper", uid, b"8"]), Some(Err("uid and gid must be numbers")));
        }
    }
}
