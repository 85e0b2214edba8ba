//! The delay before a restart.

use std::time::Duration;

use super::settings::{Backoff, Thousandths};

impl Thousandths {
    /// Of this many nanoseconds.
    fn of(self, nanos: u128) -> u128 {
        nanos.saturating_mul(u128::from(self.0)) / 1000
    }
}

impl Backoff {
    /// The longest delay after the `ends`-th end of a series, from 1: 0, initial, initial × factor, initial × factor² … max.
    pub fn longest(&self, ends: usize) -> Duration {
        let Some(times) = ends.checked_sub(2) else { return Duration::ZERO };
        let max = self.max.as_nanos();
        let mut delay = self.initial.as_nanos().min(max);
        for _ in 0..times {
            let next = self.factor.of(delay).min(max);
            if next <= delay {
                break;
            }
            delay = next;
        }
        nanoseconds(delay)
    }

    /// The delay after the `ends`-th end, with chance's share taken off.
    pub(super) fn delay(&self, ends: usize, dice: &mut Dice) -> Duration {
        let longest = self.longest(ends).as_nanos();
        let share = self.jitter.min(Thousandths(1000)).of(longest);
        let off = (share * u128::from(dice.throw())) >> 32;
        nanoseconds(longest.saturating_sub(off))
    }
}

fn nanoseconds(nanos: u128) -> Duration {
    u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
}

/// A small generator of chance (splitmix64), for what need not be a secret. The same seed gives the same throws.
#[derive(Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn throw(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_delay_is_none_then_it_grows_by_the_factor_up_to_its_limit() {
        let delays: Vec<_> = (1..=10).map(|ends| Backoff::default().longest(ends).as_millis()).collect();
        assert_eq!(delays, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        let slow = Backoff { factor: Thousandths(1500), ..Backoff::default() };
        assert_eq!((1..=5).map(|ends| slow.longest(ends).as_millis()).collect::<Vec<_>>(), [0, 100, 150, 225, 337]);
        assert_eq!(Backoff { factor: Thousandths(1000), ..slow }.longest(10_000), slow.initial);
    }

    #[test]
    fn the_same_seed_gives_the_same_delays_and_another_seed_others() {
        let delays = |seed| {
            let mut dice = Dice(seed);
            (1..=10).map(|ends| Backoff::default().delay(ends, &mut dice)).collect::<Vec<_>>()
        };
        assert_eq!(delays(7), delays(7));
        assert_ne!(delays(7), delays(8));
    }

    #[test]
    fn jitter_uses_all_of_its_share() {
        let backoff = Backoff { jitter: Thousandths(500), ..Backoff::default() };
        let mut dice = Dice(1);
        let delays: Vec<_> = (0..1000).map(|_| backoff.delay(2, &mut dice).as_millis()).collect();
        assert!(delays.iter().all(|delay| (50..=100).contains(delay)), "{delays:?}");
        assert!(delays.iter().any(|delay| *delay < 55) && delays.iter().any(|delay| *delay > 95), "{delays:?}");
    }

    proptest! {
        #[test]
        fn no_delay_is_above_max_nor_below_its_share(
            (initial, max) in (0_u64..1 << 40, 0_u64..1 << 40), factor in 0_u32..20_000, jitter in 0_u32..1500,
            ends in 0_usize..1200, seed: u64,
        ) {
            let backoff = Backoff {
                initial: Duration::from_micros(initial),
                max: Duration::from_micros(max),
                factor: Thousandths(factor),
                jitter: Thousandths(jitter),
            };
            let (longest, delay) = (backoff.longest(ends), backoff.delay(ends, &mut Dice(seed)));
            prop_assert!(delay <= longest && longest <= backoff.max);
            let share = longest.mul_f64(f64::from(jitter.min(1000)) / 1000.0);
            prop_assert!(delay + share + Duration::from_micros(1) >= longest);
            prop_assert!(longest <= backoff.longest(ends + 1));
            prop_assert!(ends > 1 || delay.is_zero(), "the first of a series comes at once");
        }
    }
}
