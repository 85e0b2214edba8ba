use std::os::fd::{AsFd, OwnedFd};

use cthelper_proto::ipc::{Ruling, Settings, encode};
use cthelper_proto::types::FlowId;
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

fn heard(inbox: &Inbox<'_>) -> Vec<(ToWorker, usize)> {
    inbox.messages().map(|message| message.map(|(message, payload)| (message, payload.len())).unwrap()).collect()
}

#[test]
fn messages_come_in_order_several_to_a_record() {
    let (ours, theirs) = pair();
    let mut inbox = Inbox::new(ours.as_fd());
    for first in [1, 5] {
        let mut record = Vec::new();
        for flow in first..first + 4 {
            append(&ToWorker::FlowClosed(FlowId(flow)), &vec![0; flow as usize], &mut record).unwrap();
        }
        put(&theirs, &record);
    }
    for first in [1, 5] {
        inbox.receive().unwrap();
        let expected: Vec<_> = (first..first + 4).map(|flow| (ToWorker::FlowClosed(FlowId(flow)), flow as usize)).collect();
        assert_eq!(heard(&inbox), expected);
    }
}

#[test]
fn the_largest_record_fits_and_a_larger_one_is_refused() {
    let (ours, theirs) = pair();
    let mut inbox = Inbox::new(ours.as_fd());
    let mut record = Vec::new();
    append(&ToWorker::Drain, &vec![1; 65_535], &mut record).unwrap();
    put(&theirs, &record);
    inbox.receive().unwrap();
    assert_eq!(heard(&inbox), [(ToWorker::Drain, 65_535)]);
    put(&theirs, &vec![1; MAX_RECORD + 1]);
    assert_eq!(inbox.receive(), Err(Broken::Record(FrameError::TooLong)));
}

#[test]
fn the_end_of_the_channel_is_an_empty_record() {
    let (ours, theirs) = pair();
    put(&theirs, &encode(&ToWorker::Drain).unwrap());
    drop(theirs);
    let mut inbox = Inbox::new(ours.as_fd());
    inbox.receive().unwrap();
    assert_eq!(inbox.receive(), Err(Broken::Closed));
}

#[test]
fn forty_verdicts_go_out_in_order_in_two_records() {
    let ((ours, theirs), (asks, _asks)) = (pair(), pair());
    let mut link = Link::new(ours.as_fd(), Asks::new(asks.as_fd()));
    for ticket in 0..40 {
        link.verdict(verdict(ticket)).unwrap();
    }
    link.flush().unwrap();
    let mut record = vec![0; MAX_RECORD];
    let mut tickets = 0..40;
    for count in [MAX_FRAMES, 40 - MAX_FRAMES] {
        let len = recv(theirs.as_raw_fd(), &mut record, MsgFlags::MSG_DONTWAIT).unwrap();
        let got: Vec<_> = frames(&record[..len]).map(Result::unwrap).collect();
        let expected: Vec<_> =
            tickets.by_ref().take(count).map(|ticket| (FromWorker::Verdict(verdict(ticket)), &[][..])).collect();
        assert_eq!(got, expected);
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
