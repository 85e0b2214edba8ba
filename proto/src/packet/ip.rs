//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::reader::{Malformed, Reader};

/// IPv6 extension headers walked before a packet is given up; the RFC recommends at most seven, one kind each and one twice.
const MAX_EXTENSIONS: usize = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// IPv4 header: version and IHL 0, total length 2..4, flags and fragment offset 6..8, protocol 9, checksum 10..12,
/// source 12..16, destination 16..20, then options; all big-endian.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a> {
    header: &'a [u8; 20],
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Ipv4<'a> {
    /// The packet at the start of `bytes`; what follows its total length is ignored (link padding).
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, _) = bytes.split_first_chunk::<20>().ok_or(Malformed("ipv4 header"))?;
        if header[0] >> 4 != 4 {
            return Err(Malformed("ipv4 version"));
        }
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let packet = bytes.get(..total).ok_or(Malformed("ipv4 total length"))?;
        let mut reader = Reader::new(packet);
        let header = reader.array("ipv4 total length")?;
        let options = usize::from(header[0] & 0x0f).checked_sub(5).ok_or(Malformed("ipv4 header length"))? * 4;
        let options = reader.take(options, "ipv4 header length")?;
        Ok(Self { header, options, payload: reader.rest() })
    }

    /// The fixed part of the header.
    pub fn header(&self) -> &'a [u8; 20] {
        self.header
    }

    /// The options, padded to a multiple of four bytes.
    pub fn options(&self) -> &'a [u8] {
        self.options
    }

    /// Number of the protocol that the payload speaks.
    pub fn protocol(&self) -> u8 {
        self.header[9]
    }

    /// Source address.
    pub fn src(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.header[12], self.header[13], self.header[14], self.header[15])
    }

    /// Destination address.
    pub fn dst(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.header[16], self.header[17], self.header[18], self.header[19])
    }

    /// Whether the packet is a part of a larger one: more fragments follow, or the offset is not 0.
    pub fn is_fragment(&self) -> bool {
        u16::from_be_bytes([self.header[6], self.header[7]]) & 0x3fff != 0
    }

    /// Everything after the options, up to the total length.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// IPv6 header: version 0, payload length 4..6, next header 6, source 8..24, destination 24..40, then extension headers
/// (hop-by-hop, destination options, routing, fragment, authentication), in any order as Linux takes them.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<'a> {
    header: &'a [u8; 40],
    src: Ipv6Addr,
    dst: Ipv6Addr,
    extensions: &'a [u8],
    chain: Chain,
    payload: &'a [u8],
}

/// What walking the extension headers has found.
#[derive(Clone, Copy, Debug)]
struct Chain {
    /// The protocol behind the last extension header.
    protocol: u8,
    fragment: bool,
    on_the_way: bool,
    authenticated: bool,
}

impl<'a> Ipv6<'a> {
    /// The packet at the start of `bytes`; what follows its payload length is ignored (link padding).
    /// Jumbograms (RFC 2675) are refused: their payload length is 0.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let header: &[u8; 40] = reader.array("ipv6 header")?;
        if header[0] >> 4 != 6 {
            return Err(Malformed("ipv6 version"));
        }
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let body = reader.take(length, "ipv6 payload length")?;
        let mut fields = Reader::new(header);
        fields.take(8, "ipv6 header")?;
        let src = Ipv6Addr::from(*fields.array::<16>("ipv6 header")?);
        let dst = Ipv6Addr::from(*fields.array::<16>("ipv6 header")?);
        let mut rest = Reader::new(body);
        let chain = Chain::walk(header[6], &mut rest)?;
        let payload = rest.rest();
        let extensions = body.get(..body.len() - payload.len()).unwrap_or_default();
        Ok(Self { header, src, dst, extensions, chain, payload })
    }

    /// The fixed part of the header.
    pub fn header(&self) -> &'a [u8; 40] {
        self.header
    }

    /// The extension headers as they stand.
    pub fn extensions(&self) -> &'a [u8] {
        self.extensions
    }

    /// Number of the protocol that the payload speaks, behind all extension headers.
    pub fn protocol(&self) -> u8 {
        self.chain.protocol
    }

    /// Source address.
    pub fn src(&self) -> Ipv6Addr {
        self.src
    }

    /// Destination address of the header; with [`is_on_the_way`](Self::is_on_the_way) not yet the last one.
    pub fn dst(&self) -> Ipv6Addr {
        self.dst
    }

    /// Whether the packet is a part of a larger one. A fragment header with offset 0 and nothing to follow (an "atomic fragment",
    /// RFC 6946) holds the whole packet.
    pub fn is_fragment(&self) -> bool {
        self.chain.fragment
    }

    /// Whether a routing header has segments left: the transport checksum then covers another destination than the header's.
    pub fn is_on_the_way(&self) -> bool {
        self.chain.on_the_way
    }

    /// Whether an authentication header (RFC 4302) vouches for the payload, which then cannot be changed.
    pub fn is_authenticated(&self) -> bool {
        self.chain.authenticated
    }

    /// Everything after the extension headers, up to the payload length.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

impl Chain {
    /// Reads extension headers until another protocol or a fragment comes; the reader then stands at the payload.
    fn walk(first: u8, reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut chain = Self { protocol: first, fragment: false, on_the_way: false, authenticated: false };
        for _ in 0..MAX_EXTENSIONS {
            if chain.fragment || !chain.step(reader)? {
                return Ok(chain);
            }
        }
        if chain.fragment || !is_extension(chain.protocol) { Ok(chain) } else { Err(Malformed("ipv6 extension headers")) }
    }

    /// Reads the extension header named by `protocol`, and puts the next one's number there; `false` = it is none.
    fn step(&mut self, reader: &mut Reader<'_>) -> Result<bool, Malformed> {
        let what = match self.protocol {
            HOP_BY_HOP => "ipv6 hop-by-hop header",
            ROUTING => "ipv6 routing header",
            FRAGMENT => "ipv6 fragment header",
            AUTHENTICATION => "ipv6 authentication header",
            DESTINATION_OPTIONS => "ipv6 destination options",
            _ => return Ok(false),
        };
        let &[next, length, third, fourth] = reader.array(what)?;
        let length = usize::from(length);
        match self.protocol {
            FRAGMENT => {
                self.fragment = u16::from_be_bytes([third, fourth]) & 0xfff9 != 0;
                reader.take(4, what)?;
            }
            AUTHENTICATION => {
                self.authenticated = true;
                // RFC 4302 section 2.2: in 4-byte units, minus 2.
                reader.take((length + 2) * 4 - 4, what)?;
            }
            kind => {
                self.on_the_way |= kind == ROUTING && fourth != 0;
                reader.take((length + 1) * 8 - 4, what)?;
            }
        }
        self.protocol = next;
        Ok(true)
    }
}

fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::sample::{self, hop_by_hop};

    /// Routing header type 4 (RFC 8754) with one segment; two 8-byte units behind the first.
    fn routing(next: u8, left: u8) -> Vec<u8> {
        [&[next, 2, 4, left, 0, 0, 0, 0][..], &[0x20; 16]].concat()
    }

    fn chain(first: u8, extensions: &[&[u8]]) -> Vec<u8> {
        sample::ipv6(first, &extensions.concat(), 17, &sample::udp(b"x"))
    }

    #[test]
    fn ipv4_fields() {
        let packet = sample::ipv4(sample::ROUTER_ALERT, 17, &sample::udp(b"x"));
        let v4 = Ipv4::new(&packet).unwrap();
        assert_eq!((v4.src(), v4.dst(), v4.protocol()), (Ipv4Addr::new(10, 0, 1, 2), Ipv4Addr::new(10, 0, 2, 2), 17));
        assert_eq!((v4.options(), v4.payload().len()), (sample::ROUTER_ALERT, 9));
        assert!(!v4.is_fragment(), "don't-fragment makes no fragment");
    }

    #[test]
    fn link_padding_is_ignored() {
        let mut v4 = sample::ipv4(&[], 17, &sample::udp(b"x"));
        v4.resize(46, 0);
        assert_eq!(Ipv4::new(&v4).unwrap().payload().len(), 9);
        let mut v6 = chain(17, &[]);
        v6.extend([0; 7]);
        assert_eq!(Ipv6::new(&v6).unwrap().payload().len(), 9);
    }

    #[test]
    fn an_ipv4_header_length_below_five_or_beyond_the_packet_is_refused() {
        let good = sample::ipv4(&[], 17, &sample::udp(b"x"));
        for ihl in [0, 1, 4, 8, 15] {
            let mut packet = good.clone();
            packet[0] = 0x40 | ihl;
            assert_eq!(Ipv4::new(&packet).unwrap_err(), Malformed("ipv4 header length"), "IHL {ihl}");
        }
    }

    #[test]
    fn an_ipv4_total_length_below_its_header_is_refused() {
        let mut packet = sample::ipv4(&[], 17, &sample::udp(b"x"));
        for total in [0, 19] {
            packet[3] = total;
            assert_eq!(Ipv4::new(&packet).unwrap_err(), Malformed("ipv4 total length"));
        }
    }

    #[test]
    fn ipv6_extension_headers_of_every_kind() {
        let fragment = [51, 0, 0, 0, 0, 0, 0, 9];
        let authentication = [60, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let packet = chain(0, &[&hop_by_hop(43), &routing(44, 0), &fragment, &authentication, &hop_by_hop(17)]);
        let v6 = Ipv6::new(&packet).unwrap();
        assert_eq!((v6.protocol(), v6.extensions().len(), v6.payload().len()), (17, 8 + 24 + 8 + 24 + 8, 9));
        assert!(v6.is_authenticated() && !v6.is_fragment() && !v6.is_on_the_way());
    }

    #[test]
    fn a_routing_header_with_segments_left_is_on_the_way() {
        assert!(Ipv6::new(&chain(43, &[&routing(17, 1)])).unwrap().is_on_the_way());
    }

    #[test]
    fn the_walk_ends_at_a_fragment() {
        for offset_and_more in [[0, 1], [0, 8], [0xff, 0xf8]] {
            let fragment = [60, 0, offset_and_more[0], offset_and_more[1], 0, 0, 0, 9];
            let packet = chain(44, &[&fragment, &[0xff; 4]]);
            let v6 = Ipv6::new(&packet).unwrap();
            assert!(v6.is_fragment());
            assert_eq!(v6.extensions().len(), 8, "what follows may be the middle of anything");
        }
    }

    #[test]
    fn eight_extension_headers_pass_and_nine_are_refused() {
        let step = hop_by_hop(60);
        let last = hop_by_hop(17);
        assert!(Ipv6::new(&chain(60, &[&step.repeat(7), &last])).is_ok());
        let too_long = chain(60, &[&step.repeat(8), &last]);
        assert_eq!(Ipv6::new(&too_long).unwrap_err(), Malformed("ipv6 extension headers"));
    }

    #[test]
    fn a_cut_extension_header_is_named() {
        let names = [
            (0, "ipv6 hop-by-hop header"),
            (43, "ipv6 routing header"),
            (44, "ipv6 fragment header"),
            (51, "ipv6 authentication header"),
            (60, "ipv6 destination options"),
        ];
        for (kind, name) in names {
            for cut in 0..8 {
                let packet = sample::ipv6(kind, &[17, 0, 0, 0, 0, 0, 0, 0][..cut], 0, &[]);
                assert_eq!(Ipv6::new(&packet).unwrap_err(), Malformed(name), "{cut} bytes of {name}");
            }
        }
    }

    #[test]
    fn a_jumbogram_is_refused() {
        let mut packet = chain(0, &[&[17, 0, 0xc2, 4, 0, 1, 0, 0]]);
        packet[4..6].fill(0);
        assert_eq!(Ipv6::new(&packet).unwrap_err(), Malformed("ipv6 hop-by-hop header"));
    }
}
