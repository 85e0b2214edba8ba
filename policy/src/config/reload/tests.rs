//! Each setting's own difference, and that none is lost between what is applied and what waits.

use proptest::prelude::*;

use super::*;

/// A configuration by its text.
fn config(text: &str) -> Config {
    Config::parse(text, "c.toml").unwrap()
}

fn ftp(keys: &str) -> HelperConfig {
    config(&format!("[helper.ftp]\n{keys}")).helpers.remove("ftp").unwrap()
}

/// Of settings that differ from the default in these keys only.
fn changes(keys: &str) -> Changes {
    difference(&HelperConfig::new("ftp"), &ftp(keys))
}

/// One line for each setting, and what it means.
const SETTINGS: [(&str, &[Live], &[Boot]); 15] = [
    ("enabled = false", &[], &[Boot::Enabled]),
    ("queue = 7", &[], &[Boot::Queue]),
    ("queue_length = 5", &[Live::QueueLength], &[]),
    ("families = ['inet']", &[], &[Boot::Families]),
    ("ports = [2121]", &[Live::Ports], &[]),
    ("privileged_ports = true", &[Live::Rules], &[]),
    ("rate = { burst = 1, per_second = 1 }", &[Live::Rules], &[]),
    ("loose = true", &[Live::Rules, Live::Worker], &[]),
    ("options.x = 1", &[Live::Worker], &[]),
    ("classes.ftp.expect_max = 2", &[Live::Classes], &[]),
    ("classes.ftp.expect_timeout = '9s'", &[Live::Classes], &[]),
    ("worker = '/opt/w'", &[], &[Boot::Binary]),
    ("restart.spares = 0", &[Live::Restart], &[]),
    ("restart.deadline = '2s'", &[Live::Restart], &[]),
    ("restart.blame.times = 3", &[Live::Restart], &[]),
];

#[test]
fn each_setting_is_applied_or_waits_as_documented() {
    for (keys, live, boot) in SETTINGS {
        let wanted = Changes { live: live.iter().copied().collect(), boot: boot.iter().copied().collect() };
        assert_eq!(changes(keys), wanted, "{keys}");
    }
}

#[test]
fn what_reads_differently_and_means_the_same_is_no_difference() {
    assert!(changes("restart.limit.burst = 10\nqueue_length = 4096").is_empty());
    let (one, other) = (ftp("families = ['inet', 'inet6']"), ftp("families = ['inet6', 'inet']"));
    assert!(difference(&one, &other).is_empty());
}

#[test]
fn a_reader_whose_name_was_not_there_at_the_start_is_named() {
    let old = config("[helper.ftp]\n[events.queue.1]\nusers = ['ulog', 7]\n").queues;
    let new = config("[helper.ftp]\n[events.queue.2]\nusers = ['ulog', 'root', 8]\ngroups = ['ulog']\n").queues;
    let late = late_readers(&old, &new);
    assert_eq!(late.len(), 2, "{late:?}");
    assert!(
        late[0].starts_with("events.queue.2: group ulog is new: ") && late[1].starts_with("events.queue.2: user root is new: ")
    );
    assert!(late_readers(&new, &new).is_empty());
}

#[test]
fn helpers_that_come_and_go_and_the_daemons_user_wait() {
    let old = config("[helper.ftp]\n[helper.sip]\n");
    let new = config("[daemon]\nuser = 'nobody'\ngroup = 'nogroup'\n[helper.ftp]\nloose = true\nqueue = 9\n[helper.tftp]\n");
    let changes = differences(&old, &new);
    assert_eq!(
        changes.waiting(),
        [
            "daemon: user",
            "daemon: group",
            "helper ftp: queue",
            "helper sip: the helper is gone",
            "helper tftp: the helper is new"
        ]
    );
    assert_eq!(changes.applied(), ["helper ftp: rules of announcements", "helper ftp: worker settings: new workers take over"]);
    assert!(differences(&old, &old).is_empty());
}

#[test]
fn what_waits_is_not_in_what_is_served() {
    let old = config("[helper.ftp]\n[helper.sip]\n");
    let new = config("[daemon]\nuser = 'nobody'\n[helper.ftp]\nqueue = 9\nqueue_length = 9\n[helper.tftp]\n");
    let served = live_part_of_all(&old, &new);
    assert_eq!(served.helpers.keys().collect::<Vec<_>>(), ["ftp", "sip"]);
    assert_eq!((served.helpers["ftp"].queue, served.helpers["ftp"].queue_length), (None, 9));
    assert_eq!(served.daemon, old.daemon);
}

proptest! {
    #[test]
    fn a_reload_applies_all_that_is_live_and_nothing_that_waits(
        before in prop::collection::btree_set(0..SETTINGS.len(), 0..6), after in prop::collection::btree_set(0..SETTINGS.len(), 0..6),
    ) {
        let settings = |chosen: &BTreeSet<usize>| ftp(&chosen.iter().map(|i| SETTINGS[*i].0).collect::<Vec<_>>().join("\n"));
        let (old, new) = (settings(&before), settings(&after));
        let all = difference(&old, &new);
        prop_assert_eq!(all.is_empty(), old == new);
        let served = live_part(&old, &new);
        prop_assert_eq!(difference(&old, &served), Changes { live: all.live, boot: BTreeSet::new() });
        prop_assert_eq!(difference(&served, &new), Changes { live: BTreeSet::new(), boot: all.boot });
    }
}

#[test]
fn event_queues_change_at_once() {
    let of = |old: &str, new: &str| {
        let config = |queues: &str| config(&format!("[helper.ftp]\n{queues}"));
        differences(&config(old), &config(new))
    };
    for (old, new, change) in [
        ("", "[events.queue.1]", QueueChange::Added),
        ("[events.queue.1]", "", QueueChange::Removed),
        ("[events.queue.1]", "[events.queue.1]\nevents = ['new']", QueueChange::Selection),
        ("[events.queue.1]", "[events.queue.1]\nfilter = 'assured'", QueueChange::Selection),
        ("[events.queue.1]\nselect.label = 1", "[events.queue.1]\nselect.label = 2", QueueChange::Selection),
        ("[events.queue.1]", "[events.queue.1]\nformat = 'raw'", QueueChange::Selection),
        ("[events.queue.1]", "[events.queue.1]\nusers = [7]", QueueChange::Readers),
        ("[events.queue.1]", "[events.queue.1]\ngroups = [7]", QueueChange::Readers),
        ("[events.queue.1]", "[events.queue.1]\nrecords = 7", QueueChange::Room),
        ("[events.queue.1]", "[events.queue.1]\nbytes = 100000", QueueChange::Room),
        ("[events.queue.1]", "[events.queue.1]\nwhen_full = 'disconnect'", QueueChange::Room),
    ] {
        let changes = of(old, new);
        assert_eq!(changes.queues, [(1, [change].into())].into(), "{new}");
        assert_eq!(changes.applied(), [format!("event queue 1: {change}")]);
        assert!(changes.waiting().is_empty() && !changes.is_empty());
    }
    assert!(of("[events.queue.1]\nfilter = 'snat'", "[events.queue.1]\nfilter = ' snat '").is_empty());
}
