use std::os::fd::{AsFd, OwnedFd};

use cthelper_proto::ipc::{Ruling, Settings, encode};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::*;

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap()
}

fn put(fd: &OwnedFd, record: &[u8]) {
    assert_eq!(send(fd.as_raw_fd(), record, MsgFlags::empty()), Ok(record.len()));
}

fn verdict(ticket: u64) -> Verdict {
    Verdict { ticket: Ticket(ticket), ruling: Ruling::Pass, edits: Vec::new(), state: None, malformed: None }
}

#[test]
fn records_come_in_order_and_in_batches() {
    let (ours, theirs) = pair();
    for byte in 0..40u8 {
        put(&theirs, &vec![byte; usize::from(byte) * 50 + 1]);
    }
    let mut inbox = Inbox::new(ours.as_fd());
    let mut seen = Vec::new();
    while seen.len() < 40 {
        inbox.receive().unwrap();
        assert!(inbox.records().count() <= BATCH);
        seen.extend(inbox.records().map(|record| (record[0], record.len())));
    }
    assert!(seen.iter().enumerate().all(|(at, (byte, len))| usize::from(*byte) == at && *len == at * 50 + 1));
}

#[test]
fn the_largest_record_fits_and_a_larger_one_is_refused() {
    let (ours, theirs) = pair();
    let mut inbox = Inbox::new(ours.as_fd());
    put(&theirs, &vec![1; MAX_RECORD]);
    inbox.receive().unwrap();
    assert_eq!(inbox.records().map(<[u8]>::len).collect::<Vec<_>>(), [MAX_RECORD]);
    put(&theirs, &vec![1; STRIDE + 1]);
    assert_eq!(inbox.receive(), Err(Broken::Record(FrameError::TooLong)));
}

#[test]
fn the_end_of_the_channel_is_an_empty_record() {
    let (ours, theirs) = pair();
    put(&theirs, b"x");
    drop(theirs);
    let mut inbox = Inbox::new(ours.as_fd());
    inbox.receive().unwrap();
    assert!(inbox.records().any(<[u8]>::is_empty));
}

#[test]
fn forty_verdicts_go_out_in_order() {
    let ((ours, theirs), (asks, _asks)) = (pair(), pair());
    let mut link = Link::new(ours.as_fd(), Asks::new(asks.as_fd()));
    for ticket in 0..40 {
        link.verdict(verdict(ticket)).unwrap();
    }
    link.flush().unwrap();
    let mut record = [0; 256];
    for ticket in 0..40 {
        let len = recv(theirs.as_raw_fd(), &mut record, MsgFlags::MSG_DONTWAIT).unwrap();
        let (FromWorker::Verdict(got), _) = decode(&record[..len]).unwrap();
        assert_eq!(got, verdict(ticket));
    }
    assert_eq!(recv(theirs.as_raw_fd(), &mut record, MsgFlags::MSG_DONTWAIT), Err(Errno::EAGAIN));
}

#[test]
fn a_closed_or_wrong_ask_channel_refuses_and_is_noticed() {
    let ((ours, _theirs), (asks, their_asks)) = (pair(), pair());
    let mut link = Link::new(ours.as_fd(), Asks::new(asks.as_fd()));
    let expect = crate::helper::tcp(0, [10, 0, 0, 1].into(), 2000);
    put(&their_asks, &encode(&Answer::Welcome(Settings::default())).unwrap());
    assert!(link.expect(Ticket(1), &expect).is_err());
    assert!(matches!(link.check(), Err(Broken::OutOfTurn(_))));
    let mut trailing = encode(&Answer::Gone).unwrap();
    trailing.push(0);
    put(&their_asks, &trailing);
    assert_eq!(link.expect(Ticket(1), &expect), Err(Refused::Gone));
    assert_eq!(link.check(), Err(Broken::Record(FrameError::Trailing)));
    drop(their_asks);
    assert_eq!(link.expect(Ticket(1), &expect), Err(Refused::Gone));
    assert_eq!(link.check(), Err(Broken::Closed));
    assert_eq!(link.check(), Ok(()));
}
