//! Everything there is, from the kernel: at the start, after a gap, and for subscribers that ask for it. The supervisor asks, for the
//! kernel looks at who does; the answers come to us.

use std::time::{Duration, Instant};

use cthelper_proto::events_sock::Notice;
use cthelper_proto::netlink::message::{Body, messages};
use cthelper_proto::netlink::report::Report;
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::events::{Got, To, datagram, moment};
use super::{AT_ONCE, DUMP, Hub, queues};
use crate::broker::client::{Phase, Resync};
use crate::broker::frames::split;
use crate::broker::protocol::{FromBroker, Table};

/// Least time between two beginnings. A table of a million connections takes a second of one processor.
const PAUSE: Duration = Duration::from_secs(1);
/// A dump of which nothing more comes is given up.
const SILENCE: Duration = Duration::from_secs(5);
/// How long readers of a dump may hold it up by being slow; then they lose of it, and are told.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the dump is.
#[derive(Debug)]
pub(super) struct Dump {
    /// Somebody wants another.
    is_wanted: bool,
    /// Not before.
    not_before: Instant,
    running: Option<Running>,
    seq: u32,
    /// Not read for the moment, since, because of slow subscribers.
    held: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    table: Table,
    seq: u32,
    heard: Instant,
}

impl Dump {
    pub(super) fn new(now: Instant) -> Self {
        Self { is_wanted: false, not_before: now, running: None, seq: 0, held: None }
    }

    /// When it is to be looked at again.
    pub(super) fn due(&self) -> Option<Instant> {
        let held = self.held.map(|since| since + PATIENCE);
        let silent = self.running.map(|running| running.heard + SILENCE);
        let next = (self.is_wanted && self.running.is_none()).then_some(self.not_before);
        [held, silent, next].into_iter().flatten().min()
    }
}

impl Hub<'_> {
    /// There is to be a dump that begins from now on.
    pub(super) fn want_dump(&mut self, now: Instant) {
        self.dump.is_wanted = true;
        self.go_on_with_dump(now);
    }

    /// Begins what is wanted, when it is time; goes on with what was held; gives up what is silent.
    pub(super) fn go_on_with_dump(&mut self, now: Instant) {
        if let Some(since) = self.dump.held
            && (now >= since + PATIENCE || !self.is_somebody_behind())
        {
            self.hold_dump(None);
        }
        if self.dump.held.is_none() && self.dump.running.is_some_and(|running| now >= running.heard + SILENCE) {
            self.fail_dump(now);
        }
        if self.dump.is_wanted && self.dump.running.is_none() && now >= self.dump.not_before && self.sockets.dump.is_some() {
            self.begin_dump(now);
        }
    }

    fn begin_dump(&mut self, now: Instant) {
        self.dump.not_before = now + PAUSE;
        if !self.ask(Table::Flows, now) {
            return;
        }
        self.dump.is_wanted = false;
        self.mirror.dump_begins();
        self.each_subscriber(Resync::Wanted, Resync::Running, Some(Notice::ResyncBegin), now);
    }

    fn ask(&mut self, table: Table, now: Instant) -> bool {
        self.dump.seq = self.dump.seq.wrapping_add(1).max(1);
        let seq = self.dump.seq;
        let is_asked = self.tell(&FromBroker::Dump { table, seq });
        self.dump.running = is_asked.then_some(Running { table, seq, heard: now });
        is_asked
    }

    /// Those who are at `from` go on to `to`, and are told.
    fn each_subscriber(&mut self, from: Resync, to: Resync, notice: Option<Notice>, now: Instant) {
        for (number, client) in self.clients.iter_mut().filter(|(_, client)| client.phase == Phase::Subscribed) {
            let Some(subscription) = client.subscription.as_mut().filter(|subscription| subscription.resync == from) else {
                continue;
            };
            subscription.resync = to;
            if let Some(notice) = notice {
                client.give_notice(notice, now);
            }
            if !client.is_dirty {
                client.is_dirty = true;
                self.dirty.push(*number);
            }
        }
    }

    /// It did not work: those who were getting it wait for the next.
    fn fail_dump(&mut self, now: Instant) {
        self.counts.dumps_failed += 1;
        self.dump.running = None;
        self.dump.is_wanted = true;
        self.dump.not_before = now + PAUSE;
        self.each_subscriber(Resync::Running, Resync::Wanted, None, now);
    }

    /// Reads what has come of it, as much as is fair to the others, and as much as its readers can take.
    pub(super) fn read_dump(&mut self, now: Instant) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..AT_ONCE / 8 {
            if self.is_somebody_behind() && self.dump.held.is_none() {
                self.hold_dump(Some(now));
                break;
            }
            let Some(socket) = &self.sockets.dump else { break };
            match datagram(socket, &mut buffer) {
                Got::Datagram(length) => {
                    for raw in split(buffer.get(..length).unwrap_or_default()) {
                        self.take_entry(raw, now);
                    }
                    self.flush_dirty();
                }
                Got::Nothing | Got::Overrun => break,
            }
        }
        self.buffer = buffer;
    }

    fn take_entry(&mut self, raw: &[u8], now: Instant) {
        let Some(Ok(message)) = messages(raw).next() else { return };
        let Some(running) = self.dump.running.as_mut().filter(|running| running.seq == message.header.seq) else { return };
        running.heard = now;
        let table = running.table;
        match message.body {
            Body::Done(0) => self.dump_ends(table, now),
            Body::Done(_) | Body::Ack(_) => self.fail_dump(now),
            _ => {
                if let Ok(Some(report)) = Report::parse(&message) {
                    self.deliver(&report, raw, moment(), To::Resyncing, now);
                    let closed = self.mirror.take(&report, now);
                    self.tell_closed(closed.as_slice());
                }
            }
        }
    }

    fn dump_ends(&mut self, table: Table, now: Instant) {
        if table == Table::Flows {
            let closed = self.mirror.dump_ends();
            self.tell_closed(&closed);
            if self.ask(Table::Expectations, now) {
                self.mirror.expectations_begin();
                return;
            }
        }
        self.counts.dumps += 1;
        self.dump.running = None;
        self.each_subscriber(Resync::Running, Resync::Done, Some(Notice::ResyncEnd), now);
    }

    /// Whether somebody who is getting it has no room for much more.
    fn is_somebody_behind(&self) -> bool {
        self.clients.values().any(|client| {
            let subscription = client.subscription.filter(|subscription| subscription.resync == Resync::Running);
            let queue = subscription.and_then(|subscription| self.queues.get(&subscription.queue));
            client.phase == Phase::Subscribed
                && queue.is_some_and(|queue| client.is_half_full(queues::limit(queue, self.subscribers)))
        })
    }

    fn hold_dump(&mut self, since: Option<Instant>) {
        if self.dump.held.is_some() == since.is_some() {
            return;
        }
        self.dump.held = since;
        if let (Some(running), None) = (&mut self.dump.running, since) {
            running.heard = Instant::now();
        }
        let interest = if since.is_some() { EpollFlags::empty() } else { EpollFlags::EPOLLIN };
        if let Some(socket) = &self.sockets.dump {
            let _ = self.epoll.modify(socket, &mut EpollEvent::new(interest, DUMP));
        }
    }
}
