//! A registry that behaves as the kernel's, for tests.

use cthelper_proto::netlink::cthelper::{DISABLED, Helper};
use cthelper_proto::netlink::cttimeout::Timeouts;
use nix::errno::Errno;

use super::{Protocols, Registry};

/// The kernel's registry, or one that answers everything with an error.
#[derive(Default)]
pub struct Fake {
    /// What is registered.
    pub helpers: Vec<Helper>,
    /// Timeout policies; `nfct` has them beside the helpers.
    pub timeouts: Vec<Timeouts>,
    /// The answer to everything.
    pub broken: Option<Errno>,
}

impl Fake {
    fn matching(&self, name: &str, protocols: Option<Protocols>) -> Vec<usize> {
        let hit = |helper: &Helper| helper.name == name && protocols.is_none_or(|both| both == (helper.family, helper.l4));
        self.helpers.iter().enumerate().filter(|(_, helper)| hit(helper)).map(|(at, _)| at).collect()
    }

    fn fine(&self) -> Result<(), Errno> {
        self.broken.map_or(Ok(()), Err)
    }
}

impl Registry for &mut Fake {
    fn list(&mut self) -> Result<Vec<Helper>, Errno> {
        self.fine().map(|()| self.helpers.clone())
    }

    fn get(&mut self, name: &str, protocols: Option<Protocols>) -> Result<Option<Helper>, Errno> {
        self.fine()?;
        match (self.matching(name, protocols).first(), protocols) {
            (Some(&at), _) => Ok(Some(self.helpers[at].clone())),
            (None, None) => Err(Errno::ENOENT),
            (None, Some(_)) => Ok(None),
        }
    }

    fn add(&mut self, helper: &Helper) -> Result<(), Errno> {
        self.fine()?;
        // An update changes numbers only.
        if let Some(&at) = self.matching(&helper.name, Some((helper.family, helper.l4))).first() {
            let names = |helper: &Helper| helper.classes.iter().map(|class| class.name.clone()).collect::<Vec<_>>();
            let there = &mut self.helpers[at];
            if there.state_len != helper.state_len || names(there) != names(helper) {
                return Err(Errno::EBUSY);
            }
            there.classes.clone_from(&helper.classes);
            return Ok(());
        }
        self.helpers.push(helper.clone());
        Ok(())
    }

    fn disable(&mut self, name: &str, protocols: Protocols) -> Result<(), Errno> {
        self.fine()?;
        let &at = self.matching(name, Some(protocols)).first().ok_or(Errno::EINVAL)?;
        self.helpers[at].status = DISABLED;
        Ok(())
    }

    fn delete(&mut self, name: &str, protocols: Option<Protocols>) -> Result<(), Errno> {
        self.fine()?;
        let gone = self.matching(name, protocols);
        if gone.is_empty() {
            return Err(Errno::ENOENT);
        }
        gone.into_iter().rev().for_each(|at| drop(self.helpers.remove(at)));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Errno> {
        self.fine()?;
        self.helpers.clear();
        Ok(())
    }
}

/// Enabled, at queue 7.
pub fn helper(name: &str, family: u16, l4: u8) -> Helper {
    Helper { name: name.to_owned(), family, l4, queue: 7, classes: Vec::new(), state_len: 24, status: 1 }
}
