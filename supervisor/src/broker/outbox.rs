//! What waits for one client, in pieces that clients share.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

/// Pieces sent with one system call at most.
const AT_ONCE: usize = 64;

/// Bytes on their way to one client.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Rc<[u8]>>,
    /// Of the first piece, how much is gone.
    sent: usize,
    bytes: usize,
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

impl Outbox {
    pub(super) fn push(&mut self, piece: Rc<[u8]>) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Sends what the client has room for, without waiting.
    pub(super) fn flush(&mut self, fd: impl AsFd) -> Flushed {
        while !self.pieces.is_empty() {
            let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(self.pieces.len().min(AT_ONCE));
            let mut skip = self.sent;
            for piece in self.pieces.iter().take(AT_ONCE) {
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
        Flushed::Empty
    }

    fn advance(&mut self, sent: usize) {
        self.sent += sent;
        self.bytes = self.bytes.saturating_sub(sent);
        while let Some(first) = self.pieces.front() {
            if self.sent < first.len() {
                return;
            }
            self.sent -= first.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn pieces_arrive_whole_and_in_order_whatever_the_room() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut outbox = Outbox::default();
        let mut wanted = Vec::new();
        for n in 0..5000_u32 {
            let piece = vec![n.to_le_bytes()[0]; 1 + usize::try_from(n % 700).unwrap()];
            wanted.extend_from_slice(&piece);
            outbox.push(piece.into());
        }
        outbox.push(Rc::from([].as_slice()));
        let mut got = Vec::new();
        let mut buffer = [0; 3000];
        while outbox.flush(&ours) == Flushed::Full {
            let read = theirs.read(&mut buffer).unwrap();
            got.extend_from_slice(&buffer[..read]);
        }
        assert_eq!(outbox.bytes, 0);
        drop(ours);
        theirs.read_to_end(&mut got).unwrap();
        assert!(got == wanted);
    }

    #[test]
    fn a_client_that_is_gone_is_seen_and_no_signal_comes() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let mut outbox = Outbox::default();
        outbox.push(Rc::from(b"x".as_slice()));
        assert_eq!(outbox.flush(&ours), Flushed::Gone);
    }
}
