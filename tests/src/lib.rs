//! Shared pieces of the test ladder: what the rungs `sim`, `sandbox`, `replay`, `attacks` and `evidence` stand on. README.md says what each proves.
//!
//! [`binaries`] finds what was built · [`packets`] writes packets, [`capture`] files of them, [`control`] conversations ·
//! [`fake_kernel`] is a kernel that does as a test says · [`stage`] runs a real lane with real workers on it, [`office`] a real broker, [`program`] the real program ·
//! [`outside`] builds helpers out of the tree · [`readers`] has what reads strangers' bytes · [`worst`] has the packets that cost a helper most · [`schema`] holds records against their
//! schema · [`calls`] writes down system calls · [`tally`] counts what a reader of events got.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what it means")]
#![allow(clippy::missing_panics_doc, reason = "a test fails by panic")]

pub mod binaries;
pub mod calls;
pub mod capture;
pub mod control;
pub mod datagrams;
pub mod fake_kernel;
pub mod office;
pub mod outside;
pub mod packets;
pub mod program;
pub mod readers;
pub mod schema;
pub mod stage;
pub mod tally;
pub mod worst;

use std::time::{Duration, Instant};

/// The longest any test waits for one thing. Generous: the machine may be loaded.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer; panics with `what` when there is none in [`PATIENCE`].
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "waited {PATIENCE:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
