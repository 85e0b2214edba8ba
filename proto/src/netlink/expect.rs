//! Expectations (`enum ctattr_expect` of `linux/netfilter/nfnetlink_conntrack.h`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::attrs::Attrs;
use super::message::{flag, op, request, subsystem};
use super::tuple;
use crate::Malformed;
use crate::types::{Dir, Family, Tuple};
use crate::writer::Writer;

mod line;
pub mod xml;

const CTA_EXPECT_MASTER: u16 = 1;
const CTA_EXPECT_TUPLE: u16 = 2;
const CTA_EXPECT_MASK: u16 = 3;
const CTA_EXPECT_TIMEOUT: u16 = 4;
const CTA_EXPECT_ID: u16 = 5;
const CTA_EXPECT_HELP_NAME: u16 = 6;
const CTA_EXPECT_ZONE: u16 = 7;
const CTA_EXPECT_FLAGS: u16 = 8;
const CTA_EXPECT_CLASS: u16 = 9;
const CTA_EXPECT_NAT: u16 = 10;
const CTA_EXPECT_FN: u16 = 11;
const NAT_DIR: u16 = 1;
const NAT_TUPLE: u16 = 2;

/// [`Expectation::flags`]: stays until its timeout instead of being used up.
pub const PERMANENT: u32 = 1;
/// [`Expectation::flags`]: matches nothing yet.
pub const INACTIVE: u32 = 2;
/// [`Expectation::flags`]: from user space; no kernel since 5.10 keeps or heeds it.
pub const USERSPACE: u32 = 4;

/// [`Expectation::function`]: translate the expected connection as its master is. The only one the NAT core itself brings.
pub const FOLLOW_MASTER: &str = "nat-follow-master";

/// A connection the kernel is to let in as related to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Its first packet, before any translation.
    pub tuple: Tuple,
    /// What of the source must match; destination and protocol always must.
    pub mask: Mask,
    /// Original tuple of the connection that announces it. When created beside a verdict, the packet's connection is the master.
    pub master: Tuple,
    /// Seconds left. Not heeded when created: the class has its timeout, and a second `create` without [`flag::EXCL`] sets another.
    pub timeout: Option<u32>,
    /// Names it among those of the same tuple. The kernel's, so not sent when created.
    pub id: Option<u32>,
    /// [`PERMANENT`], [`INACTIVE`], [`USERSPACE`].
    pub flags: u32,
    /// Index of the class in the helper's policy.
    pub class: u32,
    /// Zone of the master.
    pub zone: u16,
    /// How the expected connection is translated; needs a `function`.
    pub nat: Option<Nat>,
    /// The kernel function that prepares the expected connection, such as [`FOLLOW_MASTER`].
    pub function: Option<String>,
    /// Told by the kernel: the master's helper. Set beside a verdict: the helper the expected connection gets.
    pub helper: Option<String>,
}

/// What of an expectation's source must match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// The address.
    pub src_addr: bool,
    /// The port.
    pub sport: bool,
    /// The mask as the kernel told it, if that is not what [`Mask::new`] with these two would be written as: for printing.
    pub raw: Option<Tuple>,
}

impl Mask {
    /// Matches these two whole, or not at all.
    pub fn new(src_addr: bool, sport: bool) -> Self {
        Self { src_addr, sport, raw: None }
    }

    /// The mask of an expectation for `tuple`: ones where it must match, and the protocol's number, which the kernel needs to parse it.
    pub fn tuple(&self, tuple: &Tuple) -> Tuple {
        self.raw.unwrap_or_else(|| {
            let fill = |addr: IpAddr, matches: bool| match (addr, matches) {
                (IpAddr::V4(_), true) => IpAddr::V4(Ipv4Addr::BROADCAST),
                (IpAddr::V6(_), true) => IpAddr::V6(Ipv6Addr::from([0xff; 16])),
                (addr, false) => unspecified(addr),
            };
            Tuple {
                src: fill(tuple.src, self.src_addr),
                dst: fill(tuple.dst, true),
                proto: tuple.proto,
                sport: if self.sport { u16::MAX } else { 0 },
                dport: u16::MAX,
            }
        })
    }

    fn parse(raw: Tuple, tuple: &Tuple) -> Self {
        let mask = Self::new(!raw.src.is_unspecified(), raw.sport != 0);
        Self { raw: (mask.tuple(tuple) != raw).then_some(raw), ..mask }
    }
}

/// How an expected connection is translated (`CTA_EXPECT_NAT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Direction of the expected connection, seen from the master: `Orig` = the master's client connects.
    pub dir: Dir,
    /// `saved_addr`; `None` = unspecified.
    pub addr: Option<IpAddr>,
    /// `saved_proto`: the port that was announced, where the connection is to end up.
    pub port: u16,
}

/// Asks the kernel to expect a connection. `flags` are [`flag::CREATE`] and [`flag::ACK`], and mostly [`flag::EXCL`], without which an
/// existing expectation only gets the new timeout. EBUSY: another one overlaps. ENOENT: no such master, or not confirmed yet.
/// EOPNOTSUPP: the master has no helper. EMFILE: table full.
/// Source: `ctnetlink_new_expect`, `__nf_ct_expect_check`, Linux 5.10 to 7.2.
pub fn create(out: &mut Vec<u8>, seq: u32, flags: u16, expectation: &Expectation) {
    let family = Family::of(expectation.tuple.src).number();
    request(out, subsystem::EXPECT, op::NEW, flags, seq, family, 0, |w| {
        tuple::write(w, CTA_EXPECT_MASTER, &expectation.master);
        write_tuples(w, expectation);
        write_zone(w, expectation.zone);
        if let Some(timeout) = expectation.timeout {
            w.be32(CTA_EXPECT_TIMEOUT, timeout);
        }
        write_rest(w, expectation);
    });
}

/// The inside of `NFQA_EXP`. Tuple and mask are always there: up to 6.12 the kernel would follow a null pointer without.
pub(super) fn write_attached(w: &mut Writer<'_>, expectation: &Expectation) {
    write_tuples(w, expectation);
    write_rest(w, expectation);
}

fn write_tuples(w: &mut Writer<'_>, expectation: &Expectation) {
    tuple::write(w, CTA_EXPECT_TUPLE, &expectation.tuple);
    tuple::write(w, CTA_EXPECT_MASK, &expectation.mask.tuple(&expectation.tuple));
}

fn write_zone(w: &mut Writer<'_>, zone: u16) {
    if zone != 0 {
        w.be16(CTA_EXPECT_ZONE, zone);
    }
}

fn write_rest(w: &mut Writer<'_>, expectation: &Expectation) {
    w.be32(CTA_EXPECT_FLAGS, expectation.flags);
    w.be32(CTA_EXPECT_CLASS, expectation.class);
    if let Some(helper) = &expectation.helper {
        w.name(CTA_EXPECT_HELP_NAME, helper);
    }
    if let Some(function) = &expectation.function {
        w.str0(CTA_EXPECT_FN, function);
    }
    if let Some(nat) = expectation.nat {
        let none = unspecified(expectation.tuple.src);
        let saved = Tuple { src: nat.addr.unwrap_or(none), dst: none, proto: expectation.tuple.proto, sport: nat.port, dport: 0 };
        w.nest(CTA_EXPECT_NAT, |w| {
            w.be32(NAT_DIR, u32::from(nat.dir == Dir::Reply));
            tuple::write(w, NAT_TUPLE, &saved);
        });
    }
}

/// The family's address of zeros.
fn unspecified(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// Takes back the expectation for this tuple; with an id only if it is still that one. ENOENT if not.
pub fn delete(out: &mut Vec<u8>, seq: u32, tuple: &Tuple, zone: u16, id: Option<u32>) {
    about(out, op::DELETE, flag::ACK, seq, CTA_EXPECT_TUPLE, tuple, zone, |w| {
        if let Some(id) = id {
            w.be32(CTA_EXPECT_ID, id);
        }
    });
}

/// Takes back all expectations of one helper.
pub fn delete_of_helper(out: &mut Vec<u8>, seq: u32, helper: &str) {
    request(out, subsystem::EXPECT, op::DELETE, flag::ACK, seq, 0, 0, |w| w.name(CTA_EXPECT_HELP_NAME, helper));
}

/// Empties the table, whoever filled it.
pub fn flush(out: &mut Vec<u8>, seq: u32) {
    request(out, subsystem::EXPECT, op::DELETE, flag::ACK, seq, 0, 0, |_| ());
}

/// Asks for the expectation for this tuple. ENOENT if there is none.
pub fn get(out: &mut Vec<u8>, seq: u32, tuple: &Tuple, zone: u16) {
    about(out, op::GET, flag::ACK, seq, CTA_EXPECT_TUPLE, tuple, zone, |_| ());
}

/// Asks for all expectations of a family (2, 10, or 0 for both).
pub fn dump(out: &mut Vec<u8>, seq: u32, family: u8) {
    request(out, subsystem::EXPECT, op::GET, flag::DUMP, seq, family, 0, |_| ());
}

/// Asks for all expectations of one master. ENOENT if there is no such connection.
pub fn dump_of_master(out: &mut Vec<u8>, seq: u32, master: &Tuple, zone: u16) {
    about(out, op::GET, flag::DUMP, seq, CTA_EXPECT_MASTER, master, zone, |_| ());
}

/// A request about one tuple. It is always there: without one a DELETE would empty the table.
#[allow(clippy::too_many_arguments, reason = "three kinds of request share it, and each argument differs in one of them")]
fn about(
    out: &mut Vec<u8>,
    op: u8,
    flags: u16,
    seq: u32,
    kind: u16,
    tuple: &Tuple,
    zone: u16,
    rest: impl FnOnce(&mut Writer<'_>),
) {
    request(out, subsystem::EXPECT, op, flags, seq, Family::of(tuple.src).number(), 0, |w| {
        tuple::write(w, kind, tuple);
        write_zone(w, zone);
        rest(w);
    });
}

impl Expectation {
    /// A connection any port of `tuple.src` may open once, in class 0, without translation.
    pub fn new(tuple: Tuple, master: Tuple) -> Self {
        Self {
            tuple,
            mask: Mask::new(true, false),
            master,
            timeout: None,
            id: None,
            flags: 0,
            class: 0,
            zone: 0,
            nat: None,
            function: None,
            helper: None,
        }
    }

    /// From an event or a dump. `family` is the message's, and its tuples must be of it.
    pub fn parse(attrs: Attrs<'_>, family: u8) -> Result<Self, Malformed> {
        let (mut tuple, mut mask, mut master) = (None, None, None);
        for attr in attrs {
            let attr = attr?;
            let part = match attr.kind {
                CTA_EXPECT_TUPLE => &mut tuple,
                CTA_EXPECT_MASK => &mut mask,
                CTA_EXPECT_MASTER => &mut master,
                _ => continue,
            };
            *part = Some(tuple::parse(attr.nested())?);
        }
        let tuple = tuple.ok_or(Malformed("expectation tuple"))?;
        if Family::of(tuple.src).number() != family {
            return Err(Malformed("expectation family"));
        }
        let mut expectation = Self::new(tuple, master.ok_or(Malformed("expectation master"))?);
        expectation.mask = Mask::parse(mask.ok_or(Malformed("expectation mask"))?, &tuple);
        expectation.parse_rest(attrs)?;
        Ok(expectation)
    }

    /// All but the three tuples.
    fn parse_rest(&mut self, attrs: Attrs<'_>) -> Result<(), Malformed> {
        for attr in attrs {
            let attr = attr?;
            match attr.kind {
                CTA_EXPECT_TIMEOUT => self.timeout = Some(attr.be32("expectation timeout")?),
                CTA_EXPECT_ID => self.id = Some(attr.be32("expectation id")?),
                CTA_EXPECT_HELP_NAME => self.helper = Some(attr.name().shown().into_owned()),
                CTA_EXPECT_ZONE => self.zone = attr.be16("expectation zone")?,
                CTA_EXPECT_FLAGS => self.flags = attr.be32("expectation flags")?,
                CTA_EXPECT_CLASS => self.class = attr.be32("expectation class")?,
                CTA_EXPECT_NAT => self.nat = Some(parse_nat(attr.nested())?),
                CTA_EXPECT_FN => self.function = Some(attr.str("expectation function")?.to_owned()),
                _ => {}
            }
        }
        Ok(())
    }
}

fn parse_nat(attrs: Attrs<'_>) -> Result<Nat, Malformed> {
    let (mut dir, mut saved) = (None, None);
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            NAT_DIR => dir = Some(if attr.be32("expectation nat direction")? == 0 { Dir::Orig } else { Dir::Reply }),
            NAT_TUPLE => saved = Some(tuple::parse(attr.nested())?),
            _ => {}
        }
    }
    let saved = saved.ok_or(Malformed("expectation nat tuple"))?;
    let addr = Some(saved.src).filter(|addr| !addr.is_unspecified());
    Ok(Nat { dir: dir.ok_or(Malformed("expectation nat direction"))?, addr, port: saved.sport })
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests;
