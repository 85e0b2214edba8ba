//! The two channels, without any care.

use std::collections::VecDeque;
use std::sync::Mutex;

use cthelper_proto::ipc::{Answer, Ask, FromWorker, MAX_RECORD, PacketHeader, Ruling, ToWorker, Verdict, decode, encode, frames};
use cthelper_proto::types::State;
use nix::sys::socket::{MsgFlags, recv, send};
use signal_hook::low_level::exit;

/// fd 0.
pub(crate) const PACKETS: i32 = 0;
/// fd 1.
pub(crate) const ASKS: i32 = 1;

/// A packet from the supervisor.
pub(crate) struct Received {
    pub(crate) header: PacketHeader,
    pub(crate) payload: Vec<u8>,
}

/// What the last record held besides.
static REST: Mutex<VecDeque<Received>> = Mutex::new(VecDeque::new());

/// Waits for the next packet; ends when there will be none.
pub(crate) fn next_packet() -> Received {
    let mut rest = REST.lock().unwrap();
    if rest.is_empty() {
        let mut record = vec![0; MAX_RECORD];
        let length = recv(PACKETS, &mut record, MsgFlags::empty()).unwrap_or(0);
        rest.extend(frames(&record[..length]).filter_map(|frame| match frame.unwrap() {
            (ToWorker::Packet(header), payload) => Some(Received { header, payload: payload.to_vec() }),
            _ => None,
        }));
    }
    rest.pop_front().unwrap_or_else(|| exit(0))
}

/// Any bytes on a channel.
pub(crate) fn say(fd: i32, record: &[u8]) {
    let _ = send(fd, record, MsgFlags::MSG_NOSIGNAL);
}

/// The same bytes 32 times, as far as the channel takes them.
pub(crate) fn try_say_often(fd: i32, record: &[u8]) {
    for _ in 0..32 {
        let _ = send(fd, record, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
    }
}

/// Takes in whatever waits on a channel, and forgets it.
pub(crate) fn forget_what_waits(fd: i32) {
    let mut record = [0; 64];
    while recv(fd, &mut record, MsgFlags::MSG_DONTWAIT).is_ok_and(|length| length > 0) {}
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
        exit(0);
    }
    decode(&record[..length]).unwrap().0
}

/// Passes the packet, with changes.
pub(crate) fn verdict(header: &PacketHeader, change: impl FnOnce(&mut Verdict)) {
    say(PACKETS, &passed(header, change));
}

fn passed(header: &PacketHeader, change: impl FnOnce(&mut Verdict)) -> Vec<u8> {
    let mut state = header.state.unwrap_or(State::zeroed(8));
    state.as_bytes_mut()[0] += 1;
    let mut verdict =
        Verdict { ticket: header.ticket, ruling: Ruling::Pass, edits: Vec::new(), state: Some(state), malformed: None };
    change(&mut verdict);
    encode(&FromWorker::Verdict(verdict)).unwrap()
}
