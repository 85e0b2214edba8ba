//! Every queue socket of this life, who holds duplicates of it, and those of an earlier life that wait to be taken over.

mod watch;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::client::Keeper;
use super::heir::{Heir, Kept, Recognised, port_id, recognise};
use super::ledger::{Ledger, Served};
use super::store;
use super::succession::{Shop, succeed};
use crate::kernel::netfilter::registry;
use crate::kernel::netfilter::socket::Nfnl;
use crate::spawn::Identity;
use crate::warden::Post;

/// Shared by the boot, the lanes and the control side; no call waits for anybody but the kernel, unless it says so.
pub struct Custody {
    state: Mutex<State>,
    runtime_dir: PathBuf,
}

struct State {
    ledger: Ledger,
    keeper: Option<Keeper>,
    /// Keepers of earlier lives, until ours holds what they hold.
    former: Vec<Keeper>,
    /// Keepers that were told to end and have not; a connection that closes might make them forget it. Until they are watched.
    deaf: Vec<Keeper>,
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

impl State {
    /// Every socket that a keeper is to hold.
    fn sockets(&self) -> impl Iterator<Item = (&str, u16, BorrowedFd<'_>)> {
        let served = self.served.iter().map(|kept| (kept.helper.as_str(), kept.queue, kept.socket.as_fd()));
        served.chain(self.heirs.iter().map(|heir| (heir.helper.as_str(), heir.queue, heir.socket.as_fd())))
    }
}

impl Custody {
    /// Asks systemd and the keepers of earlier lives what they hold. To be called before this process gives up what that takes; waits for
    /// the keepers, which answer at once.
    pub fn open(ledger: Ledger, runtime_dir: &Path) -> Self {
        let mut kept = store::inherit();
        let (mut former, mut deaf) = (Vec::new(), Vec::new());
        let elsewhere = Some(ledger.before()).filter(|before| !before.as_os_str().is_empty() && *before != runtime_dir);
        for keeper in [runtime_dir].into_iter().chain(elsewhere).flat_map(Keeper::find) {
            match keeper.take() {
                Ok((held, _)) => {
                    kept.extend(held);
                    former.push(keeper);
                }
                Err(reason) => {
                    tracing::warn!(%reason, "a keeper of an earlier life is not understood, and is told to end");
                    keeper.dismiss();
                    deaf.push(keeper);
                }
            }
        }
        let Recognised { heirs, outstanding, useless } = recognise(kept);
        for (keeper, queue) in former.iter().flat_map(|keeper| useless.iter().map(move |queue| (keeper, *queue))) {
            let _ = keeper.forget(queue);
        }
        let state = State { ledger, keeper: None, former, deaf, shop: None, heirs, served: Vec::new(), outstanding, lost: false };
        Self { state: Mutex::new(state), runtime_dir: runtime_dir.to_owned() }
    }

    /// From now on keepers can be ordered at `post`. One is, and takes the place of those of earlier lives; should it fail, one of these goes
    /// on. To be called when nobody else is here yet: waits for all of them, for a bounded time.
    pub fn employ(&self, post: Post, identity: Identity) {
        let former = {
            let mut state = self.state();
            state.shop = Some(Shop::new(post, identity));
            std::mem::take(&mut state.former)
        };
        self.renew(former);
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
        let (heirs, withheld) = {
            let mut state = self.state();
            let heirs = std::mem::take(&mut state.heirs);
            let is_heir = |served: &&Served| heirs.iter().any(|heir| heir.queue == served.queue);
            let withheld: Vec<Served> = state.ledger.queues().iter().filter(|served| !is_heir(served)).cloned().collect();
            (heirs, withheld)
        };
        if heirs.is_empty() && withheld.is_empty() {
            return;
        }
        let mut socket = match Nfnl::open() {
            Ok(socket) => socket,
            Err(errno) => {
                tracing::error!(%errno, "what an earlier life left cannot be settled");
                return self.state().heirs.extend(heirs);
            }
        };
        for Served { helper, queue, .. } in withheld {
            // Whoever has its socket, a keeper that does not answer, serves nobody; as it is, the helper would seem to be another program's.
            tracing::warn!(%helper, queue, "a queue of an earlier life is bound, and nobody gives it to us; what waits in it is lost");
            if registry::queue_before(&mut socket, &helper) == Some(queue) {
                let _ = registry::disarm(&mut socket, &helper);
            }
        }
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
        for keeper in state.keeper.iter().chain(&state.former) {
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
        if let (true, Some(keeper)) = (state.outstanding.is_empty(), state.keeper.take())
            && !keeper.bye()
        {
            let _ = state.shop.as_ref().map(Shop::discard);
        }
    }

    /// Whether there is no keeper, or one that does not hold everything.
    pub fn is_lost(&self) -> bool {
        self.state().lost
    }

    /// Another keeper in the place of one that is gone; one that only seems to be is ended. Waits for it, for a bounded time.
    fn replace(&self) {
        {
            let mut state = self.state();
            if state.keeper.take().is_some() {
                tracing::warn!("the keeper is gone");
                let _ = state.shop.as_ref().map(Shop::discard);
            }
        }
        self.renew(Vec::new());
    }

    /// A new keeper, which is given everything there is to hold; then the formers end. Waits for that, for a bounded time, in which nobody
    /// else waits for us.
    fn renew(&self, mut former: Vec<Keeper>) {
        let (shop, sockets) = {
            let mut state = self.state();
            (state.shop.take(), duplicates(state.sockets()))
        };
        let given = sockets.iter().map(|kept| (kept.helper.as_str(), kept.queue, kept.socket.as_fd()));
        let mut started = Err("there is nothing to start one with".to_owned());
        let shop = shop.map(|mut shop| {
            started = succeed(&self.runtime_dir, &mut shop, given, &mut former);
            shop
        });
        let mut state = self.state();
        state.shop = shop;
        match started {
            Ok(keeper) => {
                // Queues may have come and gone meanwhile.
                for over in sockets.iter().filter(|kept| state.sockets().all(|(_, queue, _)| queue != kept.queue)) {
                    let _ = keeper.forget(over.queue);
                }
                let held = state.sockets().all(|(helper, queue, socket)| keeper.hold(helper, queue, socket).is_ok());
                state.lost = !held;
                state.keeper = Some(keeper);
                tracing::info!(queues = state.outstanding.len(), "a keeper holds the queues' sockets");
            }
            Err(reason) if !former.is_empty() => {
                tracing::warn!(%reason, "no keeper of our own: one of an earlier life goes on");
                state.keeper = Some(former.remove(0));
            }
            Err(reason) => {
                if !state.lost {
                    tracing::warn!(%reason, "no keeper: if this process is killed, new connections with its helpers break");
                }
                state.lost = true;
            }
        }
        if !former.is_empty() {
            tracing::warn!(keepers = former.len(), "keepers of earlier lives have not ended, and go on to hold their queues");
            state.deaf.append(&mut former);
        }
    }
}

/// What is to be given away while nobody holds the lock.
fn duplicates<'a>(sockets: impl Iterator<Item = (&'a str, u16, BorrowedFd<'a>)>) -> Vec<Kept> {
    let duplicate = |(helper, queue, socket): (&str, u16, BorrowedFd<'_>)| {
        Some(Kept { helper: helper.to_owned(), queue, socket: socket.try_clone_to_owned().ok()? })
    };
    sockets.filter_map(duplicate).collect()
}
