//! The nouns of connection tracking, as this project uses them.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Layer-3 family, in the kernel's numbers (`AF_INET`, `AF_INET6`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4, 2.
    Inet,
    /// IPv6, 10.
    Inet6,
}

impl Family {
    /// Both, in the order they are registered.
    pub const ALL: [Self; 2] = [Self::Inet, Self::Inet6];

    /// `AF_INET` 2 or `AF_INET6` 10.
    pub fn number(self) -> u8 {
        match self {
            Self::Inet => 2,
            Self::Inet6 => 10,
        }
    }

    /// The family with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.number() == number)
    }

    /// The family of an address.
    pub fn of(addr: IpAddr) -> Self {
        if addr.is_ipv4() { Self::Inet } else { Self::Inet6 }
    }

    /// `inet` or `inet6`, as nfct spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Inet6 => "inet6",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Layer-4 protocol a helper can be registered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum L4 {
    /// TCP, protocol 6.
    Tcp,
    /// UDP, protocol 17.
    Udp,
}

impl L4 {
    /// The IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// The protocol with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }

    /// `tcp` or `udp`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for L4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One or both of the protocols of [`L4`]; in text and JSON `tcp`, `udp` or `tcp,udp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum L4s {
    /// Only TCP.
    #[serde(rename = "tcp")]
    Tcp,
    /// Only UDP.
    #[serde(rename = "udp")]
    Udp,
    /// Both.
    #[serde(rename = "tcp,udp")]
    Both,
}

impl L4s {
    /// Each of the set, TCP first.
    pub fn iter(self) -> impl Iterator<Item = L4> + Clone {
        [L4::Tcp, L4::Udp].into_iter().filter(move |l4| self.contains(*l4))
    }

    /// Whether the set has this one.
    pub fn contains(self, l4: L4) -> bool {
        match self {
            Self::Tcp => l4 == L4::Tcp,
            Self::Udp => l4 == L4::Udp,
            Self::Both => true,
        }
    }

    /// Whether the set has the IP protocol of this number.
    pub fn contains_number(self, number: u8) -> bool {
        L4::from_number(number).is_some_and(|l4| self.contains(l4))
    }

    /// `tcp`, `udp` or `tcp,udp`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Both => "tcp,udp",
        }
    }
}

impl fmt::Display for L4s {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which way a packet goes, seen from the first packet of its connection (`IP_CT_DIR_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dir {
    /// As the first packet went, 0.
    Orig,
    /// Against it, 1.
    Reply,
}

impl Dir {
    /// The other way.
    #[must_use]
    pub fn flip(self) -> Self {
        match self {
            Self::Orig => Self::Reply,
            Self::Reply => Self::Orig,
        }
    }

    /// 0 or 1, to index a pair.
    pub fn index(self) -> usize {
        match self {
            Self::Orig => 0,
            Self::Reply => 1,
        }
    }
}

/// One side's view of a connection. For ICMP, `sport` is the id and `dport` is type and code; for GRE both are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// IP protocol number.
    pub proto: u8,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
}

impl Tuple {
    /// The tuple of a packet that goes back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self { src: self.dst, dst: self.src, proto: self.proto, sport: self.dport, dport: self.sport }
    }
}

/// `CTA_ID`: keyed hash the kernel gives a conntrack; the same in packets, events and dumps, from creation to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlowId(pub u32);

/// A connection as both of its ends see it. Without NAT `reply` is the inverse of `orig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flow {
    /// The kernel's id.
    pub id: FlowId,
    /// As the originator sees it.
    pub orig: Tuple,
    /// As the replier sees it.
    pub reply: Tuple,
}

impl Flow {
    /// The tuple of packets that go this way.
    pub fn tuple(&self, dir: Dir) -> &Tuple {
        match dir {
            Dir::Orig => &self.orig,
            Dir::Reply => &self.reply,
        }
    }

    /// Whether an address or port of the connection is translated.
    pub fn is_translated(&self) -> bool {
        self.orig != self.reply.inverse()
    }
}

/// The helper's private area in the conntrack (`CTA_HELP_INFO`): at most 32 bytes, zero at first, kept by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    len: u8,
    bytes: [u8; State::MAX],
}

impl State {
    /// The kernel's limit (`NF_CT_HELPER_DATA`), bytes.
    pub const MAX: usize = 32;

    /// All zero, `len` bytes long (capped at [`Self::MAX`]): what a new connection has.
    pub fn zeroed(len: u8) -> Self {
        Self { len: len.min(32), bytes: [0; Self::MAX] }
    }

    /// A copy of `bytes`, if they are at most 32.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut state = Self::zeroed(u8::try_from(bytes.len()).ok()?);
        state.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(state)
    }

    /// The bytes in use.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes)
    }

    /// The bytes in use, to change in place; the length stays.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        let len = usize::from(self.len).min(Self::MAX);
        self.bytes.split_at_mut(len).0
    }
}

/// Where a connection stands when a packet of it is seen (`enum ip_conntrack_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CtInfo {
    /// Part of a connection that has seen both directions, original direction.
    Established,
    /// First packet of an expected connection, or an ICMP error of one, original direction.
    Related,
    /// First packet of a connection.
    New,
    /// Part of an established connection, reply direction.
    EstablishedReply,
    /// As `Related`, reply direction.
    RelatedReply,
}

impl CtInfo {
    /// From `NFQA_CT_INFO`.
    pub fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Established,
            1 => Self::Related,
            2 => Self::New,
            3 => Self::EstablishedReply,
            4 => Self::RelatedReply,
            _ => return None,
        })
    }

    /// The packet's direction.
    pub fn dir(self) -> Dir {
        match self {
            Self::Established | Self::Related | Self::New => Dir::Orig,
            Self::EstablishedReply | Self::RelatedReply => Dir::Reply,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_protocols_has_those_its_name_says() {
        for (set, name, numbers) in [(L4s::Tcp, "tcp", &[6][..]), (L4s::Udp, "udp", &[17]), (L4s::Both, "tcp,udp", &[6, 17])] {
            assert_eq!(set.to_string(), name);
            assert_eq!(set.iter().map(L4::number).collect::<Vec<_>>(), numbers);
            assert_eq!((0..=255).filter(|number| set.contains_number(*number)).collect::<Vec<_>>(), numbers);
        }
    }
}
