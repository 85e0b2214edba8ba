//! Records out of TCP segments: messages before which their length stands. Retransmissions, gaps, and bounded joining, as for lines.
//!
//! Nothing in a stream of records says where the next one starts, so a segment is read only from where one is known to start, or from
//! where an unfinished one goes on. Behind a gap, or if a worker dies in the middle of a record, the direction is not read any more: a
//! stranger's bytes in the middle of a record must not be taken for one.

use cthelper_proto::Malformed;

use super::Order;
use super::order::end_of;

/// Record starts remembered per direction.
const STARTS: usize = 4;

/// How a record says its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It begins with the length of the whole, big-endian, in `width` bytes (1 to 4) that are part of the message. Less than `least` is no
    /// record, and ends the reading.
    Length {
        /// Bytes of the length.
        width: usize,
        /// Shortest record, bytes, at least `width`.
        least: u32,
    },
    /// It is one or more fragments, each behind four bytes that are not part of the message: the highest bit says that it is the last,
    /// the others are its length (RFC 5531 §11).
    Fragments,
}

impl Mark {
    fn width(self) -> usize {
        match self {
            Self::Length { width, .. } => width,
            Self::Fragments => 4,
        }
    }
}

/// A part of a message that is in one piece in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Offset in the message.
    pub from: usize,
    /// Offset in the payload.
    pub at: usize,
    /// Bytes.
    pub len: usize,
    /// The mark that counts its bytes and is not part of the message.
    pub mark: Option<FragmentMark>,
}

/// The four bytes before a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentMark {
    /// Offset in the payload; `None`: it came in an earlier segment.
    pub at: Option<usize>,
    /// As sent.
    pub value: u32,
}

/// A record, or the first `max` bytes of a longer one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The message.
    pub message: Vec<u8>,
    /// Where it lies in this segment; bytes that came in earlier ones are in no piece.
    pub pieces: Vec<Piece>,
}

/// What is known of one direction.
#[derive(Clone, Debug, Default)]
pub struct RecordSync {
    /// Sequence numbers at which a record starts, newest last.
    starts: [Option<u32>; STARTS],
    /// The record that has no end yet, and the sequence number behind what is there of it.
    tail: Option<(u32, Unfinished)>,
    /// Which segments have been seen.
    pub order: Order,
}

/// The beginning of a record; with nothing begun, the place between two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Unfinished {
    begun: bool,
    /// The mark, as far as it is there.
    mark: Vec<u8>,
    /// Bytes of the fragment that are still to come; `None` until the mark is whole.
    left: Option<u32>,
    /// No fragment follows this one.
    last: bool,
    /// The message so far, at most `max` bytes.
    body: Vec<u8>,
    /// It was longer than `max` and its head has been handed out.
    told: bool,
}

/// The records of one segment.
#[derive(Debug)]
pub struct Records<'a> {
    payload: &'a [u8],
    at: usize,
    mark: Mark,
    max: usize,
    now: Unfinished,
    pieces: Vec<Piece>,
    /// Offset of the mark of the fragment being read, if it is in this segment.
    mark_at: Option<usize>,
    value: u32,
    /// Offsets at which records start, the newest of them.
    starts: Vec<usize>,
    /// Where to read is known.
    reads: bool,
    /// The unfinished record begins in this segment.
    fresh: bool,
}

/// What remains of a segment behind its last whole record.
#[derive(Debug)]
pub struct Rest {
    now: Unfinished,
    starts: Vec<usize>,
    reads: bool,
    fresh: bool,
}

impl Rest {
    /// Whether the segment ends within a record, or where nobody knows.
    pub fn is_mid_record(&self) -> bool {
        !self.reads || self.now.begun
    }

    /// The message of a record that begins in this segment and is cut by its end.
    pub fn cut(&self) -> Option<&[u8]> {
        (self.reads && self.fresh && self.now.begun && !self.now.told).then_some(&self.now.body)
    }
}

impl RecordSync {
    /// Starts to read `payload`, whose first byte has sequence number `seq`. `mid_record`: what the private state says, believed only when
    /// nothing else is known.
    pub fn open<'a>(&self, seq: u32, payload: &'a [u8], mid_record: bool, mark: Mark, max: usize) -> Records<'a> {
        let (place, now) = match self.place(seq, payload.len(), mid_record) {
            Some((at, now)) => (Some(at), now),
            None => (None, Unfinished::default()),
        };
        let at = place.unwrap_or(payload.len());
        let fresh = !now.begun;
        Records {
            payload,
            at,
            mark,
            max,
            now,
            pieces: Vec::new(),
            mark_at: None,
            value: 0,
            starts: if fresh && place.is_some() { vec![at] } else { Vec::new() },
            reads: place.is_some(),
            fresh,
        }
    }

    /// From which offset the segment can be read, and as the continuation of what.
    fn place(&self, seq: u32, len: usize, mid_record: bool) -> Option<(usize, Unfinished)> {
        let within = |place: u32| usize::try_from(place.wrapping_sub(seq)).ok().filter(|offset| *offset < len);
        if let Some(at) = self.starts.iter().flatten().filter_map(|start| within(*start)).min() {
            return Some((at, Unfinished::default()));
        }
        if let Some((end, unfinished)) = &self.tail {
            return within(*end).map(|at| (at, unfinished.clone()));
        }
        let unknown = mid_record || self.order.has_begun() || self.order.is_behind_withheld(seq);
        (!unknown).then(|| (0, Unfinished::default()))
    }

    /// Remembers a segment of `len` bytes from `seq` that was read up to `rest`.
    pub fn close(&mut self, seq: u32, len: usize, rest: Rest) {
        let end = end_of(seq, len);
        for start in &rest.starts {
            self.learn(end_of(seq, *start));
        }
        if self.order.close(seq, end) && rest.reads {
            self.tail = rest.now.begun.then_some((end, rest.now));
        }
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

impl Records<'_> {
    /// The next record that ends in this segment, or the head of one that became too long in it.
    ///
    /// # Errors
    /// `record length`: it is less than a record can have. Nothing more is read, of this segment and those after it.
    pub fn next_record(&mut self) -> Option<Result<Record, Malformed>> {
        while self.reads {
            if self.now.left.is_none()
                && let Err(malformed) = self.read_mark()?
            {
                self.reads = false;
                return Some(Err(malformed));
            }
            self.read_body();
            let Unfinished { left, last, told, .. } = self.now;
            let whole = left == Some(0);
            if !told && self.now.body.len() >= self.max && !(whole && last) {
                self.now.told = true;
                let pieces = std::mem::take(&mut self.pieces);
                return Some(Ok(Record { message: std::mem::take(&mut self.now.body), pieces }));
            }
            if !whole {
                return None;
            }
            self.now.left = None;
            if last && let Some(record) = self.end_record() {
                return Some(Ok(record));
            }
        }
        None
    }

    /// Takes the memory of a record that has been read: there may be one for every few bytes of a packet.
    pub fn reuse(&mut self, mut message: Vec<u8>, mut pieces: Vec<Piece>) {
        if !self.now.begun {
            message.clear();
            pieces.clear();
            (self.now.body, self.pieces) = (message, pieces);
        }
    }

    /// What stands behind the last whole record; ask after [`Self::next_record`] has said `None`.
    pub fn rest(self) -> Rest {
        let mut now = self.now;
        now.body.shrink_to_fit();
        Rest { now, starts: self.starts, reads: self.reads, fresh: self.fresh }
    }

    /// Reads the mark. `None` if the segment ends before it does.
    fn read_mark(&mut self) -> Option<Result<(), Malformed>> {
        let payload = self.payload;
        let rest = payload.get(self.at..).unwrap_or_default();
        let missing = self.mark.width().saturating_sub(self.now.mark.len());
        let part = rest.get(..missing.min(rest.len())).unwrap_or_default();
        self.mark_at = self.now.mark.is_empty().then_some(self.at);
        self.now.begun |= !part.is_empty();
        self.at += part.len();
        self.now.mark.extend_from_slice(part);
        if matches!(self.mark, Mark::Length { .. }) {
            self.take(part, self.at - part.len());
        }
        if part.len() < missing {
            return None;
        }
        self.value = self.now.mark.drain(..).fold(0, |value, byte| value << 8 | u32::from(byte));
        match self.mark {
            Mark::Length { width, least } => {
                let width = u32::try_from(width).unwrap_or(4);
                let Some(left) = self.value.checked_sub(width).filter(|_| self.value >= least) else {
                    return Some(Err(Malformed("record length")));
                };
                (self.now.left, self.now.last) = (Some(left), true);
            }
            Mark::Fragments => {
                (self.now.left, self.now.last) = (Some(self.value & !LAST), self.value & LAST != 0);
            }
        }
        Some(Ok(()))
    }

    /// Reads of the fragment what is in this segment.
    fn read_body(&mut self) {
        let left = self.now.left.unwrap_or(0);
        let (start, rest) = (self.at, self.payload.get(self.at..).unwrap_or_default());
        let here = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if !self.now.told {
            self.take(rest.get(..here).unwrap_or_default(), start);
        }
        self.at += here;
        self.now.left = Some(left.saturating_sub(u32::try_from(here).unwrap_or(u32::MAX)));
    }

    /// Adds bytes of the payload from `at` on to the message, as many as fit.
    fn take(&mut self, bytes: &[u8], at: usize) {
        let from = self.now.body.len();
        let bytes = bytes.get(..bytes.len().min(self.max.saturating_sub(from))).unwrap_or_default();
        self.now.body.extend_from_slice(bytes);
        match self.pieces.last_mut() {
            Some(last) if last.from + last.len == from && last.at + last.len == at => last.len += bytes.len(),
            _ if bytes.is_empty() => {}
            _ => {
                let mark = match self.mark {
                    Mark::Length { .. } => None,
                    Mark::Fragments => Some(FragmentMark { at: self.mark_at, value: self.value }),
                };
                self.pieces.push(Piece { from, at, len: bytes.len(), mark });
            }
        }
    }

    /// The record that ends here, unless its head was handed out.
    fn end_record(&mut self) -> Option<Record> {
        let Unfinished { body, told, mark, .. } = std::mem::take(&mut self.now);
        self.now.mark = mark;
        let pieces = std::mem::take(&mut self.pieces);
        self.fresh = true;
        if self.starts.len() == STARTS {
            self.starts.remove(0);
        }
        self.starts.push(self.at);
        (!told).then_some(Record { message: body, pieces })
    }
}

/// The bit of a fragment's mark that says that no other follows.
pub const LAST: u32 = 1 << 31;

#[cfg(test)]
mod tests;
