//! Attributes, read: a checked iterator, and getters that name the field they failed on.

use super::message::NLA_TYPE_MASK;
use super::name::Name;
use crate::Malformed;
use crate::reader::Reader;

/// The attributes of a message or of a nest, in the order they stand. A broken one ends the iteration with its error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attrs<'a> {
    bytes: &'a [u8],
}

impl<'a> Attrs<'a> {
    /// Reads attributes from all of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// From the first on.
    pub fn iter(&self) -> Iter<'a> {
        Iter { rest: self.bytes }
    }

    /// As they came.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> IntoIterator for Attrs<'a> {
    type Item = Result<Attr<'a>, Malformed>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &Attrs<'a> {
    type Item = Result<Attr<'a>, Malformed>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Where the reading of [`Attrs`] is.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iter<'a> {
    fn read(&mut self) -> Result<Attr<'a>, Malformed> {
        let mut reader = Reader::new(self.rest);
        let length = usize::from(reader.ne16("attribute header")?);
        let kind = reader.ne16("attribute header")? & NLA_TYPE_MASK;
        let value = reader.take(length.checked_sub(4).ok_or(Malformed("attribute length"))?, "attribute length")?;
        // The payload of a packet message, its last attribute, comes without padding.
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Ok(Attr { kind, value })
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Result<Attr<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let attr = self.read();
        if attr.is_err() {
            self.rest = &[];
        }
        Some(attr)
    }
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr<'a> {
    /// Its number, without the flag bits.
    pub kind: u16,
    /// Its bytes, without padding.
    pub value: &'a [u8],
}

impl<'a> Attr<'a> {
    /// The attributes inside.
    pub fn nested(&self) -> Attrs<'a> {
        Attrs::new(self.value)
    }

    /// One byte, exactly.
    pub fn u8(&self, what: &'static str) -> Result<u8, Malformed> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    /// Two bytes, big-endian, exactly.
    pub fn be16(&self, what: &'static str) -> Result<u16, Malformed> {
        self.array(what).map(u16::from_be_bytes)
    }

    /// Four bytes, big-endian, exactly.
    pub fn be32(&self, what: &'static str) -> Result<u32, Malformed> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// Eight bytes, big-endian, exactly.
    pub fn be64(&self, what: &'static str) -> Result<u64, Malformed> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// Four bytes in the host's order, exactly: only extended acknowledgements have such values.
    pub fn ne32(&self, what: &'static str) -> Result<u32, Malformed> {
        self.array(what).map(u32::from_ne_bytes)
    }

    /// `N` bytes, exactly.
    pub fn array<const N: usize>(&self, what: &'static str) -> Result<[u8; N], Malformed> {
        self.value.try_into().map_err(|_| Malformed(what))
    }

    /// A name up to the first NUL, or to the end if there is none.
    pub fn name(&self) -> Name<'a> {
        Name::until_nul(self.value)
    }

    /// Text up to the first NUL, or to the end if there is none; must be UTF-8.
    pub fn str(&self, what: &'static str) -> Result<&'a str, Malformed> {
        let text = self.value.split(|byte| *byte == 0).next().unwrap_or_default();
        std::str::from_utf8(text).map_err(|_| Malformed(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer::Writer;

    fn attr(value: &[u8]) -> Attr<'_> {
        Attr { kind: 1, value }
    }

    #[test]
    fn flag_bits_are_not_part_of_the_kind() {
        let mut out = Vec::new();
        Writer::new(&mut out).attr(0xc005, &[9]);
        assert_eq!(Attrs::new(&out).iter().next(), Some(Ok(Attr { kind: 5, value: &[9] })));
    }

    #[test]
    fn the_last_padding_may_be_missing() {
        let mut out = Vec::new();
        Writer::new(&mut out).attr(10, &[1, 2, 3, 4, 5]);
        out.truncate(9);
        assert_eq!(Attrs::new(&out).iter().collect::<Vec<_>>(), [Ok(Attr { kind: 10, value: &[1, 2, 3, 4, 5] })]);
    }

    #[test]
    fn a_length_below_the_header_or_past_the_end_is_refused_once() {
        for bytes in [[3_u16.to_ne_bytes(), [1, 0]], [9_u16.to_ne_bytes(), [1, 0]]] {
            let bytes = [bytes.concat(), vec![0; 4]].concat();
            assert_eq!(Attrs::new(&bytes).iter().collect::<Vec<_>>(), [Err(Malformed("attribute length"))]);
        }
        assert_eq!(Attrs::new(&[8, 0, 1]).iter().collect::<Vec<_>>(), [Err(Malformed("attribute header"))]);
    }

    #[test]
    fn a_number_of_the_wrong_size_names_its_field() {
        assert_eq!(attr(&[0, 1]).be16("port"), Ok(1));
        assert_eq!(attr(&[0, 1, 2]).be16("port"), Err(Malformed("port")));
        assert_eq!(attr(&[]).u8("proto"), Err(Malformed("proto")));
        assert_eq!(attr(&[0; 4]).be64("counter"), Err(Malformed("counter")));
    }

    #[test]
    fn text_ends_at_its_nul() {
        assert_eq!(attr(b"ftp\0\0").str("name"), Ok("ftp"));
        assert_eq!(attr(b"ftp").str("name"), Ok("ftp"));
        assert_eq!(attr(b"").str("name"), Ok(""));
        assert_eq!(attr(&[0xff, 0]).str("name"), Err(Malformed("name")));
    }
}
