//! `[helper.NAME.restart]`: when a worker is replaced.

use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::values::Span;
use crate::restart::{Backoff, BlameLimit, Limit, OnCrash, OnDown, Policy, Thousandths, When};

/// A day in milliseconds: the longest time span.
const DAY: u64 = 24 * 3600 * 1000;

/// Held packets keep their connections waiting, and fill the kernel's queue.
type Hold = Between<1, 60_000>;
/// Below 10 ms a busy machine's scheduler is taken for a hung worker.
type Deadline = Between<10, DAY>;
/// Below 1 s workers would mostly be starting.
type MaxAge = Between<1000, DAY>;
/// Below 1 s an open circuit would be none.
type Pause = Between<1000, DAY>;
/// 0 is refused, because `policy = "never"` says it in a word; each end within the interval is remembered, hence the upper end.
type Burst = Whole<1, 1000>;
/// A spare is a whole confined process.
type Spares = Whole<0, 4>;
/// 0 packets could never be served.
type MaxPackets = Whole<1, { u64::MAX }>;
/// 0 would blame a flow for nothing.
type Times = Whole<1, 255>;
/// Below 1 delays would shrink; 16 is beyond any use.
type Factor = Decimal<1, 16>;
/// A share.
type Jitter = Decimal<0, 1>;

/// The table as it is written. What is absent is the default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Table {
    policy: When,
    backoff: BackoffTable,
    limit: Option<Spanned<LimitTable>>,
    on_crash_packet: OnCrash,
    on_down: Option<OnDownWord>,
    hold: Option<Spanned<Hold>>,
    deadline: Option<Deadline>,
    spares: Option<Spares>,
    max_packets: Option<MaxPackets>,
    max_age: Option<MaxAge>,
    blame: BlameTable,
    probe: Option<Spanned<Pause>>,
}

impl Table {
    /// With defaults filled in.
    pub(super) fn policy(&self) -> Policy {
        let default = Policy::default();
        Policy {
            when: self.policy,
            backoff: self.backoff.backoff(),
            limit: self.limit.as_ref().map_or(default.limit, |limit| limit.get_ref().limit()),
            on_crash_packet: self.on_crash_packet,
            on_down: self.on_down(),
            deadline: self.deadline.map_or(default.deadline, |deadline| deadline.0),
            spares: self.spares.map_or(default.spares, Whole::small),
            max_packets: self.max_packets.map(|packets| packets.0),
            max_age: self.max_age.map(|age| age.0),
            blame: self.blame.limit(),
            probe: self.probe.as_ref().map(|pause| pause.get_ref().0),
        }
    }

    fn on_down(&self) -> OnDown {
        match self.on_down {
            Some(OnDownWord::Pass) => OnDown::Pass,
            Some(OnDownWord::Drop) => OnDown::Drop,
            None | Some(OnDownWord::Hold) => OnDown::Hold(self.hold.as_ref().map_or(OnDown::HOLD, |hold| hold.get_ref().0)),
        }
    }

    /// Two keys that cannot both be meant, where the later one stands, and what to do.
    pub(super) fn contradiction(&self) -> Option<(Range<usize>, String)> {
        self.backoff
            .contradiction()
            .or_else(|| self.hold_without_holding())
            .or_else(|| self.probe_of_never())
            .or_else(|| self.unreachable_limit())
    }

    fn hold_without_holding(&self) -> Option<(Range<usize>, String)> {
        let (hold, on_down) = (self.hold.as_ref()?, self.on_down());
        let idle = !matches!(on_down, OnDown::Hold(_));
        idle.then(|| {
            (hold.span(), format!("hold: nothing is held with on_down = \"{on_down}\": remove it, or say on_down = \"hold\""))
        })
    }

    fn probe_of_never(&self) -> Option<(Range<usize>, String)> {
        let probe = self.probe.as_ref()?;
        (self.policy == When::Never)
            .then(|| (probe.span(), "probe: policy = \"never\" lets only the operator try again: remove one of the two".into()))
    }

    /// A worker that ends as soon as it starts must open the circuit, or it is restarted for ever.
    fn unreachable_limit(&self) -> Option<(Range<usize>, String)> {
        let Policy { when, backoff, limit, .. } = self.policy();
        let span = self.limit.as_ref().map(Spanned::span).or_else(|| self.backoff.span())?;
        let delays: Duration = (1..=usize::from(limit.burst)).map(|ends| backoff.longest(ends)).sum();
        (when != When::Never && delays >= limit.interval).then(|| {
            let reason = format!(
                "limit: {} restarts take {delays:?} with this backoff, so the circuit would never open: \
                 a longer interval, or a smaller burst or backoff",
                limit.burst
            );
            (span, reason)
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BackoffTable {
    initial: Option<Spanned<Span>>,
    max: Option<Spanned<Span>>,
    factor: Option<Spanned<Factor>>,
    jitter: Option<Jitter>,
}

impl BackoffTable {
    fn backoff(&self) -> Backoff {
        let default = Backoff::default();
        Backoff {
            initial: self.initial.as_ref().map_or(default.initial, |span| span.get_ref().0),
            max: self.max.as_ref().map_or(default.max, |span| span.get_ref().0),
            factor: self.factor.as_ref().map_or(default.factor, |factor| factor.get_ref().0),
            jitter: self.jitter.map_or(default.jitter, |jitter| jitter.0),
        }
    }

    fn contradiction(&self) -> Option<(Range<usize>, String)> {
        let Backoff { initial, max, .. } = self.backoff();
        let span = self.initial.as_ref().or(self.max.as_ref())?.span();
        (initial > max).then(|| {
            (span, format!("backoff: initial ({}) is above max ({}): lower initial, or raise max", Span(initial), Span(max)))
        })
    }

    /// Where it says something about the length of delays.
    fn span(&self) -> Option<Range<usize>> {
        let times = self.initial.as_ref().or(self.max.as_ref()).map(Spanned::span);
        times.or_else(|| self.factor.as_ref().map(Spanned::span))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitTable {
    burst: Option<Burst>,
    interval: Option<Span>,
}

impl LimitTable {
    fn limit(&self) -> Limit {
        let default = Limit::default();
        Limit {
            burst: self.burst.map_or(default.burst, Whole::small),
            interval: self.interval.map_or(default.interval, |span| span.0),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BlameTable {
    times: Option<Times>,
    penalty: Option<Span>,
}

impl BlameTable {
    fn limit(&self) -> BlameLimit {
        let default = BlameLimit::default();
        BlameLimit {
            times: self.times.map_or(default.times, Whole::small),
            penalty: self.penalty.map_or(default.penalty, |span| span.0),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OnDownWord {
    Pass,
    Drop,
    Hold,
}

/// A whole number within a range.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "u64")]
struct Whole<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> TryFrom<u64> for Whole<MIN, MAX> {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        if (MIN..=MAX).contains(&number) { Ok(Self(number)) } else { Err(refusal(MIN, MAX)) }
    }
}

fn refusal(min: u64, max: u64) -> String {
    if max == u64::MAX { format!("a whole number, at least {min}") } else { format!("a whole number from {min} to {max}") }
}

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    /// The number in the type that its range fits into.
    fn small<T: TryFrom<u64> + From<u8>>(self) -> T {
        T::try_from(self.0).unwrap_or_else(|_| T::from(u8::MAX))
    }
}

/// A time span within a range, in milliseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "Span")]
struct Between<const MIN: u64, const MAX: u64>(Duration);

impl<const MIN: u64, const MAX: u64> TryFrom<Span> for Between<MIN, MAX> {
    type Error = String;

    fn try_from(span: Span) -> Result<Self, String> {
        let (min, max) = (Duration::from_millis(MIN), Duration::from_millis(MAX));
        if (min..=max).contains(&span.0) { Ok(Self(span.0)) } else { Err(format!("time span: {} to {}", Span(min), Span(max))) }
    }
}

/// A number within a range.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "f64")]
struct Decimal<const MIN: u32, const MAX: u32>(Thousandths);

impl<const MIN: u32, const MAX: u32> TryFrom<f64> for Decimal<MIN, MAX> {
    type Error = String;

    fn try_from(number: f64) -> Result<Self, String> {
        if !(f64::from(MIN)..=f64::from(MAX)).contains(&number) {
            return Err(format!("a number from {MIN} to {MAX}"));
        }
        // Seconds round to milliseconds without a cast; half a millisecond on top makes the cut a rounding.
        let seconds = Duration::try_from_secs_f64(number + 0.000_5).unwrap_or_default();
        Ok(Self(Thousandths(u32::try_from(seconds.as_millis()).unwrap_or(u32::MAX))))
    }
}

#[cfg(test)]
mod tests;
