//! The operator's side: `control.sock`, signals, the service manager. Runs on a small async runtime, apart from the lanes.

use std::path::Path;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::keeper::custody::Custody;
use crate::lane::Ended;

mod govern;
mod socket;
mod watchdog;

pub use govern::{Governor, Kept};

/// A lane is over.
pub struct Over {
    /// Whose.
    pub helper: String,
    /// Why.
    pub ended: Ended,
}

/// The signals we obey; caught from the moment this exists.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
    hand_over: Signal,
}

impl Signals {
    /// Needs the runtime.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
            hand_over: signal(SignalKind::user_defined1())?,
        })
    }
}

/// Serves the operator until a signal ends it or every lane is over; tells the lanes to stop and waits for them.
pub async fn serve(
    socket: std::os::unix::net::UnixListener,
    mut signals: Signals,
    governor: Governor,
    custody: &Custody,
    mut over: mpsc::UnboundedReceiver<Over>,
) -> std::io::Result<Vec<Over>> {
    let listener = socket::listen(socket, governor.clone())?;
    let pings = tokio::spawn(watchdog::ping(governor.clone()));
    let mut running = governor.lanes();
    let mut ends = Vec::new();
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
    while running > 0 {
        tokio::select! {
            _ = signals.terminate.recv() => stop(&governor),
            _ = signals.interrupt.recv() => stop(&governor),
            _ = signals.reload.recv() => reload(&governor).await,
            _ = signals.hand_over.recv() => hand_over(&governor, custody),
            Some(end) = over.recv() => {
                running -= 1;
                ends.push(end);
            }
        }
    }
    pings.abort();
    listener.abort();
    Ok(ends)
}

fn stop(governor: &Governor) {
    let _ = sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    tracing::info!("draining");
    governor.stop();
}

/// SIGUSR1: a successor is about to start. Helpers stay enabled, their queues stay with the keeper, and what comes waits.
fn hand_over(governor: &Governor, custody: &Custody) {
    if custody.is_lost() {
        return stop(governor); // nobody would hold the queues
    }
    let _ = sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status("handing over")]);
    tracing::info!("handing over");
    custody.expect_successor();
    governor.hand_over();
}

/// SIGHUP, between the two words that a service manager waits for.
async fn reload(governor: &Governor) {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
    governor.reopen();
    governor.reload().await;
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// Binds `control.sock` in the runtime folder, for root alone; a socket left over by an earlier life is replaced.
pub fn bind(runtime_dir: &Path) -> std::io::Result<std::os::unix::net::UnixListener> {
    socket::bind(&runtime_dir.join("control.sock"), 0o600)
}

/// Binds `events.sock` likewise, for everybody: the broker listens there.
pub fn bind_events(runtime_dir: &Path) -> std::io::Result<std::os::unix::net::UnixListener> {
    socket::bind(&runtime_dir.join("events.sock"), 0o666)
}
