//! A broker that plays by no rule but its confinement: it asks for dumps without end. The number of the first event queue it is told of says how
//! many a second; 1 means as many as it can, until it is ended. Otherwise, when it has asked for [`LIFE`] and was told [`STATUSES`] it ends, and its last words are what
//! came of it. Below 10 it asks for none: 2 hears one word of the supervisor's every half second; after one such pause, 3 hangs up and
//! lives on, 4 says what is no message, 5 writes to its log without end.

use std::collections::BTreeSet;
use std::io::{IoSlice, IoSliceMut, Write};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use cthelper_policy::confine;
use cthelper_proto::ipc::{decode, encode};
use cthelper_supervisor::broker::protocol::{FromBroker, Kind, Table, ToBroker};
use cthelper_supervisor::warden::trace_me;
use cthelper_tests::PATIENCE;
use nix::cmsg_space;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recv, recvmsg, sendmsg};
use signal_hook::low_level::exit;

const LINK: RawFd = 0;
/// How long it asks.
const LIFE: Duration = Duration::from_secs(3);
/// How often the helpers' status has been told by then; at the latest it ends after [`PATIENCE`].
const STATUSES: u32 = 5;
/// How often it wants the helpers' status meanwhile.
const STATUS: Duration = Duration::from_millis(50);

/// What it is given.
struct Given {
    dump: RawFd,
    rate: u32,
}

/// What it has done, and what came of it.
#[derive(Default)]
struct Tally {
    asked: u32,
    /// Dumps of which anything was heard, a no included.
    answered: BTreeSet<u32>,
    statuses: u32,
}

/// As `broker UID GID`, until its life is over.
pub(crate) fn run(uid: &str, gid: &str) -> ! {
    let _ = trace_me();
    let (landlock, own) = confine::broker(uid.parse().unwrap(), gid.parse().unwrap()).unwrap();
    assert!(say(&FromBroker::Ready { landlock, own }));
    let given = given();
    if (2..10).contains(&given.rate) {
        misbehave(given.rate);
    }
    let began = Instant::now();
    let tally = ask_without_end(&given, began);
    let lived = began.elapsed().as_millis();
    let words = format!("asked {} answered {} statuses {} in {lived} ms\n", tally.asked, tally.answered.len(), tally.statuses);
    let _ = std::io::stderr().write_all(words.as_bytes());
    exit(3)
}

fn given() -> Given {
    let (mut dump, mut rate) = (None, None);
    loop {
        match hear(MsgFlags::empty()) {
            Some((ToBroker::Socket(Kind::Dump), socket)) => dump = socket,
            Some((ToBroker::Queue(queue), _)) => rate = rate.or(queue.into_config().map(|queue| queue.number.into())),
            Some((ToBroker::Go, _)) => return Given { dump: dump.unwrap(), rate: rate.unwrap() },
            Some(_) => {}
            None => exit(0),
        }
    }
}

/// In one of these ways, until it is ended.
fn misbehave(how: u32) -> ! {
    if how == 2 {
        hear_slowly();
    }
    pause();
    match how {
        3 => nix::unistd::close(LINK).unwrap(),
        4 => send(b"\x01\0\x01\0\0\0\xff").unwrap(),
        _ => while std::io::stderr().write_all(b"x\n").is_ok() {},
    }
    loop {
        pause();
    }
}

/// Until it is ended.
fn hear_slowly() -> ! {
    while hear(MsgFlags::empty()).is_some() {
        pause();
    }
    exit(0)
}

/// Half a second; it may not sleep.
fn pause() {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let _ = epoll.wait(&mut [EpollEvent::new(EpollFlags::empty(), 0)], EpollTimeout::from(500_u16));
}

fn ask_without_end(given: &Given, began: Instant) -> Tally {
    let (mut tally, mut wanted) = (Tally::default(), began);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    let is_done = |tally: &Tally| given.rate > 1 && began.elapsed() >= LIFE && tally.statuses >= STATUSES;
    while !is_done(&tally) && began.elapsed() < PATIENCE {
        let due = if given.rate == 1 { u32::MAX } else { (began.elapsed() * given.rate).as_secs().try_into().unwrap() };
        while tally.asked < due && say(&FromBroker::Dump { table: Table::Flows, seq: tally.asked + 1 }) {
            tally.asked += 1;
        }
        if wanted.elapsed() > STATUS && say(&FromBroker::StatusPlease) {
            wanted = Instant::now();
        }
        while let Some((message, _)) = hear(MsgFlags::MSG_DONTWAIT) {
            tally.statuses += u32::from(matches!(message, ToBroker::Status(_)));
        }
        read_dumps(given.dump, &mut tally);
        let _ = epoll.wait(&mut [EpollEvent::new(EpollFlags::empty(), 0)], EpollTimeout::from(1_u8)); // a pause; it may not sleep
    }
    tally
}

/// The sequence number of each message stands behind its length, type and flags.
fn read_dumps(dump: RawFd, tally: &mut Tally) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length) = recv(dump, &mut buffer, MsgFlags::MSG_DONTWAIT) {
        tally.answered.extend(buffer[..length].get(8..12).map(|seq| u32::from_ne_bytes(seq.try_into().unwrap())));
    }
}

/// Says it if there is room.
fn say(message: &FromBroker) -> bool {
    send(&encode(message).unwrap()).is_ok()
}

fn send(record: &[u8]) -> nix::Result<()> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(LINK, &[IoSlice::new(record)], &[], flags, None).map(drop)
}

/// What was said, and the socket beside it.
fn hear(how: MsgFlags) -> Option<(ToBroker, Option<RawFd>)> {
    let (mut record, mut space) = (vec![0; 1 << 16], cmsg_space!([RawFd; 3]));
    let mut slices = [IoSliceMut::new(&mut record)];
    let got = recvmsg::<()>(LINK, &mut slices, Some(&mut space), how).ok().filter(|got| got.bytes > 0)?;
    let beside = got.cmsgs().unwrap().find_map(|beside| match beside {
        ControlMessageOwned::ScmRights(sockets) => sockets.first().copied(),
        _ => None,
    });
    let length = got.bytes;
    decode(&record[..length]).ok().map(|(message, _)| (message, beside))
}
