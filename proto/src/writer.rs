//! Builds netlink attributes: nests open and close in pairs, padding is automatic.
//!
//! An attribute is `u16 length | u16 kind | value`, host order, padded to 4; the length counts the header but not the padding.

use crate::netlink::message::NLA_F_NESTED;
use crate::netlink::name;

/// Bytes of an attribute's header.
const HEADER: usize = 4;

/// Appends attributes to a message. What does not fit the 16-bit length is left out whole, attribute or nest: a message never lies
/// about its own structure. Only a payload can be that long; who builds one checks [`Writer::MAX_VALUE`] first.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Longest value of one attribute, bytes.
    pub const MAX_VALUE: usize = u16::MAX as usize - HEADER;

    /// Appends to what `out` already holds.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// An attribute with these bytes as its value.
    pub fn attr(&mut self, kind: u16, value: &[u8]) {
        let Some(length) = length_of(value.len()) else { return };
        self.out.extend_from_slice(&length.to_ne_bytes());
        self.out.extend_from_slice(&kind.to_ne_bytes());
        self.out.extend_from_slice(value);
        self.pad(value.len());
    }

    /// One byte.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.attr(kind, &[value]);
    }

    /// Two bytes, big-endian.
    pub fn be16(&mut self, kind: u16, value: u16) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// Four bytes, big-endian.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// Eight bytes, big-endian.
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// Text and the NUL that ends it.
    pub fn str0(&mut self, kind: u16, text: &str) {
        let Some(length) = length_of(text.len() + 1) else { return };
        self.out.extend_from_slice(&length.to_ne_bytes());
        self.out.extend_from_slice(&kind.to_ne_bytes());
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(0);
        self.pad(text.len() + 1);
    }

    /// The bytes that a name's text stands for, and the NUL that ends them.
    pub fn name(&mut self, kind: u16, name: &str) {
        self.attr(kind, &[&name::bytes(name), &[0][..]].concat());
    }

    /// An attribute that holds the attributes `body` writes.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Writer<'_>)) {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 2]);
        self.out.extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        body(&mut Writer::new(self.out));
        let length = self.out.len().checked_sub(start + HEADER).and_then(length_of);
        match (length, self.out.get_mut(start..start + 2)) {
            (Some(length), Some(place)) => place.copy_from_slice(&length.to_ne_bytes()),
            _ => self.out.truncate(start),
        }
    }

    fn pad(&mut self, value_len: usize) {
        self.out.resize(self.out.len() + value_len.next_multiple_of(4) - value_len, 0);
    }
}

/// What the length field says of a value this long, or `None` if it cannot.
fn length_of(value_len: usize) -> Option<u16> {
    u16::try_from(value_len + HEADER).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        body(&mut Writer::new(&mut out));
        out
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn values_are_padded_and_the_length_does_not_count_the_padding() {
        assert_eq!(written(|w| w.u8(1, 0xaa)), [5, 0, 1, 0, 0xaa, 0, 0, 0]);
        assert_eq!(written(|w| w.be16(2, 0x0102)), [6, 0, 2, 0, 1, 2, 0, 0]);
        assert_eq!(written(|w| w.be32(3, 0x0102_0304)), [8, 0, 3, 0, 1, 2, 3, 4]);
        assert_eq!(written(|w| w.be64(4, 5)), [12, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(written(|w| w.str0(5, "ftp")), [8, 0, 5, 0, b'f', b't', b'p', 0]);
        assert_eq!(written(|w| w.attr(6, &[])), [4, 0, 6, 0]);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_nest_holds_what_its_body_wrote() {
        let out = written(|w| w.nest(1, |w| w.nest(2, |w| w.u8(3, 7))));
        assert_eq!(out, [16, 0, 1, 0x80, 12, 0, 2, 0x80, 5, 0, 3, 0, 7, 0, 0, 0]);
        assert_eq!(written(|w| w.nest(11, |_| ())), [4, 0, 11, 0x80]);
    }

    #[test]
    fn what_does_not_fit_is_left_out_whole() {
        let long = vec![1; Writer::MAX_VALUE + 1];
        assert_eq!(written(|w| w.attr(1, &long)), [0_u8; 0]);
        assert_eq!(written(|w| w.attr(1, &long[1..])).len(), 65536);
        let text = "a".repeat(Writer::MAX_VALUE);
        assert_eq!(written(|w| w.str0(1, &text)), [0_u8; 0]);
        let twice = written(|w| {
            w.u8(1, 1);
            w.nest(2, |w| {
                w.attr(3, &long[..40_000]);
                w.attr(3, &long[..40_000]);
            });
            w.u8(4, 4);
        });
        assert_eq!(
            twice,
            written(|w| {
                w.u8(1, 1);
                w.u8(4, 4);
            })
        );
    }
}
