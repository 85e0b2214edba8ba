//! The service manager's watchdog. A ping says more than that this process runs: every lane has answered since the last one.

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

use super::Governor;

/// Pings for ever, three times as often as the service manager asks; returns at once if it does not ask. Where a lane stands still there is
/// no ping, and in the end the service manager starts the daemon anew: that lane's connections wait for nothing else.
pub(super) async fn ping(governor: Governor) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let mut turns = interval(patience / 3);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        match governor.silent(patience / 3).await {
            None => drop(sd_notify::notify(&[NotifyState::Watchdog])),
            Some(helper) => tracing::error!(helper, "the lane does not answer: the watchdog gets no ping"),
        }
    }
}
