//! Damaged bytes for everything that reads a stranger's: no panic, no standstill, no growth.
//!
//! A target is a name, a reader and seeds: recorded messages of real kernels, and `corpus/NAME.txt`. Each round takes a seed and damages
//! it, from a fixed number on, so that a failure comes again. `FUZZ_ROUNDS=1000000 cargo test --test fuzz` looks longer.
//! Every helper of the registry is a target by itself; what makes it fail belongs into its file of the corpus.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may say what it means")]

mod damage;

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use cthelper_tests::readers::{self, Reader, Target};
use damage::Damage;

/// Rounds for each target by default: some two seconds for all of them.
const ROUNDS: u64 = 3000;
/// How long one round may take: a thousand times what the slowest needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// By how much memory may grow between the first tenth of the rounds and the last, KiB: what allocators keep for themselves.
const GROWTH: u64 = 16 << 10;

/// Memory is the whole process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn no_damage_is_fatal() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let rounds = std::env::var("FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("FUZZ_ROUNDS is a number"));
    let failures: Vec<String> = readers::all().into_iter().filter_map(|target| attack(target, rounds).err()).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// All rounds of one target, in a thread that can be given up.
fn attack(target: Target, rounds: u64) -> Result<(), String> {
    let name = target.name.clone();
    assert!(!target.seeds.is_empty(), "{name} has no seed");
    let in_hand = Arc::new(Mutex::new(Vec::new()));
    let (tell, told) = mpsc::channel();
    let shown = Arc::clone(&in_hand);
    thread::spawn(move || {
        let mut damage = Damage::new(&target.name);
        let mut read = (target.reader)();
        let mut resident_early = 0;
        for round in 0..rounds {
            let bytes = damage.damaged(&target.seeds, round);
            shown.lock().unwrap().clone_from(&bytes);
            if catch_unwind(AssertUnwindSafe(|| read(&bytes))).is_err() {
                return tell.send(Err("panicked".to_owned()));
            }
            if round == rounds / 10 {
                resident_early = resident();
            }
            let _ = tell.send(Ok(false));
        }
        let grown = resident().saturating_sub(resident_early);
        if grown > GROWTH {
            return tell.send(Err(format!("has grown by {grown} KiB")));
        }
        tell.send(Ok(true))
    });
    loop {
        let what = match told.recv_timeout(PATIENCE) {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) => continue,
            Ok(Err(what)) => what,
            Err(_) => format!("took longer than {PATIENCE:?}"),
        };
        return Err(format!("{name} {what} on {}", escaped(&in_hand.lock().unwrap_or_else(std::sync::PoisonError::into_inner))));
    }
}

/// As a line of the corpus.
fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{}", byte.escape_ascii());
        text
    })
}

/// Resident memory of this process, KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_reader_that_panics_or_grows_is_told_with_what_it_read() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let target = |read: fn() -> Reader| Target { name: "bad".into(), seeds: vec![b"seed".to_vec()], reader: Box::new(read) };
    let panics = target(|| Box::new(|bytes| assert!(bytes.starts_with(b"seed"))));
    let told = attack(panics, ROUNDS).unwrap_err();
    assert!(told.starts_with("bad panicked on "), "{told}");
    let grows = target(|| {
        let mut kept = Vec::new();
        Box::new(move |_| kept.push(vec![1_u8; 64 << 10]))
    });
    let told = attack(grows, 1000).unwrap_err();
    assert!(told.starts_with("bad has grown by "), "{told}");
}
