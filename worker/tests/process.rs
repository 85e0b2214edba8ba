//! The worker as a process, with its real confinement, and this test in the supervisor's place.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may say what it means")]

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use cthelper_proto::ipc::{
    Answer, Ask, Expect, ExpectId, FromWorker, Grant, PacketHeader, Ruling, Segment, Settings, Ticket, ToWorker, VERSION,
    Verdict, append, decode, encode,
};
use cthelper_proto::types::{CtInfo, L4, State};
use cthelper_worker::helpers::ftp;
use cthelper_worker::testkit::{Net, tcp};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

const SIGSYS: i32 = 31;

/// A worker, and the supervisor's ends of its channels.
struct Worker {
    child: Child,
    packets: Option<OwnedFd>,
    asks: OwnedFd,
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap()
}

/// The example beside the test binary's folder.
fn brittle() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/brittle");
    assert!(path.exists(), "no {}: cargo builds examples unless told to build one test alone", path.display());
    path
}

impl Worker {
    fn spawn(program: impl Into<PathBuf>, args: &[&str]) -> Self {
        let ((packets, theirs), (asks, their_asks)) = (pair(), pair());
        let mut command = Command::new(program.into());
        command.args(args).stdin(Stdio::from(theirs)).stdout(Stdio::from(their_asks)).stderr(Stdio::piped());
        Self { child: command.spawn().unwrap(), packets: Some(packets), asks }
    }

    /// Spawned, greeted, confined.
    fn serving(program: impl Into<PathBuf>, name: &str) -> Self {
        let worker = Self::spawn(program, &[name]);
        let Ask::Hello(VERSION, manifest) = worker.asked() else { panic!("no Hello") };
        assert_eq!(manifest.name, name);
        worker.answer(&Answer::Welcome(Settings::default()));
        assert!(matches!(worker.asked(), Ask::Ready(_)));
        worker.answer(&Answer::Go);
        worker
    }

    fn asked(&self) -> Ask {
        receive(&self.asks).map(|record| decode(&record).unwrap().0).unwrap()
    }

    fn answer(&self, answer: &Answer) {
        send_record(&self.asks, &encode(answer).unwrap());
    }

    fn say(&self, message: &ToWorker, payload: &[u8]) {
        let mut record = Vec::new();
        append(message, payload, &mut record).unwrap();
        send_record(self.packets.as_ref().unwrap(), &record);
    }

    fn packet(&self, ticket: u64, l4: L4, payload: &[u8]) {
        let header = PacketHeader {
            ticket: Ticket(ticket),
            flow: Net::Snat4.flow(l4, 21),
            info: CtInfo::Established,
            state: Some(State::zeroed(if l4 == L4::Tcp { ftp::MANIFEST.state_len } else { 0 })),
            tcp: (l4 == L4::Tcp).then_some(Segment { seq: 1, last: false }),
        };
        self.say(&ToWorker::Packet(header), payload);
    }

    fn verdict(&self) -> Option<Verdict> {
        let record = receive(self.packets.as_ref().unwrap())?;
        let (FromWorker::Verdict(verdict), _) = decode(&record).unwrap();
        Some(verdict)
    }

    /// How it ended, and its last words.
    fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let mut words = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        (status, words)
    }
}

fn send_record(fd: &OwnedFd, record: &[u8]) {
    assert_eq!(send(fd.as_raw_fd(), record, MsgFlags::MSG_NOSIGNAL), Ok(record.len()));
}

/// The next record; `None` at the end of the channel.
fn receive(fd: &OwnedFd) -> Option<Vec<u8>> {
    let mut record = vec![0; 1 << 17];
    let mut recv = || recv(fd.as_raw_fd(), &mut record, MsgFlags::empty());
    // An end with packets unread is an error, once, before what was said.
    let len = recv().or_else(|_| recv()).unwrap_or(0);
    record.truncate(len);
    (len > 0).then_some(record)
}

fn ftp_worker() -> Worker {
    Worker::serving(env!("CARGO_BIN_EXE_cthelper-worker"), "ftp")
}

#[test]
fn it_asks_rewrites_and_drains() {
    let worker = ftp_worker();
    worker.packet(1, L4::Tcp, b"NOOP\r\n");
    worker.packet(2, L4::Tcp, b"PORT 10,0,1,2,7,208\r\n");
    let wanted: Expect = tcp("10.0.1.2:2000");
    assert_eq!(worker.asked(), Ask::Expect(Ticket(2), wanted));
    assert_eq!(worker.verdict().unwrap().ticket, Ticket(1), "what is finished goes out before a question");
    worker.answer(&Answer::Granted(Grant { id: ExpectId(1), addr: "10.0.2.1".parse().unwrap(), port: 2000 }));
    let verdict = worker.verdict().unwrap();
    assert_eq!((verdict.ticket, verdict.ruling, verdict.edits.len()), (Ticket(2), Ruling::Pass, 1));
    assert_eq!(verdict.edits[0].put, b"10,0,2,1,7,208");
    worker.say(&ToWorker::Drain, &[]);
    let (status, words) = worker.end();
    assert_eq!((status.code(), words.as_str()), (Some(0), ""));
}

#[test]
fn a_thousand_packets_get_a_thousand_verdicts_in_order_and_little_memory() {
    let worker = ftp_worker();
    let mut seen = 0;
    for ticket in 1..=1000 {
        worker.packet(ticket, L4::Tcp, &vec![b'x'; if ticket % 100 == 0 { 60_000 } else { 600 }]);
        while ticket - seen >= 8 {
            seen += 1;
            assert_eq!(worker.verdict().unwrap().ticket, Ticket(seen));
        }
    }
    while seen < 1000 {
        seen += 1;
        assert_eq!(worker.verdict().unwrap().ticket, Ticket(seen));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.child.id())).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u32 = rss.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib <= 4096 || cfg!(debug_assertions), "RSS {kib} kB");
}

#[test]
fn the_end_of_the_channel_is_a_good_end() {
    let mut worker = ftp_worker();
    worker.packets = None;
    let (status, words) = worker.end();
    assert_eq!((status.code(), words.as_str()), (Some(0), ""));
}

#[test]
fn a_bad_record_ends_it_with_70() {
    let worker = ftp_worker();
    send_record(worker.packets.as_ref().unwrap(), &[9, 0, 1]);
    let (status, words) = worker.end();
    assert_eq!(status.code(), Some(70));
    assert_eq!(words, "cthelper-worker: bad record from the supervisor: record shorter than its header says\n");
}

#[test]
fn an_answer_out_of_turn_ends_it_with_70() {
    let worker = ftp_worker();
    worker.packet(1, L4::Tcp, b"PORT 10,0,1,2,7,208\r\n");
    worker.asked();
    worker.answer(&Answer::Go);
    assert_eq!(worker.verdict(), None);
    assert_eq!(worker.end().0.code(), Some(70));
}

#[test]
fn an_unknown_helper_or_wrong_arguments_end_it_with_64() {
    for args in [&["nonesuch"][..], &[], &["ftp", "ftp"]] {
        let (status, words) = Worker::spawn(env!("CARGO_BIN_EXE_cthelper-worker"), args).end();
        assert_eq!(status.code(), Some(64));
        assert_eq!(words.lines().count(), 1, "{words}");
    }
}

#[test]
fn a_panic_ends_it_with_101_after_the_verdicts_before_it_and_in_one_line() {
    let worker = Worker::serving(brittle(), "brittle");
    for (ticket, payload) in [(1, &b"fine"[..]), (2, b"fine"), (3, b"panic"), (4, b"fine")] {
        worker.packet(ticket, L4::Udp, payload);
    }
    assert_eq!(worker.verdict().unwrap().ticket, Ticket(1));
    assert_eq!(worker.verdict().unwrap().ticket, Ticket(2));
    assert_eq!(worker.verdict(), None);
    let (status, words) = worker.end();
    assert_eq!(status.code(), Some(101));
    assert!(words.starts_with("panic at ") && words.ends_with(": asked\\nto\n") && words.lines().count() == 1, "{words}");
}

#[test]
fn a_helper_that_opens_a_file_dies_as_sigsys() {
    let worker = Worker::serving(brittle(), "brittle");
    worker.packet(1, L4::Udp, b"open");
    assert_eq!(worker.verdict(), None);
    assert_eq!(worker.end().0.signal(), Some(SIGSYS));
}
