//! Timeout policies of connections (`linux/netfilter/nfnetlink_cttimeout.h`). Named ones belong to a network namespace and do something
//! only where a rule attaches them; the default ones are the namespace's own timeouts, which `net.netfilter.nf_conntrack_*_timeout_*` show too.
//!
//! ```text
//! NAME 1 string <= 31 | L3PROTO 2 be16 | L4PROTO 3 u8 | DATA 4 { one be32 of seconds per state of the protocol } | USE 5 be32
//! ```

use super::attrs::Attrs;
use super::message::{flag, op, request, subsystem};
use crate::Malformed;
use crate::writer::Writer;

const NAME: u16 = 1;
const L3PROTO: u16 = 2;
const L4PROTO: u16 = 3;
const DATA: u16 = 4;

/// Bytes a policy's name may have (`CTNL_TIMEOUT_NAME_MAX` without its NUL).
pub const NAME_MAX: usize = 31;

/// The protocol number under which the kernel keeps what has no tracker of its own (`IPPROTO_RAW`).
pub const GENERIC: u8 = 255;

/// The states of each protocol the kernel has timeouts for, in the order of their attributes, which count from 1.
const STATES: [(u8, &[&str]); 9] = [
    (1, &["TIMEOUT"]),
    (
        6,
        &[
            "SYN_SENT",
            "SYN_RECV",
            "ESTABLISHED",
            "FIN_WAIT",
            "CLOSE_WAIT",
            "LAST_ACK",
            "TIME_WAIT",
            "CLOSE",
            "SYN_SENT2",
            "RETRANS",
            "UNACKNOWLEDGED",
        ],
    ),
    (17, &["UNREPLIED", "REPLIED"]),
    (33, &["REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT"]),
    (47, &["UNREPLIED", "REPLIED"]),
    (58, &["TIMEOUT"]),
    // The kernel has HEARTBEAT_SENT (and had HEARTBEAT_ACKED) behind these; no tool shows or sets it.
    (132, &["CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT", "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT"]),
    (136, &["UNREPLIED", "REPLIED"]),
    (GENERIC, &["TIMEOUT"]),
];

/// The names of a protocol's states; state `i` is attribute `i + 1`. None for a protocol that has no timeouts.
pub fn states(l4: u8) -> &'static [&'static str] {
    STATES.iter().find(|(number, _)| *number == l4).map_or(&[], |(_, states)| states)
}

/// Timeouts of one protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// What rules refer to, at most [`NAME_MAX`] bytes as [`name`](super::name) shows them; `None` = the namespace's defaults.
    pub name: Option<String>,
    /// `AF_INET` 2 or `AF_INET6` 10.
    pub l3: u16,
    /// IP protocol, or [`GENERIC`].
    pub l4: u8,
    /// Attribute number of a state, seconds. The kernel keeps jiffies: above about 4 million seconds they wrap.
    pub seconds: Vec<(u16, u32)>,
}

/// Creates a policy; states that are not named get the namespace's defaults. EBUSY: the name is taken. EINVAL: no state is named.
/// EOPNOTSUPP: the kernel does not track this protocol. Source: `cttimeout_new_timeout`, Linux 6.1 to 6.18.
pub fn add(out: &mut Vec<u8>, seq: u32, timeouts: &Timeouts) {
    request(out, subsystem::CTTIMEOUT, op::NEW, flag::CREATE | flag::ACK, seq, 0, 0, |w| {
        if let Some(name) = &timeouts.name {
            w.name(NAME, name);
        }
        values(w, timeouts);
    });
}

/// Changes the defaults of a protocol, only the states that are named. EOPNOTSUPP as in [`add`].
pub fn set_default(out: &mut Vec<u8>, seq: u32, timeouts: &Timeouts) {
    request(out, subsystem::CTTIMEOUT, op::TIMEOUT_DEFAULT_SET, flag::ACK, seq, 0, 0, |w| values(w, timeouts));
}

/// Asks for the defaults of a protocol; answered by one object without a name. EOPNOTSUPP as in [`add`].
pub fn get_default(out: &mut Vec<u8>, seq: u32, l3: u16, l4: u8) {
    request(out, subsystem::CTTIMEOUT, op::TIMEOUT_DEFAULT_GET, flag::ACK, seq, 0, 0, |w| protocols(w, l3, l4));
}

/// Asks for all policies of this network namespace. EINVAL: the kernel has no timeout policies.
pub fn dump(out: &mut Vec<u8>, seq: u32) {
    request(out, subsystem::CTTIMEOUT, op::GET, flag::DUMP, seq, 0, 0, |_| ());
}

/// Asks for the policy of this name. ENOENT if there is none.
pub fn get(out: &mut Vec<u8>, seq: u32, name: &str) {
    request(out, subsystem::CTTIMEOUT, op::GET, flag::ACK, seq, 0, 0, |w| w.name(NAME, name));
}

/// Removes the policy of this name. ENOENT if there is none, EBUSY while a rule refers to it.
pub fn delete(out: &mut Vec<u8>, seq: u32, name: &str) {
    request(out, subsystem::CTTIMEOUT, op::DELETE, flag::ACK, seq, 0, 0, |w| w.name(NAME, name));
}

/// Removes all policies of this network namespace that no rule refers to.
pub fn flush(out: &mut Vec<u8>, seq: u32) {
    request(out, subsystem::CTTIMEOUT, op::DELETE, flag::ACK, seq, 0, 0, |_| ());
}

fn protocols(w: &mut Writer<'_>, l3: u16, l4: u8) {
    w.be16(L3PROTO, l3);
    w.u8(L4PROTO, l4);
}

/// Without a state there is no nest: the kernel then says EINVAL, where an empty one would pass.
fn values(w: &mut Writer<'_>, timeouts: &Timeouts) {
    protocols(w, timeouts.l3, timeouts.l4);
    if !timeouts.seconds.is_empty() {
        w.nest(DATA, |w| {
            for &(state, seconds) in &timeouts.seconds {
                w.be32(state, seconds);
            }
        });
    }
}

impl Timeouts {
    /// From an entry of a dump, or the answer to [`get`] or [`get_default`].
    pub fn parse(attrs: Attrs<'_>) -> Result<Self, Malformed> {
        let (mut name, mut l3, mut l4, mut seconds) = (None, None, None, Vec::new());
        for attr in attrs {
            let attr = attr?;
            match attr.kind {
                NAME => name = Some(attr.name().shown().into_owned()),
                L3PROTO => l3 = Some(attr.be16("timeout family")?),
                L4PROTO => l4 = Some(attr.u8("timeout protocol")?),
                DATA => {
                    for state in attr.nested() {
                        let state = state?;
                        seconds.push((state.kind, state.be32("timeout seconds")?));
                    }
                }
                _ => {}
            }
        }
        let (l3, l4) = (l3.ok_or(Malformed("timeout family"))?, l4.ok_or(Malformed("timeout protocol"))?);
        Ok(Self { name, l3, l4, seconds })
    }
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests;
