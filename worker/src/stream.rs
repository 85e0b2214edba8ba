//! Lines out of TCP segments: where lines start, bounded joining of a line cut by a segment's end, retransmissions and gaps.
//!
//! Sequence numbers are 32 bits and wrap (RFC 9293 §3.4). A line ends with LF; one CR before it belongs to the end. A segment is read
//! from its first byte only where a line is known to start there, or where nothing is known yet (a fresh worker) and the private state
//! does not say that the connection is in the middle of a line; otherwise from behind its first LF. That is what keeps a stranger's text
//! in the middle of a line (a file name, a chat) from being taken for a command.

mod order;
pub mod records;

use std::borrow::Cow;

pub use order::{Order, end_of, start_of};

/// Line starts remembered per direction: enough for retransmissions of a few pipelined segments.
const STARTS: usize = 4;

/// What is known of one direction.
#[derive(Clone, Debug, Default)]
pub struct LineSync {
    /// Sequence numbers at which a line starts, newest last.
    starts: [Option<u32>; STARTS],
    /// The line that has no end yet.
    tail: Option<Tail>,
    /// Which segments have been seen.
    pub order: Order,
}

/// The beginning of a line.
#[derive(Clone, Debug)]
struct Tail {
    /// Sequence number behind it.
    end: u32,
    /// Its bytes; empty when skipping.
    bytes: Vec<u8>,
    /// Too long, or its start is unknown: to be skipped up to its LF.
    skipping: bool,
}

impl Tail {
    /// How many of its bytes stand before `seq`, if that lies within it or directly behind.
    fn bytes_before(&self, seq: u32) -> Option<usize> {
        let behind = usize::try_from(self.end.wrapping_sub(seq)).ok()?;
        self.bytes.len().checked_sub(behind)
    }
}

/// One line, without its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Its text.
    pub text: Cow<'a, [u8]>,
    /// How many of its bytes came in earlier segments.
    pub before: usize,
    /// Offset in the payload of the first byte that is in this segment.
    pub at: usize,
}

/// The lines of one segment.
#[derive(Debug)]
pub struct Lines<'a> {
    payload: &'a [u8],
    at: usize,
    carried: Vec<u8>,
    skipping: bool,
    max: usize,
}

/// What [`Lines::next_line`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A whole line.
    Line(Line<'a>),
    /// The end of a line longer than the limit; its first `max` bytes.
    TooLong(Vec<u8>),
}

/// What remains of a segment behind its last LF.
#[derive(Debug)]
pub struct Rest {
    /// The unfinished line, with what earlier segments held of it; empty if there is none or it is skipped.
    pub partial: Vec<u8>,
    /// The line has become longer than the limit: its first `max` bytes.
    pub too_long: Option<Vec<u8>>,
    /// The line is skipped up to its LF.
    skipping: bool,
}

impl Rest {
    /// Whether the segment ends in the middle of a line.
    pub fn is_mid_line(&self) -> bool {
        self.skipping || !self.partial.is_empty()
    }
}

impl LineSync {
    /// Starts to read `payload`, whose first byte has sequence number `seq`. `mid_line`: what the private state says, believed only when
    /// nothing else is known. Lines longer than `max` bytes are not returned.
    pub fn open<'a>(&self, seq: u32, payload: &'a [u8], mid_line: bool, max: usize) -> Lines<'a> {
        let mut lines = Lines { payload, at: 0, carried: Vec::new(), skipping: false, max };
        match &self.tail {
            Some(tail) if tail.end == seq => {
                lines.carried.clone_from(&tail.bytes);
                lines.skipping = tail.skipping;
            }
            _ if self.starts.contains(&Some(seq)) => {}
            Some(tail) if tail.bytes_before(seq).is_some() => {
                lines.carried.extend(tail.bytes.iter().take(tail.bytes_before(seq).unwrap_or(0)));
            }
            _ => lines.skipping = mid_line || self.order.has_begun() || self.tail.is_some() || self.order.is_behind_withheld(seq),
        }
        lines
    }

    /// Remembers a segment of `len` bytes from `seq` that was read up to `rest`.
    pub fn close(&mut self, seq: u32, len: usize, read_from_start: bool, rest: Rest) {
        let end = end_of(seq, len);
        if read_from_start {
            self.learn(seq);
        }
        if !rest.is_mid_line() {
            self.learn(end);
        }
        if !self.order.close(seq, end) {
            return;
        }
        self.tail = rest.is_mid_line().then_some(Tail { end, bytes: rest.partial, skipping: rest.skipping });
    }

    fn learn(&mut self, start: u32) {
        if !self.starts.contains(&Some(start)) {
            self.starts.rotate_left(1);
            if let Some(last) = self.starts.last_mut() {
                *last = Some(start);
            }
        }
    }
}

impl<'a> Lines<'a> {
    /// Whether the segment's first byte starts a line.
    pub fn read_from_start(&self) -> bool {
        self.at == 0 && !self.skipping && self.carried.is_empty()
    }

    /// Whether the line behind the last LF, if any, begins in this segment; ask after [`Self::next_line`] has said `None`.
    pub fn ends_in_fresh_line(&self) -> bool {
        self.carried.is_empty() && !self.skipping
    }

    /// The next line that ends in this segment.
    pub fn next_line(&mut self) -> Option<Found<'a>> {
        loop {
            let payload = self.payload;
            let at = self.at;
            let rest = payload.get(at..)?;
            let (text, _) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'\n')?)?;
            self.at = at + text.len() + 1;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            let before = self.carried.len();
            let mut text = Cow::Borrowed(text);
            if before > 0 {
                let mut whole = std::mem::take(&mut self.carried);
                whole.extend_from_slice(&text);
                text = Cow::Owned(whole);
            }
            let text = without_cr(text);
            let fits = text.len() <= self.max;
            if !fits {
                let mut head = text.into_owned();
                head.truncate(self.max);
                return Some(Found::TooLong(head));
            }
            return Some(Found::Line(Line { text, before, at }));
        }
    }

    /// What stands behind the last LF; ask after [`Self::next_line`] has said `None`.
    pub fn rest(self) -> Rest {
        let unread = self.payload.get(self.at..).unwrap_or_default();
        if self.skipping {
            return Rest { partial: Vec::new(), too_long: None, skipping: true };
        }
        // One byte more than a line may have: its CR.
        if self.carried.len() + unread.len() > self.max + 1 {
            let head = self.carried.iter().chain(unread).take(self.max).copied().collect();
            return Rest { partial: Vec::new(), too_long: Some(head), skipping: true };
        }
        let mut partial = self.carried;
        partial.reserve_exact(unread.len());
        partial.extend_from_slice(unread);
        Rest { partial, too_long: None, skipping: false }
    }
}

fn without_cr(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_suffix(b"\r").unwrap_or(text)),
        Cow::Owned(mut text) => {
            if text.last() == Some(&b'\r') {
                text.pop();
            }
            Cow::Owned(text)
        }
    }
}

#[cfg(test)]
mod tests;
