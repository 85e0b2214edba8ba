//! Packets for tests, with checksums set by the plainest of code so that the fast one is held against another.

use std::net::IpAddr;

/// IPv4 options: router alert (RFC 2113).
pub(crate) const ROUTER_ALERT: &[u8] = &[0x94, 4, 0, 0];
/// A hop-by-hop header with router alert and padding, followed by `next`.
pub(crate) const fn hop_by_hop(next: u8) -> [u8; 8] {
    [next, 0, 5, 2, 0, 0, 1, 0]
}

/// A TCP segment: 40360 to 21, data offset 8 (NOP, NOP, timestamps), checksum 0.
pub(crate) fn tcp(payload: &[u8]) -> Vec<u8> {
    let header = b"\x9d\xa8\x00\x15\x01\x02\x03\x04\x0a\x0b\x0c\x0d\x80\x18\x01\xf6\0\0\0\0\x01\x01\x08\x0a\0\0\0\x01\0\0\0\x02";
    [header, payload].concat()
}

/// A UDP datagram: 51000 to 69, checksum 0.
pub(crate) fn udp(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).unwrap().to_be_bytes();
    [&[0xc7, 0x38, 0, 69], &length[..], &[0, 0], payload].concat()
}

/// An IPv4 packet from 10.0.1.2 to 10.0.2.2 with every checksum set.
pub(crate) fn ipv4(options: &[u8], protocol: u8, transport: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let total = u16::try_from(header_len + transport.len()).unwrap().to_be_bytes();
    let ihl = 0x40 | u8::try_from(header_len / 4).unwrap();
    let header = [ihl, 0, total[0], total[1], 0x12, 0x34, 0x40, 0, 63, protocol, 0, 0, 10, 0, 1, 2, 10, 0, 2, 2];
    let mut packet = [&header, options].concat();
    let sum = plain(&packet);
    packet[10..12].copy_from_slice(&sum);
    packet.extend(finished([10, 0, 1, 2].into(), [10, 0, 2, 2].into(), protocol, transport));
    packet
}

/// An IPv6 packet from `2001:db8:1::2` to `2001:db8:2::2` with every checksum set; `first` names the first of `extensions`.
pub(crate) fn ipv6(first: u8, extensions: &[u8], protocol: u8, transport: &[u8]) -> Vec<u8> {
    let (src, dst) = ("2001:db8:1::2".parse().unwrap(), "2001:db8:2::2".parse().unwrap());
    let length = u16::try_from(extensions.len() + transport.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], first, 64];
    packet.extend(octets(src));
    packet.extend(octets(dst));
    packet.extend(extensions);
    packet.extend(finished(src, dst, protocol, transport));
    packet
}

/// Whether the transport checksum of the packet, whose transport begins at `at`, verifies.
pub(crate) fn verifies(packet: &[u8], at: usize, protocol: u8) -> bool {
    let (src, dst): (IpAddr, IpAddr) = if packet[0] >> 4 == 4 {
        (<[u8; 4]>::try_from(&packet[12..16]).unwrap().into(), <[u8; 4]>::try_from(&packet[16..20]).unwrap().into())
    } else {
        (<[u8; 16]>::try_from(&packet[8..24]).unwrap().into(), <[u8; 16]>::try_from(&packet[24..40]).unwrap().into())
    };
    plain(&[pseudo(src, dst, protocol, packet.len() - at), packet[at..].to_vec()].concat()) == [0, 0]
}

/// The checksum of RFC 1071, word by word.
pub(crate) fn plain(bytes: &[u8]) -> [u8; 2] {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}

fn finished(src: IpAddr, dst: IpAddr, protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut transport = transport.to_vec();
    let sum = plain(&[pseudo(src, dst, protocol, transport.len()), transport.clone()].concat());
    match protocol {
        6 => transport[16..18].copy_from_slice(&sum),
        17 => transport[6..8].copy_from_slice(if sum == [0, 0] { &[0xff, 0xff] } else { &sum }),
        _ => {}
    }
    transport
}

fn pseudo(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    let len = u32::try_from(len).unwrap().to_be_bytes();
    [octets(src), octets(dst), len.to_vec(), vec![0, 0, 0, protocol]].concat()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
