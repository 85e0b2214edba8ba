//! Where the control side and the office meet: how the broker is, for whoever asks for the status, and the event queues that are configured.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cthelper_policy::config::QueueConfig;
use cthelper_proto::ctl::BrokerStatus;
use tokio::sync::watch;

/// Event queues by number.
pub type Queues = BTreeMap<u16, QueueConfig>;

/// A handle; cheap to clone.
#[derive(Clone, Debug)]
pub struct Board {
    status: Arc<Mutex<BrokerStatus>>,
    queues: watch::Sender<Queues>,
}

impl Default for Board {
    fn default() -> Self {
        Self::new(Queues::new())
    }
}

impl Board {
    /// With these queues.
    pub fn new(queues: Queues) -> Self {
        Self { status: Arc::default(), queues: watch::Sender::new(queues) }
    }

    fn status(&self) -> MutexGuard<'_, BrokerStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it is.
    pub fn read(&self) -> BrokerStatus {
        self.status().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut BrokerStatus)) {
        change(&mut self.status());
    }

    /// These are the event queues from now on.
    pub fn set_queues(&self, queues: &Queues) {
        self.queues.send_if_modified(|before| {
            let is_other = before != queues;
            if is_other {
                before.clone_from(queues);
            }
            is_other
        });
    }

    pub(super) fn watch_queues(&self) -> watch::Receiver<Queues> {
        self.queues.subscribe()
    }
}
