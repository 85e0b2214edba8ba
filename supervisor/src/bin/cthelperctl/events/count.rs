//! `events --count`: how many of each kind, and what was lost.

use std::fmt;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cthelper_proto::events_sock::Notice;
use cthelper_proto::netlink::message::messages;
use cthelper_proto::netlink::report::{Kind, Report};
use nix::poll::PollTimeout;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{PIECE, Ready, Sink, ended, receive, wait};
use crate::exit::{Exit, Failure};

/// What came, by kind; `Display` is its line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    kinds: [u64; Kind::ALL.len()],
    dumped: u64,
    lost: u64,
    gaps: u64,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count) in Kind::ALL.iter().zip(self.kinds) {
            write!(f, "{kind} {count}  ")?;
        }
        if self.dumped != 0 {
            write!(f, "dump {}  ", self.dumped)?;
        }
        write!(f, "lost {}  gaps {}", self.lost, self.gaps)
    }
}

/// Bytes of messages, in pieces as they come.
#[derive(Debug, Default)]
struct Counter {
    count: Count,
    rest: Vec<u8>,
}

impl Counter {
    fn take(&mut self, piece: &[u8]) -> Result<(), Failure> {
        self.rest.extend_from_slice(piece);
        let mut at = 0;
        while let Some(length) = whole(self.rest.get(at..).unwrap_or_default())? {
            let message = self.rest.get(at..at + length).unwrap_or_default();
            for message in messages(message).flatten() {
                self.count.add(Notice::from_raw(&message), Report::parse(&message).ok().flatten());
            }
            at += length;
        }
        self.rest.drain(..at);
        Ok(())
    }
}

/// Length of the first message, padded, if all of it is there.
fn whole(bytes: &[u8]) -> Result<Option<usize>, Failure> {
    let Some(length) = bytes.first_chunk().map(|length| u32::from_ne_bytes(*length)) else { return Ok(None) };
    let length = usize::try_from(length).ok().filter(|length| (16..=PIECE).contains(length));
    let length = length.ok_or_else(|| Failure::new(Exit::Software, "the broker sent no netlink message"))?.next_multiple_of(4);
    Ok(Some(length).filter(|length| bytes.len() >= *length))
}

impl Count {
    fn add(&mut self, notice: Option<Notice>, report: Option<Report<'_>>) {
        match (notice, report) {
            (Some(Notice::Lost { events }), _) => self.lost = self.lost.saturating_add(events),
            (Some(Notice::Gap), _) => self.gaps += 1,
            (None, Some(report)) => match report.kind().and_then(|kind| Kind::ALL.iter().position(|known| *known == kind)) {
                Some(place) => self.kinds.get_mut(place).into_iter().for_each(|count| *count += 1),
                None => self.dumped += 1,
            },
            _ => {}
        }
    }
}

/// Counts until a signal, the end of the stream, or the end of the reader. On a terminal the line is written anew every second.
pub(super) fn run(stream: &mut UnixStream, first: &[u8], out: &mut impl Sink) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let is_terminal = out.as_fd().is_terminal();
    let mut counter = Counter::default();
    let mut piece = vec![0; PIECE];
    counter.take(first)?;
    let end = loop {
        if stop.load(Ordering::Relaxed) {
            break Ok(());
        }
        match wait(stream.as_fd(), out.as_fd(), PollTimeout::from(1000_u16))? {
            Ready::Reader => return Ok(()),
            Ready::Time if is_terminal => {
                write!(out, "\r{}", counter.count)?;
                out.flush()?;
            }
            Ready::Time => {}
            Ready::Frames => match receive(stream, &mut piece)? {
                0 => break Err(ended()),
                length => counter.take(piece.get(..length).unwrap_or_default())?,
            },
        }
    };
    writeln!(out, "{}{}", if is_terminal { "\r" } else { "" }, counter.count)?;
    end
}

#[cfg(test)]
mod tests {
    use cthelper_proto::netlink::conntrack;
    use cthelper_proto::netlink::expect::{self, Expectation};
    use cthelper_proto::netlink::message::flag;
    use cthelper_proto::types::Tuple;

    use super::*;

    fn frames() -> Vec<u8> {
        let tuple = Tuple { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into(), proto: 6, sport: 1, dport: 2 };
        let mut out = Vec::new();
        conntrack::update(&mut out, 0, &tuple, 0, &conntrack::Update::default());
        conntrack::delete(&mut out, 0, &tuple, 0, None);
        expect::create(&mut out, 0, flag::CREATE, &Expectation::new(tuple, tuple));
        Notice::Lost { events: 7 }.write_raw(&mut out);
        Notice::Gap.write_raw(&mut out);
        let at = out.len();
        conntrack::update(&mut out, 0, &tuple, 0, &conntrack::Update::default());
        out[at + 6] |= u8::try_from(flag::MULTI).unwrap();
        out
    }

    #[test]
    fn each_kind_and_each_loss_is_counted_wherever_a_piece_ends() {
        let frames = frames();
        for at in 0..frames.len() {
            let mut counter = Counter::default();
            counter.take(&frames[..at]).unwrap();
            counter.take(&frames[at..]).unwrap();
            assert_eq!(counter.count, Count { kinds: [0, 1, 1, 1, 0], dumped: 1, lost: 7, gaps: 1 });
            assert!(counter.rest.is_empty());
        }
        let line = "new 0  update 1  destroy 1  expect-new 1  expect-destroy 0  dump 1  lost 7  gaps 1";
        let mut counter = Counter::default();
        counter.take(&frames).unwrap();
        assert_eq!(counter.count.to_string(), line);
    }

    #[test]
    fn what_is_no_message_is_said_and_not_collected() {
        for bytes in [[0; 8], [0xff; 8], [15, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(Counter::default().take(&bytes).unwrap_err().exit, Exit::Software);
        }
    }
}
