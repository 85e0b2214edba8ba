//! systemd's file descriptor store (`FileDescriptorStoreMax=`): the same duplicates, held by process 1.
//!
//! systemd knows a stored descriptor by a name, here `cthelperd-queue-QUEUE-HELPER`, and hands it to the next start of the service.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};
use sd_notify::NotifyState;

use super::heir::Kept;
use super::protocol::{Record, Word};
use super::wire::{self, Heard};

const PREFIX: &str = "cthelperd-queue-";

fn name(helper: &str, queue: u16) -> String {
    format!("{PREFIX}{queue}-{helper}")
}

fn parse(name: &str) -> Option<(u16, &str)> {
    let (queue, helper) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Some((queue.parse().ok()?, helper)).filter(|(_, helper)| !helper.is_empty())
}

/// What the store handed to this process. To be called once, before anything else opens descriptors.
pub fn inherit() -> Vec<Kept> {
    let passed = match sd_notify::listen_fds_with_names() {
        Ok(passed) => passed,
        Err(error) => {
            tracing::warn!(%error, "what systemd passed is not understood");
            return Vec::new();
        }
    };
    let mut kept = Vec::new();
    for (fd, name) in passed {
        if let Some((queue, helper)) = parse(&name) {
            kept.extend(own(fd, helper, queue));
        } else {
            tracing::warn!(%name, "systemd passed a descriptor that is none of ours; it is closed");
        }
        let _ = nix::unistd::close(fd);
    }
    kept
}

/// An owned duplicate of a descriptor that is only a number: sent to ourselves.
fn own(fd: RawFd, helper: &str, queue: u16) -> Option<Kept> {
    let (to, from) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).ok()?;
    let record = Record::new(Word::Socket, queue, helper).encode();
    let rights = [ControlMessage::ScmRights(&[fd])];
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(&record)], &rights, MsgFlags::empty(), None).ok()?;
    match wire::hear(&from) {
        Heard::Record(record, mut sockets) => Some(Kept { helper: record.text, queue, socket: sockets.pop()? }),
        _ => None,
    }
}

/// Has systemd keep a duplicate; nothing happens where there is no systemd.
pub fn put(helper: &str, queue: u16, socket: BorrowedFd<'_>) -> io::Result<()> {
    let name = name(helper, queue);
    // Under one name a second descriptor would stand beside the first.
    remove(helper, queue)?;
    // Without FDPOLL=0 systemd would throw a socket out that reports an error.
    let state = [NotifyState::FdStore, NotifyState::FdName(&name), NotifyState::Custom("FDPOLL=0")];
    sd_notify::notify_with_fds(&state, &[socket])
}

/// Has systemd close its duplicate.
pub fn remove(helper: &str, queue: u16) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name(helper, queue))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_queue_and_helper() {
        assert_eq!(parse(&name("ftp", 6200)), Some((6200, "ftp")));
        assert_eq!(parse(&name("netbios-ns", 0)), Some((0, "netbios-ns")));
        for odd in ["", "stored", "cthelperd-queue-", "cthelperd-queue-70000-ftp", "cthelperd-queue-1-", "cthelperd-queue-1"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_number_becomes_a_descriptor_of_the_same_file() {
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let kept = own(one.as_raw_fd(), "ftp", 7).unwrap();
        assert_eq!((kept.helper.as_str(), kept.queue), ("ftp", 7));
        drop(one);
        nix::unistd::write(&kept.socket, b"through it").unwrap();
        let mut read = [0; 10];
        nix::unistd::read(&other, &mut read).unwrap();
        assert_eq!(&read, b"through it");
        assert!(own(999, "ftp", 7).is_none());
    }
}
