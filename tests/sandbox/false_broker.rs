//! A broker that asks the supervisor for dumps without end (`bin/imposter/broker.rs`): the kernel is asked 8 times and then 4 times a second, and
//! neither the control side nor a lane is the slower for it. And one that takes what it is told as slowly as it likes.
//! Whatever one is ended for is in the record of its end.

use std::fmt::Write;
use std::time::{Duration, Instant};

use cthelper_policy::config::Config;
use cthelper_proto::events::Event;
use cthelper_tests::binaries::binary;
use cthelper_tests::control::{Control, Net};
use cthelper_tests::office::Served;
use cthelper_tests::stage::Play;
use cthelper_tests::{PATIENCE, eventually};

/// The limits of `office.rs`.
const BURST: u32 = 8;
const PER_SECOND: u32 = 4;

/// The next end of a broker that is told.
fn end_of(served: &Served) -> String {
    eventually("its end", || {
        served.records.try_iter().find_map(|record| match record.event {
            Event::BrokerEnded { cause, .. } => Some(cause),
            _ => None,
        })
    })
}

/// A broker of the imposter's that asks for so many dumps a second.
fn asking(rate: u16) -> Served {
    Served::of(&binary("cthelperd"), &binary("imposter"), &format!("[events.queue.{rate}]\nevents = [\"new\"]\n"))
}

#[test]
fn a_broker_that_asks_for_dumps_without_end_gets_eight_and_then_four_a_second() {
    let served = asking(1000);
    let cause = end_of(&served);
    println!("{cause}");
    let words: Vec<&str> = cause.strip_prefix("exit 3: asked ").expect(&cause).split(' ').collect();
    let [asked, _, answered, _, statuses, _, lived, _] = words.as_slice() else { panic!("{cause}") };
    let [asked, answered, statuses, lived] = [asked, answered, statuses, lived].map(|number| number.parse::<u32>().unwrap());
    assert!(asked > 4 * answered, "it hardly asked: {cause}");
    assert!((BURST..=BURST + PER_SECOND * (lived / 1000 + 1)).contains(&answered), "{cause}");
    assert!(statuses >= 5, "the control side answers all the while: {cause}");
    served.end();
}

#[test]
fn one_that_asks_as_fast_as_it_can_is_replaced_and_no_packet_waits_for_that() {
    let stage = Play::ftp().start();
    let served = asking(1);
    let (mut worst, mut carried, begin) = (Duration::ZERO, 0, Instant::now());
    let mut ends = Vec::new();
    while ends.len() < 2 {
        let sent = Instant::now();
        let mut flow = Control::over(Net::Plain4, carried);
        stage.kernel.carries(flow.client("NOOP\r\n"));
        (worst, carried) = (worst.max(sent.elapsed()), carried + 1);
        ends.extend(served.records.try_iter().filter_map(|record| match record.event {
            Event::BrokerEnded { cause, .. } => Some(cause),
            _ => None,
        }));
        assert!(begin.elapsed() < PATIENCE, "{ends:?}");
    }
    println!("{carried} packets, the slowest in {worst:?}; {ends:?}");
    assert_eq!(ends, ["it said more than it may; signal SIGKILL"; 2]);
    assert!(carried > 2, "packets went on meanwhile: {carried}");
    served.end();
    stage.stop();
}

/// It makes room for another queue of a reload's every half second: its time is for all of them.
#[test]
fn one_that_takes_its_queues_one_by_one_is_replaced_for_that() {
    let served = asking(2);
    let ports: Vec<String> = (10_000..10_500).step_by(2).map(|port: u16| port.to_string()).collect();
    let mut text = "[helper.ftp]\n".to_owned();
    for number in 2..202 {
        write!(text, "[events.queue.{number}]\nevents = [\"new\"]\nfilter = \"dport {}\"\n", ports.join(",")).unwrap();
    }
    let (config, begun) = (Config::parse(&text, "test").unwrap(), Instant::now());
    served.board.set_queues(&config.queues);
    let cause = end_of(&served);
    println!("after {:.1?}: {cause}", begun.elapsed());
    assert_eq!(cause, "it did not take its event queues in time; signal SIGKILL");
    served.end();
}

#[test]
fn the_record_says_what_a_broker_was_ended_for() {
    for (how, expected) in [
        (3, "it hung up and lived on; signal SIGKILL"),
        (4, "it said what is no message; signal SIGKILL"),
        (5, "it said more than it may; signal SIGKILL: x"),
    ] {
        let served = asking(how);
        assert_eq!(end_of(&served), expected);
        served.end();
    }
}
