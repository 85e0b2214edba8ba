//! Lines out of TCP segments: where lines start, bounded joining of a line cut by a segment's end, retransmissions and gaps.
//!
//! Sequence numbers are 32 bits and wrap (RFC 9293 §3.4). A line ends with LF; one CR before it belongs to the end. A segment is read
//! from its first byte only where a line is known to start there, or where nothing is known yet (a fresh worker) and the private state
//! does not say that the connection is in the middle of a line; otherwise from behind its first LF. That is what keeps a stranger's text
//! in the middle of a line (a file name, a chat) from being taken for a command.

use std::borrow::Cow;

/// Line starts remembered per direction: enough for retransmissions of a few pipelined segments.
const STARTS: usize = 4;
/// How often the segment with the start of a cut line is withheld: TCP repeats it alone when the rest has not been sent yet. The
/// supervisor's limit for one segment must not be lower.
const HEADS: u8 = 3;
/// How often segments behind it are withheld: the other pieces of the line, and the last of them again as tail loss probe (RFC 8985 §7).
const OTHERS: u8 = 6;

/// What is known of one direction.
#[derive(Clone, Debug, Default)]
pub struct LineSync {
    /// Sequence numbers at which a line starts, newest last.
    starts: [Option<u32>; STARTS],
    /// End of the newest segment that went on.
    newest: Option<u32>,
    /// The line that has no end yet.
    tail: Option<Tail>,
    /// The segment that TCP was last made to send again because it ends in a cut line.
    withheld: Option<Withheld>,
    /// The newest gap, from and to: what comes from there is late, not repeated.
    gap: Option<(u32, u32)>,
}

/// A segment that did not go on.
#[derive(Clone, Copy, Debug)]
struct Withheld {
    /// Its first sequence number.
    start: u32,
    /// How often it, and how often what is behind it, was withheld.
    heads: u8,
    others: u8,
    /// It has not gone on yet.
    waiting: bool,
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

/// Sequence number behind `len` bytes from `seq`.
#[allow(clippy::cast_possible_truncation, reason = "sequence numbers are modulo 2^32")]
pub fn end_of(seq: u32, len: usize) -> u32 {
    seq.wrapping_add(len as u32)
}

/// Sequence number `len` bytes before `seq`.
#[allow(clippy::cast_possible_truncation, reason = "sequence numbers are modulo 2^32")]
pub fn start_of(seq: u32, len: usize) -> u32 {
    seq.wrapping_sub(len as u32)
}

/// Whether sequence number `seq` comes after `other`, modulo 2³².
fn is_behind(seq: u32, other: u32) -> bool {
    seq != other && seq.wrapping_sub(other) < 1 << 31
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
            _ => lines.skipping = mid_line || self.newest.is_some() || self.tail.is_some() || self.is_behind_withheld(seq),
        }
        lines
    }

    /// Whether a segment that ends at `end` is at least as new as all that went on before.
    pub fn is_newest(&self, end: u32) -> bool {
        self.newest.is_none_or(|newest| end.wrapping_sub(newest) < 1 << 31)
    }

    /// Whether all of the segment from `seq` to `end` has gone on before.
    pub fn is_repeated(&self, seq: u32, end: u32) -> bool {
        let late = self.gap.is_some_and(|(from, to)| seq.wrapping_sub(from) < to.wrapping_sub(from));
        !late && self.newest.is_some_and(|newest| newest.wrapping_sub(end) < 1 << 31)
    }

    /// Whether the segment at `seq` stands behind one that TCP was made to send again and has not yet: it must not go on before that, because
    /// what is repeated then could not become longer, and because TCP repeats both in one piece only if none has arrived
    /// (`tcp_retrans_try_collapse`, Linux 6.12).
    pub fn is_behind_withheld(&self, seq: u32) -> bool {
        self.withheld.is_some_and(|withheld| withheld.waiting && is_behind(seq, withheld.start))
    }

    /// Whether the segment from `seq` to `end` may be withheld (once more).
    pub fn may_withhold(&self, seq: u32, end: u32) -> bool {
        let patient = match self.withheld {
            Some(withheld) if withheld.start == seq => withheld.waiting && withheld.heads < HEADS,
            Some(withheld) if self.is_behind_withheld(seq) => withheld.others < OTHERS,
            _ => true,
        };
        patient && !self.is_repeated(seq, end)
    }

    /// The segment at `seq` does not go on, so nothing else is remembered of it.
    pub fn withhold(&mut self, seq: u32) {
        let behind = self.is_behind_withheld(seq);
        match &mut self.withheld {
            Some(withheld) if withheld.start == seq => withheld.heads += 1,
            Some(withheld) if behind => withheld.others += 1,
            withheld => *withheld = Some(Withheld { start: seq, heads: 1, others: 0, waiting: true }),
        }
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
        if let Some(withheld) = &mut self.withheld {
            withheld.waiting &= !is_behind(end, withheld.start);
        }
        match (self.newest, &mut self.gap) {
            (_, Some((from, _))) if *from == seq => *from = end,
            (Some(newest), gap) if newest != seq && seq.wrapping_sub(newest) < 1 << 31 => *gap = Some((newest, seq)),
            _ => {}
        }
        if !self.is_newest(end) {
            return;
        }
        self.newest = Some(end);
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
