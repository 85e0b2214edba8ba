//! The two channels, without any care.

use std::io::{IoSlice, IoSliceMut};

use cthelper_proto::ipc::{Answer, Ask, FromWorker, MAX_RECORD, PacketHeader, Ruling, ToWorker, Verdict, decode, encode};
use cthelper_proto::types::State;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, recv, recvmmsg, send, sendmmsg};

/// fd 0.
pub(crate) const PACKETS: i32 = 0;
/// fd 1.
pub(crate) const ASKS: i32 = 1;

/// A packet from the supervisor.
pub(crate) struct Received {
    pub(crate) header: PacketHeader,
    pub(crate) payload: Vec<u8>,
}

/// Waits for the next packet; ends when there will be none.
pub(crate) fn next_packet() -> Received {
    let mut record = vec![0; MAX_RECORD];
    let length = recv(PACKETS, &mut record, MsgFlags::empty()).unwrap_or(0);
    if length == 0 {
        std::process::exit(0);
    }
    match decode(&record[..length]).unwrap() {
        (ToWorker::Packet(header), payload) => Received { header, payload: payload.to_vec() },
        _ => std::process::exit(0),
    }
}

/// Any bytes on a channel.
pub(crate) fn say(fd: i32, record: &[u8]) {
    let _ = send(fd, record, MsgFlags::MSG_NOSIGNAL);
}

/// The same bytes 32 times, as far as the channel takes them.
pub(crate) fn try_say_often(fd: i32, record: &[u8]) {
    let slices = [[IoSlice::new(record)]; 32];
    let mut headers = MultiHeaders::<()>::preallocate(32, None);
    let _ =
        sendmmsg(fd, &mut headers, &slices, [None; 32], [], MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT).map(Iterator::count);
}

/// Takes in whatever waits on a channel, and forgets it.
pub(crate) fn forget_what_waits(fd: i32) {
    let mut buffers = [[0; 64]; 64];
    let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
    let mut headers = MultiHeaders::<()>::preallocate(64, None);
    let _ = recvmmsg(fd, &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None).map(Iterator::count);
}

/// A question whose answer nobody waits for.
pub(crate) fn ask_only(ask: &Ask) {
    say(ASKS, &encode(ask).unwrap());
}

/// A question and its answer.
pub(crate) fn ask(ask: &Ask) -> Answer {
    ask_only(ask);
    let mut record = vec![0; MAX_RECORD];
    let length = recv(ASKS, &mut record, MsgFlags::empty()).unwrap_or(0);
    if length == 0 {
        std::process::exit(0);
    }
    decode(&record[..length]).unwrap().0
}

/// Passes the packet, with changes.
pub(crate) fn verdict(header: &PacketHeader, change: impl FnOnce(&mut Verdict)) {
    say(PACKETS, &passed(header, change));
}

/// Passes the packet, with a descriptor of its own besides the record.
pub(crate) fn verdict_with_descriptor(header: &PacketHeader) {
    let record = passed(header, |_| ());
    let descriptors = [PACKETS];
    let mut headers = MultiHeaders::<()>::preallocate(1, Some(nix::cmsg_space!([i32; 1])));
    let besides = [ControlMessage::ScmRights(&descriptors)];
    let slices = [[IoSlice::new(&record)]];
    let sent = sendmmsg(PACKETS, &mut headers, &slices, [None], besides, MsgFlags::MSG_NOSIGNAL).map(Iterator::count);
    assert_eq!(sent, Ok(1));
}

fn passed(header: &PacketHeader, change: impl FnOnce(&mut Verdict)) -> Vec<u8> {
    let mut state = header.state.unwrap_or(State::zeroed(8));
    state.as_bytes_mut()[0] += 1;
    let mut verdict =
        Verdict { ticket: header.ticket, ruling: Ruling::Pass, edits: Vec::new(), state: Some(state), malformed: None };
    change(&mut verdict);
    encode(&FromWorker::Verdict(verdict)).unwrap()
}
