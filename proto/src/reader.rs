//! The one place where bytes of others are sliced: every read is checked and names what it was reading.

use std::fmt;

/// A stranger's bytes broke a rule; the text names the field. The packet passes, the field is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// A cursor over bytes that cannot panic.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes, or `Malformed(what)`.
    pub fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(Malformed(what))?;
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<&'a [u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Malformed(what))?;
        self.rest = rest;
        Ok(head)
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.array::<1>(what).map(|b| b[0])
    }

    /// Two bytes, big-endian.
    pub fn be16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        self.array(what).map(|b| u16::from_be_bytes(*b))
    }

    /// Four bytes, big-endian.
    pub fn be32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.array(what).map(|b| u32::from_be_bytes(*b))
    }

    /// Eight bytes, big-endian.
    pub fn be64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.array(what).map(|b| u64::from_be_bytes(*b))
    }

    /// Two bytes in the host's order (netlink headers).
    pub fn ne16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        self.array(what).map(|b| u16::from_ne_bytes(*b))
    }

    /// Four bytes in the host's order (netlink headers).
    pub fn ne32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.array(what).map(|b| u32::from_ne_bytes(*b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_read_names_the_field_and_consumes_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.be32("length"), Err(Malformed("length")));
        assert_eq!(reader.be16("length"), Ok(0x0102));
        assert_eq!(reader.rest(), &[3]);
    }
}
