//! Which announced connections the kernel is asked to expect. Pure: no clock, no kernel.
//!
//! The words: a packet that goes `dir` was sent by the *announcing host*; its *peer* is the other end of the master. Under NAT
//! each end has an own address (the `src` of the tuple it sends with) and a public face (the `dst` of the tuple its peer sends
//! with). The expected connection goes against the announcing packet, from the peer to the announcing host's face.
//! Facts: `nf_conntrack_ftp.c:help`, `nf_nat_ftp.c:nf_nat_ftp`, `nf_nat_helper.c:nf_nat_follow_master` (Linux 6.1-6.18).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use cthelper_proto::ipc::{Expect, Rule, Source};
use cthelper_proto::manifest::{Class, Scope};
use cthelper_proto::types::{Dir, Flow};

use crate::limits::{Limits, Rate};

/// The lowest port that an ordinary user may listen on.
const FIRST_UNPRIVILEGED: u16 = 1024;
/// The longest that a class may have its master kept after an announcement, seconds: what conntrackd gives the longest exchange of `dhcpv6`.
const MASTER_TIMEOUT: u32 = 600;

/// What the operator allows one helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Third-party addresses may be announced.
    pub loose: bool,
    /// Ports below 1024 may be announced; port 0 never.
    pub privileged_ports: bool,
    /// Announcements one packet may hold. 4: an SDP body names two media with two ports each.
    pub per_packet: u8,
    /// Announcements one flow may make over time.
    pub rate: Rate,
}

impl Default for Rules {
    fn default() -> Self {
        Self { loose: false, privileged_ports: false, per_packet: 4, rate: Rate::default() }
    }
}

/// What the kernel is to be asked for: the first packet of the expected connection as it looks before NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Who connects; `None` = anybody (mask zero).
    pub src: Option<IpAddr>,
    /// From which port; `None` = any (mask zero).
    pub sport: Option<u16>,
    /// To which address: also what the peer must be told.
    pub dst: IpAddr,
    /// To which port: the first to try, see [`Self::ports`].
    pub dport: u16,
    /// The port that was announced, where the connection ends up. Another than `dport` where the flow's own port is translated.
    pub saved: u16,
    /// `dport` is the flow's own port: the peer has it from the packet itself and is told no other.
    pub own_port: bool,
    /// IP protocol number.
    pub proto: u8,
    /// Index of the class in the manifest.
    pub class: u8,
    /// Stays until its timeout.
    pub permanent: bool,
    /// `Some`: the master is translated, so is what we expect (`nat-follow-master`). Holds the expected connection's direction
    /// relative to the master (`CTA_EXPECT_NAT_DIR`).
    pub nat: Option<Dir>,
    /// The expected connection gets the helper that its class names.
    pub helped: bool,
    /// How long the master is kept from now on, unless it has traffic, seconds.
    pub master_timeout_secs: Option<u32>,
}

impl Permit {
    /// Ports searched under NAT at most, besides the announced one (as many as `nf_nat_exp_find_port` tries).
    pub const CANDIDATES: u16 = 128;

    /// Whether the peer can be told of another port: it is told at all, and by us.
    pub fn may_move(&self) -> bool {
        self.nat.is_some() && !self.own_port
    }

    /// Ports to try in turn when the kernel says `EBUSY`: the announced one first. Without NAT, and where it is the flow's own, there is no
    /// other, because nobody would tell the peer. Distinct, of the announced port's kind (below 1024 or not), and determined by `seed`.
    pub fn ports(&self, seed: u64) -> impl Iterator<Item = u16> + use<> {
        let (announced, searched) = (self.dport, if self.may_move() { Self::CANDIDATES } else { 0 });
        let others = (0..searched).map(move |n| candidate(announced, seed, n)).filter(move |port| *port != announced);
        std::iter::once(announced).chain(others)
    }
}

/// The `n`th port to try instead: a walk in strides that are coprime to the range's size, so that none comes twice.
/// The range is `nf_nat_l4proto_unique_tuple`'s: a privileged port stays one, above the well-known services.
fn candidate(announced: u16, seed: u64, n: u16) -> u16 {
    const STRIDE: u64 = 25_117;
    let (first, last) =
        if announced < FIRST_UNPRIVILEGED { (600, FIRST_UNPRIVILEGED - 1) } else { (FIRST_UNPRIVILEGED, u16::MAX) };
    let size = u64::from(last - first) + 1;
    let offset = (seed % size + u64::from(n) * STRIDE) % size;
    u16::try_from(u64::from(first) + offset).unwrap_or(last)
}

/// Judges one announcement by the rules that need no memory.
///
/// # Errors
/// The first [`Rule`] it breaks; the packet passes without the expectation.
pub fn judge(rules: &Rules, class: Option<&Class>, flow: &Flow, dir: Dir, expect: &Expect) -> Result<Permit, Rule> {
    let class = class.ok_or(Rule::BadClass)?;
    if !class.l4s.contains_number(expect.proto) {
        return Err(Rule::BadProtocol);
    }
    if expect.permanent && !class.may_stay {
        return Err(Rule::BadClass);
    }
    let src = source(class.scope, flow, dir, expect.src)?;
    let (dst, own) = destination(rules, flow, dir, expect.dst)?;
    let port = port(rules, class, flow, dir, expect, own)?;
    if src.is_none() && !own && !leaves_the_link(flow.tuple(dir.flip()).src, dst) {
        return Err(Rule::ForeignAddress);
    }
    Ok(Permit {
        src,
        sport: expect.sport,
        dst,
        dport: port.unwrap_or(expect.dport),
        saved: expect.dport,
        own_port: port.is_some(),
        proto: expect.proto,
        class: expect.class,
        permanent: expect.permanent,
        nat: (own && flow.is_translated()).then_some(dir.flip()),
        helped: class.helped_by.is_some(),
        master_timeout_secs: class.master_timeout_secs.map(|seconds| seconds.clamp(1, MASTER_TIMEOUT)),
    })
}

/// Whether the port may be announced; if it is the flow's own, as the class allows, the port by which the peer knows it.
fn port(rules: &Rules, class: &Class, flow: &Flow, dir: Dir, expect: &Expect, own: bool) -> Result<Option<u16>, Rule> {
    let (from, face) = (flow.tuple(dir), flow.tuple(dir.flip()));
    if expect.dport == 0 || expect.sport == Some(0) {
        return Err(Rule::PrivilegedPort);
    }
    if own && class.own_port && expect.proto == from.proto && expect.dport == from.sport {
        return Ok(Some(face.dport));
    }
    let reserved = own && class.reserved == Some(expect.dport);
    if expect.dport < FIRST_UNPRIVILEGED && !rules.privileged_ports && !reserved {
        return Err(Rule::PrivilegedPort);
    }
    Ok(None)
}

/// Who may connect.
fn source(scope: Scope, flow: &Flow, dir: Dir, source: Source) -> Result<Option<IpAddr>, Rule> {
    match (source, scope) {
        (Source::Peer, _) => Ok(Some(flow.tuple(dir.flip()).src)),
        (Source::Anyone, Scope::AnyToEnd) => Ok(None),
        (Source::Anyone, Scope::BothEnds) => Err(Rule::BadClass),
    }
}

/// Where the peer will connect to, and whether that is the announcing host itself.
/// A third party's address is left to the ordinary NAT rules: following the master would lead to the announcing host.
fn destination(rules: &Rules, flow: &Flow, dir: Dir, announced: IpAddr) -> Result<(IpAddr, bool), Rule> {
    let (own, face) = (flow.tuple(dir).src, flow.tuple(dir.flip()).dst);
    if announced == own || announced == face {
        return Ok((face, true));
    }
    if announced.is_ipv4() != own.is_ipv4() || !is_one_host(announced) {
        return Err(Rule::BadAddress);
    }
    if rules.loose { Ok((announced, false)) } else { Err(Rule::ForeignAddress) }
}

/// Whether a host that is known by its link-local address must use another one to get there (RFC 4007 §9): then who connects to a third party
/// cannot be said. Otherwise it is the peer.
fn leaves_the_link(peer: IpAddr, dst: IpAddr) -> bool {
    let is_link_local = |addr| matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
    is_link_local(peer) && !is_link_local(dst)
}

/// Whether a third party of this address could be connected to.
fn is_one_host(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => is_one_host_v4(addr),
        IpAddr::V6(addr) => is_one_host_v6(addr),
    }
}

/// Neither "this network" (RFC 1122 §3.2.1.3), loopback, link-local, multicast, reserved (240/4, RFC 1112) nor broadcast.
fn is_one_host_v4(addr: Ipv4Addr) -> bool {
    let [first, ..] = addr.octets();
    first != 0 && first < 224 && !addr.is_loopback() && !addr.is_link_local()
}

/// Neither unspecified, loopback, link-local, multicast nor IPv4-mapped (RFC 4291 §2.4, §2.5.5.2).
fn is_one_host_v6(addr: Ipv6Addr) -> bool {
    !addr.is_unspecified()
        && !addr.is_loopback()
        && !addr.is_multicast()
        && !addr.is_unicast_link_local()
        && addr.to_ipv4_mapped().is_none()
}

/// One announcement, with what the supervisor knows about it.
#[derive(Clone, Copy, Debug)]
pub struct Announcement<'a> {
    /// The class named, if the manifest has it.
    pub class: Option<&'a Class>,
    /// The master connection.
    pub flow: &'a Flow,
    /// Direction of the announcing packet.
    pub dir: Dir,
    /// Announcements judged before this one for the same packet.
    pub before: u8,
    /// What the worker said.
    pub expect: &'a Expect,
    /// Whether we serve the helper that the class names for its connections, for their family and protocol.
    pub helper_is_ours: bool,
}

/// The rules of one helper together with what its flows have used up. One per lane; it outlives the lane's workers, so a crash
/// resets nothing.
#[derive(Debug)]
pub struct Judge {
    rules: Rules,
    limits: Limits,
}

impl Judge {
    /// A judge that has seen nothing yet.
    pub fn new(rules: Rules) -> Self {
        Self { limits: Limits::new(rules.rate), rules }
    }

    /// From now on it judges by these rules; what flows have used up stays used up.
    pub fn obey(&mut self, rules: Rules) {
        self.limits.change(rules.rate);
        self.rules = rules;
    }

    /// The rules it judges by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Judges an announcement; each costs its flow a token, refused or not.
    ///
    /// # Errors
    /// The first [`Rule`] it breaks.
    pub fn judge(&mut self, said: &Announcement<'_>, now: Instant) -> Result<Permit, Rule> {
        if said.before >= self.rules.per_packet {
            return Err(Rule::PerPacket);
        }
        if !self.limits.take(said.flow.id, now) {
            return Err(Rule::Rate);
        }
        let permit = judge(&self.rules, said.class, said.flow, said.dir, said.expect)?;
        if permit.helped && !said.helper_is_ours { Err(Rule::ForeignHelper) } else { Ok(permit) }
    }
}

#[cfg(test)]
mod tests;
