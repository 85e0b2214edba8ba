//! The kernel's registry of helpers, as `nfct` and `doctor` use it; a trait, so that the tests need no kernel.

use cthelper_proto::netlink::cthelper::{self, Helper};
use cthelper_proto::netlink::message::{Body, Message, subsystem};
use cthelper_supervisor::kernel::netfilter::socket::{Nfnl, Refusal};
use nix::errno::Errno;

/// Layer 3 (2, 10 or 0) and layer 4, in numbers.
pub type Protocols = (u16, u8);

/// What can be done with it. Every error is the kernel's.
pub trait Registry {
    /// All user-space helpers.
    fn list(&mut self) -> Result<Vec<Helper>, Errno>;
    /// The first of this name and these protocols; `Ok(None)` or ENOENT = there is none.
    fn get(&mut self, name: &str, protocols: Option<Protocols>) -> Result<Option<Helper>, Errno>;
    /// Registers a helper without queue and status, or updates the one that has its key.
    fn add(&mut self, helper: &Helper) -> Result<(), Errno>;
    /// DISABLED: packets pass without it. EINVAL: there is none.
    fn disable(&mut self, name: &str, protocols: Protocols) -> Result<(), Errno>;
    /// Removes all of this name and these protocols. ENOENT: there is none. EBUSY: a rule refers to it.
    fn delete(&mut self, name: &str, protocols: Option<Protocols>) -> Result<(), Errno>;
    /// Removes all.
    fn flush(&mut self) -> Result<(), Errno>;
}

/// `ftp (inet tcp)`, as `nfct` takes it where both words have a name.
pub fn object(helper: &Helper) -> String {
    format!("{} ({} {})", helper.name, family(helper.family), protocol(helper.l4))
}

/// The word for a family's number.
pub fn family(number: u16) -> String {
    match number {
        0 => "any family".to_owned(),
        2 => "inet".to_owned(),
        10 => "inet6".to_owned(),
        other => format!("family {other}"),
    }
}

/// The word for a protocol's number.
pub fn protocol(number: u8) -> String {
    match number {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        other => format!("protocol {other}"),
    }
}

/// Keeps the helper a message carries; one that cannot be read is none.
fn keep(message: &Message<'_>, into: &mut Vec<Helper>) {
    if let Body::Nf { subsystem: subsystem::CTHELPER, attrs, .. } = message.body
        && let Ok(helper) = Helper::parse(attrs)
    {
        into.push(helper);
    }
}

fn done(answer: Result<(), Refusal>) -> Result<(), Errno> {
    answer.map_err(|refusal| refusal.errno)
}

impl Registry for Nfnl {
    fn list(&mut self) -> Result<Vec<Helper>, Errno> {
        let mut found = Vec::new();
        done(self.request(cthelper::dump, |message| keep(message, &mut found)))?;
        Ok(found)
    }

    fn get(&mut self, name: &str, protocols: Option<Protocols>) -> Result<Option<Helper>, Errno> {
        let mut found = Vec::new();
        done(self.request(|out, seq| cthelper::get(out, seq, name, protocols), |message| keep(message, &mut found)))?;
        Ok(found.into_iter().next())
    }

    fn add(&mut self, helper: &Helper) -> Result<(), Errno> {
        done(self.request(|out, seq| cthelper::add(out, seq, helper), |_| ()))
    }

    fn disable(&mut self, name: &str, (l3, l4): Protocols) -> Result<(), Errno> {
        done(self.request(|out, seq| cthelper::set_status(out, seq, name, l3, l4, false), |_| ()))
    }

    fn delete(&mut self, name: &str, protocols: Option<Protocols>) -> Result<(), Errno> {
        done(self.request(|out, seq| cthelper::delete(out, seq, name, protocols), |_| ()))
    }

    fn flush(&mut self) -> Result<(), Errno> {
        done(self.request(cthelper::flush, |_| ()))
    }
}

#[cfg(test)]
pub mod fake;
