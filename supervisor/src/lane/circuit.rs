//! Whether the helper is to be served at all, and what becomes of its packets while nobody serves it.

use std::time::{Duration, Instant};

use cthelper_policy::restart::{Exit, Next, OnCrash, OnDown, Probe};
use cthelper_proto::ctl::LaneState;
use cthelper_proto::events::Event;

use super::Lane;
use super::tickets::Held;
use crate::kernel::{Kernel, Release};

/// What happens to packets when no worker serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Down {
    /// They wait for the next worker.
    Hold,
    /// They pass without the helper.
    Pass,
    /// They are dropped, because the operator wants no packet unhelped.
    Drop,
}

impl<K: Kernel> Lane<K> {
    /// What happens to packets while no worker serves, at this moment.
    pub(super) fn down(&self, now: Instant) -> Down {
        match (self.state, self.setup.config.restart.on_down) {
            (LaneState::Disabled, _) => Down::Pass,
            (LaneState::Restarting, OnDown::Hold(time)) if now < self.down_since + time => Down::Hold,
            (_, OnDown::Drop) => Down::Drop,
            _ => Down::Pass,
        }
    }

    /// Whether the next worker is worth waiting for with packets in hand.
    pub(super) fn is_holding(&self, now: Instant) -> bool {
        self.down(now) == Down::Hold
    }

    /// The restart policy's decision after an end; returns it in words, and when the next worker starts.
    pub(super) fn decide(&mut self, exit: Exit, now: Instant) -> (String, Option<u64>) {
        match self.restart.after_exit(exit, now) {
            Next::Restart(delay) => {
                self.not_before = now + delay;
                (format!("restart after {} ms", delay.as_millis()), Some(millis(delay)))
            }
            Next::OpenCircuit { why, probe } => {
                self.open_circuit(&why.to_string());
                let words = probe.map_or_else(String::new, |pause| format!(", tried again after {} s", pause.as_secs()));
                (format!("circuit opened: {why}{words}"), probe.map(millis))
            }
        }
    }

    /// No worker is started any more. In the kernel the helper is DISABLED, so that its packets pass unqueued; unless they are not to
    /// pass unhelped: then they keep coming, and are dropped.
    fn open_circuit(&mut self, reason: &str) {
        let was_open = self.state == LaneState::Tripped && !self.probing;
        self.probing = false;
        if was_open {
            return;
        }
        if self.state != LaneState::Disabled {
            self.state = LaneState::Tripped;
        }
        for generation in self.crew.generations() {
            self.dismiss(generation);
        }
        if self.enabled
            && self.setup.config.restart.on_down != OnDown::Drop
            && let Err(fault) = self.set_enabled(false)
        {
            tracing::error!(helper = %self.setup.name(), %fault, "the helper could not be disabled; its packets pass without it");
        }
        self.give_up_waiting(Instant::now());
        self.audit.write(Event::CircuitOpened { helper: self.setup.name().to_owned(), reason: reason.to_owned() });
        tracing::error!(helper = %self.setup.name(), reason, "circuit opened; cthelperctl restart closes it");
    }

    /// After its pause an open circuit is tried with one worker; when that has lived long enough, the circuit is closed.
    pub(super) fn probe_circuit(&mut self, now: Instant) {
        match self.restart.probe(now) {
            Some(Probe::Start) if self.state == LaneState::Tripped => {
                self.probing = true;
                self.not_before = now;
                tracing::info!(helper = %self.setup.name(), "the open circuit is tried with one worker");
            }
            // One that could not be enabled stays open for the operator.
            Some(Probe::Closed) if self.state != LaneState::Tripped => {
                self.audit.write(Event::CircuitClosed { helper: self.setup.name().to_owned() });
                tracing::info!(helper = %self.setup.name(), "circuit closed: the worker that tried it has proven itself");
            }
            _ => {}
        }
    }

    /// The worker that tries an open circuit is verified: the kernel is to send packets again.
    pub(super) fn half_close(&mut self) {
        if !self.probing {
            return;
        }
        if let Err(fault) = self.set_enabled(true) {
            tracing::error!(helper = %self.setup.name(), %fault, "the helper could not be enabled");
            return;
        }
        self.probing = false;
        self.state = LaneState::Serving;
    }

    /// The packet a worker was on: it goes back as it came, or not at all, and its flow is remembered. Of a flow that is left alone from
    /// now on, all that waits passes, in order and before what comes later.
    pub(super) fn let_go(&mut self, held: Held, now: Instant) {
        let flow = held.flow;
        match self.setup.config.restart.on_crash_packet {
            OnCrash::Pass => self.pass(held),
            OnCrash::Drop => self.drop_packet(held),
        }
        if self.blame.blame(flow.id, now) {
            tracing::warn!(helper = %self.setup.name(), flow = ?flow.orig, "this flow ends workers; it is left alone for now");
            self.counters.trouble("flow-left-alone");
            self.audit.write(Event::FlowQuarantined { helper: self.setup.name().to_owned(), master: (&flow.orig).into() });
            for waiting in self.tickets.take_waiting_of(&flow) {
                self.pass(waiting);
            }
        }
    }

    /// Gives a packet back as it came, and remembers that.
    fn pass(&mut self, held: Held) {
        self.flows.went_plain(&held, Instant::now());
        self.release(&held, Release::Accept);
        self.tickets.recycle(held);
    }

    fn drop_packet(&mut self, held: Held) {
        self.release(&held, Release::Drop);
        self.tickets.recycle(held);
    }

    /// Nobody comes for what waits: it passes as it came, or is dropped.
    pub(super) fn give_up_waiting(&mut self, now: Instant) {
        let drops = self.down(now) == Down::Drop;
        let waiting: Vec<Held> = self.tickets.drain_waiting().collect();
        for held in waiting {
            if drops { self.drop_packet(held) } else { self.pass(held) }
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
