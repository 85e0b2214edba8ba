//! A real keeper in a thread, honest clients, and liars.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cthelper_policy::profiles::{KEEPER_PEERS, KEEPER_SOCKETS};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockProtocol, SockType, getsockopt, sendmsg, socket, socketpair, sockopt,
};
use nix::unistd::geteuid;

use super::client::{Gone, Keeper as Client, listener};
use super::heir::port_id;
use super::protocol::{Record, Word};
use super::run::Keeper;
use super::wire::{self, Heard};
use crate::kernel::netfilter::socket::Nfnl;

/// A keeper and the folder of its socket.
struct Stage {
    folder: PathBuf,
    keeper: JoinHandle<Result<(), nix::errno::Errno>>,
}

impl Stage {
    fn new(name: &str) -> Self {
        Self::of(name, geteuid().as_raw())
    }

    fn of(name: &str, master: u32) -> Self {
        let folder = std::env::temp_dir().join(format!("cthelperd-keeper-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let listener = listener(&folder.join("keeper.sock")).unwrap();
        let keeper = std::thread::spawn(move || Keeper::new(listener, master).with_succession(Duration::from_secs(2)).run());
        Self { folder, keeper }
    }

    fn client(&self) -> Client {
        Client::find(&self.folder).pop().unwrap()
    }

    fn ends(self) {
        assert!(self.client().bye());
        assert_eq!(self.keeper.join().unwrap(), Ok(()));
        assert!(Client::find(&self.folder).is_empty());
        std::fs::remove_dir_all(self.folder).unwrap();
    }
}

/// A bound netfilter socket; anybody may have one.
fn queue_socket() -> OwnedFd {
    Nfnl::open().unwrap().as_fd().try_clone_to_owned().unwrap()
}

/// What the keeper answers next, in words; `gone` when it hangs up.
fn answer(client: &Client) -> String {
    match wire::wait(client, Instant::now() + Duration::from_secs(5)) {
        Heard::Record(record, _) => format!("{:?} {}", record.word, record.text).trim().to_owned(),
        Heard::Hangup => "gone".to_owned(),
        heard => panic!("{heard:?}"),
    }
}

fn names(client: &Client) -> Vec<(String, u16)> {
    client.take().unwrap().0.into_iter().map(|kept| (kept.helper, kept.queue)).collect()
}

fn eventually(what: &str, mut test: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(5);
    while !test() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_one_life_leaves_the_next_gets() {
    let stage = Stage::new("lives");
    let (ftp, sip) = (queue_socket(), queue_socket());
    let first = stage.client();
    first.hold("ftp", 6200, ftp.as_fd()).unwrap();
    first.hold("sip", 6201, sip.as_fd()).unwrap();
    first.hold("old", 6202, sip.as_fd()).unwrap();
    first.forget(6202).unwrap();
    eventually("four answers", || first.heed() == Ok(Vec::new()) && names(&stage.client()).len() == 2);
    let ports = [ftp.as_fd(), sip.as_fd()].map(|socket| port_id(socket).unwrap());
    drop((first, ftp, sip));
    let second = stage.client();
    let (kept, listening) = second.take().unwrap();
    let found: Vec<_> =
        kept.iter().map(|kept| (kept.helper.as_str(), kept.queue, port_id(kept.socket.as_fd()).unwrap())).collect();
    assert_eq!(found, [("ftp", 6200, ports[0]), ("sip", 6201, ports[1])]);
    // The kernel of this machine has no such queues bound to them: what is kept is not believed.
    assert!(kept.into_iter().all(|kept| kept.recognise().is_err()));
    // On the listening socket that comes with them another keeper can listen.
    assert!(getsockopt(&listening, sockopt::AcceptConn).unwrap());
    drop(listening);
    stage.ends();
}

#[test]
fn a_queue_is_held_once() {
    let stage = Stage::new("once");
    let client = stage.client();
    let sockets = [queue_socket(), queue_socket()];
    for socket in &sockets {
        client.hold("ftp", 6200, socket.as_fd()).unwrap();
        assert_eq!(answer(&client), "Done");
    }
    let (kept, _) = client.take().unwrap();
    assert_eq!(kept.iter().map(|kept| port_id(kept.socket.as_fd())).collect::<Vec<_>>(), [port_id(sockets[1].as_fd())]);
    stage.ends();
}

#[test]
fn sockets_that_nobody_reads_any_more_become_small() {
    let stage = Stage::new("small");
    let socket = queue_socket();
    let size = || getsockopt(&socket, sockopt::RcvBuf).unwrap();
    let large = size();
    let supervisor = stage.client();
    supervisor.hold("ftp", 6200, socket.as_fd()).unwrap();
    assert_eq!(answer(&supervisor), "Done");
    // A visitor who takes and gives nothing comes and goes.
    let visitor = stage.client();
    visitor.forget(9).unwrap();
    assert_eq!(answer(&visitor), "Done");
    drop(visitor);
    // So does a successor that is there at the same time.
    let successor = stage.client();
    assert_eq!(names(&successor), [("ftp".to_owned(), 6200)]);
    drop(successor);
    assert_eq!(names(&supervisor).len(), 1);
    assert_eq!(size(), large);
    drop(supervisor);
    eventually("small", || size() < 5000);
    stage.ends();
}

#[test]
fn what_comes_waits_for_a_successor_that_was_announced_and_not_for_ever() {
    let stage = Stage::new("successor");
    let sockets = [queue_socket(), queue_socket()];
    let size = |at: usize| getsockopt(&sockets[at], sockopt::RcvBuf).unwrap();
    let large = size(0);
    let leave = |at: usize| {
        let supervisor = stage.client();
        supervisor.hold("ftp", 6200, sockets[at].as_fd()).unwrap();
        assert_eq!(answer(&supervisor), "Done");
        supervisor.expect_successor().unwrap();
    };
    leave(0);
    let successor = stage.client();
    assert_eq!(names(&successor), [("ftp".to_owned(), 6200)]);
    assert_eq!(size(0), large);
    drop(successor);
    eventually("small: that one announced nobody", || size(0) < 5000);
    leave(1);
    eventually("small: nobody came", || size(1) < 5000);
    stage.ends();
}

#[test]
fn what_is_no_queue_socket_is_refused_by_name() {
    let stage = Stage::new("kinds");
    let client = stage.client();
    let (unix, other) = std::os::unix::net::UnixStream::pair().unwrap();
    let (pipe, _end) = nix::unistd::pipe().unwrap();
    let route = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute).unwrap();
    let unbound = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter).unwrap();
    for socket in [unix.as_fd(), other.as_fd(), pipe.as_fd(), route.as_fd(), unbound.as_fd()] {
        client.hold("ftp", 6200, socket).unwrap();
        assert_eq!(answer(&client), "Refused no queue");
    }
    let socket = queue_socket();
    client.hold("", 6200, socket.as_fd()).unwrap();
    assert_eq!(answer(&client), "Refused no name");
    wire::say(&client, &Record::new(Word::Hold, 6200, "ftp"), None).unwrap();
    assert_eq!(answer(&client), "Refused not one fd");
    let two = [socket.as_raw_fd(), socket.as_raw_fd()];
    let record = Record::new(Word::Hold, 6200, "ftp").encode();
    let bytes = [std::io::IoSlice::new(&record)];
    sendmsg::<()>(client.as_fd().as_raw_fd(), &bytes, &[ControlMessage::ScmRights(&two)], MsgFlags::empty(), None).unwrap();
    assert_eq!(answer(&client), "Refused not one fd");
    assert_eq!(names(&client), []);
    stage.ends();
}

#[test]
fn no_more_sockets_than_there_is_room_for() {
    let stage = Stage::new("many");
    let (client, socket) = (stage.client(), queue_socket());
    let last = u16::try_from(KEEPER_SOCKETS).unwrap();
    for queue in 0..last {
        client.hold("ftp", queue, socket.as_fd()).unwrap();
        assert_eq!(answer(&client), "Done");
    }
    client.hold("ftp", last, socket.as_fd()).unwrap();
    eventually("a refusal", || client.heed() == Ok(vec![format!("queue {last}: Refused too many")]));
    client.hold("ftp", 0, socket.as_fd()).unwrap();
    assert_eq!(names(&stage.client()).len(), KEEPER_SOCKETS);
    stage.ends();
}

#[test]
fn a_liar_loses_its_connection_and_nothing_else_happens() {
    let stage = Stage::new("liars");
    let (honest, socket) = (stage.client(), queue_socket());
    honest.hold("ftp", 6200, socket.as_fd()).unwrap();
    assert_eq!(answer(&honest), "Done");
    let good = Record::bare(Word::Take).encode();
    let mut foreign = good;
    foreign[0] = 9;
    let records: [&[u8]; 5] = [b"x", &good[..19], &[good.as_slice(), b"x"].concat(), &foreign, &vec![7; 70_000]];
    for record in records {
        let liar = stage.client();
        nix::sys::socket::send(liar.as_fd().as_raw_fd(), record, MsgFlags::empty()).unwrap();
        assert_eq!(answer(&liar), "gone", "{} bytes", record.len());
    }
    for word in [Word::Done, Word::Refused, Word::Socket] {
        let liar = stage.client();
        wire::say(&liar, &Record::bare(word), None).unwrap();
        assert_eq!(answer(&liar), "gone", "{word:?}");
    }
    assert_eq!(names(&honest), [("ftp".to_owned(), 6200)]);
    stage.ends();
}

#[test]
fn one_that_does_not_read_its_answers_is_not_waited_for() {
    let stage = Stage::new("deaf");
    let (deaf, socket) = (stage.client(), queue_socket());
    for queue in 0..u16::try_from(KEEPER_SOCKETS).unwrap() {
        deaf.hold("ftp", queue, socket.as_fd()).unwrap();
    }
    // As many answers as its socket takes, and then some: the keeper hangs up instead of waiting.
    let full = (0..20_000).any(|_| {
        let asked = wire::say(&deaf, &Record::bare(Word::Take), None);
        asked.is_err_and(|errno| errno != rustix::io::Errno::AGAIN) || {
            std::thread::sleep(Duration::from_micros(50));
            false
        }
    });
    assert!(full, "it was never cut off");
    assert_eq!(names(&stage.client()).len(), KEEPER_SOCKETS);
    stage.ends();
}

#[test]
fn another_user_and_one_too_many_are_not_admitted() {
    let stage = Stage::of("stranger", geteuid().as_raw() + 1);
    assert_eq!(answer(&stage.client()), "gone");
    drop(stage); // its thread ends when it has been idle
    let stage = Stage::new("crowd");
    let crowd: Vec<Client> = (0..KEEPER_PEERS).map(|_| stage.client()).collect();
    for client in &crowd {
        assert_eq!(names(client), []);
    }
    assert_eq!(answer(&stage.client()), "gone");
    drop(crowd);
    eventually("room", || stage.client().take().is_ok());
    stage.ends();
}

#[test]
fn a_keeper_that_is_gone_is_noticed_and_an_imposter_is_no_keeper() {
    let stage = Stage::new("gone");
    let client = stage.client();
    stage.ends();
    eventually("hang-up", || client.heed() == Err(Gone));
    assert!(client.take().is_err());
    // An answer that is none.
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    wire::say(&theirs, &Record::new(Word::Socket, 6200, "ftp"), None).unwrap();
    assert_eq!(Client::over(ours).take().unwrap_err(), "a record without a socket");
}

/// As one that was stopped meets it when it goes on: whoever told it to end is gone.
#[test]
fn bye_is_heard_of_one_that_has_gone_before_its_answers_came() {
    let path = std::env::temp_dir().join(format!("cthelperd-keeper-parting-{}", std::process::id()));
    let mut keeper = Keeper::new(listener(&path).unwrap(), geteuid().as_raw());
    let (hasty, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
    keeper.visited_by(theirs);
    for word in [Word::Take, Word::Bye] {
        wire::say(&hasty, &Record::bare(word), None).unwrap();
    }
    drop(hasty);
    let begun = Instant::now();
    assert_eq!(keeper.run(), Ok(()));
    assert!(begun.elapsed() < Duration::from_secs(5), "it ended because it was idle");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn one_that_says_more_than_it_was_asked_is_not_listened_to() {
    let talkative = || {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        (Client::over(ours), theirs)
    };
    let (client, theirs) = talkative();
    while wire::say(&theirs, &Record::bare(Word::Done), None).is_ok() {}
    assert_eq!(client.heed(), Err(Gone));
    let (client, theirs) = talkative();
    let socket = queue_socket();
    for queue in 0..=u16::try_from(KEEPER_SOCKETS).unwrap() {
        wire::say(&theirs, &Record::new(Word::Socket, queue, "ftp"), Some(socket.as_fd())).unwrap();
    }
    assert_eq!(client.take().unwrap_err(), format!("more than {KEEPER_SOCKETS} sockets"));
    let (client, theirs) = talkative();
    wire::say(&theirs, &Record::new(Word::Refused, 6200, "too many"), None).unwrap();
    let entrusted = client.entrust([("ftp", 6200, socket.as_fd())]);
    assert_eq!(entrusted.unwrap_err(), "queue 6200: Refused too many");
    assert!(!client.bye(), "it has not ended");
    drop(theirs);
    assert!(client.bye(), "it has");
}

#[test]
fn a_keeper_that_accepts_nobody_is_not_waited_for() {
    let folder = std::env::temp_dir().join(format!("cthelperd-keeper-deaf-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let _deaf = listener(&folder.join("keeper.sock")).unwrap();
    let mut waiting = Vec::new();
    let refused = (0..64).any(|_| {
        let mut found = Client::find(&folder);
        let none = found.is_empty();
        waiting.append(&mut found);
        none
    });
    assert!(refused, "{} were let in", waiting.len());
    std::fs::remove_dir_all(folder).unwrap();
}
