//! The lane on a scripted kernel with real confined workers: nothing is lost, doubled or overtaken, whatever happens to the workers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what it means")]

mod chains;
mod chaos;
mod crashes;
mod first;
mod journey;
mod staff;

use std::time::Duration;

use cthelper_tests::control::Packet;
use cthelper_tests::stage::Stage;

const PORT: &str = "PORT 10,0,1,2,7,208\r\n";
/// Long enough for a worker to answer what it has been sent. Nothing outside tells when it has; too short a time proves less, and fails nothing.
const ANSWERED: Duration = Duration::from_millis(300);

/// Packets of several flows, all with the worker, which stands still.
fn in_flight(stage: &Stage, packets: Vec<Packet>) -> (u32, Vec<u32>) {
    let pid = stage.freeze();
    let ids = stage.kernel.arrive(packets);
    stage.kernel.has_fetched(ids.len());
    std::thread::sleep(Duration::from_millis(20)); // they are sent in the same turn
    (pid, ids)
}
