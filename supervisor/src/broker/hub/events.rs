//! What the kernel tells is read once, shown to the mirror, and handed to whoever wants it.

use std::os::fd::AsRawFd;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use cthelper_proto::events_sock::Notice;
use cthelper_proto::netlink::message::{Message, messages};
use cthelper_proto::netlink::report::{Kind, Moment, Report};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};

use super::{AT_ONCE, Hub, queues};
use crate::broker::client::{Phase, Resync};
use crate::broker::frames::{Frames, split};
use crate::broker::protocol::{Closed, FromBroker};

/// Ended connections told at a time.
const CLOSED: usize = 64;

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// All whose queue takes it.
    Everybody,
    /// Of them, those who are getting everything there is.
    Resyncing,
}

/// What a socket of the kernel's held.
pub(super) enum Got {
    Datagram(usize),
    Nothing,
    Overrun,
}

/// Reads one datagram without waiting.
pub(super) fn datagram(socket: &impl AsRawFd, buffer: &mut [u8]) -> Got {
    match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC) {
        Ok(length) => Got::Datagram(length.min(buffer.len())),
        Err(Errno::ENOBUFS) => Got::Overrun,
        Err(_) => Got::Nothing,
    }
}

impl Hub<'_> {
    /// Reads what has been told, as much as is fair to the others.
    pub(super) fn read_feed(&mut self, now: Instant) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut closed = Vec::new();
        for _ in 0..AT_ONCE {
            let Some(feed) = &self.sockets.feed else { break };
            match datagram(feed, &mut buffer) {
                Got::Datagram(length) => {
                    let received = moment();
                    for raw in split(buffer.get(..length).unwrap_or_default()) {
                        closed.extend(self.take_event(raw, received, now));
                    }
                }
                Got::Nothing => break,
                Got::Overrun => self.gap(now),
            }
        }
        self.buffer = buffer;
        self.tell_closed(&closed);
    }

    fn take_event(&mut self, raw: &[u8], received: Moment, now: Instant) -> Option<Closed> {
        let message = messages(raw).next()?;
        let report = match message.and_then(|message: Message<'_>| Report::parse(&message)) {
            Ok(Some(report)) => report,
            Ok(None) => return None,
            Err(_) => {
                self.counts.malformed += 1;
                return None;
            }
        };
        if let Some(count) = report.kind().and_then(|kind| self.counts.events.get_mut(at(kind))) {
            *count += 1;
        }
        self.deliver(&report, raw, received, To::Everybody, now);
        self.mirror.take(&report, now)
    }

    /// Hands a report to those who want it. They get it when they are flushed.
    pub(super) fn deliver(&mut self, report: &Report<'_>, raw: &[u8], received: Moment, to: To, now: Instant) {
        self.counts.skipped += report.flow().map_or(0, |entry| entry.skipped.into());
        let Self { queues, active, subscribers, clients, mirror, counts, dirty, .. } = self;
        let known = mirror.known(report);
        let mut frames = Frames::new(report, raw, received);
        for queue in active.iter().filter_map(|number| queues.get(number)) {
            if !queue.config.takes(report, &known) {
                continue;
            }
            let limit = queues::limit(queue, *subscribers);
            for number in &queue.subscribers {
                let Some(client) = clients.get_mut(number).filter(|client| client.phase == Phase::Subscribed) else { continue };
                let Some(subscription) = client.subscription else { continue };
                if to == To::Resyncing && subscription.resync != Resync::Running {
                    continue;
                }
                counts.queued += 1;
                counts.lost += client.give_event(frames.of(subscription.look), limit, queue.config.when_full, now);
                if !client.is_dirty {
                    client.is_dirty = true;
                    dirty.push(*number);
                }
            }
        }
    }

    /// The kernel has dropped events: all are told, and what is known is made right again.
    fn gap(&mut self, now: Instant) {
        self.counts.gaps += 1;
        self.tell(&FromBroker::Gap);
        let subscribed = self.clients.iter_mut().filter(|(_, client)| client.phase == Phase::Subscribed);
        for (number, client) in subscribed {
            client.give_notice(Notice::Gap, now);
            if let Some(subscription) = client.subscription.as_mut().filter(|subscription| subscription.resync != Resync::Never) {
                subscription.resync = Resync::Wanted;
            }
            if !client.is_dirty {
                client.is_dirty = true;
                self.dirty.push(*number);
            }
        }
        self.want_dump(now);
    }

    pub(super) fn tell_closed(&mut self, closed: &[Closed]) {
        for some in closed.chunks(CLOSED) {
            self.tell(&FromBroker::Closed(some.to_vec())); // hints: where there is no room, caches keep a little more
        }
    }
}

/// Where a kind's events are counted.
pub(super) fn at(kind: Kind) -> usize {
    Kind::ALL.iter().position(|other| *other == kind).unwrap_or_default()
}

pub(super) fn moment() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
