//! Step 4: worker → kernel. Edits become a packet, new private bytes become a minimal conntrack attribute, the rest is accepted.

use std::time::Instant;

use cthelper_proto::events::Master;
use cthelper_proto::ipc::{FromWorker, Rule, Ruling, Verdict, frames};
use cthelper_proto::packet::edit::{Applied, EditError, apply};
use cthelper_proto::types::State;

use super::Lane;
use super::ask::{news, rule_of};
use super::session::OutOfTurn;
use super::tickets::{Announces, Held};
use crate::broker::protocol::What;
use crate::kernel::{Change, Kernel, Made, Release};

/// What is wrong with the edits of a verdict.
enum Unfit {
    /// The worker lies or errs: its end.
    Lie(OutOfTurn),
    /// Possible, but not allowed here: the packet passes as it came.
    Refused(Rule),
}

impl<K: Kernel> Lane<K> {
    /// Handles one record of the packet channel, up to the first lie in it.
    pub(super) fn verdicts(&mut self, record: &[u8]) -> Result<(), OutOfTurn> {
        if record.is_empty() {
            return Err(OutOfTurn("a record that is too long".to_owned()));
        }
        for frame in frames(record) {
            match frame {
                Ok((FromWorker::Verdict(verdict), [])) => self.verdict(&verdict)?,
                Ok(_) => return Err(OutOfTurn("a verdict with a payload".to_owned())),
                Err(error) => return Err(OutOfTurn(format!("verdict: {error}"))),
            }
        }
        Ok(())
    }

    fn verdict(&mut self, verdict: &Verdict) -> Result<(), OutOfTurn> {
        if let Some(session) = self.crew.serving_mut() {
            session.packets += 1;
        }
        let held = self
            .tickets
            .take(verdict.ticket)
            .ok_or_else(|| OutOfTurn(format!("verdict for ticket {} that it does not hold", verdict.ticket.0)))?;
        if let Some(field) = &verdict.malformed {
            self.counters.malformed(field);
        }
        let outcome = self.settle(&held, verdict);
        match &outcome {
            Ok(()) => self.tickets.recycle(held),
            Err(_) => self.tickets.put_in_hand(held), // to be released, and its flow blamed, with the worker's end
        }
        outcome
    }

    fn settle(&mut self, held: &Held, verdict: &Verdict) -> Result<(), OutOfTurn> {
        let state = new_state(held, verdict)?;
        if verdict.ruling == Ruling::Resend {
            let release = if self.may_resend(held) { Release::Drop } else { Release::Accept };
            self.release(held, release);
            return Ok(());
        }
        let mut packet = std::mem::take(&mut self.edited);
        let applied = match edit(held, verdict, &mut packet) {
            Ok(applied) => applied,
            Err(Unfit::Lie(lie)) => return Err(lie),
            Err(Unfit::Refused(rule)) => {
                self.refuse(rule, Master::from(&held.flow.orig), None);
                None
            }
        };
        let applied = applied.filter(|applied| {
            // What has gone on unedited cannot become longer when TCP repeats it: the receiver would take the end for new bytes.
            let late = applied.grown != 0 && self.flows.has_gone_plain(held);
            if late {
                self.counters.trouble("edit-too-late");
            }
            !late
        });
        let change = Change {
            flow: &held.flow,
            zone: held.zone,
            dir: held.info.dir(),
            packet: applied.as_ref().map(|_| packet.as_slice()),
            grown: applied.map_or(0, |applied| applied.grown),
            seq: held.tcp.map_or(0, |segment| segment.seq),
            state: state.filter(|_| held.expected.is_none()), // nor would the kernel take it
            timeout_secs: held.timeout_secs,
        };
        match &held.announces {
            Some(announces) => self.release_announcing(held, &change, announces),
            None if change.is_nothing() => self.release(held, Release::Accept),
            None => self.release(held, Release::Change(change)),
        }
        self.edited = packet;
        if let Some(state) = state {
            self.flows.released(&held.flow, state, held.expected.is_some(), Instant::now());
            self.tickets.state_changed(&held.flow, state);
        }
        Ok(())
    }

    /// Gives a first packet back with its expectation. Only now it is known whether the kernel has it.
    fn release_announcing(&mut self, held: &Held, change: &Change<'_>, announces: &Announces) {
        self.counters.verdicts += 1;
        let Announces { expect, permit, grant } = announces;
        match self.kernel.release_announcing(held.id, change, &held.wish(permit, grant.port)) {
            Ok(made) => {
                // One whose master is in the table was expected before, without its helper.
                if !held.confirmed {
                    self.counters.expectations += 1;
                    self.link.tell(&news(self.setup.name(), held, What::Granted));
                }
                if made == Made::Unseen {
                    self.counters.trouble("expectation-unseen");
                }
            }
            Err(_) if held.confirmed => self.counters.trouble("helper-unassigned"),
            Err(denied) => {
                self.link.tell(&news(self.setup.name(), held, What::Refused));
                self.refuse(rule_of(denied), Master::from(&held.flow.orig), Some(expect));
            }
        }
    }

    /// TCP under NAT only, and a few times per segment.
    fn may_resend(&mut self, held: &Held) -> bool {
        let may = held.tcp.is_some() && held.flow.is_translated() && self.flows.may_resend(held, Instant::now());
        if !may {
            self.refuse(Rule::ResendLimit, Master::from(&held.flow.orig), None);
        }
        may
    }

    /// Gives a packet back. What the kernel cannot do is counted; the packet itself is then accepted by the kernel side.
    pub(super) fn release(&mut self, held: &Held, release: Release<'_>) {
        self.counters.verdicts += 1;
        if let Err(fault) = self.kernel.release(held.id, release) {
            self.flows.went_plain(held, Instant::now());
            self.counters.trouble("release");
            tracing::warn!(helper = %self.setup.name(), %fault, "a packet could not be given back as the helper wanted");
        }
    }
}

/// The edited packet in `out`; `None` if there are no edits.
fn edit(held: &Held, verdict: &Verdict, out: &mut Vec<u8>) -> Result<Option<Applied>, Unfit> {
    if verdict.edits.is_empty() {
        return Ok(None);
    }
    let applied = apply(&held.packet, &verdict.edits, out).map_err(|error| match error {
        EditError::TooLarge => Unfit::Refused(Rule::TooLarge),
        error => Unfit::Lie(OutOfTurn(format!("edits: {error}"))),
    })?;
    if applied.grown != 0 && held.tcp.is_some() && !held.flow.is_translated() {
        return Err(Unfit::Refused(Rule::LengthWithoutNat));
    }
    Ok(Some(applied))
}

/// The private bytes a verdict brings, if they differ from what the kernel has.
fn new_state(held: &Held, verdict: &Verdict) -> Result<Option<State>, OutOfTurn> {
    match verdict.state {
        Some(state) if state.as_bytes().len() != held.state.as_bytes().len() => {
            Err(OutOfTurn("private bytes of another length than its manifest says".to_owned()))
        }
        Some(state) if state != held.state => Ok(Some(state)),
        _ => Ok(None),
    }
}
