use std::borrow::Cow;

use cthelper_proto::manifest::{Class, Scope};
use cthelper_proto::types::L4s;

use super::*;

fn manifest(name: &'static str, l4s: L4s, classes: Vec<Class>) -> Manifest {
    Manifest {
        name: Cow::Borrowed(name),
        l4s,
        families: Cow::Borrowed(&[Family::Inet]),
        classes: classes.into(),
        state_len: 1,
        ports: Cow::Borrowed(&[1719]),
        source: Cow::Borrowed("a test"),
    }
}

fn class(expect_max: u8) -> Class {
    Class::new("class", Scope::BothEnds, expect_max, 60)
}

/// `ras` (queue 1) announces connections for `call` (queue 2), which announces some that nobody reads.
fn chains() -> Chains {
    let chains = Chains::default();
    chains.serve(&manifest("ras", L4s::Udp, vec![class(1), class(9).helped_by("call"), class(2)]), 1, true);
    chains.serve(&manifest("call", L4s::Tcp, vec![class(4)]), 2, true);
    chains
}

fn tuple(proto: u8, dport: u16) -> Tuple {
    Tuple { src: [10, 0, 1, 2].into(), dst: [10, 0, 2, 2].into(), proto, sport: 40_000, dport }
}

const RAS: u16 = 1719;

fn place(chains: &Chains, orig: &Tuple, here: &str, attached: &str) -> Place {
    chains.place(0, orig, Some(tuple(17, RAS)), here, Some(attached))
}

#[test]
fn only_what_is_served_for_family_and_protocol_may_be_named() {
    let chains = chains();
    assert!(chains.serves("call", Family::Inet, 6));
    assert!(!chains.serves("call", Family::Inet, 17) && !chains.serves("call", Family::Inet6, 6));
    assert!(!chains.serves("sip", Family::Inet, 6), "the kernel's own is none of ours");
    chains.retire("call");
    assert!(!chains.serves("call", Family::Inet, 6));
}

#[test]
fn a_packet_in_its_masters_queue_goes_on_to_that_of_its_helper() {
    let (chains, call) = (chains(), tuple(6, 5000));
    chains.link(0, &call, tuple(17, RAS), Some("call"));
    assert_eq!(place(&chains, &call, "ras", "ras"), Place::Queue(2));
    let handed_on = Expected { ours: true, counted_as: Some(1) };
    assert_eq!(place(&chains, &call, "call", "ras"), Place::Here(handed_on), "counted by the roomiest class of ras");
    let attached = Expected { ours: true, counted_as: None };
    assert_eq!(place(&chains, &call, "call", "call"), Place::Here(attached), "a kernel that attaches what it was told");
    chains.enable("call", false);
    assert_eq!(place(&chains, &call, "ras", "ras"), Place::Nowhere);
}

#[test]
fn a_connection_that_nobody_is_to_read_stays_where_it_is_and_is_not_read() {
    let (chains, call) = (chains(), tuple(6, 5000));
    let unread = Place::Here(Expected::default());
    assert_eq!(place(&chains, &call, "ras", "ras"), unread);
    chains.link(0, &call, tuple(17, RAS), Some("call"));
    assert_eq!(place(&chains, &tuple(6, 5001), "ras", "ras"), unread, "another port");
    assert_eq!(chains.place(1, &call, Some(tuple(17, RAS)), "ras", Some("ras")), unread, "another zone");
    assert_eq!(chains.place(0, &call, Some(tuple(17, 9)), "ras", Some("ras")), unread, "another master");
    chains.link(0, &call, tuple(17, RAS), None);
    assert_eq!(place(&chains, &call, "ras", "ras"), unread, "announced anew, for nobody");
}

#[test]
fn what_an_earlier_life_announced_is_read_by_the_helper_that_the_kernel_names_if_any_class_does() {
    let chains = chains();
    let known = Place::Here(Expected { ours: true, counted_as: None });
    assert_eq!(place(&chains, &tuple(6, 5000), "call", "call"), known);
    assert_eq!(place(&chains, &tuple(6, 5000), "call", "ras"), Place::Here(Expected::default()));
}

#[test]
fn those_not_seen_for_longest_are_forgotten_first() {
    let chains = chains();
    let first = tuple(6, 1);
    for (n, dport) in (0..LINKS).zip(1..) {
        chains.link(0, &tuple(6, dport), tuple(17, RAS), Some("call"));
        assert!(n < 2 || place(&chains, &first, "ras", "ras") == Place::Queue(2));
    }
    chains.link(0, &tuple(6, 60_000), tuple(17, RAS), Some("call"));
    assert_eq!(place(&chains, &first, "ras", "ras"), Place::Queue(2));
    assert_eq!(place(&chains, &tuple(6, 2), "ras", "ras"), Place::Here(Expected::default()));
}

/// `ras` announces `call`, which announces `media` over TCP and something else over UDP.
fn long_chains() -> Chains {
    let chains = chains();
    let classes = vec![class(1).helped_by("media"), class(1).udp(), class(2).helped_by("media")];
    chains.serve(&manifest("call", L4s::Tcp, classes), 2, true);
    chains.serve(&manifest("media", L4s::Tcp, vec![class(1)]), 3, true);
    chains.serve(&manifest("ras", L4s::Udp, vec![class(9).helped_by("call")]), 1, true);
    chains
}

fn lineage(announced: &[Tuple]) -> Lineage {
    Lineage { helper: "ras".to_owned(), announced: announced.to_vec() }
}

/// Where a packet of the last of these belongs, on a kernel that attaches `ras` to all of them, to a supervisor that has announced none.
fn relearnt(chains: &Chains, announced: &[Tuple]) -> Place {
    let (orig, master) = (*announced.last().unwrap(), tuple(17, RAS));
    assert!(chains.is_to_be_asked(0, &orig, master, "ras"));
    chains.relearn(0, &orig, master, Some(&lineage(announced)), Some("ras"));
    place(chains, &orig, "ras", "ras")
}

#[test]
fn what_an_earlier_life_announced_goes_to_the_helper_that_all_classes_of_its_protocol_name() {
    let chains = long_chains();
    let [call, media, data] = [5000, 5001, 5002].map(|port| tuple(6, port));
    assert_eq!(relearnt(&chains, &[call]), Place::Queue(2));
    assert_eq!(relearnt(&chains, &[call, media]), Place::Queue(3));
    assert!(!chains.is_to_be_asked(0, &media, tuple(17, RAS), "ras"), "it is asked once");
    assert!(chains.is_to_be_asked(0, &media, tuple(17, 9), "ras"), "another connection at the same place");
    assert_eq!(relearnt(&chains, &[call, media, data]), Place::Here(Expected::default()), "media's are read by nobody");
    assert_eq!(relearnt(&chains, &[call, tuple(17, 5003)]), Place::Here(Expected::default()), "nor are those over UDP");
}

#[test]
fn where_classes_leave_a_choice_or_a_master_is_gone_nobody_reads_it() {
    let chains = chains(); // of the three classes of `ras` only one names a helper
    assert_eq!(relearnt(&chains, &[tuple(6, 5000)]), Place::Here(Expected::default()));
    let (orig, master) = (tuple(6, 5001), tuple(17, RAS));
    chains.relearn(0, &orig, master, None, Some("ras"));
    assert_eq!(place(&chains, &orig, "ras", "ras"), Place::Here(Expected::default()));
    assert!(!chains.is_to_be_asked(0, &orig, master, "ras"), "it is not asked again");
}

#[test]
fn a_helper_that_is_not_served_yet_is_asked_about_again() {
    let chains = long_chains();
    chains.retire("call");
    let (orig, master) = (tuple(6, 5001), tuple(17, RAS));
    chains.relearn(0, &orig, master, Some(&lineage(&[tuple(6, 5000), orig])), Some("ras"));
    assert!(chains.is_to_be_asked(0, &orig, master, "ras"));
}

#[test]
fn a_kernel_that_attaches_what_it_was_told_is_believed() {
    let chains = long_chains();
    let (orig, master) = (tuple(6, 5001), tuple(6, 5000));
    assert!(chains.is_to_be_asked(0, &orig, master, "call"));
    chains.relearn(0, &orig, master, Some(&lineage(&[orig])), Some("call"));
    let ours = Place::Here(Expected { ours: true, counted_as: None });
    assert_eq!(chains.place(0, &orig, Some(master), "call", Some("call")), ours);
    assert!(!chains.attaches_masters());
    assert!(!chains.is_to_be_asked(0, &orig, master, "media"), "media announces nothing that others read");
}

#[test]
fn a_kernel_that_attaches_the_masters_helper_is_known_by_the_first_packet() {
    let (chains, call) = (chains(), tuple(6, 5000));
    chains.link(0, &call, tuple(17, RAS), Some("call"));
    assert!(!chains.attaches_masters());
    place(&chains, &call, "call", "call");
    assert!(!chains.attaches_masters());
    place(&chains, &call, "ras", "ras");
    assert!(chains.attaches_masters());
}
