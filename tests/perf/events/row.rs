//! One row: connections at a rate, and what became of their events.

use std::time::Duration;

use cthelper_tests::tally::Tally;

use super::Wanted;
use super::kernel;

/// Nothing more came for so long, and nothing waits in the kernel: all that comes has come.
const QUIET: Duration = Duration::from_secs(1);
/// Times that is waited for.
const PATIENCE: u32 = 120;

/// What was counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    readers: u64,
    took: Duration,
    /// Connections made, by the kernel's count.
    made: u64,
    /// Their events that the kernel dropped, by its own count of the socket.
    dropped: u64,
    spent: Duration,
    got: Tally,
}

impl Row {
    /// Makes the connections while these processes read their events; `progress` grows as long as they do. What was got is counted by the
    /// caller, with [`Row::got`].
    pub(super) fn measure(wanted: &Wanted, rate: u32, readers: u64, pids: &[u32], progress: impl Fn() -> u64) -> Self {
        let spent = || pids.iter().map(|pid| kernel::cpu(*pid)).sum::<Duration>();
        let dropped = || pids.iter().map(|pid| kernel::dropped(*pid)).sum::<u64>();
        let before = (spent(), dropped(), kernel::count());
        let took = kernel::connections(wanted.flows, rate);
        let made = kernel::count() - before.2;
        let mut seen = progress();
        for _ in 0..PATIENCE {
            std::thread::sleep(QUIET);
            let waiting: u64 = pids.iter().map(|pid| kernel::waiting(*pid)).sum();
            if std::mem::replace(&mut seen, progress()) == seen && waiting == 0 {
                break;
            }
        }
        let (spent, dropped) = (spent().saturating_sub(before.0), dropped() - before.1);
        Self { readers, took, made, dropped, spent, got: Tally::default() }
    }

    pub(super) fn got(self, got: Tally) -> Self {
        Self { got, ..self }
    }

    /// Events that the kernel delivered.
    fn delivered(&self) -> u64 {
        self.made - self.dropped.min(self.made)
    }

    /// Processor time of an event that was delivered, µs.
    pub(super) fn micros(&self) -> f64 {
        self.spent.as_secs_f64() * 1e6 / f64::from(u32::try_from(self.delivered().max(1)).unwrap())
    }

    /// Events of which nobody has heard: neither arrived nor dropped by the kernel's count nor told to be lost.
    pub(super) fn unaccounted(&self) -> i64 {
        (self.delivered() * self.readers).cast_signed() - (self.got.arrived + self.got.told).cast_signed()
    }

    pub(super) fn head() -> String {
        format!(
            "{:<22} {:>7} {:>7} {:>7} {:>8} {:>9} {:>9} {:>11} {:>9}",
            "program", "readers", "per s", "made", "dropped", "arrived", "told lost", "unaccounted", "µs/event"
        )
    }

    pub(super) fn print(&self, name: &str) {
        let rate = f64::from(u32::try_from(self.made).unwrap()) / self.took.as_secs_f64();
        println!(
            "{name:<22} {:>7} {rate:>7.0} {:>7} {:>8} {:>9} {:>9} {:>11} {:>9.1}",
            self.readers,
            self.made,
            self.dropped,
            self.got.arrived,
            self.got.told,
            self.unaccounted(),
            self.micros()
        );
    }
}
