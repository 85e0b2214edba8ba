//! Clients come, say what they want, and go.

use std::os::fd::AsFd;
use std::time::Instant;

use cthelper_policy::profiles::BROKER_PEERS;
use cthelper_proto::events_sock::{self, Denial, Granted};
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::sys::socket::{getsockopt, sockopt};
use rustix::net::{SocketFlags, accept_with};

use super::{AT_ONCE, EVENTS, Hub};
use crate::broker::backlog::Flushed;
use crate::broker::client::{Client, Door, Phase, Resync, Said, Subscription};
use crate::broker::frames::Look;
use crate::broker::metrics::Dropped;
use crate::broker::request::{self, Wanted};

/// Clients of one user at a time; root's count only against all.
const OF_ONE_USER: usize = 256;
/// Places that only root gets.
const FOR_ROOT: usize = 64;
/// Queues that somebody who asks for none is told of.
const TOLD: usize = 64;

impl Hub<'_> {
    /// Lets clients in, or sends them away with the reason.
    pub(super) fn admit(&mut self, door: u64, now: Instant) {
        for _ in 0..AT_ONCE {
            let listener = if door == EVENTS { &self.sockets.events } else { &self.sockets.metrics };
            let Some(listener) = listener else { return };
            let Ok(connection) = accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) else { return };
            let door = if door == EVENTS {
                let peer = getsockopt(&connection, sockopt::PeerCredentials);
                peer.map_or(Door::Socket { uid: u32::MAX, gid: u32::MAX }, |peer| Door::Socket {
                    uid: peer.uid(),
                    gid: peer.gid(),
                })
            } else {
                Door::Port
            };
            let mut client = Client::new(connection, door, now);
            if !self.has_place_for(door) {
                self.counts.dropped(Dropped::TooMany);
                client.deny(Denial::Busy, "too many clients", now);
                let _ = client.flush(); // as far as it has room; then it is closed
                continue;
            }
            let number = self.next;
            self.next += 1;
            if self.epoll.add(client.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, number)).is_ok() {
                self.clients.insert(number, client);
            }
        }
    }

    fn has_place_for(&self, door: Door) -> bool {
        if door.uid() == Some(0) {
            return self.clients.len() < BROKER_PEERS;
        }
        let of_this = self.clients.values().filter(|client| client.door.uid() == door.uid()).count();
        self.clients.len() < BROKER_PEERS - FOR_ROOT && of_this < OF_ONE_USER
    }

    /// A client has said something, or has room, or is gone.
    pub(super) fn attend(&mut self, number: u64, events: EpollFlags, now: Instant) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        if events.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) && client.phase != Phase::Asking {
            return self.part(number, None);
        }
        if client.phase == Phase::Asking {
            match client.hear() {
                Said::Nothing => {}
                Said::Bye => return self.part(number, None),
                Said::Wrong(answer) => {
                    client.last_word(answer, now);
                    self.counts.dropped(Dropped::Garbage);
                }
                Said::Wanted(Wanted::Metrics) => {
                    (client.phase, client.since) = (Phase::Waiting, now);
                    self.counts.scrapes += 1;
                    self.ask_for_status(now);
                }
                Said::Wanted(Wanted::Flows) => self.give_flows(number, now),
                Said::Wanted(Wanted::Events(request)) => self.subscribe(number, request, now),
            }
        }
        self.go_on_with_list(number, now);
        self.flush(number);
    }

    /// A client wants a queue's events.
    fn subscribe(&mut self, number: u64, request: events_sock::Request, now: Instant) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let Door::Socket { uid, gid } = client.door else { return };
        let Some(queue) = self.queues.get_mut(&request.queue) else {
            let mut open: Vec<u16> =
                self.queues.iter().filter(|(_, queue)| queue.access.allows(uid, gid)).map(|(n, _)| *n).collect();
            open.sort_unstable();
            open.truncate(TOLD);
            let reason = format!("there is no event queue {}", request.queue);
            return client.last_word(request::denied(Denial::NoQueue, &reason, open), now);
        };
        if !queue.access.allows(uid, gid) {
            let reason = format!("event queue {} is not for uid {uid}, gid {gid}", request.queue);
            return client.last_word(request::denied(Denial::Forbidden, &reason, Vec::new()), now);
        }
        let format = request.format.unwrap_or(queue.config.format);
        let look = Look { format, timestamp: request.timestamp };
        let resync = if request.resync { Resync::Wanted } else { Resync::Never };
        let answer = request::granted(Granted { queue: request.queue, format });
        client.subscribe(Subscription { queue: request.queue, look, resync }, answer);
        queue.subscribers.push(number);
        self.subscribers += 1;
        if !self.active.contains(&request.queue) {
            self.active.push(request.queue);
        }
        self.share_anew(now);
        if request.resync {
            self.want_dump(now);
        }
    }

    /// Sends a client what it has room for, and waits for room only while something is left.
    pub(super) fn flush(&mut self, number: u64) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        let flushed = client.flush();
        if flushed == Flushed::Gone || (flushed == Flushed::Empty && client.phase == Phase::Leaving) {
            return self.part(number, None);
        }
        let wanted = client.wanted_interest();
        if client.interest != wanted {
            client.interest = wanted;
            let _ = self.epoll.modify(client.as_fd(), &mut EpollEvent::new(wanted, number));
        }
    }

    pub(super) fn flush_dirty(&mut self) {
        for number in std::mem::take(&mut self.dirty) {
            self.flush(number);
        }
    }

    /// Closes a connection; that takes it out of the epoll, too.
    pub(super) fn part(&mut self, number: u64, why: Option<Dropped>) {
        let Some(client) = self.clients.remove(&number) else { return };
        if let Some(subscription) = client.subscription {
            self.subscribers -= 1;
            self.unsubscribe(number, subscription.queue);
        }
        if let Some(why) = why {
            self.counts.dropped(why);
        }
    }

    fn unsubscribe(&mut self, number: u64, queue: u16) {
        let Some(of) = self.queues.get_mut(&queue) else { return };
        of.subscribers.retain(|subscriber| *subscriber != number);
        if of.subscribers.is_empty() {
            self.active.retain(|active| *active != queue);
        }
    }

    pub(super) fn time_is_over(&mut self, number: u64, now: Instant) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        match client.phase {
            Phase::Subscribed => {}
            Phase::Leaving | Phase::Listing(_) => self.part(number, Some(Dropped::Slow)),
            Phase::Asking => {
                client.deny(Denial::BadRequest, "no request came in time", now);
                let _ = client.flush();
                self.part(number, Some(Dropped::Silent));
            }
            // What there is, with its age; it is better than nothing.
            Phase::Waiting if self.status.is_some() => self.answer_all(now),
            Phase::Waiting => {
                client.deny(Denial::Busy, "the supervisor does not answer", now);
                self.flush(number);
            }
        }
    }
}
