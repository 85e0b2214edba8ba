//! Checked readers for numbers and addresses in text. Each takes bytes from the front of a [`Text`] and keeps track of the offset, so that
//! what was read can be rewritten.

mod address;
mod number;

pub use address::{ipv4, ipv6};
pub use number::{Overflow, number};

/// A cursor over the bytes of a message.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Text<'a> {
    /// Starts at the first byte.
    pub fn new(all: &'a [u8]) -> Self {
        Self { all, at: 0 }
    }

    /// The same text from offset `at` on.
    #[must_use]
    pub fn at(self, at: usize) -> Self {
        Self { at: at.min(self.all.len()), ..self }
    }

    /// Offset of the next byte.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.all.get(self.at..).unwrap_or_default()
    }

    /// The next byte, still unread.
    pub fn peek(&self) -> Option<u8> {
        self.all.get(self.at).copied()
    }

    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Reads `byte` if it is the next one.
    pub fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Reads the bytes for which `wanted` holds.
    pub fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let len = rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len());
        self.at += len;
        #[cfg(test)]
        steps::add(len + 1);
        rest.get(..len).unwrap_or_default()
    }

    /// Reads `word`, which must be upper-case ASCII, in any case, if it stands next and no letter or digit follows.
    pub fn word(&mut self, word: &[u8]) -> bool {
        let Some((head, tail)) = self.rest().split_at_checked(word.len()) else { return false };
        let there = head.eq_ignore_ascii_case(word) && !tail.first().is_some_and(u8::is_ascii_alphanumeric);
        self.at += if there { word.len() } else { 0 };
        there
    }

    /// Reads up to `byte` and over it; what stands before it, or `None` (and nothing read) if it is not there.
    pub fn until(&mut self, byte: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let text = ahead.take_while(|other| other != byte);
        ahead.eat(byte).then(|| *self = ahead)?;
        Some(text)
    }
}

/// Counts the bytes that were looked at, in this thread: every loop over a text is a [`Text::take_while`].
#[cfg(test)]
pub(crate) mod steps {
    use std::cell::Cell;

    thread_local!(static STEPS: Cell<usize> = const { Cell::new(0) });

    pub(super) fn add(steps: usize) {
        STEPS.set(STEPS.get() + steps);
    }

    /// So many since the last call.
    pub(crate) fn taken() -> usize {
        STEPS.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_whole_and_in_any_case() {
        assert!(Text::new(b"ePsV all").word(b"EPSV"));
        assert!(Text::new(b"EPSV").word(b"EPSV"));
        assert!(!Text::new(b"EPSVX").word(b"EPSV"));
        assert!(!Text::new(b"EPS").word(b"EPSV"));
    }

    #[test]
    fn until_reads_nothing_when_the_end_is_missing() {
        let mut text = Text::new(b"a|b");
        assert_eq!(text.until(b'|'), Some(&b"a"[..]));
        assert_eq!(text.until(b'|'), None);
        assert_eq!((text.offset(), text.rest()), (2, &b"b"[..]));
    }

    #[test]
    fn an_offset_behind_the_end_reads_nothing() {
        let mut text = Text::new(b"abc").at(9);
        assert_eq!((text.byte(), text.eat(b'a'), text.rest()), (None, false, &b""[..]));
    }
}
