//! How many expectations a flow may have open, and how fast it may announce them. Bounded memory; time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use cthelper_proto::types::FlowId;

use crate::expect::Permit;

/// A token bucket's shape: `burst` at once, then `per_second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens in a full bucket.
    pub burst: u32,
    /// Tokens that come back each second; 0 = never.
    pub per_second: u32,
}

impl Default for Rate {
    /// 128 at once, then 32 a second: a client that mirrors a tree of small files over FTP stays below it.
    fn default() -> Self {
        Self { burst: 128, per_second: 32 }
    }
}

/// Tokens, refilled by the time that passed.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// In millionths of a token, so that no fraction of a refill is lost between two calls a microsecond apart.
    micro: u64,
    since: Instant,
}

/// Millionths in one token.
const TOKEN: u64 = 1_000_000;

impl Bucket {
    /// A full bucket.
    pub fn full(rate: Rate, now: Instant) -> Self {
        Self { micro: u64::from(rate.burst) * TOKEN, since: now }
    }

    /// Takes a token if there is one.
    pub fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since);
        let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        let back = micros.saturating_mul(u64::from(rate.per_second));
        self.micro = self.micro.saturating_add(back).min(u64::from(rate.burst) * TOKEN);
        self.since = self.since.max(now);
        let Some(left) = self.micro.checked_sub(TOKEN) else { return false };
        self.micro = left;
        true
    }
}

/// What identifies an open expectation of a flow: a retransmitted announcement is the same one.
type Key = (u8, u8, std::net::IpAddr, u16);

fn key(permit: &Permit) -> Key {
    (permit.class, permit.proto, permit.dst, permit.dport)
}

/// One flow's account.
#[derive(Debug)]
struct Account {
    bucket: Bucket,
    open: Vec<(Key, Instant)>,
}

/// The accounts of one helper's flows.
///
/// Memory is bounded by two generations: when the young one is full it becomes the old one and what was old is forgotten. A flow
/// that is used moves to the young generation, so only flows idle for a whole generation lose their account.
#[derive(Debug)]
pub struct Limits {
    rate: Rate,
    young: HashMap<FlowId, Account>,
    old: HashMap<FlowId, Account>,
}

impl Limits {
    /// Accounts in one generation. 8192: about 1 MiB for both when each flow has one open expectation.
    pub const GENERATION: usize = 8192;

    /// No accounts yet.
    pub fn new(rate: Rate) -> Self {
        Self { rate, young: HashMap::new(), old: HashMap::new() }
    }

    /// Another rate from now on.
    pub fn set_rate(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// Takes one of the flow's tokens; false when it has none left.
    pub fn take(&mut self, flow: FlowId, now: Instant) -> bool {
        let rate = self.rate;
        self.account(flow, now).bucket.take(rate, now)
    }

    /// Whether the flow may have one more open in the permit's class; the same one again needs no room.
    pub fn has_room(&mut self, flow: FlowId, permit: &Permit, most: u8, now: Instant) -> bool {
        let (open, wanted) = (&mut self.account(flow, now).open, key(permit));
        open.retain(|(_, until)| *until > now);
        let in_class = open.iter().filter(|((class, ..), _)| *class == permit.class).count();
        in_class < usize::from(most) || open.iter().any(|(key, _)| *key == wanted)
    }

    /// Counts an expectation until `timeout` is over.
    pub fn opened(&mut self, flow: FlowId, permit: &Permit, timeout: Duration, now: Instant) {
        let (open, wanted) = (&mut self.account(flow, now).open, key(permit));
        open.retain(|(key, until)| *until > now && *key != wanted);
        open.push((wanted, now + timeout));
    }

    /// Counts an expectation no longer.
    pub fn closed(&mut self, flow: FlowId, permit: &Permit) {
        let wanted = key(permit);
        if let Some(account) = self.young.get_mut(&flow).or_else(|| self.old.get_mut(&flow)) {
            account.open.retain(|(key, _)| *key != wanted);
        }
    }

    /// The flow is gone.
    pub fn forget(&mut self, flow: FlowId) {
        self.young.remove(&flow);
        self.old.remove(&flow);
    }

    /// Accounts held, for status.
    pub fn flows(&self) -> usize {
        self.young.len() + self.old.len()
    }

    fn account(&mut self, flow: FlowId, now: Instant) -> &mut Account {
        if !self.young.contains_key(&flow) && self.young.len() >= Self::GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        let (rate, old) = (self.rate, &mut self.old);
        self.young
            .entry(flow)
            .or_insert_with(|| old.remove(&flow).unwrap_or_else(|| Account { bucket: Bucket::full(rate, now), open: Vec::new() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
}
