//! Connections: what matters of all of them, and why one was or was not helped.

use cthelper_proto::netlink::conntrack::status::{HW_OFFLOAD, OFFLOAD};
use cthelper_proto::netlink::entry::Entry;
use cthelper_proto::types::{L4, Tuple};
use cthelper_supervisor::cli::ctl::doctor::FlowEnds;

use super::{Facts, Finding, helped};

/// What matters of the table of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// How many a flowtable has.
    pub offloaded: usize,
    /// Those of them that have a helper.
    pub helped_offloaded: usize,
    /// Those of them that have none, but go to a port of one that is served.
    pub missed_offloaded: usize,
    /// The one that is asked about, over each protocol.
    pub asked: Vec<Asked>,
}

/// The connection that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The kernel's id.
    pub id: Option<u32>,
    /// As its client sees it.
    pub orig: Tuple,
    /// Its helper.
    pub helper: Option<String>,
    /// A flowtable has it.
    pub offloaded: bool,
    /// It was expected.
    pub expected: bool,
    /// Expectations it has open.
    pub expectations: usize,
}

impl Tracked {
    /// Counts one connection. `ports`: protocol and port of each helper that is served.
    pub fn count(&mut self, entry: &Entry<'_>, ports: &[(u8, u16)], asked: Option<FlowEnds>) {
        let offloaded = entry.has_status(OFFLOAD) || entry.has_status(HW_OFFLOAD);
        let missed = entry.helper.is_none() && ports.contains(&(entry.orig.proto, entry.orig.dport));
        self.offloaded += usize::from(offloaded);
        self.helped_offloaded += usize::from(offloaded && entry.helper.is_some());
        self.missed_offloaded += usize::from(offloaded && missed);
        let reply = entry.reply.as_ref();
        if asked.is_some_and(|ends| is_of(&entry.orig, ends) || reply.is_some_and(|reply| is_of(reply, ends))) {
            self.asked.push(Asked {
                id: entry.id,
                orig: entry.orig,
                helper: entry.helper.map(|helper| helper.shown().into_owned()),
                offloaded,
                expected: entry.master.is_some(),
                expectations: 0,
            });
        }
    }
}

/// Whether the ends are those of the tuple, in whichever direction.
fn is_of(tuple: &Tuple, FlowEnds { from, to }: FlowEnds) -> bool {
    let (src, dst) = ((tuple.src, tuple.sport), (tuple.dst, tuple.dport));
    let (from, to) = ((from.ip(), from.port()), (to.ip(), to.port()));
    (src, dst) == (from, to) || (src, dst) == (to, from)
}

pub(super) const CHECK: &str = "flow";

/// Why the connection that is asked about was or was not helped.
pub fn explain(facts: &Facts) -> Vec<Finding> {
    let Some(ends) = facts.flow else { return Vec::new() };
    let tracked = match &facts.tracked {
        Ok(tracked) => tracked,
        Err(errno) => {
            return vec![Finding::warn(
                CHECK,
                format!("connections cannot be listed: {}", errno.desc()),
                "see privilege and ctnetlink",
            )];
        }
    };
    if tracked.asked.is_empty() {
        let what = format!("no connection {} - {} is tracked here", ends.from, ends.to);
        let remedy =
            "it has ended, a rule has notrack, or it is of another network namespace; conntrack -L shows those there are";
        return vec![Finding::fail(CHECK, what, remedy)];
    }
    tracked.asked.iter().map(|asked| one(facts, asked)).collect()
}

fn one(facts: &Facts, asked: &Asked) -> Finding {
    let Tuple { src, sport, dst, dport, proto } = asked.orig;
    let who = format!("{src} port {sport} to {dst} port {dport} (protocol {proto})");
    if asked.offloaded {
        let remedy = "attach the helper before the rule with `flow add` sees it, then close and open it again";
        return Finding::fail(CHECK, format!("{who} is offloaded by a flowtable: no helper sees its packets"), remedy);
    }
    match &asked.helper {
        Some(helper) => helped::explain(facts, asked, &who, helper),
        None => unhelped(facts, asked, &who),
    }
}

fn unhelped(facts: &Facts, asked: &Asked, who: &str) -> Finding {
    if asked.expected {
        return Finding::ok(CHECK, format!("{who} was expected by another connection; it needs no helper itself"));
    }
    let serves = |helper: &&cthelper_proto::ctl::HelperStatus| {
        L4::from_number(asked.orig.proto).is_some_and(|l4| helper.l4.contains(l4)) && helper.ports.contains(&asked.orig.dport)
    };
    let helper = facts.daemon.iter().flat_map(|status| &status.helpers).find(serves);
    match helper.map(|helper| helper.name.as_str()) {
        Some(name) if facts.attached.contains(name) => Finding::fail(
            CHECK,
            format!("{who} has no helper, though rules attach {name}: it began before they were loaded, or they do not match it"),
            "close it and open it again; an existing connection cannot be given one",
        ),
        Some(name) => Finding::fail(
            CHECK,
            format!("{who} has no helper: no rule attaches {name}"),
            format!("cthelperctl rules nft --helper {name} --output | nft -f -, then close it and open it again"),
        ),
        None => Finding::fail(
            CHECK,
            format!("{who} has no helper, and none that is served has port {}", asked.orig.dport),
            "name the port in the rules: cthelperctl rules nft --helper NAME --ports PORT",
        ),
    }
}
