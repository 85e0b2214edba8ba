//! A lane's end: workers are ordered here, and their ends are heard of. Nothing here waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::protocol::{News, Order};
use crate::seqpacket::{Heard, hear, say};
use crate::spawn::{Channels, channels};

/// A lane's connection to the warden; when it is dropped, the lane's workers are ended.
#[derive(Debug)]
pub struct Post {
    channel: OwnedFd,
    warden: u32,
}

impl Post {
    pub(super) fn new(channel: OwnedFd, warden: u32) -> Self {
        Self { channel, warden }
    }

    /// The warden's process id: what a worker's parent must be.
    pub fn warden(&self) -> u32 {
        self.warden
    }

    /// Orders a worker; `News::Spawned` or `News::Failed` follows. Its channels are there at once.
    pub fn spawn(&self, generation: u64) -> io::Result<Channels> {
        let (ours, theirs) = channels()?;
        let beside = [theirs.packets.as_fd(), theirs.asks.as_fd(), theirs.log.as_fd()];
        say(&self.channel, &Order::Spawn { generation }, &beside)?;
        Ok(ours)
    }

    /// Orders a keeper, which is to listen on `listener` and outlives us all; news as of a worker.
    pub fn keeper(&self, generation: u64, listener: BorrowedFd<'_>) -> io::Result<()> {
        say(&self.channel, &Order::Spawn { generation }, &[listener])
    }

    /// Orders a broker with its link and its log; news as of a worker.
    pub fn broker(&self, generation: u64, link: BorrowedFd<'_>, log: BorrowedFd<'_>) -> io::Result<()> {
        say(&self.channel, &Order::Spawn { generation }, &[link, log])
    }

    /// Has a worker ended; `News::Ended` follows. For one that is gone already, it has gone out.
    pub fn kill(&self, generation: u64) -> io::Result<()> {
        say(&self.channel, &Order::Kill { generation }, &[])
    }

    /// The next message, if there is one; an error when the warden is gone.
    pub fn news(&self) -> io::Result<Option<News>> {
        match hear(&self.channel)? {
            Heard::Message(news, _) => Ok(Some(news)),
            Heard::Nothing => Ok(None),
            Heard::Hangup => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl AsFd for Post {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
