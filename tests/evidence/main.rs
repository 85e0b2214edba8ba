//! What is left of a worker: its record, the packet in its hands, and the same end once more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what it means")]

mod log;
mod records;
mod replay;

use std::path::{Path, PathBuf};

use cthelper_proto::events::{Crash, Event};
use cthelper_supervisor::lane::Ended;
use cthelper_tests::binaries::scratch;
use cthelper_tests::control::Packet;
use cthelper_tests::stage::Play;

/// A folder for packets in hand, gone when dropped.
struct Kept(PathBuf);

impl Kept {
    fn new() -> Self {
        Self(scratch("quarantine"))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Ends imposters with these packets, one each, and returns everything that was audited.
fn ends(folder: &Path, packets: Vec<Packet>) -> Vec<Event> {
    let mut play = Play::imposter("honest");
    play.quarantine = Some(folder.to_owned());
    let stage = play.bears(1000).start();
    for packet in packets {
        let pid = stage.serves();
        stage.kernel.carries(packet);
        stage.serves_after(pid);
    }
    let events = |events: &[Event]| events.iter().filter(|event| death(event).is_some()).count();
    let wanted = stage.status().restarts;
    cthelper_tests::eventually("every death to be audited", || {
        (u64::try_from(events(&stage.audited())).unwrap() >= wanted).then_some(())
    });
    let audited = stage.audited();
    assert!(matches!(stage.stop(), Ended::Orderly));
    audited
}

/// The evidence in an event.
fn death(event: &Event) -> Option<&Crash> {
    match event {
        Event::WorkerCrashed(crash) | Event::WorkerHung(crash) | Event::WorkerOutOfTurn { crash, .. } => Some(crash),
        _ => None,
    }
}
