//! Whether the kernel has the helpers as the daemon serves them: whoever has the privilege may change its registry, and nobody is told.

use cthelper_proto::ctl::{ClassLimits, HelperStatus, LaneState};
use cthelper_proto::netlink::cthelper::{DISABLED, Helper, Policy};
use cthelper_proto::types::{Family, L4};

use super::{Facts, Finding, Level};

const CHECK: &str = "registered";

/// Compares every object that the daemon has registered with the kernel's.
pub fn as_served(facts: &Facts) -> Vec<Finding> {
    let (Ok(objects), Ok(status)) = (&facts.registry, &facts.daemon) else { return Vec::new() };
    let each = |served| protocols(served).flat_map(move |protocols| compare(served, protocols, objects));
    status.helpers.iter().flat_map(each).collect()
}

/// Whether the daemon takes this object for enabled. With an open circuit it may be either.
pub fn is_to_be_enabled(facts: &Facts, object: &Helper) -> bool {
    let serving = facts.daemon.iter().flat_map(|status| &status.helpers).filter(|served| is_up(served));
    serving.into_iter().any(|served| protocols(served).any(|protocols| is_of(object, served, protocols)))
}

fn is_up(served: &HelperStatus) -> bool {
    matches!(served.state, LaneState::Serving | LaneState::Restarting)
}

fn protocols(served: &HelperStatus) -> impl Iterator<Item = (Family, L4)> {
    served.families.iter().flat_map(|family| served.l4.iter().map(move |l4| (*family, l4)))
}

fn is_of(object: &Helper, served: &HelperStatus, (family, l4): (Family, L4)) -> bool {
    (object.name.as_str(), object.family, object.l4) == (served.name.as_str(), family.number().into(), l4.number())
}

/// What differs, a finding each.
fn compare(served: &HelperStatus, protocols: (Family, L4), objects: &[Helper]) -> Vec<Finding> {
    let (name, (family, l4)) = (&served.name, protocols);
    let who = format!("{name} ({family} {l4})");
    let Some(object) = objects.iter().find(|object| is_of(object, served, protocols)) else {
        let what = format!("cthelperd serves {who}, but the kernel does not have it");
        let remedy = format!("somebody deleted it (nfct?): cthelperctl enable {name}, then load the rules again");
        return vec![Finding::fail(CHECK, what, remedy)];
    };
    if let Some(differs) = classes(served, object) {
        return vec![differs.finding(&who)]; // the rest is of no interest, as no update is taken
    }
    let differences = [queue(served, object), status(served, object)].into_iter().flatten().chain(limits(served, object));
    let findings: Vec<Finding> = differences.map(|differs| differs.finding(&who)).collect();
    if findings.is_empty() {
        return vec![Finding::ok(CHECK, format!("{who} is registered with queue {}", served.queue))];
    }
    findings
}

/// One thing that is not as it is served.
struct Difference {
    level: Level,
    what: String,
    remedy: String,
}

impl Difference {
    fn new(level: Level, what: String, remedy: String) -> Self {
        Self { level, what, remedy }
    }

    fn finding(self, who: &str) -> Finding {
        Finding { level: self.level, check: CHECK, what: format!("{who}: {}", self.what), remedy: Some(self.remedy) }
    }
}

/// The daemon registers it again, in place.
fn give_back(served: &HelperStatus) -> String {
    format!("somebody changed it (nfct?): cthelperctl enable {} gives it back", served.name)
}

/// For what no update can change.
fn begin_anew(served: &HelperStatus) -> String {
    let name = &served.name;
    format!("remove its rules; cthelperctl nfct delete helper {name}; cthelperctl enable {name}; load the rules again")
}

fn queue(served: &HelperStatus, object: &Helper) -> Option<Difference> {
    (object.queue != u32::from(served.queue)).then(|| {
        let what = format!("the kernel sends to queue {}, cthelperd serves {}", object.queue, served.queue);
        Difference::new(Level::Fail, what, give_back(served))
    })
}

fn status(served: &HelperStatus, object: &Helper) -> Option<Difference> {
    match (served.state, object.status) {
        (LaneState::Serving | LaneState::Restarting, DISABLED) => {
            let what = "the kernel has it disabled, cthelperd serves it: packets pass without it, nothing is expected";
            Some(Difference::new(Level::Fail, what.to_owned(), give_back(served)))
        }
        (LaneState::Disabled, on) if on != DISABLED => {
            let what = "the kernel has it enabled, cthelperd was told to disable it";
            let remedy = format!("somebody changed it: cthelperctl disable {0}, or enable {0} if it is to serve", served.name);
            Some(Difference::new(Level::Warn, what.to_owned(), remedy))
        }
        _ => None,
    }
}

/// None is told by a daemon of an older version.
fn classes(served: &HelperStatus, object: &Helper) -> Option<Difference> {
    let theirs = names(object.classes.iter().map(|class| &class.name));
    let ours = names(served.classes.iter().map(|class| &class.name));
    (!served.classes.is_empty() && theirs != ours).then(|| {
        let what = format!("the kernel has the classes {theirs}, cthelperd serves {ours}");
        Difference::new(Level::Fail, what, begin_anew(served))
    })
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Of classes that have the same names.
fn limits(served: &HelperStatus, object: &Helper) -> Vec<Difference> {
    let pairs = object.classes.iter().zip(&served.classes);
    pairs.filter_map(|(theirs, ours)| limits_of(served, object, theirs, ours)).collect()
}

/// Less than what is served breaks connections; more may be meant.
fn limits_of(served: &HelperStatus, object: &Helper, theirs: &Policy, ours: &ClassLimits) -> Option<Difference> {
    if is(theirs, ours) {
        return None;
    }
    let most = if theirs.expect_max == 0 { u32::MAX } else { theirs.expect_max }; // 0: no limit, up to Linux 6.12
    let is_less = most < ours.expect_max.into() || theirs.timeout_secs < ours.timeout_secs;
    let what = format!(
        "class {}: the kernel has expect_max {}, expect_timeout {} s; cthelperd serves expect_max {}, expect_timeout {} s",
        ours.name, theirs.expect_max, theirs.timeout_secs, ours.expect_max, ours.timeout_secs
    );
    let remedy = if all_as_the_first(served, object) {
        format!(
            "before 6.1.178 and 6.12.97 a kernel that registers it again gives every class the first one's: boot another, or: {}",
            begin_anew(served)
        )
    } else {
        give_back(served)
    };
    Some(Difference::new(if is_less { Level::Fail } else { Level::Warn }, what, remedy))
}

fn is(theirs: &Policy, ours: &ClassLimits) -> bool {
    (theirs.expect_max, theirs.timeout_secs) == (ours.expect_max.into(), ours.timeout_secs)
}

/// The mark of a kernel that updates all classes from the first (`nfnl_cthelper_update_policy_all`).
fn all_as_the_first(served: &HelperStatus, object: &Helper) -> bool {
    let first = served.classes.first();
    object.classes.len() > 1 && first.is_some_and(|first| object.classes.iter().all(|class| is(class, first)))
}
