//! How fast a flow may announce. Bounded memory; time is an argument. How many expectations it may have open is the kernel's to
//! keep: past a class's limit it evicts the oldest, which a client that asks twice relies on.

use std::collections::HashMap;
use std::time::Instant;

use cthelper_proto::types::FlowId;

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

/// The accounts of one helper's flows.
///
/// Memory is bounded by two generations: when the young one is full it becomes the old one and what was old is forgotten. A flow
/// that is used moves to the young generation, so only flows idle for a whole generation lose their account.
#[derive(Debug)]
pub struct Limits {
    rate: Rate,
    young: HashMap<FlowId, Bucket>,
    old: HashMap<FlowId, Bucket>,
}

impl Limits {
    /// Accounts in one generation. 8192: about 0.5 MiB for both.
    pub const GENERATION: usize = 8192;

    /// No accounts yet.
    pub fn new(rate: Rate) -> Self {
        Self { rate, young: HashMap::new(), old: HashMap::new() }
    }

    /// Another rate; what a flow has in its account stays, up to the new burst.
    pub fn change(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// Takes one of the flow's tokens; false when it has none left.
    pub fn take(&mut self, flow: FlowId, now: Instant) -> bool {
        let rate = self.rate;
        self.account(flow, now).take(rate, now)
    }

    #[cfg(test)]
    fn flows(&self) -> usize {
        self.young.len() + self.old.len()
    }

    fn account(&mut self, flow: FlowId, now: Instant) -> &mut Bucket {
        if !self.young.contains_key(&flow) && self.young.len() >= Self::GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        let (rate, old) = (self.rate, &mut self.old);
        self.young.entry(flow).or_insert_with(|| old.remove(&flow).unwrap_or_else(|| Bucket::full(rate, now)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate { burst: 3, per_second: 2 };

    #[test]
    fn burst_is_spent_then_refilled_by_time() {
        let now = Instant::now();
        let mut limits = Limits::new(RATE);
        let mut take = |flow, ms| limits.take(FlowId(flow), now + Duration::from_millis(ms));
        assert_eq!([take(1, 0), take(1, 0), take(1, 0), take(1, 0)], [true, true, true, false]);
        assert_eq!([take(1, 499), take(1, 500), take(1, 501)], [false, true, false]);
        assert_eq!(
            [take(1, 60_000), take(1, 60_000), take(1, 60_000), take(1, 60_000)],
            [true, true, true, false],
            "never above burst"
        );
        assert!(take(2, 0), "each flow has its own");
    }

    #[test]
    fn clock_that_goes_back_gives_nothing() {
        let before = Instant::now();
        let now = before + Duration::from_secs(5);
        let mut bucket = Bucket::full(RATE, now);
        assert!((0..3).all(|_| bucket.take(RATE, now)));
        assert!(!bucket.take(RATE, before));
        assert!(!bucket.take(RATE, now));
    }

    #[test]
    fn rate_0_is_the_burst_and_no_more() {
        let (now, rate) = (Instant::now(), Rate { burst: 1, per_second: 0 });
        let mut bucket = Bucket::full(rate, now);
        assert!(bucket.take(rate, now));
        assert!(!bucket.take(rate, now + Duration::from_secs(1_000_000)));
    }

    #[test]
    fn a_flood_of_flows_is_bounded_and_spares_the_flow_in_use() {
        let now = Instant::now();
        let mut limits = Limits::new(RATE);
        let busy = FlowId(u32::MAX);
        assert!((0..3).all(|_| limits.take(busy, now)));
        for n in 0..3 * u32::try_from(Limits::GENERATION).unwrap() {
            limits.take(FlowId(n), now);
            assert!(limits.flows() <= 2 * Limits::GENERATION);
            if n % 1000 == 0 {
                assert!(!limits.take(busy, now), "its empty bucket is remembered");
            }
        }
    }

    proptest! {
        #[test]
        fn no_sequence_of_calls_takes_more_than_burst_and_refill(steps in prop::collection::vec(0_u64..2_000_000, 1..200)) {
            let start = Instant::now();
            let mut bucket = Bucket::full(RATE, start);
            let (mut at, mut taken) = (0, 0_u64);
            for step in steps {
                at += step;
                taken += u64::from(bucket.take(RATE, start + Duration::from_micros(at)));
                prop_assert!(taken <= u64::from(RATE.burst) + at * u64::from(RATE.per_second) / TOKEN);
            }
        }
    }
}
