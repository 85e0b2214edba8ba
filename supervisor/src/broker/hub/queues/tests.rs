use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use cthelper_policy::config::{Config, QueueConfig};
use cthelper_proto::netlink::conntrack::Event;
use cthelper_proto::netlink::entry::Entry;
use cthelper_proto::netlink::report::{Moment, Report, Subject};
use cthelper_proto::types::Tuple;
use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::super::events::To;
use super::super::{CLIENTS, Sockets};
use super::*;
use crate::broker::client::Client;
use crate::broker::frames::split;
use crate::seqpacket::pair;

/// Bytes of an event. So long none is, but so few of them fill a share.
const LONG: usize = 1 << 18;

/// A queue and its only subscriber, who does not read until the end.
struct Sleeper {
    queue: u16,
    stream: UnixStream,
    told: u64,
}

/// Queues that take the connections to the port of their number each, and have more room than there is.
fn queues(when_full: &str) -> Vec<QueueConfig> {
    let mut text = "[helper.ftp]\n".to_owned();
    for n in 1..=4 {
        let room = format!("records = 1048576\nbytes = 1073741824\nwhen_full = \"{when_full}\"\nformat = \"raw\"");
        writeln!(text, "[events.queue.{n}]\nevents = [\"new\"]\nfilter = \"dport {n}\"\n{room}").unwrap();
    }
    Config::parse(&text, "test").unwrap().queues.into_values().collect()
}

fn waiting(hub: &Hub<'_>) -> usize {
    hub.clients.values().map(Client::waiting).sum()
}

impl Sleeper {
    fn arrives(hub: &mut Hub<'_>, queue: u16) -> Self {
        let (ours, mut stream) = UnixStream::pair().unwrap();
        writeln!(stream, "{{\"queue\":{queue}}}").unwrap();
        stream.set_nonblocking(true).unwrap();
        let (number, now) = (CLIENTS + u64::from(queue), Instant::now());
        hub.epoll.add(&ours, EpollEvent::new(EpollFlags::EPOLLIN, number)).unwrap();
        hub.clients.insert(number, Client::new(ours.into(), Door::Socket { uid: 0, gid: 0 }, now));
        hub.attend(number, EpollFlags::EPOLLIN, now);
        Self { queue, stream, told: 0 }
    }

    /// A connection that its queue takes.
    fn is_told(&mut self, hub: &mut Hub<'_>) {
        let mut raw = vec![0; LONG];
        raw.splice(..4, u32::try_from(LONG).unwrap().to_ne_bytes());
        let orig = Tuple { src: [10, 0, 1, 2].into(), dst: [10, 0, 2, 2].into(), proto: 6, sport: 40_000, dport: self.queue };
        let report = Report { event: Some(Event::New), port_id: 0, subject: Subject::Flow(Entry::new(orig)) };
        hub.deliver(&report, &raw, Moment(0), To::Everybody, Instant::now());
        hub.flush_dirty();
        self.told += 1;
    }

    /// It is told of connections until it loses one of them.
    fn fills_its_share(&mut self, hub: &mut Hub<'_>) {
        let before = hub.counts.lost;
        while hub.counts.lost == before {
            self.is_told(hub);
        }
    }

    /// It wakes up: the events that it gets, and those that it is told to have lost.
    fn reads(mut self, hub: &mut Hub<'_>) -> (u64, u64) {
        let mut bytes = Vec::new();
        loop {
            hub.flush(CLIENTS + u64::from(self.queue));
            let before = bytes.len();
            let _ = self.stream.read_to_end(&mut bytes); // until there is no more at the moment
            if bytes.len() == before {
                break;
            }
        }
        let answer = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        split(&bytes[answer + 1..]).fold((0, 0), |(got, lost), frame| match frame.len() {
            LONG => (got + 1, lost),
            _ => (got, lost + u64::from_be_bytes(*frame.last_chunk().unwrap())),
        })
    }
}

/// Each fills all that is left for it, and has no event after that: together they keep no more than there is.
#[test]
fn who_comes_takes_of_the_room_of_those_who_were_there() {
    let (link, _supervisor) = pair().unwrap();
    let mut hub = Hub::new(link.as_fd(), Sockets::default(), queues("drop-oldest")).unwrap();
    let mut sleepers = Vec::new();
    for queue in 1..=4 {
        let mut sleeper = Sleeper::arrives(&mut hub, queue);
        sleeper.fills_its_share(&mut hub);
        sleepers.push(sleeper);
        assert!(waiting(&hub) <= BUDGET, "{queue} subscribers keep {} MiB", waiting(&hub) >> 20);
    }
    let (queued, lost) = (hub.counts.queued, hub.counts.lost);
    assert_eq!(hub.figures().subscribers, 4);
    let mut sum = (0, 0);
    for sleeper in sleepers {
        let told = sleeper.told;
        let (got, lost) = sleeper.reads(&mut hub);
        assert!(got > 0 && got + lost == told, "of {told} events {got} were read and {lost} told as lost");
        sum = (sum.0 + got + lost, sum.1 + lost);
    }
    assert_eq!(sum, (queued, lost));
}

/// Where a queue says so, one who has more than is left for him is let go of; nobody else is.
#[test]
fn one_who_may_not_lose_any_is_let_go_of_by_his_share_too() {
    let (link, _supervisor) = pair().unwrap();
    let mut hub = Hub::new(link.as_fd(), Sockets::default(), queues("disconnect")).unwrap();
    let [mut greedy, mut modest] = [1, 2].map(|queue| Sleeper::arrives(&mut hub, queue));
    while waiting(&hub) < BUDGET * 2 / 5 {
        greedy.is_told(&mut hub);
    }
    modest.is_told(&mut hub);
    let third = Sleeper::arrives(&mut hub, 3);
    let (told, lost) = (greedy.told, hub.counts.lost);
    assert!(lost > 0 && waiting(&hub) < LONG * 2);
    let (got, told_lost) = greedy.reads(&mut hub);
    assert_eq!((got + told_lost, told_lost), (told, lost));
    assert_eq!((modest.reads(&mut hub), third.reads(&mut hub)), ((1, 0), (0, 0)));
    assert_eq!((hub.clients.len(), hub.figures().subscribers), (2, 2));
}
