use cthelper_proto::netlink::conntrack::Event;
use cthelper_proto::netlink::entry::Entry;
use cthelper_proto::netlink::report::Subject;
use cthelper_proto::types::Tuple;

use super::super::Config;
use super::*;

fn parse(queues: &str) -> Result<BTreeMap<u16, QueueConfig>, String> {
    let text = format!("[helper.ftp]\n{queues}");
    Config::parse(&text, "f").map(|config| config.queues).map_err(|error| error.to_string())
}

#[test]
fn a_bare_queue_has_all_events_for_root_as_text() {
    assert_eq!(parse("[events.queue.7]"), Ok([(7, QueueConfig::new(7))].into()));
    assert_eq!(QueueConfig::new(7).groups(), [1, 2, 3, 4, 6].into());
    assert_eq!(parse(""), Ok(BTreeMap::new()));
}

#[test]
fn each_key_is_taken() {
    let queues = parse(
        "[events.queue.65535]\nevents = [\"new\", \"destroy\"]\nfilter = 'proto tcp and dport 21'\nselect = { mark = \"0x10/0xf0\" }\n\
         users = [0, \"ulog\"]\ngroups = [\"adm\"]\nrecords = 10\nbytes = 65536\nwhen_full = \"disconnect\"\nformat = \"json\"\n\
         [events.queue.0]\nselect = { label = 127 }",
    )
    .unwrap();
    let whole = QueueConfig {
        number: 65535,
        kinds: [Kind::New, Kind::Destroy].into_iter().collect(),
        filter: Filter::parse("proto tcp and dport 21").unwrap(),
        select: Some(Select::Mark(Mark::new(0x10, 0xf0))),
        readers: Readers { users: vec![Who::Id(0), Who::Name("ulog".into())], groups: vec![Who::Name("adm".into())] },
        room: Room { records: 10, bytes: 65536 },
        when_full: WhenFull::Disconnect,
        format: Format::Json,
    };
    assert_eq!(queues[&65535], whole);
    assert_eq!(whole.groups(), [1, 3].into());
    let labelled = &queues[&0];
    assert_eq!((labelled.kinds, labelled.select), (Kinds::FLOWS, Some(Select::Label(127))));
    assert_eq!(labelled.needs(), Needs { helper: false, labels: true });
    assert_eq!(labelled.groups(), [1, 2, 3].into());
}

#[test]
fn a_mistake_has_its_place_also_inside_the_filter() {
    for (text, error) in [
        ("[events.queue.1]\nfilter = \"proto tcp and dprt 21\"", "f:3:25: filter: unknown word `dprt`; did you mean `dport`?"),
        ("[events.queue.1]\nfilter = 'ünknown'", "f:3:11: filter: unknown word `ünknown`; known here"),
        ("[events.queue.1]\nfilter = \"\"\"\nsnat\n  and snta\"\"\"", "f:5:7: filter: unknown word `snta`; did you mean `snat`?"),
        ("[events.queue.1]\nfilter = \"helper \\\"x\\\" and\"", "f:3:27: filter: the expression ends where"),
        ("[events.queue.01]", "f:2:15: event queue \"01\": a number from 0 to 65535"),
        ("[events.queue.65536]", "f:2:15: event queue \"65536\": a number from 0 to 65535"),
        ("[events.queue.1]\nfliter = ''", "f:3:1: unknown key `fliter`; did you mean `filter`?"),
        ("[events.queue.1]\nevents = [\"destory\"]", "f:3:10: unknown event `destory`; did you mean `destroy`?"),
        ("[events.queue.1]\nevents = []", "f:3:10: events: one at least"),
        ("[events.queue.1]\nevents = [\"expect-new\"]\nselect = { label = 1 }", "f:3:10: no rule sets a mark or label"),
        ("[events.queue.1]\nselect = { mark = \"0/7\" }", "f:3:10: select: a connection no rule has seen has mark 0"),
        ("[events.queue.1]\nselect = { label = 128 }", "f:3:10: label: 0 to 127"),
        ("[events.queue.1]\nselect = { mark = 1, label = 2 }", "f:3:10: "),
        ("[events.queue.1]\nrecords = 0", "f:3:11: records: 1 to 1048576"),
        ("[events.queue.1]\nbytes = 1", "f:3:9: bytes: 65536 to 1073741824"),
        ("[events.queue.1]\nwhen_full = \"drop\"", "f:3:13: unknown value `drop`; known here: drop-oldest, disconnect"),
        ("[events.queue.1]\nformat = \"jsn\"", "f:3:10: unknown value `jsn`; did you mean `json`?"),
        ("[events.queue.1]\nusers = [-1]", "f:3:9: a name or a number"),
        (
            "[events.queue.1]\nsink = \"journal\"",
            "f:3:1: there is no key `sink`; the unit cthelperd-events@N writes event queue N",
        ),
        ("[events]\nqueues = 1", "f:3:1: unknown key `queues`; did you mean `queue`?"),
    ] {
        let found = parse(text).unwrap_err();
        assert!(found.starts_with(error), "{text}\n{found}\n{error}");
    }
}

#[test]
fn a_filter_that_grows_too_long_when_it_is_written_out_is_refused() {
    let short = vec!["!snat"; 580].join("&&");
    let found = parse(&format!("[events.queue.1]\nfilter = \"{short}\"")).unwrap_err();
    assert!(short.len() <= 4096 && found.starts_with("f:3:11: filter: too long: "), "{found}");
    assert!(found.ends_with(" bytes when written out in full, at most 4096"), "{found}");
}

#[test]
fn names_become_numbers_or_are_named() {
    let readers = Readers { users: vec![Who::Id(7), Who::Name("ulog".into())], groups: vec![Who::Name("adm".into())] };
    let access = readers.resolve(|user| (user == "ulog").then_some(120), |group| (group == "adm").then_some(4)).unwrap();
    assert!([(0, 9), (7, 9), (120, 9), (9, 4)].into_iter().all(|(uid, gid)| access.allows(uid, gid)));
    assert!(!access.allows(8, 7) && !access.allows(4, 0));
    let error = readers.resolve(|_| Some(1), |_| None).unwrap_err();
    assert_eq!(error.to_string(), "no group is called \"adm\"");
}

#[test]
fn an_event_must_be_of_the_kinds_the_selection_and_the_filter() {
    let queue =
        parse("[events.queue.1]\nevents = [\"new\"]\nfilter = 'dport 21'\nselect = { label = 5 }").unwrap().remove(&1).unwrap();
    let tuple = Tuple { src: [10, 0, 0, 1].into(), dst: [10, 0, 0, 2].into(), proto: 6, sport: 1, dport: 21 };
    let takes = |event, dport, labels: &[u8], known: &[u8]| {
        let labels = Some(Labels::with(labels.iter().copied())).filter(|set| set.iter().next().is_some());
        let entry = Entry { labels, ..Entry::new(Tuple { dport, ..tuple }) };
        let report = Report { event: Some(event), port_id: 0, subject: Subject::Flow(entry) };
        queue.takes(&report, &Known { helper: None, labels: Some(Labels::with(known.iter().copied())) })
    };
    assert!(takes(Event::New, 21, &[5], &[]) && takes(Event::New, 21, &[], &[5]));
    assert!(!takes(Event::Destroy, 21, &[5], &[]) && !takes(Event::New, 22, &[5], &[]) && !takes(Event::New, 21, &[6], &[5]));
}
