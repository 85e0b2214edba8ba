//! The head of an HTTP-like message: a first line, then fields, up to an empty line or the end of what there is.

use std::ops::Range;

/// Its bytes, body included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a>(&'a [u8]);

/// Where a field's value stands in the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value(pub(super) Range<usize>);

impl<'a> Head<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The first line, without its end.
    pub(super) fn first(&self) -> &'a [u8] {
        self.lines().next().and_then(|line| self.0.get(line)).unwrap_or_default()
    }

    /// The value of the first field of this name, which is compared without regard to case (RFC 9110 §5.1). Linear in the head.
    pub(super) fn value(&self, name: &[u8]) -> Option<Value> {
        self.lines().skip(1).find_map(|line| {
            let (field, value) = self.0.get(line.clone())?.split_at_checked(name.len())?;
            let fits = field.eq_ignore_ascii_case(name) && value.first() == Some(&b':');
            fits.then(|| Value(line.start + name.len() + 1..line.end))
        })
    }

    /// Whether its empty line is there: otherwise more fields may follow.
    pub(super) fn is_whole(&self) -> bool {
        let without = |text: &'a [u8], byte: u8| text.split_first().filter(|(first, _)| **first == byte).map(|(_, rest)| rest);
        let line_end = |text: &'a [u8]| without(without(text, b'\r').unwrap_or(text), b'\n');
        let last = self.lines().last().map_or(0, |line| line.end);
        self.0.get(last..).and_then(line_end).and_then(line_end).is_some()
    }

    /// The lines before the first that is empty, each without its end (CR LF or LF).
    fn lines(&self) -> impl Iterator<Item = Range<usize>> {
        let all = self.0;
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = all.get(at..)?;
            let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            let line = rest.get(..length)?;
            let text = line.strip_suffix(b"\r").unwrap_or(line);
            let start = at;
            at += length + 1;
            (!text.is_empty()).then(|| start..start + text.len())
        })
    }
}

impl Value {
    pub(super) fn of<'a>(&self, head: &Head<'a>) -> &'a [u8] {
        head.0.get(self.0.clone()).unwrap_or_default()
    }

    /// What stands between the first `open` and the `close` behind it.
    pub(super) fn within(&self, head: &Head<'_>, open: u8, close: u8) -> Option<Self> {
        let text = self.of(head);
        let start = text.iter().position(|byte| *byte == open)? + 1;
        let length = text.get(start..)?.iter().position(|byte| *byte == close)?;
        Some(Self(self.0.start + start..self.0.start + start + length))
    }
}
