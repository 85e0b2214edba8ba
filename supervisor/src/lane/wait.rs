//! The one place where a lane sleeps.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::session::Phase;
use super::{HANDSHAKE, Lane};
use crate::kernel::Kernel;

/// When a flush that failed is tried again.
const RETRY: Duration = Duration::from_millis(10);

/// What a wait found.
#[derive(Debug, Default)]
pub(super) struct Ready {
    pub(super) orders: bool,
    pub(super) queue: bool,
    pub(super) news: bool,
    /// The workers with something to say.
    pub(super) stirred: Vec<Stirred>,
}

/// One worker's channels.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a descriptor's answer, independent of the others")]
pub(super) struct Stirred {
    pub(super) generation: u64,
    pub(super) packets: bool,
    pub(super) asks: bool,
    pub(super) log: bool,
    pub(super) hangup: bool,
}

impl<K: Kernel> Lane<K> {
    /// Waits for anything to do; also returns when a deadline is over.
    pub(super) fn wait(&self, now: Instant) -> Result<Ready, Errno> {
        let serving = self.is_serving();
        let has_room = self.tickets.held() < self.kernel.window();
        let wants_queue = self.started && !self.drained && has_room && (serving || !self.is_holding(now));
        let mut fds = Vec::with_capacity(3 + 3 * self.crew.len());
        fds.push(PollFd::new(self.wake.as_fd(), PollFlags::POLLIN));
        fds.push(PollFd::new(self.post.as_fd(), PollFlags::POLLIN));
        for session in self.crew.iter() {
            let sending = session.phase == Phase::Serving && self.tickets.is_waiting() && !self.is_retiring();
            let sending = if sending { PollFlags::POLLOUT } else { PollFlags::empty() };
            fds.push(PollFd::new(session.channels.packets.as_fd(), PollFlags::POLLIN | sending));
            fds.push(PollFd::new(session.channels.asks.as_fd(), PollFlags::POLLIN));
            fds.push(PollFd::new(session.channels.log.as_fd(), PollFlags::POLLIN));
        }
        let queue = self.kernel.wait_fd().filter(|_| wants_queue);
        fds.extend(queue.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        // When stopping, an empty queue is what is waited for, and no descriptor tells of that.
        let always = wants_queue && (self.stopping || queue.is_none());
        let timeout = if always { PollTimeout::ZERO } else { self.patience(now) };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
        let mut events = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let mut next = || events.next().unwrap_or(PollFlags::empty());
        let (orders, news) = (!next().is_empty(), !next().is_empty());
        let stirred = self.crew.iter().map(|session| Stirred::of(session.generation, [next(), next(), next()]));
        let stirred = stirred.filter(Stirred::is_any).collect();
        Ok(Ready { orders, news, stirred, queue: always || (queue.is_some() && !next().is_empty()) })
    }

    /// Until the next deadline, whichever it is.
    fn patience(&self, now: Instant) -> PollTimeout {
        let handshake = self.crew.iter().filter(|session| !session.is_verified()).map(|session| session.since + HANDSHAKE).min();
        let hold = self.is_holding(now).then(|| self.down_since + self.setup.config.restart.on_down.hold());
        let retry = self.unflushed.then(|| now + RETRY);
        let staff = self.wants_staff(now).then_some(self.not_before);
        let worn = self.worn_at(now);
        let times =
            [retry, self.tickets.next_deadline(), handshake, hold, staff, worn, self.restart.due(), self.mourning_until()];
        let next = times.into_iter().flatten().min();
        next.map_or(PollTimeout::NONE, |at| {
            // A millisecond more, so that the deadline is over when we wake.
            let millis = at.saturating_duration_since(now).as_millis().saturating_add(1);
            PollTimeout::try_from(millis.min(60_000)).unwrap_or(PollTimeout::MAX)
        })
    }
}

impl Stirred {
    fn of(generation: u64, [packets, asks, log]: [PollFlags; 3]) -> Self {
        let hung = |flags: PollFlags| flags.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
        Self {
            generation,
            packets: packets.contains(PollFlags::POLLIN),
            asks: asks.contains(PollFlags::POLLIN),
            log: log.contains(PollFlags::POLLIN),
            // A worker that closes its log would otherwise wake us for ever.
            hangup: hung(packets) || hung(asks) || (hung(log) && !log.contains(PollFlags::POLLIN)),
        }
    }

    fn is_any(&self) -> bool {
        self.packets || self.asks || self.log || self.hangup
    }
}
