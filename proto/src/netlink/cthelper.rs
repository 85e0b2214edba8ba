//! The kernel's registry of user-space helpers (`linux/netfilter/nfnetlink_cthelper.h`). It is one table for the whole machine, has
//! no owner, outlives the process that filled it, and sends no events.
//!
//! ```text
//! NAME 1 string <= 15 | TUPLE 2 { L3PROTO 1 be16, L4PROTO 2 u8 } | QUEUE_NUM 3 be32
//! POLICY 4 { SET_NUM 1 be32, SET1..4 = 2..5 { NAME 1 string <= 15, EXPECT_MAX 2 be32, EXPECT_TIMEOUT 3 be32 seconds } }
//! PRIV_DATA_LEN 5 be32 <= 32 | STATUS 6 be32
//! ```

use super::attrs::Attrs;
use super::message::{flag, op, request, subsystem};
use crate::Malformed;
use crate::writer::Writer;

const NAME: u16 = 1;
const TUPLE: u16 = 2;
const QUEUE_NUM: u16 = 3;
const POLICY: u16 = 4;
const PRIV_DATA_LEN: u16 = 5;
const STATUS: u16 = 6;
const TUPLE_L3PROTO: u16 = 1;
const TUPLE_L4PROTO: u16 = 2;
const POLICY_SET_NUM: u16 = 1;
const POLICY_SET1: u16 = 2;
const POLICY_SET4: u16 = 5;
const SET_NAME: u16 = 1;
const SET_EXPECT_MAX: u16 = 2;
const SET_EXPECT_TIMEOUT: u16 = 3;

/// [`Helper::status`]: packets pass as if there were no helper.
pub const DISABLED: u32 = 0;
/// [`Helper::status`]: packets go to the queue.
pub const ENABLED: u32 = 1;

/// One registered helper; the kernel's key is name, `family` and `l4`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    /// What rules refer to; at most 15 bytes, as [`name`](super::name) shows them.
    pub name: String,
    /// Layer-3 family as the kernel has it: 2, 10, or 0 for both.
    pub family: u16,
    /// IP protocol of the control connection.
    pub l4: u8,
    /// Queue its packets go to.
    pub queue: u32,
    /// Classes of expectations, 1 to 4.
    pub classes: Vec<Policy>,
    /// Bytes of private data per connection, at most 32.
    pub state_len: u32,
    /// [`DISABLED`] or [`ENABLED`].
    pub status: u32,
}

/// What the kernel allows in one class of expectations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Open expectations per connection, at most 255; the kernel evicts the oldest for one more.
    pub expect_max: u32,
    /// Life of an expectation.
    pub timeout_secs: u32,
}

/// Registers `helper`, or updates it if its key exists (EEXIST with [`flag::EXCL`]). An update cannot change `state_len`, nor the
/// number or names of the classes: EBUSY. A new helper whose key an in-kernel helper has is EBUSY too (EEXIST before 6.1.151, 6.12.46).
pub fn register(out: &mut Vec<u8>, seq: u32, flags: u16, helper: &Helper) {
    new(out, seq, flags, &helper.name, (helper.family, helper.l4), |w| {
        w.be32(QUEUE_NUM, helper.queue);
        classes(w, &helper.classes);
        w.be32(PRIV_DATA_LEN, helper.state_len);
        w.be32(STATUS, helper.status);
    });
}

/// What `nfct add helper` sends: neither queue nor status, so a new helper has queue 0 and is disabled.
pub fn add(out: &mut Vec<u8>, seq: u32, helper: &Helper) {
    new(out, seq, flag::CREATE | flag::ACK, &helper.name, (helper.family, helper.l4), |w| {
        classes(w, &helper.classes);
        w.be32(PRIV_DATA_LEN, helper.state_len);
    });
}

/// Enables or disables a registered helper; connections that have it follow at once. EINVAL if there is none.
pub fn set_status(out: &mut Vec<u8>, seq: u32, name: &str, l3: u16, l4: u8, enabled: bool) {
    let status = if enabled { ENABLED } else { DISABLED };
    new(out, seq, flag::ACK, name, (l3, l4), |w| w.be32(STATUS, status));
}

/// Sends a registered helper's packets to another queue. EINVAL if there is no such helper.
pub fn set_queue(out: &mut Vec<u8>, seq: u32, name: &str, l3: u16, l4: u8, queue: u32) {
    new(out, seq, flag::ACK, name, (l3, l4), |w| w.be32(QUEUE_NUM, queue));
}

/// Asks for all user-space helpers. EINVAL: the kernel has no such registry. EPERM: not privileged in the initial user namespace.
pub fn dump(out: &mut Vec<u8>, seq: u32) {
    request(out, subsystem::CTHELPER, op::GET, flag::DUMP, seq, 0, 0, |_| ());
}

/// Asks for the first helper of this name (and family and protocol). Acknowledged, because a miss that was asked with a tuple is an
/// acknowledgement without a message before it; without one it is ENOENT.
pub fn get(out: &mut Vec<u8>, seq: u32, name: &str, tuple: Option<(u16, u8)>) {
    request(out, subsystem::CTHELPER, op::GET, flag::ACK, seq, 0, 0, |w| key(w, name, tuple));
}

/// Removes the helpers of this name (and family and protocol), with all their expectations. ENOENT if there is none; EBUSY, up to
/// 6.12, while a rule refers to it. From 7.0 such a rule keeps a dead helper instead, which no new registration revives.
pub fn delete(out: &mut Vec<u8>, seq: u32, name: &str, tuple: Option<(u16, u8)>) {
    request(out, subsystem::CTHELPER, op::DELETE, flag::ACK, seq, 0, 0, |w| key(w, name, tuple));
}

/// Removes every user-space helper on the machine, whoever registered it.
pub fn flush(out: &mut Vec<u8>, seq: u32) {
    request(out, subsystem::CTHELPER, op::DELETE, flag::ACK, seq, 0, 0, |_| ());
}

fn new(out: &mut Vec<u8>, seq: u32, flags: u16, name: &str, tuple: (u16, u8), rest: impl FnOnce(&mut Writer<'_>)) {
    request(out, subsystem::CTHELPER, op::NEW, flags, seq, 0, 0, |w| {
        key(w, name, Some(tuple));
        rest(w);
    });
}

fn key(w: &mut Writer<'_>, name: &str, tuple: Option<(u16, u8)>) {
    w.name(NAME, name);
    if let Some((l3, l4)) = tuple {
        w.nest(TUPLE, |w| {
            w.be16(TUPLE_L3PROTO, l3);
            w.u8(TUPLE_L4PROTO, l4);
        });
    }
}

/// Writes all classes; the kernel refuses more than four.
fn classes(w: &mut Writer<'_>, classes: &[Policy]) {
    w.nest(POLICY, |w| {
        w.be32(POLICY_SET_NUM, u32::try_from(classes.len()).unwrap_or(u32::MAX));
        for (kind, class) in (POLICY_SET1..).zip(classes) {
            w.nest(kind, |w| {
                w.name(SET_NAME, &class.name);
                w.be32(SET_EXPECT_MAX, class.expect_max);
                w.be32(SET_EXPECT_TIMEOUT, class.timeout_secs);
            });
        }
    });
}

impl Helper {
    /// From an entry of a dump or the answer to [`get`].
    pub fn parse(attrs: Attrs<'_>) -> Result<Self, Malformed> {
        let (mut name, mut tuple) = (None, None);
        let mut helper =
            Self { name: String::new(), family: 0, l4: 0, queue: 0, classes: Vec::new(), state_len: 0, status: DISABLED };
        for attr in attrs {
            let attr = attr?;
            match attr.kind {
                NAME => name = Some(attr.name()),
                TUPLE => tuple = Some(parse_tuple(attr.nested())?),
                QUEUE_NUM => helper.queue = attr.be32("helper queue")?,
                POLICY => helper.classes = parse_classes(attr.nested())?,
                PRIV_DATA_LEN => helper.state_len = attr.be32("helper private length")?,
                STATUS => helper.status = attr.be32("helper status")?,
                _ => {}
            }
        }
        helper.name = name.ok_or(Malformed("helper name"))?.shown().into_owned();
        (helper.family, helper.l4) = tuple.ok_or(Malformed("helper tuple"))?;
        Ok(helper)
    }
}

fn parse_tuple(attrs: Attrs<'_>) -> Result<(u16, u8), Malformed> {
    let (mut l3, mut l4) = (None, None);
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            TUPLE_L3PROTO => l3 = Some(attr.be16("helper family")?),
            TUPLE_L4PROTO => l4 = Some(attr.u8("helper protocol")?),
            _ => {}
        }
    }
    Ok((l3.ok_or(Malformed("helper family"))?, l4.ok_or(Malformed("helper protocol"))?))
}

/// The sets in the order they stand; the kernel numbers them without gaps. The count is theirs.
fn parse_classes(attrs: Attrs<'_>) -> Result<Vec<Policy>, Malformed> {
    let mut classes = Vec::new();
    for attr in attrs {
        let attr = attr?;
        if (POLICY_SET1..=POLICY_SET4).contains(&attr.kind) {
            classes.push(parse_class(attr.nested())?);
        }
    }
    if classes.len() > 4 { Err(Malformed("helper classes")) } else { Ok(classes) }
}

fn parse_class(attrs: Attrs<'_>) -> Result<Policy, Malformed> {
    let mut class = Policy { name: String::new(), expect_max: 0, timeout_secs: 0 };
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            SET_NAME => class.name = attr.name().shown().into_owned(),
            SET_EXPECT_MAX => class.expect_max = attr.be32("class maximum")?,
            SET_EXPECT_TIMEOUT => class.timeout_secs = attr.be32("class timeout")?,
            _ => {}
        }
    }
    Ok(class)
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests;
