//! Capture files, from packets: pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng), both little-endian.

/// What stands in front of each packet. The numbers are <https://www.tcpdump.org/linktypes.html>'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// 1.
    Ethernet,
    /// 1, with an 802.1Q tag in an 802.1ad tag.
    Vlan,
    /// 101: nothing.
    Raw,
    /// 113: what `tcpdump -i any` wrote for twenty years.
    Cooked,
    /// 276: what it writes now.
    Cooked2,
}

impl Link {
    fn number(self) -> u32 {
        match self {
            Self::Ethernet | Self::Vlan => 1,
            Self::Raw => 101,
            Self::Cooked => 113,
            Self::Cooked2 => 276,
        }
    }

    fn frame(self, packet: &[u8]) -> Vec<u8> {
        let kind: [u8; 2] = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
        let addresses = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        match self {
            Self::Ethernet => [&addresses, &kind[..], packet].concat(),
            Self::Vlan => [&addresses, &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6][..], &kind, packet].concat(),
            Self::Raw => packet.to_vec(),
            Self::Cooked => [&[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0][..], &kind, packet].concat(),
            Self::Cooked2 => [&kind[..], &[0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0], packet].concat(),
        }
    }
}

/// A pcap file; the packets are 10 ms apart.
pub fn pcap(link: Link, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, link.number()].map(u32::to_le_bytes).concat();
    for (n, packet) in (0..).zip(packets) {
        let frame = link.frame(packet);
        let length = u32::try_from(frame.len()).unwrap();
        file.extend([1_700_000_000 + n / 100, n % 100 * 10_000, length, length].map(u32::to_le_bytes).concat());
        file.extend(frame);
    }
    file
}

/// A pcapng file of one section with one interface.
pub fn pcapng(link: Link, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = block(0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat());
    file.extend(block(1, &[link.number(), 262_144].map(u32::to_le_bytes).concat()));
    for (n, packet) in (0..).zip(packets) {
        let frame = link.frame(packet);
        let ticks = 1_700_000_000_000_000_u64 + n * 10_000;
        let (high, low) = (u32::try_from(ticks >> 32).unwrap(), u32::try_from(ticks & 0xffff_ffff).unwrap());
        let length = u32::try_from(frame.len()).unwrap();
        file.extend(block(6, &[&[0, high, low, length, length].map(u32::to_le_bytes).concat()[..], &frame].concat()));
    }
    file
}

/// A pcapng block, its body padded to a multiple of four.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
    [&kind.to_le_bytes()[..], &length, &body, &length].concat()
}
