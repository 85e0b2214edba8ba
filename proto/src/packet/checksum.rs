//! The Internet checksum (RFC 1071): the ones' complement of the ones' complement sum of 16-bit words.

use std::net::IpAddr;

/// A running sum. Words are added as they lie in memory, because the byte order can be put right once, at the end
/// (RFC 1071 section 2, B); the 64-bit accumulator takes 2^32 additions before it could overflow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes that begin at an even offset of what is summed; only the last piece may have an odd length.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        let sum = words.iter().fold(self.0, |sum, word| sum + u64::from(u32::from_ne_bytes(*word)));
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        Self(sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// Adds one 16-bit number.
    #[must_use]
    pub fn number(self, number: u16) -> Self {
        Self(self.0 + u64::from(number.to_be()))
    }

    /// Adds the pseudo-header of TCP and UDP (RFC 9293 section 3.1, RFC 768, RFC 8200 section 8.1).
    ///
    /// `length` counts transport header and payload, bytes. Its IPv4 form has 16 bits and its IPv6 form 32; both add the same.
    #[must_use]
    pub fn pseudo(self, src: IpAddr, dst: IpAddr, protocol: u8, length: u16) -> Self {
        self.address(src).address(dst).number(u16::from(protocol)).number(length)
    }

    fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => self.bytes(&v4.octets()),
            IpAddr::V6(v6) => self.bytes(&v6.octets()),
        }
    }

    /// The checksum to be written, when its own field was summed as zero; or 0, when what was summed holds a right one.
    pub fn finish(self) -> u16 {
        let mut sum = self.0;
        while let high @ 1.. = sum >> 16 {
            sum = (sum & 0xffff) + high;
        }
        // The loop has left at most 16 bits.
        !u16::from_be(u16::try_from(sum).unwrap_or(u16::MAX))
    }
}

/// The checksum of one piece.
pub fn of(bytes: &[u8]) -> u16 {
    Sum::new().bytes(bytes).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(bytes: &[u8]) -> u16 {
        u16::from_be_bytes(crate::packet::sample::plain(bytes))
    }

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        assert_eq!(of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn a_header_with_its_checksum_in_place_gives_zero() {
        let header = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 0x01, 0xc0, 0xa8, 0, 0xc7, //
        ];
        assert_eq!(of(&header), 0);
    }

    #[test]
    fn nothing_sums_to_all_ones() {
        assert_eq!(of(&[]), 0xffff);
    }

    #[test]
    fn an_odd_byte_counts_as_the_high_half_of_a_word() {
        assert_eq!(of(&[0x12]), !0x1200);
        assert_eq!(of(&[0, 0, 0, 0, 0x12]), !0x1200);
    }

    #[test]
    fn the_longest_packet_of_ones_does_not_overflow() {
        assert_eq!(of(&vec![0xff; 65_536]), 0);
    }

    #[test]
    fn a_pseudo_header_is_summed_like_its_bytes() {
        let v4 = Sum::new().pseudo([10, 0, 1, 2].into(), [10, 0, 2, 2].into(), 6, 20).finish();
        assert_eq!(v4, plain(&[10, 0, 1, 2, 10, 0, 2, 2, 0, 6, 0, 20]));
        let (src, dst) = ([0x20; 16], [0x3f; 16]);
        let v6 = Sum::new().pseudo(src.into(), dst.into(), 17, 9).finish();
        assert_eq!(v6, plain(&[&src[..], &dst[..], &[0, 0, 0, 9, 0, 0, 0, 17]].concat()));
    }

    proptest! {
        #[test]
        fn the_fast_sum_is_the_plain_sum(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(of(&bytes), plain(&bytes));
        }

        #[test]
        fn pieces_of_even_length_add_up(head in proptest::collection::vec(any::<[u8; 2]>(), 0..50), tail in any::<Vec<u8>>()) {
            let whole = [head.as_flattened(), &tail].concat();
            prop_assert_eq!(Sum::new().bytes(head.as_flattened()).bytes(&tail).finish(), plain(&whole));
        }
    }
}
