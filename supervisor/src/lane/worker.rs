//! What passes between a lane and its worker: packets and verdicts on one channel, asks and answers on the other.

use std::os::fd::AsFd;
use std::time::Instant;

use cthelper_proto::ctl::LaneState;
use cthelper_proto::events::Event;
use cthelper_proto::ipc::{Answer, Ask, Enforcement, MAX_FRAMES, Namespace, PacketHeader, ToWorker};
use cthelper_proto::manifest::Manifest;
use cthelper_proto::types::Flow;

use super::ask::{self, Heard};
use super::records::{Received, receive};
use super::session::{OutOfTurn, Phase, Session};
use super::{Ended, Lane, mourn};
use crate::kernel::Kernel;

/// Asks answered in one turn; a worker that keeps asking must not keep the lane from its queue.
const ASKS_A_TURN: usize = 32;

/// Why a turn does not go on.
pub(super) enum Stop {
    /// The worker's fault: its end.
    OutOfTurn(OutOfTurn),
    /// The lane's end.
    Ended(Ended),
}

impl From<OutOfTurn> for Stop {
    fn from(why: OutOfTurn) -> Self {
        Self::OutOfTurn(why)
    }
}

impl<K: Kernel> Lane<K> {
    /// Sends waiting packets to the worker, as many as its channel takes.
    pub(super) fn send_packets(&mut self) -> Result<(), Ended> {
        let Some(session) = self.session.as_ref().filter(|session| session.phase == Phase::Serving) else { return Ok(()) };
        while self.tickets.is_waiting() {
            let mut batch: Vec<Flow> = Vec::new();
            let tickets = &self.tickets;
            let messages = tickets.next_to_send(MAX_FRAMES).map(|held| {
                let follows = batch.contains(&held.flow) || tickets.flow_in_flight(&held.flow);
                batch.push(held.flow);
                let header = PacketHeader {
                    ticket: held.ticket,
                    flow: held.flow,
                    info: held.info,
                    state: (!follows).then_some(held.state),
                    tcp: held.tcp,
                };
                (ToWorker::Packet(header), held.payload())
            });
            match self.records.send(session.spawned.packets.as_fd(), messages) {
                Ok(0) => break,
                Ok(sent) => self.tickets.sent(sent, Instant::now() + self.setup.config.restart.deadline),
                Err(_) => return self.worker_ended(&mourn::Cause::Hangup),
            }
        }
        Ok(())
    }

    /// Reads a record of verdicts; `Ok(false)` = the worker has hung up.
    pub(super) fn read_verdicts(&mut self) -> Result<bool, OutOfTurn> {
        let Some(session) = &mut self.session else { return Ok(true) };
        let mut inbox = std::mem::take(&mut self.records.inbox);
        let heard = match receive(session.spawned.packets.as_fd(), &mut inbox) {
            Received::Nothing => Ok(true),
            Received::Hangup => Ok(false),
            Received::Record(_) if session.phase != Phase::Serving => Err(OutOfTurn("a verdict before Go".to_owned())),
            Received::Record(record) => self.verdicts(record).map(|()| true),
        };
        self.records.inbox = inbox;
        heard
    }

    /// Reads what a worker that has ended still said: its verdicts count, up to the first that is none.
    pub(super) fn read_last_verdicts(&mut self) {
        let mut in_flight = usize::MAX;
        while in_flight > self.tickets.in_flight() {
            in_flight = self.tickets.in_flight();
            if !matches!(self.read_verdicts(), Ok(true)) {
                break;
            }
        }
    }

    /// Hears asks and answers them; `Ok(false)` = the worker has hung up.
    pub(super) fn listen(&mut self) -> Result<bool, Stop> {
        for _ in 0..ASKS_A_TURN {
            let Some(session) = &mut self.session else { return Ok(true) };
            let ask = match ask::hear(&session.spawned.asks)? {
                Heard::Nothing => return Ok(true),
                Heard::Hangup => return Ok(false),
                Heard::Ask(ask) => ask,
            };
            session.admit(&ask)?;
            let answer = self.answer_to(ask)?;
            if let (Some(answer), Some(session)) = (answer, &self.session) {
                ask::answer(&session.spawned.asks, &answer)?;
            }
        }
        Ok(true)
    }

    fn answer_to(&mut self, ask: Ask) -> Result<Option<Answer>, Stop> {
        Ok(Some(match ask {
            Ask::Launched(launched) => {
                if let Some(session) = &mut self.session {
                    (session.own, session.write_xor_execute) = (launched.own, launched.write_xor_execute);
                }
                return Ok(None);
            }
            Ask::Hello(version, manifest) => {
                Session::greet(version, &manifest, self.setup.name(), self.pinned.as_ref())?;
                self.pin(manifest)?;
                Answer::Welcome(self.setup.config.settings())
            }
            Ask::Ready(confined) => {
                self.serve(confined.landlock)?;
                Answer::Go
            }
            Ask::Expect(ticket, expect) => self.expect(ticket, &expect)?,
            Ask::Withdraw(ticket, id) => self.withdraw(ticket, id)?,
        }))
    }

    /// Verifies the worker; the first one of the lane also opens the kernel's side. No packet is read or sent before this.
    fn serve(&mut self, landlock: Enforcement) -> Result<(), Stop> {
        self.read_verdicts()?; // whatever it has said there by now, it said before Go
        let Some(session) = &mut self.session else { return Ok(()) };
        let identity = self.setup.recipe.identity;
        let expected = identity.expected();
        if identity.change && !session.own.contains(Namespace::Network) {
            return Err(Stop::OutOfTurn(OutOfTurn("has no network namespace of its own".to_owned())));
        }
        if let Err(deviation) = session.verify(&expected) {
            self.audit.write(Event::WorkerRefused {
                helper: self.setup.name().to_owned(),
                pid: session.spawned.pid(),
                reason: deviation.to_string(),
            });
            return Err(Stop::OutOfTurn(OutOfTurn(format!("is not confined as it must be: {deviation}"))));
        }
        session.landlock = landlock;
        self.audit.write(Event::WorkerStarted {
            helper: self.setup.name().to_owned(),
            pid: session.spawned.pid(),
            uid: identity.uid,
            generation: session.generation,
            landlock: landlock.to_string(),
            seccomp_filters: session.filters,
        });
        session.phase = Phase::Serving;
        if let (false, Some(manifest)) = (self.started, &self.served) {
            self.kernel.start(manifest).map_err(|fault| Stop::Ended(Ended::Fault(fault)))?;
            (self.started, self.enabled) = (true, true);
        }
        if self.state == LaneState::Restarting {
            self.state = LaneState::Serving;
        }
        Ok(())
    }

    /// Keeps what the first worker says of itself, with the operator's limits put into it.
    fn pin(&mut self, manifest: Manifest) -> Result<(), Stop> {
        if self.pinned.is_none() {
            let served = self.setup.config.adapt(manifest.clone());
            let served = served.map_err(|mismatch| Stop::Ended(Ended::NotStarted(mismatch.to_string())))?;
            self.l4 = manifest.l4;
            self.served = Some(served);
            self.pinned = Some(manifest);
        }
        Ok(())
    }
}
