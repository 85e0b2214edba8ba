//! Every queue socket of this life, who holds duplicates of it, and those of an earlier life that wait to be taken over.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::UnixStream;

use super::client::{Gone, Keeper, listener};
use super::heir::{Heir, Kept, port_id};
use super::ledger::{Ledger, Served};
use super::store;
use crate::kernel::netfilter::registry;
use crate::kernel::netfilter::socket::Nfnl;
use crate::spawn::Identity;
use crate::warden::Post;

/// Between two attempts to start a keeper.
const PAUSE: Duration = Duration::from_secs(5);

/// Shared by the boot, the lanes and the control side; no call waits for anybody but the kernel, unless it says so.
pub struct Custody {
    state: Mutex<State>,
    runtime_dir: PathBuf,
}

struct State {
    ledger: Ledger,
    keeper: Option<Keeper>,
    /// The keeper of an earlier life with another runtime folder, until ours holds what it holds.
    former: Option<Keeper>,
    /// On which a keeper listens; a second duplicate, so that the next one needs no new socket.
    listener: Option<OwnedFd>,
    /// Where keepers can be ordered.
    shop: Option<Shop>,
    /// Sockets of an earlier life that nobody has claimed.
    heirs: Vec<Heir>,
    /// Queues of this life, to be given to a new keeper when the old one is lost.
    served: Vec<Kept>,
    /// Queues of which somebody holds a socket that we have not settled yet.
    outstanding: Vec<(String, u16)>,
    lost: bool,
}

struct Shop {
    post: Post,
    identity: Identity,
    ordered: u64,
}

impl Custody {
    /// Asks systemd and the keeper of an earlier life what they hold. To be called before this process gives up what that takes; waits for
    /// the keeper, which answers at once.
    pub fn open(ledger: Ledger, runtime_dir: &Path) -> Self {
        let mut kept = store::inherit();
        let (keeper, listener) = match inherit(runtime_dir) {
            Some((keeper, held, listener)) => {
                kept.extend(held);
                (Some(keeper), Ok(listener))
            }
            None => (None, listener(runtime_dir)),
        };
        let elsewhere = Some(ledger.before()).filter(|before| keeper.is_none() && *before != runtime_dir);
        let former = elsewhere.and_then(inherit).map(|(keeper, held, _)| {
            kept.extend(held);
            keeper
        });
        let Recognised { heirs, outstanding, useless } = recognise(kept);
        for queue in useless {
            let _ = keeper.as_ref().map(|keeper| keeper.forget(queue));
        }
        let listener = listener.inspect_err(|error| tracing::warn!(%error, "no socket for a keeper")).ok();
        let (served, shop, lost) = (Vec::new(), None, false);
        let state = State { ledger, keeper, former, listener, shop, heirs, served, outstanding, lost };
        Self { state: Mutex::new(state), runtime_dir: runtime_dir.to_owned() }
    }

    /// From now on keepers can be ordered at `post`: one is, if none lives.
    pub fn employ(&self, post: Post, identity: Identity) {
        self.state().shop = Some(Shop { post, identity, ordered: 0 });
        if self.state().keeper.is_none() {
            self.replace();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a socket of this helper's queue waits to be claimed.
    pub fn has(&self, helper: &str) -> bool {
        self.state().heirs.iter().any(|heir| heir.helper == helper)
    }

    /// The socket of this helper's queue in an earlier life.
    pub fn claim(&self, helper: &str) -> Option<Heir> {
        let mut state = self.state();
        let at = state.heirs.iter().position(|heir| heir.helper == helper)?;
        Some(state.heirs.swap_remove(at))
    }

    /// Winds up what no lane will claim: sockets of helpers that are not `served` any more, and of queues that the kernel does not send
    /// the helper's packets to. Without its lane a helper must not stay enabled.
    pub fn wind_up<'a>(&self, served: impl IntoIterator<Item = &'a String>) {
        let served: Vec<&String> = served.into_iter().collect();
        let heirs = std::mem::take(&mut self.state().heirs);
        if heirs.is_empty() {
            return;
        }
        let mut socket = match Nfnl::open() {
            Ok(socket) => socket,
            Err(errno) => {
                tracing::error!(%errno, "what an earlier life left cannot be settled");
                return self.state().heirs.extend(heirs);
            }
        };
        for heir in heirs {
            let is_served = served.contains(&&heir.helper);
            let registered = registry::queue_before(&mut socket, &heir.helper);
            if is_served && registered == Some(heir.queue) {
                self.state().heirs.push(heir);
            } else if is_served || registry::disarm(&mut socket, &heir.helper).is_ok() {
                tracing::info!(helper = %heir.helper, queue = heir.queue, "an earlier life's queue is served no more; what waited in it passes");
                self.settle(heir);
            }
        }
    }

    /// Lets what waits in an earlier life's queue pass, and closes it everywhere.
    pub fn settle(&self, heir: Heir) {
        let queue = heir.queue;
        if let Err(errno) = heir.wind_up() {
            tracing::warn!(queue, %errno, "packets that waited in an earlier life's queue are lost");
        }
        self.give_up(queue);
    }

    /// A lane serves this queue from now on: duplicates of its socket are deposited.
    pub fn deposit(&self, helper: &str, queue: u16, socket: BorrowedFd<'_>) {
        let mut state = self.state();
        let Some(port_id) = port_id(socket) else { return };
        state.ledger.add(Served { helper: helper.to_owned(), queue, port_id });
        state.outstanding.retain(|(_, other)| *other != queue);
        state.outstanding.push((helper.to_owned(), queue));
        if let Err(error) = store::put(helper, queue, socket) {
            tracing::warn!(%error, queue, "systemd does not store the queue's socket");
        }
        let held = state.keeper.as_ref().map(|keeper| keeper.hold(helper, queue, socket));
        if let Some(Err(error)) = held {
            tracing::warn!(%error, queue, "the keeper does not take the queue's socket");
            state.lost = true;
        }
        if let Ok(socket) = socket.try_clone_to_owned() {
            state.served.retain(|kept| kept.queue != queue);
            state.served.push(Kept { helper: helper.to_owned(), queue, socket });
        }
    }

    /// A queue is over: nobody is to hold it any more. The helper must be disabled, or sent elsewhere, by now.
    pub fn give_up(&self, queue: u16) {
        let mut state = self.state();
        state.served.retain(|kept| kept.queue != queue);
        state.ledger.strike(queue);
        if let Some(keeper) = &state.keeper {
            let _ = keeper.forget(queue); // one that is gone holds nothing
        }
        for (helper, _) in state.outstanding.iter().filter(|(_, other)| *other == queue) {
            let _ = store::remove(helper, queue);
        }
        state.outstanding.retain(|(_, other)| *other != queue);
    }

    /// A helper's lane is over: unless the kernel still sends packets to its queue, nobody is to hold that any more. Should anything wait in
    /// it, it passes.
    pub fn retire(&self, helper: &str) {
        let enabled = Nfnl::open().is_ok_and(|mut socket| registry::is_enabled(&mut socket, helper));
        let mut state = self.state();
        let (over, served) = std::mem::take(&mut state.served).into_iter().partition(|kept| kept.helper == helper && !enabled);
        state.served = served;
        drop(state);
        for kept in over {
            let queue = kept.queue;
            match kept.recognise() {
                Ok(heir) => self.settle(heir),
                Err(_) => self.give_up(queue),
            }
        }
    }

    /// A successor is about to start: what comes until then waits for it.
    pub fn expect_successor(&self) {
        let announced = self.state().keeper.as_ref().map(Keeper::expect_successor);
        if let Some(Err(error)) = announced {
            tracing::warn!(%error, "the keeper does not know of the successor: until it is there, packets pass without helpers");
        }
    }

    /// The end of this life: if everything is settled the keeper ends, otherwise it waits for the next life. Waits for its end.
    pub fn close(&self) {
        let mut state = self.state();
        if let (true, Some(keeper)) = (state.outstanding.is_empty(), state.keeper.take()) {
            keeper.bye();
        }
    }

    /// Whether there is no keeper, or one that does not hold everything.
    pub fn is_lost(&self) -> bool {
        self.state().lost
    }

    /// Watches the keeper, for ever; starts another when it is gone, if that is possible. Starting one waits for it, on a thread of its own,
    /// so that signals and operators are answered meanwhile.
    pub async fn watch(self: Arc<Self>) {
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

    /// Another keeper in the place of one that is gone; it is given everything that is served. Waits for it, for a bounded time, in which
    /// nobody else waits for us.
    fn replace(&self) {
        let (gone, listener, shop) = {
            let mut state = self.state();
            (state.keeper.take().is_some(), state.listener.take(), state.shop.take())
        };
        if gone {
            tracing::warn!("the keeper is gone");
        }
        let started = match (&listener, shop) {
            (Some(listener), Some(mut shop)) => {
                shop.ordered += 1;
                let started = Keeper::start(&self.runtime_dir, listener.as_fd(), &shop.post, shop.ordered, shop.identity);
                self.state().shop = Some(shop);
                started
            }
            _ => Err("there is nothing to start one with".to_owned()),
        };
        let mut state = self.state();
        state.listener = listener;
        match started {
            Ok(keeper) => {
                let served = state.served.iter().map(|kept| (&kept.helper, kept.queue, &kept.socket));
                let heirs = state.heirs.iter().map(|heir| (&heir.helper, heir.queue, &heir.socket));
                let held = served.chain(heirs).all(|(helper, queue, socket)| keeper.hold(helper, queue, socket.as_fd()).is_ok());
                state.lost = !held;
                state.keeper = Some(keeper);
                if let Some(former) = state.former.take() {
                    former.bye();
                }
                tracing::info!(queues = state.outstanding.len(), "a keeper holds the queues' sockets");
            }
            Err(reason) => {
                if !state.lost {
                    tracing::warn!(%reason, "no keeper: if this process is killed, new connections with its helpers break");
                }
                state.lost = true;
            }
        }
    }
}

/// A connection that the control side can wait for; nothing is read through it.
fn watchable(connection: OwnedFd) -> std::io::Result<UnixStream> {
    let connection = std::os::unix::net::UnixStream::from(connection);
    connection.set_nonblocking(true)?;
    UnixStream::from_std(connection)
}

/// The keeper of an earlier life and what it holds; `None` if none lives, or it cannot be understood.
fn inherit(runtime_dir: &Path) -> Option<(Keeper, Vec<Kept>, OwnedFd)> {
    let keeper = Keeper::find(runtime_dir).ok()?;
    match keeper.take() {
        Ok((held, listener)) => Some((keeper, held, listener)),
        Err(reason) => {
            tracing::warn!(%reason, "the keeper of an earlier life is not understood; another takes its place");
            keeper.bye();
            None
        }
    }
}

/// What was kept, sorted.
#[derive(Default)]
struct Recognised {
    /// Of which the kernel says that they have their queue; each queue once.
    heirs: Vec<Heir>,
    /// Their names.
    outstanding: Vec<(String, u16)>,
    /// Queues of the others.
    useless: Vec<u16>,
}

fn recognise(kept: Vec<Kept>) -> Recognised {
    let mut sorted = Recognised::default();
    for kept in kept {
        let (helper, queue) = (kept.helper.clone(), kept.queue);
        match kept.recognise() {
            Ok(heir) if sorted.heirs.iter().all(|other| other.queue != heir.queue) => {
                sorted.outstanding.push((helper, queue));
                sorted.heirs.push(heir);
            }
            Ok(_) => {} // the store's and the keeper's are the same socket
            Err(reason) => {
                tracing::warn!(%helper, %reason, "what was kept for us is of no use");
                let _ = store::remove(&helper, queue);
                sorted.useless.push(queue);
            }
        }
    }
    sorted
}
