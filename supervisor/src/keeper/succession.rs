//! The keeper of a new life takes the place of those of earlier ones.
//!
//! Every life makes its own, whatever it finds: one that was started by another program would go on without what has been mended since,
//! and asking it which program it is would mean to believe it. Those of earlier lives end when the new one has said that it holds
//! everything, and until then each can be found by its name, so that a supervisor may be killed between any two steps.

use std::os::fd::BorrowedFd;
use std::path::Path;

use super::client::Keeper;
use crate::spawn::Identity;
use crate::warden::Post;

/// Where keepers are ordered.
pub struct Shop {
    post: Post,
    identity: Identity,
    ordered: u64,
}

impl Shop {
    /// Keepers made at `post` are to have this identity.
    pub fn new(post: Post, identity: Identity) -> Self {
        Self { post, identity, ordered: 0 }
    }

    /// Another keeper, beside `formers`; waits for it, for a bounded time.
    ///
    /// # Errors
    /// In words.
    pub fn keeper(&mut self, runtime_dir: &Path, formers: &[Keeper]) -> Result<Keeper, String> {
        self.ordered += 1;
        Keeper::start(runtime_dir, formers, &self.post, self.ordered, self.identity)
    }

    /// Ends the last one, if it has not ended: it is of no use. One that is not known to have ended may hold on to the queues.
    pub fn discard(&self) {
        let _ = self.post.kill(self.ordered); // without a warden all is over anyway
    }
}

/// Starts a keeper and has it hold `sockets`; then ends the `formers`, which leaves those that do not end in time. Waits for each.
///
/// # Errors
/// In words; the formers are as they were.
pub fn succeed<'a>(
    runtime_dir: &Path,
    shop: &mut Shop,
    sockets: impl IntoIterator<Item = (&'a str, u16, BorrowedFd<'a>)>,
    formers: &mut Vec<Keeper>,
) -> Result<Keeper, String> {
    let mut keeper = shop.keeper(runtime_dir, formers)?;
    if let Err(reason) = keeper.entrust(sockets) {
        shop.discard();
        return Err(format!("it does not take the queues' sockets: {reason}"));
    }
    let ended = formers.len();
    formers.retain(|former| !former.bye());
    if ended > formers.len() {
        tracing::info!(ended = ended - formers.len(), "the keeper of an earlier life has ended; ours holds what it held");
    }
    if let Err(error) = keeper.take_name(runtime_dir) {
        tracing::warn!(%error, "the keeper's socket cannot be renamed; a start of an older version would not find it");
    }
    Ok(keeper)
}
