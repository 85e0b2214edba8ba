//! `make bench-helpers`: what the most expensive packets each protocol allows cost a worker ([`cthelper_tests::worst`]), 64 KiB each.
//!
//! The helper and the SDK around it, without channels, as the worker calls them; a judge grants at once. Each packet is read by a worker that has
//! heard only what must come before. Shown are the fastest of many rounds, the ratio to copying the same bytes and adding them up, how much
//! longer 64 KiB take than 32 (2 = linear), and what is allocated. The rung `bounds` counts the same, and asserts.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a bench says what it means")]

use std::alloc::System;
use std::hint::black_box;
use std::time::{Duration, Instant};

use cthelper_proto::ipc::{Expect, ExpectId, Grant, Ticket};
use cthelper_tests::worst::{LONGEST, Worst, all};
use cthelper_worker::helper::{Judge, Refused};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static MEMORY: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Rounds of each packet, unless an argument says otherwise.
const ROUNDS: u32 = 200;

/// Grants everything, at another port.
struct AtOnce(usize);

impl Judge for AtOnce {
    fn expect(&mut self, _: Ticket, expect: &Expect) -> Result<Grant, Refused> {
        self.0 += 1;
        Ok(Grant { id: ExpectId(1), addr: expect.dst, port: expect.dport ^ 1 })
    }

    fn withdraw(&mut self, _: Ticket, _: ExpectId) {}
}

/// What reading one packet takes.
struct Cost {
    fastest: Duration,
    allocated: usize,
    asks: usize,
}

fn read(worst: &Worst, payload: &[u8], rounds: u32) -> Cost {
    let mut cost = Cost { fastest: Duration::MAX, allocated: 0, asks: 0 };
    for _ in 0..rounds {
        let mut judge = AtOnce(0);
        let mut ready = worst.ready(|helper| helper, &mut judge);
        judge.0 = 0;
        let region = Region::new(MEMORY);
        let begun = Instant::now();
        black_box(ready.read(black_box(payload), &mut judge));
        let took = begun.elapsed();
        cost = Cost { fastest: took.min(cost.fastest), allocated: region.change().bytes_allocated, asks: judge.0 };
    }
    cost
}

/// Copies the bytes and adds them up.
fn plain(payload: &[u8], rounds: u32) -> Duration {
    let once = || {
        let begun = Instant::now();
        let copy = black_box(payload).to_vec();
        black_box(black_box(copy).iter().fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(*byte))));
        begun.elapsed()
    };
    (0..rounds).map(|_| once()).min().unwrap()
}

fn main() {
    // Cargo says `--bench` to every bench.
    let rounds = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(ROUNDS).max(1);
    println!(
        "{:<8} {:<36} {:>9} {:>12} {:>7} {:>6} {:>10}",
        "helper", "64 KiB of", "µs", "x plain copy", "x 32KiB", "asks", "allocated"
    );
    for worst in all() {
        let (half, whole) = (worst.payload(LONGEST / 2), worst.payload(LONGEST));
        let (of_half, of_whole) = (read(&worst, &half, rounds), read(&worst, &whole, rounds));
        let micros = of_whole.fastest.as_secs_f64() * 1e6;
        let ratio = of_whole.fastest.as_secs_f64() / plain(&whole, rounds).as_secs_f64();
        let growth = of_whole.fastest.as_secs_f64() / of_half.fastest.as_secs_f64();
        let (asks, allocated) = (of_whole.asks, of_whole.allocated);
        println!("{:<8} {:<36} {micros:>9.1} {ratio:>12.1} {growth:>7.1} {asks:>6} {allocated:>10}", worst.helper, worst.what);
    }
}
