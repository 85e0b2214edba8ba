//! TCP (RFC 9293).

use crate::reader::{Malformed, Reader};

/// TCP header: source port 0..2, destination port 2..4, sequence number 4..8, acknowledgment 8..12, data offset 12 (high half),
/// flags 13, window 14..16, checksum 16..18, urgent pointer 18..20, then options; all big-endian.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a> {
    header: &'a [u8; 20],
    options: &'a [u8],
    payload: &'a [u8],
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

impl<'a> Tcp<'a> {
    /// The segment that fills `bytes`.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let header: &[u8; 20] = reader.array("tcp header")?;
        let options = usize::from(header[12] >> 4).checked_sub(5).ok_or(Malformed("tcp data offset"))? * 4;
        let options = reader.take(options, "tcp data offset")?;
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

    /// Source port.
    pub fn src_port(&self) -> u16 {
        u16::from_be_bytes([self.header[0], self.header[1]])
    }

    /// Destination port.
    pub fn dst_port(&self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// Sequence number of the segment.
    pub fn seq(&self) -> u32 {
        u32::from_be_bytes([self.header[4], self.header[5], self.header[6], self.header[7]])
    }

    /// Sequence number of the first payload byte: a SYN takes one before it.
    pub fn payload_seq(&self) -> u32 {
        self.seq().wrapping_add(u32::from(self.is_syn()))
    }

    /// The next sequence number the sender expects of the other end; means something only with [`is_ack`](Self::is_ack).
    pub fn ack(&self) -> u32 {
        u32::from_be_bytes([self.header[8], self.header[9], self.header[10], self.header[11]])
    }

    /// The sender opens.
    pub fn is_syn(&self) -> bool {
        self.header[13] & SYN != 0
    }

    /// The sender acknowledges.
    pub fn is_ack(&self) -> bool {
        self.header[13] & ACK != 0
    }

    /// The sender has sent its last byte.
    pub fn is_fin(&self) -> bool {
        self.header[13] & FIN != 0
    }

    /// The sender aborts.
    pub fn is_rst(&self) -> bool {
        self.header[13] & RST != 0
    }

    /// The application's bytes.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `QUIT` from port 40360 to 21, with the NOP, NOP, timestamps options Linux sends.
    const SEGMENT: &[u8] =
        b"\x9d\xa8\x00\x15\x01\x02\x03\x04\x0a\x0b\x0c\x0d\x80\x18\x01\xf6\xab\xcd\x00\x00\x01\x01\x08\x0a\0\0\0\x01\0\0\0\x02QUIT\r\n";

    #[test]
    fn fields_of_a_real_segment() {
        let tcp = Tcp::new(SEGMENT).unwrap();
        assert_eq!((tcp.src_port(), tcp.dst_port()), (40_360, 21));
        assert_eq!((tcp.seq(), tcp.payload_seq(), tcp.ack()), (0x0102_0304, 0x0102_0304, 0x0a0b_0c0d));
        assert_eq!((tcp.is_syn(), tcp.is_ack(), tcp.is_fin(), tcp.is_rst()), (false, true, false, false));
        assert_eq!(tcp.options().len(), 12);
        assert_eq!(tcp.payload(), b"QUIT\r\n");
    }

    #[test]
    fn every_truncation_of_the_header_names_the_field() {
        for cut in 0..32 {
            let field = if cut < 20 { "tcp header" } else { "tcp data offset" };
            assert_eq!(Tcp::new(&SEGMENT[..cut]).unwrap_err(), Malformed(field), "{cut} bytes");
        }
    }

    #[test]
    fn a_data_offset_inside_the_fixed_header_is_refused() {
        for words in 0..5 {
            let mut bytes = SEGMENT.to_vec();
            bytes[12] = words << 4;
            assert_eq!(Tcp::new(&bytes).unwrap_err(), Malformed("tcp data offset"));
        }
    }

    #[test]
    fn a_syn_takes_one_sequence_number_before_its_payload() {
        let mut bytes = SEGMENT.to_vec();
        bytes[13] = SYN;
        bytes[4..8].fill(0xff);
        assert_eq!(Tcp::new(&bytes).unwrap().payload_seq(), 0);
    }
}
