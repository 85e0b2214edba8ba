//! The lane on a scripted kernel with real confined workers: nothing is lost, doubled or overtaken, whatever happens to the workers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what it means")]

mod chaos;
mod crashes;
mod journey;
mod staff;

use std::time::Duration;

const PORT: &str = "PORT 10,0,1,2,7,208\r\n";
/// Long enough for a worker to answer what it has been sent. Nothing outside tells when it has; too short a time proves less, and fails nothing.
const ANSWERED: Duration = Duration::from_millis(300);
