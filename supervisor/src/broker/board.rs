//! What is known of the broker at the moment, for whoever asks for the status.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cthelper_proto::ctl::BrokerStatus;

/// A handle; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BrokerStatus>>);

impl Board {
    fn status(&self) -> MutexGuard<'_, BrokerStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is.
    pub fn read(&self) -> BrokerStatus {
        self.status().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut BrokerStatus)) {
        change(&mut self.status());
    }
}
