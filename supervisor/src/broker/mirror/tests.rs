use cthelper_proto::netlink::entry::Entry;

use super::*;

fn tuple(n: u16) -> Tuple {
    Tuple { src: [10, 0, 1, 2].into(), dst: [10, 0, 2, 2].into(), proto: 6, sport: 40_000 + n, dport: 21 }
}

fn entry(n: u16, id: u32, helper: Option<&str>) -> Entry<'_> {
    let orig = tuple(n);
    Entry { id: Some(id), helper: helper.map(Into::into), reply: Some(orig.inverse()), ..Entry::new(orig) }
}

#[expect(clippy::large_types_passed_by_value, reason = "a test's")]
fn flow(event: Option<Event>, entry: Entry<'_>) -> Report<'_> {
    Report { event, port_id: 0, subject: Subject::Flow(entry) }
}

fn records(mirror: &Mirror, now: Instant) -> Vec<FlowRecord> {
    mirror.records(mirror.list(), now).map(|(record, _)| record).collect()
}

fn helpers(mirror: &Mirror) -> Vec<(String, u64)> {
    mirror.counts().into_iter().map(|(helper, count)| (helper.to_string(), count)).collect()
}

#[test]
fn a_helped_connection_is_known_from_its_birth_to_its_end() {
    let (mut mirror, now) = (Mirror::default(), Instant::now());
    assert_eq!(mirror.take(&flow(Some(Event::New), entry(1, 7, Some("ftp"))), now), None);
    assert_eq!(mirror.take(&flow(Some(Event::New), entry(2, 8, None)), now), None);
    assert_eq!(helpers(&mirror), [("ftp".to_owned(), 1)]);
    let end = flow(Some(Event::Destroy), entry(1, 7, None));
    assert_eq!(mirror.known(&end).helper, Some("ftp"), "which the event does not tell");
    let closed = mirror.take(&end, now).unwrap();
    assert_eq!((closed.helper.as_str(), closed.id, closed.orig), ("ftp", 7, tuple(1)));
    assert_eq!(mirror.take(&flow(Some(Event::Destroy), entry(2, 8, None)), now), None);
    assert!(records(&mirror, now).is_empty());
}

#[test]
fn an_id_that_is_another_says_that_an_end_was_missed() {
    let (mut mirror, now) = (Mirror::default(), Instant::now());
    mirror.take(&flow(Some(Event::New), entry(1, 7, Some("ftp"))), now);
    let late = flow(Some(Event::Destroy), entry(1, 6, None));
    assert_eq!(mirror.known(&late).helper, None);
    assert_eq!(mirror.take(&late, now), None, "the end of the one before");
    let closed = mirror.take(&flow(Some(Event::New), entry(1, 9, Some("ftp"))), now).unwrap();
    assert_eq!((closed.id, helpers(&mirror)), (7, vec![("ftp".to_owned(), 1)]));
}

/// What was missed in a gap is found by the dump: connections that are gone, and those that came.
#[test]
fn a_dump_makes_it_right_again() {
    let (mut mirror, now) = (Mirror::default(), Instant::now());
    for n in 1..=3 {
        mirror.take(&flow(Some(Event::New), entry(n, n.into(), Some("ftp"))), now);
    }
    mirror.dump_begins();
    mirror.take(&flow(None, entry(1, 1, Some("ftp"))), now);
    mirror.take(&flow(None, entry(4, 4, Some("ftp"))), now);
    mirror.take(&flow(Some(Event::Update), entry(3, 3, Some("ftp"))), now);
    mirror.take(&flow(Some(Event::New), entry(5, 5, Some("ftp"))), now);
    let gone = mirror.dump_ends();
    assert_eq!(gone.iter().map(|closed| closed.id).collect::<Vec<_>>(), [2]);
    let ids: Vec<_> = records(&mirror, now).iter().filter_map(|record| record.id).collect();
    assert_eq!(ids, [1, 3, 4, 5]);
}

/// A dump is a snapshot that lies in a socket: it may show what has ended meanwhile.
#[test]
fn what_ends_during_a_dump_does_not_come_back_by_it() {
    let (mut mirror, now) = (Mirror::default(), Instant::now());
    mirror.dump_begins();
    mirror.take(&flow(Some(Event::Destroy), entry(1, 1, None)), now);
    mirror.take(&flow(None, entry(1, 1, Some("ftp"))), now);
    mirror.take(&flow(None, entry(1, 2, Some("ftp"))), now);
    mirror.dump_ends();
    assert_eq!(records(&mirror, now).iter().filter_map(|record| record.id).collect::<Vec<_>>(), [2]);
}

#[test]
fn announcements_and_what_came_of_them_are_counted_below_their_master() {
    let (mut mirror, now) = (Mirror::default(), Instant::now());
    let news = |what| News { helper: "ftp".to_owned(), id: 7, orig: tuple(1), zone: 0, what };
    mirror.hear(&news(What::Granted), now); // before the kernel tells of the connection
    mirror.take(&flow(Some(Event::New), entry(1, 7, Some("ftp"))), now);
    mirror.hear(&news(What::Refused), now);
    let expectation = Expectation::new(tuple(2), tuple(1));
    let expect = |event| Report { event, port_id: 0, subject: Subject::Expect(expectation.clone()) };
    mirror.take(&expect(Some(Event::New)), now);
    assert_eq!(records(&mirror, now)[0].expecting, 1);
    let child = Entry { master: Some(tuple(1)), ..entry(2, 8, None) };
    mirror.take(&flow(Some(Event::New), child), now);
    mirror.take(&flow(Some(Event::Update), child), now);
    mirror.take(&expect(Some(Event::Destroy)), now);
    let records = records(&mirror, now);
    let master = records.iter().find(|record| record.id == Some(7)).unwrap();
    assert_eq!((master.announcements, master.granted, master.refused, master.used, master.expecting), (2, 1, 1, 1, 0));
    let child = records.iter().find(|record| record.id == Some(8)).unwrap();
    assert_eq!((child.master, child.helper.as_deref()), (Some(Master::from(&tuple(1))), None));
}

#[test]
fn what_never_came_to_be_is_forgotten() {
    let (mut mirror, now) = (Mirror::default(), Instant::now());
    mirror.hear(&News { helper: "tftp".to_owned(), id: 1, orig: tuple(1), zone: 0, what: What::Granted }, now);
    mirror.take(&flow(Some(Event::New), entry(2, 2, Some("ftp"))), now);
    assert!(mirror.is_waiting());
    mirror.tick(now + UNCONFIRMED);
    assert_eq!((mirror.is_waiting(), records(&mirror, now).len()), (false, 1));
}

/// Some kernels name the helper of the connection that announced it.
#[test]
fn an_announced_connection_has_the_helper_whose_lane_reads_it() {
    let (mut mirror, now) = (Mirror::default(), Instant::now());
    let announced = Entry { master: Some(tuple(1)), ..entry(2, 8, Some("ras")) };
    mirror.take(&flow(Some(Event::New), announced), now);
    mirror.hear(&News { helper: "q931".to_owned(), id: 8, orig: tuple(2), zone: 0, what: What::Read }, now);
    mirror.take(&flow(Some(Event::Update), announced), now);
    let records = records(&mirror, now);
    let told: Vec<_> = records.iter().map(|record| (record.helper.as_deref(), record.announcements)).collect();
    assert_eq!(told, [(Some("q931"), 0)]);
    let closed = mirror.take(&flow(Some(Event::Destroy), entry(2, 8, None)), now).unwrap();
    assert_eq!(closed.helper, "q931", "whose workers are told of its end");
}

#[test]
fn a_list_shows_once_what_was_there_when_it_began_and_has_not_ended_at_its_turn() {
    let (mut mirror, now) = (Mirror::default(), Instant::now());
    let told = |records: &mut dyn Iterator<Item = (FlowRecord, Cursor)>| -> Vec<_> {
        records.map(|(record, behind)| (record.id.unwrap(), behind)).collect()
    };
    for n in 1..=6 {
        mirror.take(&flow(Some(Event::New), entry(n, n.into(), Some("ftp"))), now);
    }
    let first = told(&mut mirror.records(mirror.list(), now).take(2));
    let [(1, _), (2, behind)] = first[..] else { panic!("{first:?}") };
    mirror.take(&flow(Some(Event::Destroy), entry(1, 1, None)), now); // it was told
    mirror.take(&flow(Some(Event::Destroy), entry(4, 4, None)), now); // it was not
    mirror.take(&flow(Some(Event::New), entry(5, 50, Some("ftp"))), now); // another of the same addresses
    mirror.take(&flow(Some(Event::New), entry(7, 7, Some("ftp"))), now);
    mirror.take(&flow(Some(Event::New), entry(1, 10, Some("ftp"))), now);
    let rest = told(&mut mirror.records(behind, now));
    assert_eq!(rest.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [3, 6]);
    assert_eq!(told(&mut mirror.records(rest[1].1, now)), []);
    let anew: Vec<_> = records(&mirror, now).iter().filter_map(|record| record.id).collect();
    assert_eq!(anew, [2, 3, 6, 50, 7, 10]);
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let (mut mirror, now) = (Mirror::default(), Instant::now());
    for n in 0..10_000 {
        mirror.take(&flow(Some(Event::New), entry(n, n.into(), Some("ftp"))), now);
        if n >= 50 {
            mirror.take(&flow(Some(Event::Destroy), entry(n - 50, (n - 50).into(), None)), now);
        }
        assert!(mirror.order.len() <= 102, "{}", mirror.order.len());
    }
    let ids: Vec<_> = records(&mirror, now).iter().filter_map(|record| record.id).collect();
    assert!(ids.iter().copied().eq(9950..10_000), "{ids:?}");
}
