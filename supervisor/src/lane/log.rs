//! A worker's last words: the tail of its stderr, bounded, escaped when shown.

use std::collections::VecDeque;

use crate::evidence::text;

/// Bytes kept.
const TAIL: usize = 4096;

/// Bytes of one worker that go into our own log; what it writes beyond is only kept as its last words.
const PASSED_ON: usize = 64 * 1024;

/// The end of what was written.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
    total: usize,
}

impl Tail {
    /// Adds what was read; whether it may go into our own log, too.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        self.bytes.extend(bytes);
        let excess = self.bytes.len().saturating_sub(TAIL);
        self.bytes.drain(..excess);
        self.total = self.total.saturating_add(bytes.len());
        self.total <= PASSED_ON
    }

    /// Lines of printable ASCII, with every other byte escaped.
    pub(super) fn escaped(&self) -> String {
        let (front, back) = self.bytes.as_slices();
        text::escaped(&[front, back].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept_and_nothing_reaches_a_terminal_raw() {
        let mut tail = Tail::default();
        tail.push(&[b'x'; 10_000]);
        tail.push(b"\x1b[2Jend\n");
        let text = tail.escaped();
        assert!(text.len() <= 4096 + 8);
        assert!(!(0..20).map(|_| tail.push(&[b'x'; 10_000])).last().unwrap(), "a flood stays out of our log");
        assert!(text.ends_with("\\x1b[2Jend"));
    }
}
