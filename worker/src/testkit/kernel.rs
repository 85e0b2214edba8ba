//! The kernel and the supervisor of a conversation.

use std::net::IpAddr;

use cthelper_proto::ipc::{Expect, ExpectId, Grant, Rule, Ticket};

use crate::helper::{Judge, Refused};

/// Grants what is asked, as it is asked, unless told otherwise; remembers what was asked for the packet in hand.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    pub(super) asked: Vec<Expect>,
    pub(super) withdrawn: usize,
    pub(super) refuses: Option<Rule>,
    addr: Option<IpAddr>,
    port: Option<u16>,
}

impl Kernel {
    /// Refuses everything by this rule.
    pub fn that_refuses(rule: Rule) -> Self {
        Self { refuses: Some(rule), ..Self::default() }
    }

    /// Grants with another address, as behind address translation.
    pub fn that_grants_from(addr: &str) -> Self {
        Self { addr: Some(addr.parse().unwrap()), ..Self::default() }
    }

    /// And with another port, because the announced one is taken.
    pub fn at_port(self, port: u16) -> Self {
        Self { port: Some(port), ..self }
    }
}

impl Judge for Kernel {
    fn expect(&mut self, _: Ticket, expect: &Expect) -> Result<Grant, Refused> {
        self.asked.push(*expect);
        match self.refuses {
            Some(rule) => Err(Refused::By(rule)),
            None => Ok(Grant { id: ExpectId(1), addr: self.addr.unwrap_or(expect.dst), port: self.port.unwrap_or(expect.dport) }),
        }
    }

    fn withdraw(&mut self, _: Ticket, _: ExpectId) {
        self.withdrawn += 1;
    }
}
