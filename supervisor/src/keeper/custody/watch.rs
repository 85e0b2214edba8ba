//! Hears keepers, on the control side: the one of this life, so that another is made when it is gone, and those that stood still.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixStream;

use super::Custody;
use crate::keeper::client::{Gone, Keeper};

/// Between two attempts to start a keeper.
const PAUSE: Duration = Duration::from_secs(5);

impl Custody {
    /// Watches the keeper, for ever; starts another when it is gone, if that is possible. Starting one waits for it, on a thread of its own,
    /// so that signals and operators are answered meanwhile.
    pub async fn watch(self: Arc<Self>) {
        for deaf in std::mem::take(&mut self.state().deaf) {
            tokio::spawn(outlast(deaf));
        }
        loop {
            let connection = self.state().keeper.as_ref().and_then(|keeper| keeper.as_fd().try_clone_to_owned().ok());
            match connection.map(watchable) {
                Some(Ok(connection)) => self.heed(&connection).await,
                Some(Err(error)) => tracing::warn!(%error, "the keeper cannot be watched"),
                None => {}
            }
            let custody = self.clone();
            let _ = tokio::task::spawn_blocking(move || custody.replace()).await; // one that panicked is tried again
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Hears the keeper until it is gone.
    async fn heed(&self, connection: &UnixStream) {
        loop {
            if connection.readable().await.is_err() {
                return;
            }
            let mut state = self.state();
            let mut heard = None;
            // Whatever was heard, it is to be waited for again.
            let _ = connection.try_io(Interest::READABLE, || {
                heard = state.keeper.as_ref().map(Keeper::heed);
                Err::<(), _>(std::io::ErrorKind::WouldBlock.into())
            });
            match heard {
                Some(Ok(refusals)) => {
                    state.lost |= !refusals.is_empty();
                    for refusal in refusals {
                        tracing::warn!(%refusal, "the keeper does not keep a queue's socket");
                    }
                }
                Some(Err(Gone)) | None => return,
            }
        }
    }
}

/// Hears a keeper that stood still until it has ended, and drops what it says: the sockets it was once asked for, which keep their queues as
/// long as they wait to be received.
async fn outlast(keeper: Keeper) {
    let Some(connection) = keeper.as_fd().try_clone_to_owned().ok().and_then(|connection| watchable(connection).ok()) else {
        return;
    };
    while connection.readable().await.is_ok() {
        let mut heard = Ok(Vec::new());
        let _ = connection.try_io(Interest::READABLE, || {
            heard = keeper.heed();
            Err::<(), _>(std::io::ErrorKind::WouldBlock.into())
        });
        if heard == Err(Gone) {
            return;
        }
    }
}

/// A connection that the control side can wait for; nothing is read through it.
fn watchable(connection: OwnedFd) -> std::io::Result<UnixStream> {
    let connection = std::os::unix::net::UnixStream::from(connection);
    connection.set_nonblocking(true)?;
    UnixStream::from_std(connection)
}
