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
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a descriptor's answer, independent of the others")]
pub(super) struct Ready {
    pub(super) orders: bool,
    pub(super) queue: bool,
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
        let mut fds = vec![PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        let mut queue_at = None;
        if wants_queue && let Some(fd) = self.kernel.wait_fd() {
            queue_at = Some(fds.len());
            fds.push(PollFd::new(fd, PollFlags::POLLIN));
        }
        let session_at = fds.len();
        if let Some(session) = &self.session {
            let sending = if self.tickets.is_waiting() && serving { PollFlags::POLLOUT } else { PollFlags::empty() };
            fds.push(PollFd::new(session.spawned.packets.as_fd(), PollFlags::POLLIN | sending));
            fds.push(PollFd::new(session.spawned.asks.as_fd(), PollFlags::POLLIN));
            fds.push(PollFd::new(session.spawned.log.as_fd(), PollFlags::POLLIN));
        }
        // When stopping, an empty queue is what is waited for, and no descriptor tells of that.
        let always = wants_queue && (self.stopping || queue_at.is_none());
        let timeout = if always { PollTimeout::ZERO } else { self.patience(now) };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
        let events = |at: usize| fds.get(at).and_then(PollFd::revents).unwrap_or(PollFlags::empty());
        let hung = |flags: PollFlags| flags.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
        let (packets, asks, log) = (events(session_at), events(session_at + 1), events(session_at + 2));
        Ok(Ready {
            orders: !events(0).is_empty(),
            queue: always || queue_at.is_some_and(|at| !events(at).is_empty()),
            packets: packets.contains(PollFlags::POLLIN),
            asks: asks.contains(PollFlags::POLLIN),
            log: log.contains(PollFlags::POLLIN),
            // A worker that closes its log would otherwise wake us for ever.
            hangup: hung(packets) || hung(asks) || (hung(log) && !log.contains(PollFlags::POLLIN)),
        })
    }

    /// Until the next deadline, whichever it is.
    fn patience(&self, now: Instant) -> PollTimeout {
        let handshake = self.session.as_ref().filter(|s| s.phase != Phase::Serving).map(|s| s.since + HANDSHAKE);
        let hold = self.is_holding(now).then(|| self.down_since + self.setup.config.restart.on_down.hold());
        let retry = self.unflushed.then(|| now + RETRY);
        let next = [retry, self.tickets.next_deadline(), handshake, hold, self.next_spawn].into_iter().flatten().min();
        next.map_or(PollTimeout::NONE, |at| {
            // A millisecond more, so that the deadline is over when we wake.
            let millis = at.saturating_duration_since(now).as_millis().saturating_add(1);
            PollTimeout::try_from(millis.min(60_000)).unwrap_or(PollTimeout::MAX)
        })
    }
}
