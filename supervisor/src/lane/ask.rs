//! Step 3: the worker wants an expectation. Policy judges, the kernel is asked, the worker hears what was granted.

use std::os::fd::AsRawFd;
use std::time::Instant;

use cthelper_policy::expect::{Announcement, Permit, judge};
use cthelper_proto::events::{Event, Master};
use cthelper_proto::ipc::{
    Answer, Ask, Expect, ExpectId, FrameError, Grant, Rule, Ticket, VERSION, decode, encode, hello_version,
};
use cthelper_proto::types::Family;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use super::Lane;
use super::session::OutOfTurn;
use super::tickets::{Announces, Held};
use crate::broker::protocol::{News, ToBroker, What};
use crate::kernel::{Denied, Kernel};

/// Longest ask, bytes. A manifest at all its limits has about 500.
const RECORD: usize = 4096;

/// What came over the ask channel.
pub(super) enum Heard {
    /// Nothing at the moment.
    Nothing,
    /// The worker is gone.
    Hangup,
    /// A message, to be admitted or not.
    Ask(Ask),
}

/// Reads one ask without waiting.
pub(super) fn hear(fd: &impl AsRawFd) -> Result<Heard, OutOfTurn> {
    let mut record = [0; RECORD];
    match recv(fd.as_raw_fd(), &mut record, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC) {
        Ok(0) => Ok(Heard::Hangup),
        Ok(length) => {
            let record = record.get(..length).ok_or_else(|| OutOfTurn(format!("an ask of {length} bytes")))?;
            let (ask, rest) = decode(record).map_err(|error| unreadable(record, error))?;
            if rest.is_empty() { Ok(Heard::Ask(ask)) } else { Err(OutOfTurn("an ask with a payload".to_owned())) }
        }
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(Heard::Nothing),
        Err(_) => Ok(Heard::Hangup),
    }
}

/// Why a record is no ask: it is another version's, or nobody's.
fn unreadable(record: &[u8], error: FrameError) -> OutOfTurn {
    let version = hello_version(record).filter(|version| *version != VERSION);
    version.map_or_else(|| OutOfTurn(format!("ask: {error}")), OutOfTurn::of_another_version)
}

/// Answers without waiting; a worker that does not listen for the answer to its own question is out of turn.
pub(super) fn answer(fd: &impl AsRawFd, answer: &Answer) -> Result<(), OutOfTurn> {
    let record = encode(answer).map_err(|error| OutOfTurn(format!("answer: {error}")))?;
    match send(fd.as_raw_fd(), &record, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
        Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()), // the hang-up is seen on its own
        Err(error) => Err(OutOfTurn(format!("does not take the answer to its ask: {error}"))),
    }
}

impl<K: Kernel> Lane<K> {
    /// The answer to `Expect`.
    pub(super) fn expect(&mut self, ticket: Ticket, expect: &Expect) -> Result<Answer, OutOfTurn> {
        let now = Instant::now();
        let Some(held) = self.tickets.with_worker(ticket) else {
            return Err(OutOfTurn(format!("Expect for ticket {} that it does not hold", ticket.0)));
        };
        let class = self.served.as_ref().and_then(|manifest| manifest.classes.get(usize::from(expect.class)));
        if let Some(grant) = self.flows.granted_before(held, expect).or_else(|| granted_just_now(held, expect)) {
            if held.announced_before
                && let Ok(permit) = judge(self.judge.rules(), class, &held.flow, held.info.dir(), expect)
            {
                goes_beside(held, expect, permit, grant);
            }
            return Ok(Answer::Granted(grant));
        }
        let helper_is_ours = class
            .and_then(|class| class.helped_by.as_deref())
            .is_some_and(|helper| self.kernel.serves(helper, Family::of(expect.dst), expect.proto));
        let said = Announcement { class, flow: &held.flow, dir: held.info.dir(), before: held.asks, expect, helper_is_ours };
        held.asks = held.asks.saturating_add(1);
        let verdict = self.judge.judge(&said, now).and_then(|permit| {
            let first = self.flows.port_before(held, expect);
            let port = ask_kernel(&mut self.kernel, held, &permit, first, self.setup.name())?;
            self.granted = self.granted.wrapping_add(1);
            Ok((permit, Grant { id: ExpectId(self.granted), addr: permit.dst, port }))
        });
        match verdict {
            Ok((permit, grant)) if held.confirmed => {
                self.flows.granted(held, expect, grant, now);
                self.counters.expectations += 1;
                goes_beside(held, expect, permit, grant);
                self.link.tell(&news(self.setup.name(), held, What::Granted));
                Ok(Answer::Granted(grant))
            }
            Ok((permit, grant)) => {
                goes_beside(held, expect, permit, grant);
                Ok(Answer::Granted(grant))
            }
            Err(rule) => {
                self.flows.went_plain(held, now);
                let master = Master::from(&held.flow.orig);
                self.link.tell(&news(self.setup.name(), held, What::Refused));
                self.refuse(rule, master, Some(expect));
                Ok(Answer::Refused(rule))
            }
        }
    }

    /// The answer to `Withdraw`.
    pub(super) fn withdraw(&mut self, ticket: Ticket, id: ExpectId) -> Result<Answer, OutOfTurn> {
        let Some(held) = self.tickets.with_worker(ticket) else {
            return Err(OutOfTurn(format!("Withdraw for ticket {} that it does not hold", ticket.0)));
        };
        let withdrawn = held.announces.take_if(|announces| announces.grant.id == id);
        if withdrawn.is_some() && !held.confirmed {
            return Ok(Answer::Gone);
        }
        if let Some((expect, grant, dir)) = self.flows.withdraw(held, id) {
            let class = self.served.as_ref().and_then(|manifest| manifest.classes.get(usize::from(expect.class)));
            if let Ok(permit) = judge(self.judge.rules(), class, &held.flow, dir, &expect) {
                self.kernel.withdraw(&held.wish(&permit, grant.port));
            }
        }
        Ok(Answer::Gone)
    }

    /// Counts and audits a refusal.
    pub(super) fn refuse(&mut self, rule: Rule, master: Master, expect: Option<&Expect>) {
        self.counters.refused(rule);
        if !self.refusals.take(super::AUDITED, Instant::now()) {
            return;
        }
        self.audit.write(Event::ExpectationRefused {
            helper: self.setup.name().to_owned(),
            rule: rule.name().to_owned(),
            master,
            dst: expect.map(|expect| expect.dst),
            dport: expect.map(|expect| expect.dport),
        });
    }
}

/// The grant this worker has had for the same announcement of this first packet.
fn granted_just_now(held: &Held, expect: &Expect) -> Option<Grant> {
    held.announces.filter(|announces| announces.expect == *expect).map(|announces| announces.grant)
}

/// Has the verdict of the packet say what only a verdict can: of a first packet, everything; of another one, which helper the announced
/// connection gets, and how long its own is kept.
fn goes_beside(held: &mut Held, expect: &Expect, permit: Permit, grant: Grant) {
    held.timeout_secs = permit.master_timeout_secs.max(held.timeout_secs);
    if permit.helped || !held.confirmed {
        held.announces = Some(Announces { expect: *expect, permit, grant });
    }
}

/// What the broker is told of a connection.
pub(super) fn news(helper: &str, held: &Held, what: What) -> ToBroker {
    ToBroker::News(News { helper: helper.to_owned(), id: held.flow.id.0, orig: held.flow.orig, zone: held.zone, what })
}

/// Asks the kernel; under NAT, port after port until one is free. Returns the port that was agreed on. The master of a first packet is
/// not in the kernel's table yet: then it is only asked whether something stands in the way.
fn ask_kernel<K: Kernel>(kernel: &mut K, held: &Held, permit: &Permit, first: Option<u16>, helper: &str) -> Result<u16, Rule> {
    if held.announces.is_some() && (permit.helped || !held.confirmed) {
        return Err(if held.confirmed { Rule::SecondHelped } else { Rule::FirstPacket });
    }
    let seed = u64::from(held.flow.id.0);
    for port in first.into_iter().chain(permit.ports(seed)) {
        let wish = held.wish(permit, port);
        match if held.confirmed { kernel.expect(&wish) } else { kernel.may_expect(&wish) } {
            Ok(()) => return Ok(port),
            Err(Denied::Busy) => {}
            Err(denied) => {
                if let Denied::Other(errno) = denied {
                    tracing::warn!(helper, %errno, "the kernel refuses an expectation");
                }
                return Err(rule_of(denied));
            }
        }
    }
    Err(if permit.may_move() { Rule::NoPortFree } else { Rule::Overlap })
}

/// The rule by which the kernel's no is counted.
pub(super) fn rule_of(denied: Denied) -> Rule {
    match denied {
        Denied::Busy => Rule::Overlap,
        Denied::TableFull => Rule::TableFull,
        Denied::Gone => Rule::Unconfirmed,
        Denied::Other(_) => Rule::Kernel,
    }
}
