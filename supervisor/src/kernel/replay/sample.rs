//! Packets and capture files for tests. The client is 10.0.1.2 or `2001:db8:1::2`, the server 10.0.2.2 or `2001:db8:2::2`.

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;
/// With TCP flags: from the server to the client.
pub(super) const BACK: u8 = 0x80;

fn segment(client: u16, server: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let (sport, dport) = if flags & BACK == 0 { (client, server) } else { (server, client) };
    let mut bytes = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags & !BACK, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

fn ipv4(protocol: u8, back: bool, transport: &[u8]) -> Vec<u8> {
    let total = u16::try_from(transport.len() + 20).unwrap().to_be_bytes();
    let (from, to) = if back { (2, 1) } else { (1, 2) };
    let header = [0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 0, from, 2, 10, 0, to, 2];
    [&header, transport].concat()
}

/// A TCP segment over IPv4 from the client's port to the server's, or [`BACK`].
pub(super) fn tcp4(client: u16, server: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    ipv4(6, flags & BACK != 0, &segment(client, server, flags, payload))
}

/// A UDP datagram over IPv4 from the client's port to the server's.
pub(super) fn udp4(client: u16, server: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).unwrap();
    let header = [client, server, length, 0].map(u16::to_be_bytes);
    ipv4(17, false, &[header.as_flattened(), payload].concat())
}

/// A TCP segment over IPv6 from the client to the server, behind a hop-by-hop and a destination options header.
pub(super) fn tcp6(client: u16, server: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let address = |net: u8| [0x20, 1, 0x0d, 0xb8, 0, net, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    let extensions = [60, 0, 5, 2, 0, 0, 1, 0, 6, 0, 1, 4, 0, 0, 0, 0];
    let segment = segment(client, server, flags, payload);
    let length = u16::try_from(extensions.len() + segment.len()).unwrap().to_be_bytes();
    [&[0x60, 0, 0, 0, length[0], length[1], 0, 64], &address(1)[..], &address(2), &extensions, &segment].concat()
}

/// A little-endian pcap file in microseconds; the packets are a second apart, from 1700000000 on.
pub(super) fn pcap(link: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, link].map(u32::to_le_bytes).concat();
    for (second, frame) in (1_700_000_000..).zip(frames) {
        let length = u32::try_from(frame.len()).unwrap();
        file.extend([second, 250_000, length, length].map(u32::to_le_bytes).as_flattened());
        file.extend(frame);
    }
    file
}

/// As [`pcap`], in the other byte order.
pub(super) fn pcap_big_endian(link: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = [0xa1b2_c3d4, 0x0002_0004, 0, 0, 262_144, link].map(u32::to_be_bytes).concat();
    for (second, frame) in (1_700_000_000..).zip(frames) {
        let length = u32::try_from(frame.len()).unwrap();
        file.extend([second, 250_000, length, length].map(u32::to_be_bytes).as_flattened());
        file.extend(frame);
    }
    file
}

/// A pcapng file, block by block.
pub(super) struct Ng {
    pub(super) bytes: Vec<u8>,
    pub(super) big_endian: bool,
}

impl Ng {
    pub(super) fn new(big_endian: bool) -> Self {
        Self { bytes: Vec::new(), big_endian }
    }

    /// Section header of unknown length.
    pub(super) fn section(&mut self) -> &mut Self {
        let body = [&self.number(0x1a2b_3c4d)[..], &self.short(1), &self.short(0), &[0xff; 8]].concat();
        self.block(0x0a0d_0d0a, &body)
    }

    /// Interface description with options (code, value).
    pub(super) fn interface(&mut self, link: u16, snap_len: u32, options: &[(u16, &[u8])]) -> &mut Self {
        let mut body = [&self.short(link)[..], &[0; 2], &self.number(snap_len)].concat();
        for (code, value) in options {
            body.extend(self.short(*code));
            body.extend(self.short(u16::try_from(value.len()).unwrap()));
            body.extend(padded(value));
        }
        if !options.is_empty() {
            body.extend([0; 4]);
        }
        self.block(1, &body)
    }

    /// Enhanced packet.
    pub(super) fn enhanced(&mut self, interface: u32, ticks: u64, frame: &[u8]) -> &mut Self {
        let length = u32::try_from(frame.len()).unwrap();
        let high = u32::try_from(ticks >> 32).unwrap();
        let low = u32::try_from(ticks & 0xffff_ffff).unwrap();
        let fields = [interface, high, low, length, length].map(|field| self.number(field));
        self.block(6, &[fields.as_flattened(), &padded(frame)].concat())
    }

    /// Simple packet of which `original` bytes were on the wire.
    pub(super) fn simple(&mut self, frame: &[u8], original: usize) -> &mut Self {
        let body = [&self.number(u32::try_from(original).unwrap())[..], &padded(frame)].concat();
        self.block(3, &body)
    }

    /// A block that holds no packet: interface statistics.
    pub(super) fn other(&mut self) -> &mut Self {
        self.block(5, &[0; 12])
    }

    pub(super) fn number64(&self, number: u64) -> [u8; 8] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn number(&self, number: u32) -> [u8; 4] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn short(&self, number: u16) -> [u8; 2] {
        if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> &mut Self {
        let length = self.number(u32::try_from(body.len() + 12).unwrap());
        self.bytes.extend([&self.number(kind)[..], &length, body, &length].concat());
        self
    }
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
