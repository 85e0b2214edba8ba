//! `CTA_PROTOINFO` (`enum ctattr_protoinfo`): what TCP, DCCP and SCTP remember of a connection, and their states by name.

use super::super::attrs::Attrs;
use crate::Malformed;

const PROTOINFO_TCP: u16 = 1;
const PROTOINFO_DCCP: u16 = 2;
const PROTOINFO_SCTP: u16 = 3;
const STATE: u16 = 1;
const TCP_WSCALE_ORIG: u16 = 2;
const TCP_WSCALE_REPLY: u16 = 3;
const TCP_FLAGS_ORIG: u16 = 4;
const TCP_FLAGS_REPLY: u16 = 5;
const DCCP_ROLE: u16 = 2;
const DCCP_HANDSHAKE_SEQ: u16 = 3;
const SCTP_VTAG_ORIG: u16 = 2;
const SCTP_VTAG_REPLY: u16 = 3;

/// `enum tcp_conntrack`, by number.
pub(super) const TCP_STATES: [&str; 10] =
    ["NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"];
/// `enum sctp_conntrack`, by number.
pub(super) const SCTP_STATES: [&str; 10] = [
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
    "HEARTBEAT_ACKED",
];
/// `enum ct_dccp_states`, by number.
pub(super) const DCCP_STATES: [&str; 10] =
    ["NONE", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT", "IGNORE", "INVALID"];

/// One value for each direction, by [`crate::types::Dir::index`]; `None` = not told.
pub type Directions<T> = [Option<T>; 2];

/// What a protocol remembers; absent = not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtoInfo {
    /// TCP.
    Tcp {
        /// `enum tcp_conntrack`.
        state: Option<u8>,
        /// Window scale, bits to shift.
        wscale: Directions<u8>,
        /// `IP_CT_TCP_FLAG_*`; the kernel's second byte, a mask, says nothing in an event.
        flags: Directions<u8>,
    },
    /// DCCP; no kernel since 6.16 tracks it.
    Dccp {
        /// `enum ct_dccp_states`.
        state: Option<u8>,
        /// 0: the originator is the client.
        role: Option<u8>,
        /// Sequence number of the handshake.
        handshake_seq: Option<u64>,
    },
    /// SCTP.
    Sctp {
        /// `enum sctp_conntrack`.
        state: Option<u8>,
        /// Verification tags.
        vtag: Directions<u32>,
    },
}

impl ProtoInfo {
    /// The state by its name in the kernel's headers, `NONE` for a number without one.
    pub fn state(&self) -> Option<&'static str> {
        let (state, names) = match self {
            Self::Tcp { state, .. } => (state, &TCP_STATES),
            Self::Dccp { state, .. } => (state, &DCCP_STATES),
            Self::Sctp { state, .. } => (state, &SCTP_STATES),
        };
        name(*state, names)
    }

    /// All names of states there are, each once.
    pub fn state_names() -> impl Iterator<Item = &'static str> {
        let others = SCTP_STATES.into_iter().filter(|name| !TCP_STATES.contains(name));
        let dccp = DCCP_STATES.into_iter().filter(|name| !TCP_STATES.contains(name) && !SCTP_STATES.contains(name));
        TCP_STATES.into_iter().chain(others).chain(dccp)
    }
}

fn name(state: Option<u8>, names: &[&'static str]) -> Option<&'static str> {
    state.map(|state| names.get(usize::from(state)).copied().unwrap_or("NONE"))
}

pub(super) fn parse(attrs: Attrs<'_>) -> Result<Option<ProtoInfo>, Malformed> {
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            PROTOINFO_TCP => return parse_tcp(attr.nested()).map(Some),
            PROTOINFO_DCCP => return parse_dccp(attr.nested()).map(Some),
            PROTOINFO_SCTP => return parse_sctp(attr.nested()).map(Some),
            _ => {}
        }
    }
    Ok(None)
}

fn parse_tcp(attrs: Attrs<'_>) -> Result<ProtoInfo, Malformed> {
    let (mut state, mut wscale, mut flags) = (None, [None; 2], [None; 2]);
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            STATE => state = Some(attr.u8("tcp state")?),
            TCP_WSCALE_ORIG => wscale[0] = Some(attr.u8("tcp window scale")?),
            TCP_WSCALE_REPLY => wscale[1] = Some(attr.u8("tcp window scale")?),
            TCP_FLAGS_ORIG => flags[0] = attr.array::<2>("tcp flags").map(|[flags, _]| Some(flags))?,
            TCP_FLAGS_REPLY => flags[1] = attr.array::<2>("tcp flags").map(|[flags, _]| Some(flags))?,
            _ => {}
        }
    }
    Ok(ProtoInfo::Tcp { state, wscale, flags })
}

fn parse_dccp(attrs: Attrs<'_>) -> Result<ProtoInfo, Malformed> {
    let (mut state, mut role, mut handshake_seq) = (None, None, None);
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            STATE => state = Some(attr.u8("dccp state")?),
            DCCP_ROLE => role = Some(attr.u8("dccp role")?),
            DCCP_HANDSHAKE_SEQ => handshake_seq = Some(attr.be64("dccp sequence number")?),
            _ => {}
        }
    }
    Ok(ProtoInfo::Dccp { state, role, handshake_seq })
}

fn parse_sctp(attrs: Attrs<'_>) -> Result<ProtoInfo, Malformed> {
    let (mut state, mut vtag) = (None, [None; 2]);
    for attr in attrs {
        let attr = attr?;
        match attr.kind {
            STATE => state = Some(attr.u8("sctp state")?),
            SCTP_VTAG_ORIG => vtag[0] = Some(attr.be32("sctp verification tag")?),
            SCTP_VTAG_REPLY => vtag[1] = Some(attr.be32("sctp verification tag")?),
            _ => {}
        }
    }
    Ok(ProtoInfo::Sctp { state, vtag })
}
