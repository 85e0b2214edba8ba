//! Packets from their fields. The checksums are computed here a second, plainer way, so that ours are checked by another hand.

use std::net::{IpAddr, SocketAddr};

/// TCP flags.
pub mod flags {
    #![expect(missing_docs, reason = "the names are RFC 9293's")]
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const ACK: u8 = 16;
}

/// TCP over IPv4 or IPv6 with right lengths and checksums.
pub fn tcp(from: SocketAddr, to: SocketAddr, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    ip(from.ip(), to.ip(), 6, &segment(from, to, seq, flags, payload))
}

/// UDP over IPv4 or IPv6.
pub fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).unwrap();
    let mut datagram = [from.port(), to.port(), length, 0].map(u16::to_be_bytes).concat();
    datagram.extend(payload);
    let sum = transport_sum(from.ip(), to.ip(), 17, &datagram);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    ip(from.ip(), to.ip(), 17, &datagram)
}

/// A packet over IPv6, with a hop-by-hop and a destination options header put between.
pub fn behind_extensions(packet: &[u8]) -> Vec<u8> {
    let (header, body) = packet.split_at(40);
    // Next header, length in eights beyond the first, then one PadN option.
    let extensions = [60, 0, 1, 4, 0, 0, 0, 0, header[6], 0, 1, 4, 0, 0, 0, 0];
    let length = u16::try_from(extensions.len() + body.len()).unwrap().to_be_bytes();
    [&header[..4], &length, &[0], &header[7..], &extensions, body].concat()
}

/// An IPv4 packet cut into two fragments, the first with 8 × `eights` bytes of what follows its header (RFC 791 §3.2).
pub fn fragments(packet: &[u8], eights: u16) -> [Vec<u8>; 2] {
    const MORE: u16 = 0x2000;
    let (header, body) = packet.split_at(20);
    let (first, second) = body.split_at(usize::from(eights) * 8);
    let part = |body: &[u8], offset: u16| {
        let mut part = [header, body].concat();
        let total = u16::try_from(part.len()).unwrap();
        part[2..4].copy_from_slice(&total.to_be_bytes());
        part[6..8].copy_from_slice(&offset.to_be_bytes());
        part[10..12].fill(0);
        let sum = ones_complement(&part[..20]);
        part[10..12].copy_from_slice(&sum.to_be_bytes());
        part
    };
    [part(first, MORE), part(second, eights)]
}

fn segment(from: SocketAddr, to: SocketAddr, seq: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = [from.port(), to.port()].map(u16::to_be_bytes).concat();
    segment.extend(seq.to_be_bytes());
    segment.extend([0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    let sum = transport_sum(from.ip(), to.ip(), 6, &segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

fn ip(src: IpAddr, dst: IpAddr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let total = (length + 20).to_be_bytes();
            let mut header = vec![0x45, 0, total[0], total[1], 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0];
            header.extend(src.octets());
            header.extend(dst.octets());
            let sum = ones_complement(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            [&header, body].concat()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let length = length.to_be_bytes();
            let header = [0x60, 0, 0, 0, length[0], length[1], protocol, 64];
            [&header, &src.octets()[..], &dst.octets(), body].concat()
        }
        _ => panic!("addresses of two families"),
    }
}

/// Whether the IPv4 header's and the transport's checksums are right. For packets made here: no IPv4 options, no extension headers.
pub fn checksums_are_right(packet: &[u8]) -> bool {
    let octets = |at: std::ops::Range<usize>| &packet[at];
    let (src, dst, protocol, body): (IpAddr, IpAddr, _, _) = if packet[0] >> 4 == 4 {
        let address = |at| <[u8; 4]>::try_from(octets(at)).unwrap().into();
        (address(12..16), address(16..20), packet[9], &packet[20..])
    } else {
        let address = |at| <[u8; 16]>::try_from(octets(at)).unwrap().into();
        (address(8..24), address(24..40), packet[6], &packet[40..])
    };
    let header_is_right = packet[0] >> 4 == 6 || ones_complement(&packet[..20]) == 0;
    header_is_right && transport_sum(src, dst, protocol, body) == 0
}

/// The application's bytes of a packet made here.
pub fn payload(packet: &[u8]) -> &[u8] {
    let (header, protocol) = if packet[0] >> 4 == 4 { (20, packet[9]) } else { (40, packet[6]) };
    &packet[header + if protocol == 17 { 8 } else { 20 }..]
}

fn transport_sum(src: IpAddr, dst: IpAddr, protocol: u8, body: &[u8]) -> u16 {
    let mut text = Vec::new();
    for address in [src, dst] {
        match address {
            IpAddr::V4(address) => text.extend(address.octets()),
            IpAddr::V6(address) => text.extend(address.octets()),
        }
    }
    text.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    text.extend([0, 0, 0, protocol]);
    text.extend(body);
    ones_complement(&text)
}

/// RFC 1071, word by word.
fn ones_complement(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for word in bytes.chunks(2) {
        sum += u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_what_our_own_reader_takes_and_changes_are_noticed() {
        let v4 = ("10.0.1.2:40000".parse().unwrap(), "10.0.2.2:21".parse().unwrap());
        let v6 = ("[2001:db8:1::2]:40000".parse().unwrap(), "[2001:db8:2::2]:21".parse().unwrap());
        for (from, to) in [v4, v6] {
            let mut packet = tcp(from, to, 7, flags::ACK, b"odd");
            assert!(checksums_are_right(&packet) && checksums_are_right(&udp(from, to, b"even")));
            let dissected = cthelper_proto::packet::dissect(&packet).unwrap();
            assert_eq!((dissected.payload, payload(&packet)), (&b"odd"[..], &b"odd"[..]));
            *packet.last_mut().unwrap() ^= 1;
            assert!(!checksums_are_right(&packet));
        }
    }
}
