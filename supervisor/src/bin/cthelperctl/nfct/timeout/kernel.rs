//! The kernel's timeout policies; a trait, so that the tests need no kernel.

use cthelper_proto::netlink::cttimeout::{self, Timeouts};
use cthelper_proto::netlink::message::{Body, Message, subsystem};
use cthelper_supervisor::kernel::netfilter::socket::{Nfnl, Refusal};
use nix::errno::Errno;

/// What can be done with them. Every error is the kernel's.
pub trait Policies {
    /// All of this network namespace.
    fn policies(&mut self) -> Result<Vec<Timeouts>, Errno>;
    /// The one of this name. ENOENT: there is none.
    fn policy(&mut self, name: &str) -> Result<Vec<Timeouts>, Errno>;
    /// The namespace's own timeouts of a protocol.
    fn defaults(&mut self, l3: u16, l4: u8) -> Result<Vec<Timeouts>, Errno>;
    /// Makes one. EBUSY: the name is taken.
    fn add_policy(&mut self, timeouts: &Timeouts) -> Result<(), Errno>;
    /// Changes the namespace's own timeouts.
    fn set_defaults(&mut self, timeouts: &Timeouts) -> Result<(), Errno>;
    /// Removes one. ENOENT: there is none. EBUSY: a rule refers to it.
    fn delete_policy(&mut self, name: &str) -> Result<(), Errno>;
    /// Removes all that no rule refers to.
    fn flush_policies(&mut self) -> Result<(), Errno>;
}

/// Asks for objects; one that cannot be read is none.
fn objects(socket: &mut Nfnl, build: impl FnOnce(&mut Vec<u8>, u32)) -> Result<Vec<Timeouts>, Errno> {
    let mut found = Vec::new();
    let keep = |message: &Message<'_>| {
        if let Body::Nf { subsystem: subsystem::CTTIMEOUT, attrs, .. } = message.body {
            found.extend(Timeouts::parse(attrs).ok());
        }
    };
    done(socket.request(build, keep))?;
    Ok(found)
}

fn done(answer: Result<(), Refusal>) -> Result<(), Errno> {
    answer.map_err(|refusal| refusal.errno)
}

impl Policies for Nfnl {
    fn policies(&mut self) -> Result<Vec<Timeouts>, Errno> {
        objects(self, cttimeout::dump)
    }

    fn policy(&mut self, name: &str) -> Result<Vec<Timeouts>, Errno> {
        objects(self, |out, seq| cttimeout::get(out, seq, name))
    }

    fn defaults(&mut self, l3: u16, l4: u8) -> Result<Vec<Timeouts>, Errno> {
        objects(self, |out, seq| cttimeout::get_default(out, seq, l3, l4))
    }

    fn add_policy(&mut self, timeouts: &Timeouts) -> Result<(), Errno> {
        done(self.request(|out, seq| cttimeout::add(out, seq, timeouts), |_| ()))
    }

    fn set_defaults(&mut self, timeouts: &Timeouts) -> Result<(), Errno> {
        done(self.request(|out, seq| cttimeout::set_default(out, seq, timeouts), |_| ()))
    }

    fn delete_policy(&mut self, name: &str) -> Result<(), Errno> {
        done(self.request(|out, seq| cttimeout::delete(out, seq, name), |_| ()))
    }

    fn flush_policies(&mut self) -> Result<(), Errno> {
        done(self.request(cttimeout::flush, |_| ()))
    }
}
