//! Who works: starts workers, lets a spare take over, replaces a worker that is worn.

use std::os::fd::AsRawFd;
use std::time::Instant;

use cthelper_policy::restart::{Exit, is_worn};
use cthelper_proto::ctl::LaneState;
use cthelper_proto::events::Event;
use cthelper_proto::ipc::{ToWorker, encode};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};

use super::mourn::{Cause, Mourned};
use super::session::{Phase, Session};
use super::{Ended, Lane};
use crate::kernel::{Fault, Kernel};
use crate::warden::News;

impl<K: Kernel> Lane<K> {
    /// Orders a worker if one is wanted and it is time. Fails only for the lane's first, when the operator still watches.
    pub(super) fn staff(&mut self, now: Instant) -> Result<(), Ended> {
        if now < self.not_before || !self.wants_staff(now) {
            return Ok(());
        }
        self.generation += 1;
        match self.post.spawn(self.generation) {
            Ok(channels) => {
                self.crew.join(Session::new(channels, self.generation, now));
                Ok(())
            }
            Err(error) => self.could_not_start(&error.to_string(), now),
        }
    }

    /// Whether another worker is to be started: one at a time, and none while it is open why the last one ended.
    pub(super) fn wants_staff(&self, now: Instant) -> bool {
        let open = self.mourning.iter().any(Mourned::is_undecided);
        !open && !self.crew.is_starting() && self.crew.len() < self.wanted(now)
    }

    fn wanted(&self, now: Instant) -> usize {
        match self.state {
            LaneState::Tripped if !self.probing => 0,
            _ if !self.started || self.stopping => 1,
            _ => 1 + usize::from(self.restart.spares().max(u8::from(self.is_worn(now)))),
        }
    }

    fn could_not_start(&mut self, reason: &str, now: Instant) -> Result<(), Ended> {
        if !self.started {
            return Err(Ended::NotStarted(format!("cannot start a worker: {reason}")));
        }
        tracing::error!(helper = %self.setup.name(), reason, "cannot start a worker");
        self.decide(Exit::Breach, now);
        Ok(())
    }

    /// Hears what has become of the workers that were ordered.
    pub(super) fn read_news(&mut self) -> Result<(), Ended> {
        loop {
            match self.post.news() {
                Ok(None) => return Ok(()),
                Ok(Some(News::Spawned { generation, pid })) => self.is_born(generation, pid)?,
                Ok(Some(News::Failed { generation, reason })) => {
                    self.crew.leave(generation);
                    self.could_not_start(&reason, Instant::now())?;
                }
                Ok(Some(News::Ended { generation, end })) => self.end_is_known(generation, &end)?,
                Err(_) => return Err(Ended::Fault(Fault::new("reach the warden: it is gone", Errno::EPIPE))),
            }
        }
    }

    fn is_born(&mut self, generation: u64, pid: u32) -> Result<(), Ended> {
        let Some(session) = self.crew.by_mut(generation) else { return Ok(()) };
        session.pid = Some(pid);
        if session.ready.is_some() { self.serve_late(generation) } else { Ok(()) }
    }

    /// The one that served is gone: a spare takes its place, or packets wait for the next worker.
    pub(super) fn take_over(&mut self, now: Instant) {
        self.down_since = now;
        if let Some(session) = self.crew.spare_mut() {
            session.phase = Phase::Serving;
        } else if self.enabled && self.state == LaneState::Serving {
            self.state = LaneState::Restarting;
        }
    }

    /// Whether the serving worker is to be replaced, though nothing is wrong with it.
    fn is_worn(&self, now: Instant) -> bool {
        self.crew.serving().is_some_and(|session| {
            let age = now.saturating_duration_since(session.since);
            session.generation <= self.stale || is_worn(&self.setup.config.restart, session.packets, age)
        })
    }

    /// When the serving worker will be worn by its age.
    pub(super) fn worn_at(&self, now: Instant) -> Option<Instant> {
        let age = self.setup.config.restart.max_age?;
        self.crew.serving().map(|session| session.since + age).filter(|at| *at > now)
    }

    /// The worker that serves gets no more packets, because another waits for what it still has.
    pub(super) fn is_retiring(&self) -> bool {
        self.retiring
    }

    /// Replaces a worn worker once a spare is there: no packet goes to it any more, and when it has answered all, the spare serves.
    pub(super) fn retire(&mut self, now: Instant) {
        self.retiring = (self.retiring || self.is_worn(now)) && self.crew.spare_mut().is_some();
        if !self.retiring || self.tickets.in_flight() > 0 {
            return;
        }
        self.retiring = false;
        let Some(session) = self.crew.serving() else { return };
        let (generation, packets) = (session.generation, session.packets);
        self.audit.write(Event::WorkerRetired {
            helper: self.setup.name().to_owned(),
            pid: session.pid.unwrap_or_default(),
            generation,
            packets,
        });
        self.dismiss(generation);
    }

    /// Sends a worker away that has nothing in hand.
    pub(super) fn dismiss(&mut self, generation: u64) {
        if let (Some(session), Ok(record)) = (self.crew.by(generation), encode(&ToWorker::Drain)) {
            let _ = send(session.channels.packets.as_raw_fd(), &record, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
        }
        self.worker_ended(generation, Cause::Dismissed);
    }

    /// From now on, all workers there are count as worn; spares go at once.
    pub(super) fn renew_all(&mut self) {
        self.stale = self.generation;
        let serving = self.crew.serving().map(|session| session.generation);
        for generation in self.crew.generations() {
            if Some(generation) != serving {
                self.dismiss(generation);
            }
        }
    }
}
