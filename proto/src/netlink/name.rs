//! Names that others gave to things in the kernel, as text that can be shown anywhere; and back.
//!
//! The kernel takes any bytes but NUL. Letters, digits, ASCII punctuation and blanks are shown as they are; every other byte as `\xNN`, and
//! a backslash too where it would read as one of those. So each name has one text, and what is shown names the same thing when it is typed.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};

/// A name as the kernel has it, without its NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// What comes before the first NUL.
    pub fn until_nul(value: &'a [u8]) -> Self {
        Self(value.split(|byte| *byte == 0).next().unwrap_or_default())
    }

    /// Whether this text stands for it.
    pub fn is(self, text: &str) -> bool {
        *bytes(text) == *self.0
    }

    /// As text.
    pub fn shown(self) -> Cow<'a, str> {
        shown(self.0)
    }
}

impl<'a> From<&'a str> for Name<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Serialize for Name<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

/// Any bytes as text.
pub fn shown(name: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(name) {
        Ok(text) if !text.contains("\\x") && text.chars().all(is_shown) => Cow::Borrowed(text),
        _ => Cow::Owned(escaped(name)),
    }
}

fn escaped(name: &[u8]) -> String {
    let mut out = String::with_capacity(4 * name.len());
    for chunk in name.utf8_chunks() {
        let mut rest = chunk.valid().chars();
        while let Some(c) = rest.next() {
            let mut bytes = [0; 4];
            let reads_as_escape = c == '\\' && byte_at(rest.as_str().as_bytes()).is_some();
            if is_shown(c) && !reads_as_escape {
                out.push(c);
            } else {
                c.encode_utf8(&mut bytes).bytes().for_each(|byte| push(&mut out, byte));
            }
        }
        chunk.invalid().iter().for_each(|byte| push(&mut out, *byte));
    }
    out
}

fn is_shown(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric()
}

fn push(out: &mut String, byte: u8) {
    out.push_str("\\x");
    out.extend([byte >> 4, byte & 15].into_iter().filter_map(|digit| char::from_digit(digit.into(), 16)));
}

/// A name as somebody typed it, raw or as it is shown: only what is no text becomes `\xNN`.
pub fn typed(word: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(word) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(4 * word.len());
    for chunk in word.utf8_chunks() {
        out.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| push(&mut out, *byte));
    }
    Cow::Owned(out)
}

/// The bytes that a text stands for.
pub fn bytes(text: &str) -> Cow<'_, [u8]> {
    if !text.contains("\\x") {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match byte_at(after) {
            Some(byte) if *first == b'\\' => {
                out.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => out.push(*first),
        }
    }
    Cow::Owned(out)
}

/// The byte of `xNN`, if that comes next.
fn byte_at(rest: &[u8]) -> Option<u8> {
    let [b'x', high, low, ..] = rest else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(*high)? << 4 | digit(*low)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_moves_no_cursor_stays_as_it_is() {
        for (name, text) in [
            (&b"ftp"[..], "ftp"),
            (b"", ""),
            (b"Q.931", "Q.931"),
            ("m\u{fc}ller".as_bytes(), "m\u{fc}ller"),
            (b"a\\b", "a\\b"),
            (b"\xff", "\\xff"),
            (b"a\x1b[2J", "a\\x1b[2J"),
            ("\u{202e}".as_bytes(), "\\xe2\\x80\\xae"),
            (b"\\xff", "\\x5cxff"),
            (b"\\xfg", "\\xfg"),
        ] {
            assert_eq!(shown(name), text);
        }
    }

    #[test]
    fn a_name_ends_at_its_nul() {
        assert_eq!(Name::until_nul(b"ftp\0\0"), Name::from("ftp"));
        assert_eq!(Name::until_nul(b"\xff").to_string(), "\\xff");
    }

    #[test]
    fn what_is_shown_can_be_typed() {
        assert_eq!(*bytes("a\\xffb\\x1B"), *b"a\xffb\x1b");
        assert_eq!(*bytes("a\\xf"), *b"a\\xf");
        for word in [&b"a\xffb\x1b"[..], b"a\\xffb\x1b", b"a\\xffb\\x1b", b"a\xffb\\x1b"] {
            assert_eq!(*bytes(&typed(word)), *b"a\xffb\x1b");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name in prop::collection::vec(prop_oneof![1_u8..=255, Just(b'\\'), Just(b'x'), Just(b'f')], 0..16)) {
            let text = shown(&name).into_owned();
            prop_assert_eq!(&*bytes(&text), &name[..]);
            prop_assert!(text.chars().all(is_shown));
        }
    }
}
