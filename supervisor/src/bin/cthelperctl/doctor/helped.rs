//! Why a connection that has a helper may not be helped all the same: every reason for which the kernel or a lane lets its packets pass.

use cthelper_proto::ctl::{HelperStatus, LaneState};
use cthelper_proto::netlink::cthelper::{DISABLED, Helper};

use super::flow::{Asked, CHECK};
use super::{Facts, Finding};
use crate::status;

/// A connection with its helper, and what is known of that.
struct Case<'a> {
    facts: &'a Facts,
    asked: &'a Asked,
    /// The connection in words.
    who: &'a str,
    /// Its helper's name.
    helper: &'a str,
    /// The kernel's object of it.
    object: Option<&'a Helper>,
    /// What the daemon says of it.
    served: Option<&'a HelperStatus>,
}

/// In the order in which a packet meets them; the first that holds is the reason.
const REASONS: [fn(&Case<'_>) -> Option<Finding>; 8] =
    [kernels_own, switched_off, not_served, expected, left_alone, circuit, between_workers, overflowed];

/// Whether, and if not why not.
pub fn explain(facts: &Facts, asked: &Asked, who: &str, helper: &str) -> Finding {
    let family = if asked.orig.src.is_ipv4() { 2 } else { 10 };
    let registered = facts.registry.as_deref().unwrap_or_default();
    let object = registered
        .iter()
        .find(|object| object.name == helper && object.l4 == asked.orig.proto && [family, 0].contains(&object.family));
    let served = facts.daemon.iter().flat_map(|status| &status.helpers).find(|served| served.name == helper);
    let case = Case { facts, asked, who, helper, object, served };
    REASONS.iter().find_map(|reason| reason(&case)).unwrap_or_else(|| {
        Finding::ok(CHECK, format!("{who} has the helper {helper}, and {} expectations open", asked.expectations))
    })
}

impl Case<'_> {
    fn fail(&self, why: &str, remedy: impl Into<String>) -> Finding {
        Finding::fail(CHECK, format!("{} has the helper {}, {why}", self.who, self.helper), remedy)
    }

    fn warn(&self, why: &str, remedy: impl Into<String>) -> Finding {
        Finding::warn(CHECK, format!("{} has the helper {}, {why}", self.who, self.helper), remedy)
    }

    /// What becomes of packets while nobody serves.
    fn meanwhile(&self) -> &'static str {
        self.served.map_or("packets pass without it", status::unserved)
    }
}

fn kernels_own(case: &Case<'_>) -> Option<Finding> {
    let ours = case.facts.registry.as_deref().unwrap_or_default().iter().any(|object| object.name == case.helper);
    if ours || case.facts.registry.is_err() {
        return None;
    }
    Some(case.warn(
        "which no user-space program registered: it is the kernel's own",
        "unload the kernel's module if cthelperd is to serve it",
    ))
}

/// By the operator, by an open circuit, or by whoever changed the registry.
fn switched_off(case: &Case<'_>) -> Option<Finding> {
    if case.served.is_some_and(|served| served.state == LaneState::Tripped) {
        return circuit(case);
    }
    let off = case.object.is_some_and(|object| object.status == DISABLED)
        || case.served.is_some_and(|served| served.state == LaneState::Disabled);
    let remedy = match case.served {
        Some(_) => format!("cthelperctl enable {}", case.helper),
        None => format!("serve it: start cthelperd with --helper {}", case.helper),
    };
    if off { Some(case.fail("which is disabled: its packets pass without it", remedy)) } else { None }
}

/// Nobody, another program, or a dead daemon's queue that is kept for the next one.
fn not_served(case: &Case<'_>) -> Option<Finding> {
    let (object, queues) = (case.object?, case.facts.queues.as_ref().ok()?);
    let Some(queue) = queues.iter().find(|queue| queue.number == object.queue) else {
        return Some(
            case.fail("whose queue nobody serves: its packets pass without it", "start cthelperd, or see the check `served`"),
        );
    };
    if queue.is_of(&case.facts.estate) {
        return Some(case.fail("whose queue waits for the next daemon: its packets pass without it", "start cthelperd"));
    }
    if case.facts.daemon.is_ok() && case.served.is_none() {
        return Some(
            case.warn("which another program serves", "cthelperd cannot tell how it is; ask that program (conntrackd?)"),
        );
    }
    None
}

/// What was announced carries what the announcement was about; some kernels give it its master's helper.
fn expected(case: &Case<'_>) -> Option<Finding> {
    let what = format!(
        "{} was expected by another connection: {} reads its packets only if it follows what it announces",
        case.who, case.helper
    );
    case.asked.expected.then(|| Finding::ok(CHECK, what))
}

fn left_alone(case: &Case<'_>) -> Option<Finding> {
    let left = case.served?.left_alone.iter().find(|left| Some(left.id) == case.asked.id)?;
    Some(case.fail(
        &format!(
            "but ended its workers and is left alone for {} s more (restart.blame): its packets pass without it",
            left.for_secs
        ),
        "see cthelperctl crashes for what it sent; a new connection is helped",
    ))
}

fn circuit(case: &Case<'_>) -> Option<Finding> {
    (case.served?.state == LaneState::Tripped).then_some(())?;
    Some(case.fail(
        &format!("whose circuit is open, it crashed too often: {}", case.meanwhile()),
        format!("see cthelperctl crashes for the cause, then cthelperctl restart {}", case.helper),
    ))
}

fn between_workers(case: &Case<'_>) -> Option<Finding> {
    let served = case.served.filter(|served| served.state == LaneState::Restarting)?;
    Some(case.warn(
        &format!("which waits for its next worker: {}", status::between_workers(served)),
        "see cthelperctl status and the audit log if it stays so",
    ))
}

/// Which connections' packets did not fit is not known to anybody.
fn overflowed(case: &Case<'_>) -> Option<Finding> {
    let (object, queues) = (case.object?, case.facts.queues.as_ref().ok()?);
    let lost = queues.iter().find(|queue| queue.number == object.queue)?.lost();
    (lost > 0).then_some(())?;
    Some(case.warn(
        &format!("whose queue was too full for {lost} packets: some of this connection may have passed without it"),
        format!("a longer queue: queue_length in [helper.{}]", case.helper),
    ))
}
