//! Puts a worker's edits into a packet: nothing but the payload, the lengths and the checksums changes.
//!
//! Options and extension headers are copied as they are; Linux 7.x drops a replaced packet in which they differ
//! (`nfqnl_mangle`), and every version expects lengths and checksums to be right, whatever state they came in.

use std::fmt;

use super::checksum::Sum;
use super::{Dissected, Ip, Ipv4, Ipv6, Tcp, Transport, Udp, dissect};
use crate::ipc::Edit;
use crate::reader::Malformed;
use crate::types::L4;

/// Longest packet a verdict can carry, bytes: what fits into one netlink attribute.
const MAX_PACKET: u16 = 65_531;

/// What the edits did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// By how much the payload is longer now, bytes; negative = shorter.
    pub grown: i32,
}

/// Why a packet cannot be edited that way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError {
    /// An edit begins before the one in front of it ends.
    OutOfOrder,
    /// An edit reaches beyond the end of the payload.
    OutOfPayload,
    /// More than [`Edit::MAX`] edits.
    TooMany,
    /// An edit puts more than [`Edit::MAX_PUT`] bytes, or the packet would be larger than a verdict can carry.
    TooLarge,
    /// The packet has no payload that could be edited; the text names what is in the way.
    NotEditable(Malformed),
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfOrder => f.write_str("edits out of order"),
            Self::OutOfPayload => f.write_str("edit outside the payload"),
            Self::TooMany => f.write_str("too many edits"),
            Self::TooLarge => f.write_str("packet too large after the edits"),
            Self::NotEditable(Malformed(what)) => write!(f, "packet cannot be edited: {what}"),
        }
    }
}

impl std::error::Error for EditError {}

/// Replaces `out` by `packet` with `edits` applied to its payload; link padding is left out. After an error `out` is empty.
pub fn apply(packet: &[u8], edits: &[Edit], out: &mut Vec<u8>) -> Result<Applied, EditError> {
    out.clear();
    let dissected = dissect(packet).map_err(EditError::NotEditable)?;
    let parts = Parts::of(&dissected).map_err(EditError::NotEditable)?;
    check(edits, parts.payload.len())?;
    let (cut, put) = edits.iter().fold((0, 0), |(cut, put), edit| (cut + usize::from(edit.cut), put + edit.put.len()));
    let len = dissected.ip.header_len() + dissected.ip.payload().len();
    let total = u16::try_from(len - cut + put).ok().filter(|total| *total <= MAX_PACKET).ok_or(EditError::TooLarge)?;
    out.reserve(usize::from(total));
    parts.write(total, edits, out);
    // Both are far below 2^31: at most 16 × 65535 and 16 × 512.
    let grown = i32::try_from(put).unwrap_or(0) - i32::try_from(cut).unwrap_or(0);
    Ok(Applied { grown })
}

/// Whether the edits are few, small, ascending, apart, and inside a payload of `len` bytes.
fn check(edits: &[Edit], len: usize) -> Result<(), EditError> {
    if edits.len() > Edit::MAX {
        return Err(EditError::TooMany);
    }
    let mut done = 0;
    for edit in edits {
        let at = usize::from(edit.at);
        let end = at + usize::from(edit.cut);
        if at < done {
            return Err(EditError::OutOfOrder);
        }
        if end > len {
            return Err(EditError::OutOfPayload);
        }
        if edit.put.len() > Edit::MAX_PUT {
            return Err(EditError::TooLarge);
        }
        done = end;
    }
    Ok(())
}

/// An editable packet.
struct Parts<'a> {
    ip: Ip<'a>,
    transport: Editable<'a>,
    payload: &'a [u8],
    /// What lies between the end of a datagram and the end of its packet (RFC 9868 keeps options there).
    surplus: &'a [u8],
}

/// A transport whose lengths and checksum we can set.
#[derive(Clone, Copy)]
enum Editable<'a> {
    Tcp(Tcp<'a>),
    Udp(Udp<'a>),
}

impl<'a> Parts<'a> {
    fn of(dissected: &Dissected<'a>) -> Result<Self, Malformed> {
        if let Ip::V6(v6) = dissected.ip {
            if v6.is_on_the_way() {
                return Err(Malformed("ipv6 segments left"));
            }
            if v6.is_authenticated() {
                return Err(Malformed("ipv6 authentication header"));
            }
        }
        let transport = match dissected.transport {
            Transport::Tcp(tcp) => Editable::Tcp(tcp),
            Transport::Udp(udp) => Editable::Udp(udp),
            Transport::Other(_) => return Err(Malformed("transport protocol")),
            Transport::Fragment => return Err(Malformed("ip fragment")),
        };
        let used = dissected.transport.header_len() + dissected.payload.len();
        let surplus = dissected.ip.payload().get(used..).unwrap_or_default();
        Ok(Self { ip: dissected.ip, transport, payload: dissected.payload, surplus })
    }

    /// Appends the edited packet of `total` bytes.
    fn write(&self, total: u16, edits: &[Edit], out: &mut Vec<u8>) {
        match &self.ip {
            Ip::V4(v4) => write_ipv4(v4, total, out),
            Ip::V6(v6) => write_ipv6(v6, total, out),
        }
        let start = out.len();
        let length = usize::from(total).saturating_sub(start + self.surplus.len());
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        match &self.transport {
            Editable::Tcp(tcp) => write_tcp(tcp, out),
            Editable::Udp(udp) => write_udp(udp, length, out),
        }
        write_payload(self.payload, edits, out);
        self.write_checksum(out.split_at_mut(start).1, length);
        out.extend_from_slice(self.surplus);
    }

    /// Sets the checksum of the transport `segment`, in which its field is zero.
    fn write_checksum(&self, segment: &mut [u8], length: u16) {
        let (l4, at) = match &self.transport {
            Editable::Tcp(_) => (L4::Tcp, 16),
            Editable::Udp(udp) if self.may_lack_checksum(udp) => return,
            Editable::Udp(_) => (L4::Udp, 6),
        };
        let sum = Sum::new().pseudo(self.ip.src(), self.ip.dst(), l4.number(), length).bytes(segment).finish();
        // RFC 768: a computed zero is sent as all ones, because zero says that there is none.
        let sum = if sum == 0 && l4 == L4::Udp { 0xffff } else { sum };
        if let Some(field) = segment.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *field = sum.to_be_bytes();
        }
    }

    fn may_lack_checksum(&self, udp: &Udp<'_>) -> bool {
        matches!(self.ip, Ip::V4(_)) && !udp.has_checksum()
    }
}

fn write_ipv4(v4: &Ipv4<'_>, total: u16, out: &mut Vec<u8>) {
    let mut header = *v4.header();
    [header[2], header[3]] = total.to_be_bytes();
    [header[10], header[11]] = [0, 0];
    [header[10], header[11]] = Sum::new().bytes(&header).bytes(v4.options()).finish().to_be_bytes();
    out.extend_from_slice(&header);
    out.extend_from_slice(v4.options());
}

fn write_ipv6(v6: &Ipv6<'_>, total: u16, out: &mut Vec<u8>) {
    let mut header = *v6.header();
    [header[4], header[5]] = total.saturating_sub(40).to_be_bytes();
    out.extend_from_slice(&header);
    out.extend_from_slice(v6.extensions());
}

fn write_tcp(tcp: &Tcp<'_>, out: &mut Vec<u8>) {
    let mut header = *tcp.header();
    [header[16], header[17]] = [0, 0];
    out.extend_from_slice(&header);
    out.extend_from_slice(tcp.options());
}

fn write_udp(udp: &Udp<'_>, length: u16, out: &mut Vec<u8>) {
    let mut header = *udp.header();
    [header[4], header[5]] = length.to_be_bytes();
    [header[6], header[7]] = [0, 0];
    out.extend_from_slice(&header);
}

/// Appends the payload with `edits`, which [`check`] has passed.
fn write_payload(payload: &[u8], edits: &[Edit], out: &mut Vec<u8>) {
    let mut done = 0;
    for edit in edits {
        let at = usize::from(edit.at);
        out.extend_from_slice(payload.get(done..at).unwrap_or_default());
        out.extend_from_slice(&edit.put);
        done = at + usize::from(edit.cut);
    }
    out.extend_from_slice(payload.get(done..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::sample::{self, ROUTER_ALERT, hop_by_hop, ipv4, ipv6, tcp, udp, verifies};
    use proptest::prelude::*;

    fn edit(at: u16, cut: u16, put: &[u8]) -> Edit {
        Edit { at, cut, put: put.to_vec() }
    }

    fn applied(packet: &[u8], edits: &[Edit]) -> Result<(Vec<u8>, i32), EditError> {
        let mut out = b"left from before".to_vec();
        let result = apply(packet, edits, &mut out);
        assert!(result.is_ok() || out.is_empty());
        result.map(|applied| (out, applied.grown))
    }

    #[test]
    fn a_line_is_rewritten_over_ipv4_with_options() {
        let (packet, grown) =
            applied(&ipv4(ROUTER_ALERT, 6, &tcp(b"PORT 10,0,1,2,7,208\r\n")), &[edit(5, 14, b"192,0,2,200,7,209")]).unwrap();
        assert_eq!(grown, 3);
        assert_eq!(packet, ipv4(ROUTER_ALERT, 6, &tcp(b"PORT 192,0,2,200,7,209\r\n")));
    }

    #[test]
    fn extension_headers_stay_and_the_datagram_shrinks() {
        let before = ipv6(0, &hop_by_hop(17), 17, &udp(b"long words"));
        let (packet, grown) = applied(&before, &[edit(0, 5, b""), edit(9, 1, b"")]).unwrap();
        assert_eq!(grown, -6);
        assert_eq!(packet, ipv6(0, &hop_by_hop(17), 17, &udp(b"word")));
    }

    #[test]
    fn edits_may_touch_and_may_insert_at_the_end() {
        let before = ipv4(&[], 17, &udp(b"abc"));
        let edits = [edit(0, 1, b"A"), edit(1, 0, b"-"), edit(1, 1, b"B"), edit(3, 0, b"!")];
        assert_eq!(applied(&before, &edits).unwrap().0, ipv4(&[], 17, &udp(b"A-Bc!")));
    }

    #[test]
    fn wrong_checksums_come_out_right() {
        let good = ipv4(&[], 6, &tcp(b"NOOP\r\n"));
        let mut offloaded = good.clone();
        offloaded[10..12].fill(0);
        offloaded[36..38].fill(0xaa);
        assert_eq!(applied(&offloaded, &[]).unwrap(), (good, 0));
    }

    #[test]
    fn a_datagram_without_checksum_stays_so_over_ipv4_only() {
        let mut v4 = ipv4(&[], 17, &udp(b"abc"));
        v4[26..28].fill(0);
        assert_eq!(applied(&v4, &[]).unwrap().0, v4);
        let good = ipv6(17, &[], 17, &udp(b"abc"));
        let mut v6 = good.clone();
        v6[46..48].fill(0);
        assert_eq!(applied(&v6, &[]).unwrap().0, good);
    }

    #[test]
    fn a_datagram_whose_sum_is_zero_says_all_ones() {
        let zero =
            (0..=u16::MAX).map(|word| ipv4(&[], 17, &udp(&word.to_be_bytes()))).find(|packet| packet[26..28] == [0xff, 0xff]);
        let packet = zero.expect("one of all words makes the sum zero");
        assert_eq!(applied(&packet, &[]).unwrap().0, packet);
    }

    #[test]
    fn what_follows_a_datagram_inside_its_packet_is_kept_and_link_padding_is_not() {
        let with_surplus = |payload: &[u8], sum: u16| {
            let mut packet = ipv4(&[], 0, &[&udp(payload)[..], b"options"].concat());
            packet[9] = 17;
            packet[10..12].fill(0);
            let header_sum = sample::plain(&packet[..20]);
            packet[10..12].copy_from_slice(&header_sum);
            packet[26..28].copy_from_slice(&sum.to_be_bytes());
            packet
        };
        let sum_of = |payload: &[u8]| u16::from_be_bytes(ipv4(&[], 17, &udp(payload))[26..28].try_into().unwrap());
        let mut before = with_surplus(b"abcd", sum_of(b"abcd"));
        before.extend([0; 9]);
        assert_eq!(applied(&before, &[edit(1, 1, b"")]).unwrap().0, with_surplus(b"acd", sum_of(b"acd")));
    }

    #[test]
    fn bad_edits_are_refused() {
        let packet = ipv4(&[], 6, &tcp(b"0123456789"));
        let cases = [
            (vec![edit(5, 1, b""), edit(4, 1, b"")], EditError::OutOfOrder),
            (vec![edit(2, 3, b""), edit(4, 1, b"")], EditError::OutOfOrder),
            (vec![edit(11, 0, b"x")], EditError::OutOfPayload),
            (vec![edit(9, 2, b"")], EditError::OutOfPayload),
            (vec![edit(u16::MAX, u16::MAX, b"")], EditError::OutOfPayload),
            (vec![edit(0, 0, b"x"); 17], EditError::TooMany),
            (vec![edit(0, 0, &[b'x'; 513])], EditError::TooLarge),
        ];
        for (edits, error) in cases {
            assert_eq!(applied(&packet, &edits), Err(error));
        }
        assert!(applied(&packet, &vec![edit(0, 0, &[b'x'; 512]); 16]).is_ok());
    }

    #[test]
    fn a_packet_may_grow_to_what_a_verdict_carries_and_no_further() {
        let packet = ipv4(&[], 6, &tcp(&vec![b'x'; 65_531 - 52 - 1]));
        assert_eq!(applied(&packet, &[edit(0, 0, b"y")]).unwrap().0.len(), 65_531);
        assert_eq!(applied(&packet, &[edit(0, 0, b"yy")]), Err(EditError::TooLarge));
        assert!(applied(&packet, &[edit(0, 0, b"yy"), edit(7, 1, b"")]).is_ok());
    }

    #[test]
    fn packets_that_cannot_be_edited_say_why() {
        let refused = |packet: &[u8]| match applied(packet, &[]) {
            Err(EditError::NotEditable(Malformed(what))) => what,
            other => panic!("{other:?}"),
        };
        let mut fragment = ipv4(&[], 6, &tcp(b""));
        fragment[6] = 0x20;
        assert_eq!(refused(&fragment), "ip fragment");
        assert_eq!(refused(&ipv4(&[], 47, b"gre!")), "transport protocol");
        let routing = [&[6, 2, 4, 1, 0, 0, 0, 0][..], &[0x20; 16]].concat();
        assert_eq!(refused(&ipv6(43, &routing, 6, &tcp(b""))), "ipv6 segments left");
        assert_eq!(
            refused(&ipv6(51, &[6, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0], 6, &tcp(b""))),
            "ipv6 authentication header"
        );
        assert_eq!(refused(&[0x45; 19]), "ipv4 header");
    }

    /// A packet of each kind around `payload`, with where its transport begins and which it is.
    fn packets(payload: &[u8]) -> [(Vec<u8>, usize, u8); 4] {
        [
            (ipv4(ROUTER_ALERT, 6, &tcp(payload)), 24, 6),
            (ipv4(&[], 17, &udp(payload)), 20, 17),
            (ipv6(6, &[], 6, &tcp(payload)), 40, 6),
            (ipv6(0, &hop_by_hop(17), 17, &udp(payload)), 48, 17),
        ]
    }

    /// Ascending edits of a payload of `len` bytes, from gaps and lengths.
    fn edits_within(len: usize, raw: &[(u8, u8, Vec<u8>)]) -> Vec<Edit> {
        let mut done = 0;
        let mut edits = Vec::new();
        for (gap, cut, put) in raw {
            let at = done + usize::from(*gap) % 16;
            let end = at + usize::from(*cut) % 16;
            if end > len {
                break;
            }
            edits.push(edit(u16::try_from(at).unwrap(), u16::try_from(end - at).unwrap(), put));
            done = end;
        }
        edits
    }

    proptest! {
        #[test]
        fn no_edits_change_nothing(payload in any::<Vec<u8>>()) {
            for (packet, _, _) in packets(&payload) {
                prop_assert_eq!(applied(&packet, &[]), Ok((packet, 0)));
            }
        }

        #[test]
        fn any_edits_leave_lengths_and_checksums_right(
            payload in any::<Vec<u8>>(),
            raw in proptest::collection::vec((any::<u8>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..16),
        ) {
            let edits = edits_within(payload.len(), &raw);
            let mut wanted = payload.clone();
            for edit in edits.iter().rev() {
                let at = usize::from(edit.at);
                wanted.splice(at..at + usize::from(edit.cut), edit.put.iter().copied());
            }
            for ((packet, at, protocol), (after, _, _)) in packets(&payload).into_iter().zip(packets(&wanted)) {
                let (out, grown) = applied(&packet, &edits).unwrap();
                prop_assert!(verifies(&out, at, protocol));
                prop_assert_eq!(dissect(&out).unwrap().payload, &wanted[..]);
                prop_assert_eq!(i64::from(grown), i64::try_from(out.len()).unwrap() - i64::try_from(packet.len()).unwrap());
                prop_assert_eq!(out, after);
            }
        }

        #[test]
        fn any_bytes_and_edits_are_applied_or_refused(
            mut bytes in proptest::collection::vec(any::<u8>(), 20..120),
            raw in proptest::collection::vec((any::<u16>(), any::<u16>(), any::<Vec<u8>>()), 0..20),
        ) {
            bytes[0] = 0x45;
            bytes[2..4].copy_from_slice(&[0, 20]);
            let edits: Vec<Edit> = raw.iter().map(|(at, cut, put)| edit(*at % 100, *cut % 100, put)).collect();
            let _ = applied(&bytes, &edits);
        }
    }
}
