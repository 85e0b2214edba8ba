//! What passes between a lane and its workers: packets and verdicts on one channel, asks and answers on the other.

use std::os::fd::AsFd;
use std::time::Instant;

use cthelper_proto::ctl::LaneState;
use cthelper_proto::events::Event;
use cthelper_proto::ipc::{Answer, Ask, MAX_FRAMES, Namespace, PacketHeader, ToWorker};
use cthelper_proto::manifest::Manifest;
use cthelper_proto::types::Flow;

use super::ask::{self, Heard};
use super::mourn::Cause;
use super::records::{Received, receive};
use super::session::{OutOfTurn, Phase, Session};
use super::wait::Stirred;
use super::{Ended, Lane};
use crate::kernel::Kernel;

/// Asks answered in one turn; a worker that keeps asking must not keep the lane from its queue.
const ASKS_A_TURN: usize = 32;

/// What an operator loses where the warden may not trace, and why that may be.
const UNSEEN: &str = "the warden may not trace workers here (kernel.yama.ptrace_scope above 1, a filter of system calls, another \
                      tracer): records of crashes will have no `fault`";

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
    /// Whatever one worker has to say.
    pub(super) fn attend(&mut self, stirred: Stirred) -> Result<(), Ended> {
        let generation = stirred.generation;
        if stirred.log {
            self.read_log(generation);
        }
        let told = if stirred.asks { self.listen(generation) } else { Ok(true) };
        let said = if stirred.packets { self.read_verdicts(generation) } else { Ok(true) };
        let cause = match (told, said) {
            (Err(Stop::Ended(ended)), _) => return Err(ended),
            (Err(Stop::OutOfTurn(why)), _) | (_, Err(why)) => Cause::OutOfTurn(why),
            (Ok(false), _) | (_, Ok(false)) => Cause::Hangup,
            (Ok(true), Ok(true)) if stirred.hangup => Cause::Hangup,
            _ => return Ok(()),
        };
        self.worker_ended(generation, cause);
        Ok(())
    }

    /// Sends waiting packets to the worker, as many as its channel takes.
    pub(super) fn send_packets(&mut self) {
        if self.retiring {
            return;
        }
        let Some(session) = self.crew.serving() else { return };
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
            match self.records.send(session.channels.packets.as_fd(), messages) {
                Ok(0) => break,
                Ok(sent) => self.tickets.sent(sent, Instant::now() + self.setup.config.restart.deadline),
                Err(_) => return self.serving_ended(Cause::Hangup),
            }
        }
    }

    /// Reads a record of verdicts; `Ok(false)` = the worker has hung up.
    pub(super) fn read_verdicts(&mut self, generation: u64) -> Result<bool, OutOfTurn> {
        let Some(session) = self.crew.by(generation) else { return Ok(true) };
        let mut inbox = std::mem::take(&mut self.records.inbox);
        let heard = match (receive(session.channels.packets.as_fd(), &mut inbox), session.phase) {
            (Received::Nothing, _) => Ok(true),
            (Received::Hangup, _) => Ok(false),
            (Received::Record(record), Phase::Serving) => self.verdicts(record).map(|()| true),
            (Received::Record(_), Phase::Spare) => Err(OutOfTurn("a verdict of one that has no packet".to_owned())),
            (Received::Record(_), _) => Err(OutOfTurn("a verdict before Go".to_owned())),
        };
        self.records.inbox = inbox;
        heard
    }

    /// Reads what the serving worker, which has ended, still said: its verdicts count, up to the first that is none.
    pub(super) fn read_last_verdicts(&mut self) {
        let Some(generation) = self.crew.serving().map(|session| session.generation) else { return };
        let mut in_flight = usize::MAX;
        while in_flight > self.tickets.in_flight() {
            in_flight = self.tickets.in_flight();
            if !matches!(self.read_verdicts(generation), Ok(true)) {
                break;
            }
        }
    }

    /// Hears asks and answers them; `Ok(false)` = the worker has hung up.
    pub(super) fn listen(&mut self, generation: u64) -> Result<bool, Stop> {
        for _ in 0..ASKS_A_TURN {
            let Some(session) = self.crew.by_mut(generation) else { return Ok(true) };
            let ask = match ask::hear(&session.channels.asks)? {
                Heard::Nothing => return Ok(true),
                Heard::Hangup => return Ok(false),
                Heard::Ask(ask) => ask,
            };
            session.admit(&ask)?;
            let answer = self.answer_to(generation, ask)?;
            if let (Some(answer), Some(session)) = (answer, self.crew.by(generation)) {
                ask::answer(&session.channels.asks, &answer)?;
            }
        }
        Ok(true)
    }

    fn answer_to(&mut self, generation: u64, ask: Ask) -> Result<Option<Answer>, Stop> {
        Ok(match ask {
            Ask::Launched(launched) => {
                if let Some(session) = self.crew.by_mut(generation) {
                    (session.own, session.write_xor_execute) = (launched.own, launched.write_xor_execute);
                }
                None
            }
            Ask::Hello(version, manifest) => {
                Session::greet(version, &manifest, self.setup.name(), self.pinned.as_ref())?;
                self.pin(manifest)?;
                Some(Answer::Welcome(self.setup.config.settings()))
            }
            Ask::Ready(confined) => {
                if let Some(session) = self.crew.by_mut(generation) {
                    session.ready = Some(confined.landlock);
                }
                self.serve(generation)?.then_some(Answer::Go)
            }
            Ask::Expect(ticket, expect) => Some(self.expect(ticket, &expect)?),
            Ask::Withdraw(ticket, id) => Some(self.withdraw(ticket, id)?),
        })
    }

    /// Says `Go` to a worker that was ready before its process id was known.
    pub(super) fn serve_late(&mut self, generation: u64) -> Result<(), Ended> {
        let went = match self.serve(generation) {
            Ok(went) => went,
            Err(Stop::Ended(ended)) => return Err(ended),
            Err(Stop::OutOfTurn(why)) => {
                self.worker_ended(generation, Cause::OutOfTurn(why));
                return Ok(());
            }
        };
        if let (true, Some(session)) = (went, self.crew.by(generation))
            && let Err(why) = ask::answer(&session.channels.asks, &Answer::Go)
        {
            self.worker_ended(generation, Cause::OutOfTurn(why));
        }
        Ok(())
    }

    /// Verifies a worker that says it is ready; the first one of the lane also opens the kernel's side. No packet is read or sent before
    /// this. `false` = not yet, because its process id is not known.
    fn serve(&mut self, generation: u64) -> Result<bool, Stop> {
        self.read_verdicts(generation)?; // whatever it has said there by now, it said before Go
        let identity = self.setup.identity;
        let expected = identity.expected(self.post.warden());
        let Some(session) = self.crew.by_mut(generation) else { return Ok(false) };
        let (Some(pid), Some(landlock)) = (session.pid, session.ready) else { return Ok(false) };
        if identity.change && !session.own.contains(Namespace::Network) {
            return Err(Stop::OutOfTurn(OutOfTurn("has no network namespace of its own".to_owned())));
        }
        if let Err(deviation) = session.verify(&expected) {
            let reason = deviation.to_string();
            self.audit.write(Event::WorkerRefused { helper: self.setup.name().to_owned(), pid, reason });
            return Err(Stop::OutOfTurn(OutOfTurn(format!("is not confined as it must be: {deviation}"))));
        }
        session.landlock = landlock;
        session.phase = Phase::Spare;
        if !session.witnessed && !self.started {
            tracing::warn!(helper = %self.setup.name(), pid, "{UNSEEN}");
        }
        self.audit.write(Event::WorkerStarted {
            helper: self.setup.name().to_owned(),
            pid,
            uid: identity.uid,
            generation,
            landlock: landlock.to_string(),
            seccomp_filters: session.filters,
        });
        self.is_verified()?;
        Ok(true)
    }

    /// A verified worker more: it serves if nobody else does.
    fn is_verified(&mut self) -> Result<(), Stop> {
        if self.crew.serving().is_some() {
            return Ok(());
        }
        if let (false, Some(manifest)) = (self.started, &self.served) {
            self.kernel.start(manifest).map_err(|fault| Stop::Ended(Ended::Fault(fault)))?;
            (self.started, self.enabled) = (true, true);
        }
        self.half_close();
        if let Some(session) = self.crew.spare_mut() {
            session.phase = Phase::Serving;
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
            self.l4s = manifest.l4s;
            self.served = Some(served);
            self.pinned = Some(manifest);
        }
        Ok(())
    }
}
