//! What waits for one client: answers and notices, which stay, and events, which give way when there is no more room.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

/// Pieces sent with one system call at most.
const AT_ONCE: usize = 64;
/// What a piece costs besides its bytes, about.
const OVERHEAD: usize = 48;

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// Events.
    pub(super) records: usize,
    /// Bytes.
    pub(super) bytes: usize,
}

/// Bytes on their way to one client. Pieces are shared by clients.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// These are being sent, and cannot be taken back.
    sending: VecDeque<Rc<[u8]>>,
    /// Of the first of them, how much is gone.
    sent: usize,
    waiting: VecDeque<Piece>,
    /// Events that gave way, between what is being sent and what waits; not told yet.
    lost: u64,
    /// Events that wait.
    events: usize,
    /// Bytes that wait, with what each piece costs.
    bytes: usize,
    /// Answers and notices that wait.
    words: usize,
}

#[derive(Debug)]
struct Piece {
    bytes: Rc<[u8]>,
    is_event: bool,
}

impl Piece {
    fn cost(&self) -> usize {
        self.bytes.len() + OVERHEAD
    }
}

/// How a flush ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Nothing is left.
    Empty,
    /// The client has no room at the moment.
    Full,
    /// The client is gone.
    Gone,
}

impl Backlog {
    /// An answer or a notice: it stays, whatever happens. The caller bounds how many there are.
    pub(super) fn push_word(&mut self, bytes: Rc<[u8]>) {
        self.push(Piece { bytes, is_event: false });
    }

    /// Answers and notices that wait.
    pub(super) fn words(&self) -> usize {
        self.words
    }

    /// Bytes that wait, with what each piece costs.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the client has been sent everything.
    pub(super) fn is_empty(&self) -> bool {
        self.sending.is_empty() && self.waiting.is_empty()
    }

    /// An event; the oldest ones that wait give way to it. Returns how many.
    pub(super) fn push_event(&mut self, bytes: Rc<[u8]>, limit: Limit) -> u64 {
        let piece = Piece { bytes, is_event: true };
        let mut gone = 0;
        while !self.has_room(&piece, limit) && self.drop_oldest() {
            gone += 1;
        }
        self.push(piece);
        gone
    }

    /// Whether one more event of this length finds room.
    pub(super) fn has_room_for(&self, length: usize, limit: Limit) -> bool {
        self.events < limit.records && self.bytes + length + OVERHEAD <= limit.bytes
    }

    fn has_room(&self, piece: &Piece, limit: Limit) -> bool {
        self.has_room_for(piece.bytes.len(), limit)
    }

    /// Whether it is filled to more than a half.
    pub(super) fn is_half_full(&self, limit: Limit) -> bool {
        self.events > limit.records / 2 || self.bytes > limit.bytes / 2
    }

    fn push(&mut self, piece: Piece) {
        if piece.bytes.is_empty() {
            return;
        }
        self.bytes += piece.cost();
        self.events += usize::from(piece.is_event);
        self.words += usize::from(!piece.is_event);
        self.waiting.push_back(piece);
    }

    /// The oldest event that waits goes; `false` if none does. Notices before it keep their place.
    fn drop_oldest(&mut self) -> bool {
        let Some(piece) = self.waiting.iter().position(|piece| piece.is_event).and_then(|at| self.waiting.remove(at)) else {
            return false;
        };
        self.bytes = self.bytes.saturating_sub(piece.cost());
        self.events = self.events.saturating_sub(1);
        self.lost += 1;
        true
    }

    /// Events go, the oldest first, until no more bytes wait than these; returns how many. With them goes the room of what went before.
    pub(super) fn shrink(&mut self, bytes: usize) -> u64 {
        let mut gone = 0;
        while self.bytes > bytes && self.drop_oldest() {
            gone += 1;
        }
        self.waiting.shrink_to_fit();
        gone
    }

    /// Counts an event as lost that was never taken.
    pub(super) fn refuse(&mut self) {
        self.lost += 1;
    }

    /// Sends what the client has room for, without waiting. `notice` tells of events that were lost.
    pub(super) fn flush(&mut self, fd: impl AsFd, notice: impl Fn(u64) -> Rc<[u8]>) -> Flushed {
        loop {
            if self.sending.is_empty() && !self.refill(&notice) {
                return Flushed::Empty;
            }
            let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(self.sending.len());
            let mut skip = self.sent;
            for piece in &self.sending {
                slices.push(IoSlice::new(piece.get(skip..).unwrap_or_default()));
                skip = 0;
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(&fd, &slices, &mut SendAncillaryBuffer::default(), flags) {
                Ok(sent) => self.advance(sent),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => return Flushed::Full,
                Err(_) => return Flushed::Gone,
            }
        }
    }

    /// Takes the next pieces to be sent; `false` when there are none.
    fn refill(&mut self, notice: &impl Fn(u64) -> Rc<[u8]>) -> bool {
        if self.lost > 0 {
            self.sending.push_back(notice(std::mem::take(&mut self.lost)));
        }
        while self.sending.len() < AT_ONCE
            && let Some(piece) = self.waiting.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(piece.cost());
            self.events = self.events.saturating_sub(usize::from(piece.is_event));
            self.words = self.words.saturating_sub(usize::from(!piece.is_event));
            self.sending.push_back(piece.bytes);
        }
        !self.sending.is_empty()
    }

    fn advance(&mut self, sent: usize) {
        self.sent += sent;
        while let Some(first) = self.sending.front() {
            if self.sent < first.len() {
                return;
            }
            self.sent -= first.len();
            self.sending.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn notice(lost: u64) -> Rc<[u8]> {
        format!("# lost {lost}\n").into_bytes().into()
    }

    fn piece(text: &str) -> Rc<[u8]> {
        text.as_bytes().into()
    }

    const WIDE: Limit = Limit { records: usize::MAX, bytes: usize::MAX };

    #[test]
    fn pieces_arrive_whole_and_in_order_whatever_the_room() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut backlog = Backlog::default();
        let mut wanted = Vec::new();
        for n in 0..5000_u32 {
            let piece = vec![n.to_le_bytes()[0]; 1 + usize::try_from(n % 700).unwrap()];
            wanted.extend_from_slice(&piece);
            assert_eq!(backlog.push_event(piece.into(), WIDE), 0);
        }
        backlog.push_word(piece(""));
        let mut got = Vec::new();
        let mut buffer = [0; 3000];
        while backlog.flush(&ours, notice) == Flushed::Full {
            let read = theirs.read(&mut buffer).unwrap();
            got.extend_from_slice(&buffer[..read]);
        }
        assert_eq!((backlog.bytes, backlog.events), (0, 0));
        drop(ours);
        theirs.read_to_end(&mut got).unwrap();
        assert!(got == wanted);
    }

    #[test]
    fn a_client_that_is_gone_is_seen_and_no_signal_comes() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let mut backlog = Backlog::default();
        backlog.push_word(piece("x"));
        assert_eq!(backlog.flush(&ours, notice), Flushed::Gone);
    }

    /// Whatever the reader's pace: what it reads and what it is told it lost is all there was, and the order is right.
    #[test]
    fn read_and_lost_are_all_there_was() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut backlog = Backlog::default();
        let limit = Limit { records: 20, bytes: 1 << 20 };
        let (mut got, mut lost, mut buffer) = (String::new(), 0, [0; 4096]);
        backlog.push_word(piece("answer\n"));
        for n in 0..40_000 {
            lost += backlog.push_event(format!("event {n:08}\n").into_bytes().into(), limit);
            if n == 30_000 {
                backlog.push_word(piece("# gap\n"));
            }
            backlog.flush(&ours, notice);
            if n % 10_000 == 0 {
                while let Ok(read @ 1..) = theirs.read(&mut buffer) {
                    got.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                }
            }
        }
        loop {
            let flushed = backlog.flush(&ours, notice);
            while let Ok(read @ 1..) = theirs.read(&mut buffer) {
                got.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
            }
            if flushed == Flushed::Empty {
                break;
            }
        }
        assert!(got.starts_with("answer\nevent 00000000\n") && got.contains("# gap\n") && lost > 0);
        let (mut next, mut told) = (0, 0);
        for line in got.lines().skip(1).filter(|line| *line != "# gap") {
            if let Some(count) = line.strip_prefix("# lost ") {
                told += count.parse::<u64>().unwrap();
                next += count.parse::<u64>().unwrap();
            } else {
                assert_eq!(line, format!("event {next:08}"), "each notice stands where the events are missing");
                next += 1;
            }
        }
        assert_eq!((next, told), (40_000, lost));
    }
}
