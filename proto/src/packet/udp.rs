//! UDP (RFC 768).

use crate::reader::Malformed;

/// UDP header: source port 0..2, destination port 2..4, length 4..6, checksum 6..8; all big-endian.
#[derive(Clone, Copy, Debug)]
pub struct Udp<'a> {
    header: &'a [u8; 8],
    payload: &'a [u8],
}

impl<'a> Udp<'a> {
    /// The datagram at the start of `bytes`; what follows its length is not part of it.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = bytes.split_first_chunk::<8>().ok_or(Malformed("udp header"))?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let payload = length.checked_sub(8).and_then(|n| rest.get(..n)).ok_or(Malformed("udp length"))?;
        Ok(Self { header, payload })
    }

    /// The header.
    pub fn header(&self) -> &'a [u8; 8] {
        self.header
    }

    /// Source port.
    pub fn src_port(&self) -> u16 {
        u16::from_be_bytes([self.header[0], self.header[1]])
    }

    /// Destination port.
    pub fn dst_port(&self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// Whether the sender computed a checksum; over IPv4 it may leave that out and write 0.
    pub fn has_checksum(&self) -> bool {
        self.header[6] != 0 || self.header[7] != 0
    }

    /// The application's bytes.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TFTP read request, 10.0.1.2:51000 to port 69.
    const DATAGRAM: &[u8] = b"\xc7\x38\x00\x45\x00\x11\xab\xcd\x00\x01f\x00octet\x00";

    #[test]
    fn fields_of_a_real_datagram() {
        let udp = Udp::new(DATAGRAM).unwrap();
        assert_eq!((udp.src_port(), udp.dst_port()), (51_000, 69));
        assert_eq!(udp.payload(), b"\x00\x01f\x00octet");
        assert!(udp.has_checksum());
    }

    #[test]
    fn every_truncation_names_the_field() {
        for cut in 0..17 {
            let field = if cut < 8 { "udp header" } else { "udp length" };
            assert_eq!(Udp::new(&DATAGRAM[..cut]).unwrap_err(), Malformed(field), "{cut} bytes");
        }
    }

    #[test]
    fn a_length_below_the_header_is_refused() {
        for length in 0..8 {
            let mut bytes = DATAGRAM.to_vec();
            bytes[5] = length;
            assert_eq!(Udp::new(&bytes).unwrap_err(), Malformed("udp length"));
        }
    }

    #[test]
    fn a_datagram_of_its_header_alone_is_empty() {
        assert_eq!(Udp::new(&[0, 1, 0, 2, 0, 8, 0, 0, 9]).unwrap().payload(), b"");
    }
}
