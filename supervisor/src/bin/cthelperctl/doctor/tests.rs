//! Every check on facts that are made up: a healthy machine, and one thing wrong at a time.

use cthelper_proto::ctl::{ClassLimits, HelperStatus, LaneState, WorkerStatus};
use cthelper_proto::netlink::cthelper::{DISABLED, ENABLED, Policy};
use cthelper_proto::types::{Family, L4s};
use cthelper_supervisor::keeper::ledger::{Life, Served};

use super::*;
use crate::exit::Exit;
use crate::queues;

fn helper(name: &str, family: u16, queue: u32) -> Helper {
    Helper { name: name.to_owned(), family, l4: 6, queue, classes: vec![policy("ftp", 4, 300)], state_len: 0, status: ENABLED }
}

fn policy(name: &str, expect_max: u32, timeout_secs: u32) -> Policy {
    Policy { name: name.to_owned(), expect_max, timeout_secs }
}

fn limits(name: &str, expect_max: u8, timeout_secs: u32) -> ClassLimits {
    ClassLimits { name: name.to_owned(), expect_max, timeout_secs }
}

fn served(name: &str, state: LaneState) -> HelperStatus {
    let worker = WorkerStatus {
        pid: 77,
        uid: 990,
        generation: 1,
        spare: false,
        landlock: "enforced".to_owned(),
        namespaces: "network, ipc".to_owned(),
        write_xor_execute: true,
    };
    HelperStatus {
        name: name.to_owned(),
        l4: L4s::Tcp,
        families: vec![Family::Inet],
        ports: vec![21],
        queue: 6,
        state,
        on_down: "accept".to_owned(),
        classes: vec![limits("ftp", 4, 300)],
        packets: 0,
        verdicts: 0,
        expectations: 0,
        refused: BTreeMap::new(),
        malformed: BTreeMap::new(),
        trouble: BTreeMap::new(),
        restarts: 0,
        workers: vec![worker],
        left_alone: Vec::new(),
    }
}

const CONFINED: &str = "Name:\tcthelper-worker\nThreads:\t1\nPPid:\t50\nUid:\t990\t990\t990\t990\nGid:\t991\t991\t991\t991\nGroups:\t \n\
    CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n\
    CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t2\n";

/// A machine on which FTP is helped over IPv4.
fn healthy() -> Facts {
    Facts {
        release: "6.1.0-28-amd64".to_owned(),
        distribution: "debian".to_owned(),
        kconfig: Some(BTreeMap::from(kernel::OPTIONS.map(|option| (option.to_owned(), "m".to_owned())))),
        net_admin: true,
        initial_userns: Some(true),
        registry: Ok(vec![helper("ftp", 2, 6)]),
        glue: Ok(()),
        expectations: Ok(3),
        expect_max: Some(128),
        in_kernel: BTreeMap::new(),
        queues: Ok(queues::parse("6 31277 0 2 65531 0 0 812 1")),
        estate: Life::default(),
        attached: BTreeSet::from(["ftp".to_owned()]),
        offloading: BTreeSet::new(),
        tracked: Ok(flow::Tracked::default()),
        flow: None,
        conntracks: Some((10, 65536)),
        automatic: None,
        rules_unknown: None,
        daemon: Ok(Status { helpers: vec![served("ftp", LaneState::Serving)], ..Status::default() }),
        workers: BTreeMap::from([(77, CONFINED.to_owned())]),
        wanted: Vec::new(),
        configured: vec!["ftp".to_owned()],
    }
}

/// What all checks say that is not `ok`: level and check's name.
fn trouble(facts: &Facts) -> Vec<(Level, &'static str)> {
    let findings = CHECKS.iter().flat_map(|check| check(facts));
    findings.filter(|finding| finding.level != Level::Ok).map(|finding| (finding.level, finding.check)).collect()
}

/// The only finding of one check, which must have a remedy.
fn only(check: fn(&Facts) -> Vec<Finding>, facts: &Facts) -> Finding {
    let [finding] = &check(facts)[..] else { panic!("{:?}", check(facts)) };
    assert_eq!(finding.remedy.is_none(), finding.level == Level::Ok, "{finding:?}");
    finding.clone()
}

#[test]
fn a_healthy_machine_has_nothing_but_ok() {
    assert_eq!(trouble(&healthy()), []);
}

#[test]
fn without_privilege_only_that_fails() {
    let denied = Facts {
        net_admin: false,
        registry: Err(Errno::EPERM),
        glue: Err(Errno::EPERM),
        expectations: Err(Errno::EPERM),
        queues: Err("not permitted".to_owned()),
        estate: Life::default(),
        daemon: Err(Failure::new(Exit::Permission, "root's alone")),
        ..healthy()
    };
    let fails: Vec<_> = trouble(&denied).into_iter().filter(|(level, _)| *level == Level::Fail).collect();
    assert_eq!(fails, [(Level::Fail, "privilege")]);
}

#[test]
fn a_user_namespace_of_its_own_is_named() {
    let contained = Facts { initial_userns: Some(false), registry: Err(Errno::EPERM), ..healthy() };
    let finding = only(kernel::privilege, &contained);
    assert!(finding.level == Level::Fail && finding.what.contains("user namespace"));
}

#[test]
fn a_missing_module_is_told_from_a_missing_option() {
    let absent = Facts { registry: Err(Errno::EINVAL), ..healthy() };
    let finding = only(kernel::registry, &absent);
    assert!(
        finding.what.contains("built with nfnetlink_cthelper") && finding.remedy.unwrap().contains("modprobe nfnetlink_cthelper")
    );
    let without = Facts { kconfig: Some(BTreeMap::new()), registry: Err(Errno::EINVAL), ..healthy() };
    assert!(only(kernel::registry, &without).what.contains("built without CONFIG_NF_CT_NETLINK_HELPER"));
    let unknown = Facts { kconfig: None, distribution: "openwrt".to_owned(), registry: Err(Errno::EINVAL), ..healthy() };
    assert!(only(kernel::registry, &unknown).remedy.unwrap().contains("kmod-nfnetlink-cthelper"));
}

#[test]
fn missing_glue_names_its_option() {
    let finding = only(kernel::glue, &Facts { kconfig: Some(BTreeMap::new()), glue: Err(Errno::EOPNOTSUPP), ..healthy() });
    assert_eq!(finding.level, Level::Fail);
    assert!(finding.what.contains("CONFIG_NETFILTER_NETLINK_GLUE_CT"), "{}", finding.what);
}

#[test]
fn a_kernel_without_ctnetlink_fails() {
    let without = Facts { expectations: Err(Errno::EINVAL), ..healthy() };
    assert_eq!(trouble(&without), [(Level::Fail, "ctnetlink")]);
}

#[test]
fn a_table_that_fills_up_warns_and_a_full_one_fails() {
    for (count, level) in [(0, Level::Ok), (79, Level::Ok), (80, Level::Warn), (99, Level::Warn), (100, Level::Fail)] {
        let facts = Facts { expectations: Ok(count), expect_max: Some(100), ..healthy() };
        assert_eq!(only(kernel::room, &facts).level, level, "{count}");
    }
    assert_eq!(kernel::room(&Facts { expect_max: None, ..healthy() }), []);
}

#[test]
fn an_enabled_helper_whose_queue_nobody_serves_fails_loudly() {
    let finding = only(checks::unserved, &Facts { queues: Ok(Vec::new()), ..healthy() });
    assert_eq!(finding.level, Level::Fail);
    assert_eq!(
        finding.what,
        "ftp (inet tcp) is ENABLED AND NOBODY SERVES ITS QUEUE 6: NEW CONNECTIONS WITH THIS HELPER BREAK NOW"
    );
    assert!(finding.remedy.unwrap().contains("cthelperctl nfct disable helper ftp inet tcp"));
}

#[test]
fn a_helper_for_any_family_is_disabled_in_words_that_exist() {
    let facts = Facts { registry: Ok(vec![helper("odd", 0, 9)]), ..healthy() };
    assert!(only(checks::unserved, &facts).remedy.unwrap().contains("nfct delete helper odd"));
}

#[test]
fn a_queue_that_waits_for_the_next_daemon_is_no_break() {
    let served = |port_id| Served { helper: "ftp".to_owned(), queue: 6, port_id };
    let held = |port_id| Facts { estate: Life { queues: vec![served(port_id)], ..Life::default() }, ..healthy() };
    let finding = only(checks::unserved, &held(31_277));
    assert_eq!(finding.level, Level::Warn);
    assert!(finding.what.contains("waits for the next daemon"), "{}", finding.what);
    assert_eq!(only(checks::unserved, &held(31_278)).level, Level::Ok, "another program's socket");
}

#[test]
fn a_queue_that_drops_or_overflows_is_told() {
    let with = |line: &str| Facts { queues: Ok(queues::parse(line)), ..healthy() };
    assert_eq!(only(checks::unserved, &with("6 1 0 0 0 0 0 0 1")).level, Level::Fail);
    let full = only(checks::unserved, &with("6 1 0 2 65531 5 2 900 1"));
    assert!(full.level == Level::Warn && full.what.contains("7 packets"), "{full:?}");
}

#[test]
fn a_disabled_helper_needs_no_queue_but_is_told() {
    let off = Helper { status: DISABLED, ..helper("ftp", 2, 0) };
    let by_operator = Ok(Status { helpers: vec![served("ftp", LaneState::Disabled)], ..Status::default() });
    let registry = Ok(vec![Helper { queue: 6, ..off }]);
    let facts = Facts { registry, queues: Ok(Vec::new()), daemon: by_operator, ..healthy() };
    assert_eq!(trouble(&facts), [(Level::Warn, "disabled")]);
    let both = [helper("x", 2, 0), helper("x", 10, 0)].map(|on| Helper { status: DISABLED, ..on });
    let what = only(checks::disabled, &Facts { registry: Ok(both.to_vec()), ..healthy() }).what;
    assert_eq!(what, "x (inet tcp, inet6 tcp) is disabled: packets pass without it, nothing is expected");
}

#[test]
fn a_name_the_kernel_has_taken_fails_only_when_it_is_wanted() {
    let taken = |wanted: &[&str]| Facts {
        in_kernel: BTreeMap::from([("netbios-ns".to_owned(), Own::Module)]),
        wanted: wanted.iter().map(|&name| name.to_owned()).collect(),
        ..healthy()
    };
    assert_eq!(only(checks::names_taken, &taken(&[])).level, Level::Ok);
    let finding = only(checks::names_taken, &taken(&["netbios-ns"]));
    assert_eq!(finding.level, Level::Fail);
    assert!(finding.remedy.unwrap().contains("nf_conntrack_netbios_ns"));
    let beside = Facts { in_kernel: BTreeMap::from([("ftp".to_owned(), Own::Module)]), ..healthy() };
    assert_eq!(only(checks::names_taken, &beside).level, Level::Warn);
}

#[test]
fn without_a_daemon_a_name_that_the_configuration_wants_is_found_taken() {
    let down = |configured: &str, own| Facts {
        daemon: Err(Failure::new(Exit::Unavailable, "no cthelperd here")),
        registry: Ok(Vec::new()),
        in_kernel: BTreeMap::from([("ftp".to_owned(), own)]),
        configured: vec![configured.to_owned()],
        ..healthy()
    };
    let finding = only(checks::names_taken, &down("ftp", Own::Module));
    assert_eq!((finding.level, finding.what.contains("nf_conntrack_ftp is loaded")), (Level::Fail, true), "{finding:?}");
    assert!(finding.remedy.unwrap().contains("modprobe -r nf_nat_ftp nf_conntrack_ftp"));
    assert_eq!(only(checks::names_taken, &down("sip", Own::Module)).level, Level::Ok);
    let built_in = only(checks::names_taken, &down("ftp", Own::BuiltIn));
    assert_eq!((built_in.level, built_in.what.contains("is built into it")), (Level::Fail, true), "{built_in:?}");
    assert!(!built_in.remedy.unwrap().contains("modprobe"));
}

#[test]
fn a_helper_registered_for_any_family_and_for_one_is_told() {
    let twice = Facts { registry: Ok(vec![helper("ftp", 0, 6), helper("ftp", 2, 6), helper("ftp", 10, 6)]), ..healthy() };
    assert_eq!(trouble(&twice), [(Level::Warn, "twice")]);
    let both = Facts { registry: Ok(vec![helper("ftp", 2, 6), helper("ftp", 10, 6)]), ..healthy() };
    assert_eq!(trouble(&both), []);
}

#[test]
fn a_helper_of_two_protocols_must_be_registered_for_each() {
    let mut facts = healthy();
    let both = HelperStatus { l4: L4s::Both, ..served("ftp", LaneState::Serving) };
    facts.daemon = Ok(Status { helpers: vec![both], ..Status::default() });
    let told = registered::as_served(&facts);
    assert_eq!(told.iter().map(|finding| finding.level).collect::<Vec<_>>(), [Level::Ok, Level::Fail]);
    facts.registry = Ok(vec![helper("ftp", 2, 6), Helper { l4: 17, ..helper("ftp", 2, 6) }]);
    assert!(registered::as_served(&facts).iter().all(|finding| finding.level == Level::Ok));
}

#[test]
fn what_is_served_but_not_registered_fails() {
    let gone = Facts { registry: Ok(Vec::new()), ..healthy() };
    assert_eq!(trouble(&gone), [(Level::Fail, "registered")]);
    let elsewhere = Facts { registry: Ok(vec![helper("ftp", 2, 9)]), ..healthy() };
    let finding = only(registered::as_served, &elsewhere);
    assert_eq!(finding.what, "ftp (inet tcp): the kernel sends to queue 9, cthelperd serves 6");
    assert_eq!(finding.remedy.unwrap(), "somebody changed it (nfct?): cthelperctl enable ftp gives it back");
}

#[test]
fn what_another_program_switched_is_told_by_who_is_wrong() {
    let with = |state, status| Facts {
        registry: Ok(vec![Helper { status, ..helper("ftp", 2, 6) }]),
        daemon: Ok(Status { helpers: vec![served("ftp", state)], ..Status::default() }),
        ..healthy()
    };
    assert_eq!(trouble(&with(LaneState::Serving, DISABLED)), [(Level::Fail, "registered")]);
    assert_eq!(trouble(&with(LaneState::Disabled, ENABLED)), [(Level::Warn, "registered")]);
    // An open circuit with on_down = "drop" leaves it enabled.
    for status in [DISABLED, ENABLED] {
        assert_eq!(only(registered::as_served, &with(LaneState::Tripped, status)).level, Level::Ok);
    }
}

/// The daemon's classes beside those of the kernel.
fn with_classes(ours: &[ClassLimits], theirs: &[Policy]) -> Facts {
    let status = HelperStatus { classes: ours.to_vec(), ..served("ftp", LaneState::Serving) };
    Facts {
        registry: Ok(vec![Helper { classes: theirs.to_vec(), ..helper("ftp", 2, 6) }]),
        daemon: Ok(Status { helpers: vec![status], ..Status::default() }),
        ..healthy()
    }
}

#[test]
fn limits_that_another_program_set_are_told_with_both_values() {
    let with = |max, secs| only(registered::as_served, &with_classes(&[limits("ftp", 4, 300)], &[policy("ftp", max, secs)]));
    assert_eq!(
        with(1, 300).what,
        "ftp (inet tcp): class ftp: the kernel has expect_max 1, expect_timeout 300 s; cthelperd serves expect_max 4, expect_timeout 300 s"
    );
    assert!(with(1, 300).remedy.unwrap().contains("cthelperctl enable ftp gives it back"));
    for (max, secs, level) in [
        (4, 300, Level::Ok),
        (1, 300, Level::Fail),
        (4, 30, Level::Fail),
        (8, 30, Level::Fail),
        (8, 300, Level::Warn),
        (4, 900, Level::Warn),
        (0, 300, Level::Warn),
    ] {
        assert_eq!(with(max, secs).level, level, "{max} {secs}");
    }
    let old = with_classes(&[], &[policy("ftp", 1, 3)]);
    assert_eq!(trouble(&old), [], "a daemon that does not tell its classes");
}

#[test]
fn classes_that_no_update_can_change_need_the_helper_deleted() {
    let others = with_classes(&[limits("ftp", 4, 300)], &[policy("data", 4, 300), policy("more", 4, 300)]);
    let finding = only(registered::as_served, &others);
    assert_eq!(
        (finding.level, finding.what.as_str()),
        (Level::Fail, "ftp (inet tcp): the kernel has the classes data, more, cthelperd serves ftp")
    );
    assert!(finding.remedy.unwrap().contains("cthelperctl nfct delete helper ftp"));
}

#[test]
fn a_kernel_that_gives_every_class_the_first_ones_limits_is_named() {
    let ours = [limits("a", 1, 60), limits("b", 8, 300)];
    let finding = only(registered::as_served, &with_classes(&ours, &[policy("a", 1, 60), policy("b", 1, 60)]));
    assert!(finding.what.contains("class b: the kernel has expect_max 1"), "{}", finding.what);
    assert!(finding.remedy.unwrap().contains("before 6.1.178"));
    let changed = only(registered::as_served, &with_classes(&ours, &[policy("a", 1, 60), policy("b", 2, 300)]));
    assert!(changed.remedy.unwrap().contains("enable ftp"));
}

#[test]
fn a_helper_without_a_rule_is_told_apart_from_rules_that_cannot_be_read() {
    let without = Facts { attached: BTreeSet::new(), ..healthy() };
    let finding = only(checks::unattached, &without);
    assert!(finding.what.contains("no rule attaches ftp"), "{}", finding.what);
    let unknown = Facts { rules_unknown: Some("nft: not found".to_owned()), ..without };
    assert!(only(checks::unattached, &unknown).what.ends_with("not all are known: nft: not found"));
    assert_eq!(only(checks::unattached, &Facts { rules_unknown: Some("x".to_owned()), ..healthy() }).level, Level::Ok);
}

#[test]
fn a_daemon_that_is_absent_tripped_or_lacks_a_helper_fails() {
    let absent = Facts { daemon: Err(Failure::new(Exit::Unavailable, "no cthelperd here")), ..healthy() };
    assert_eq!(trouble(&absent), [(Level::Fail, "daemon")]);
    let tripped =
        Facts { daemon: Ok(Status { helpers: vec![served("ftp", LaneState::Tripped)], ..Status::default() }), ..healthy() };
    assert_eq!(trouble(&tripped), [(Level::Fail, "daemon")]);
    let lacking = Facts { wanted: vec!["sip".to_owned()], ..healthy() };
    assert_eq!(trouble(&lacking), [(Level::Fail, "daemon")]);
}

#[test]
fn a_worker_that_is_not_confined_fails() {
    let text = CONFINED.replace("CapEff:\t0000000000000000", "CapEff:\t0000000000001000");
    let finding = only(checks::confinement, &Facts { workers: BTreeMap::from([(77, text)]), ..healthy() });
    assert!(finding.level == Level::Fail && finding.what.contains("CapEff"), "{finding:?}");
    assert!(only(checks::confinement, &healthy()).what.contains("landlock enforced"));
}

#[test]
fn the_report_has_a_line_for_what_and_one_for_what_to_do() {
    let findings = [Finding::ok("glue", "fine"), Finding::fail("queue", "bad\nnews", "do this")];
    let expected = "ok    glue         fine\nFAIL  queue        bad\\nnews\n                   -> do this\n";
    assert_eq!(report(&findings), expected);
    let json = serde_json::to_string(&findings[1]).unwrap();
    assert_eq!(json, r#"{"level":"fail","check":"queue","what":"bad\nnews","do":"do this"}"#);
}

#[test]
fn a_kernel_that_attaches_helpers_itself_is_told_of() {
    assert_eq!(traffic::automatic(&healthy()), []);
    assert_eq!(traffic::automatic(&Facts { automatic: Some(false), ..healthy() }), []);
    assert_eq!(only(traffic::automatic, &Facts { automatic: Some(true), ..healthy() }).level, Level::Warn);
}

#[test]
fn what_was_refused_names_the_setting_that_would_allow_it() {
    let mut helper = served("ftp", LaneState::Serving);
    helper.refused = BTreeMap::from([("foreign-address".to_owned(), 3), ("privileged-port".to_owned(), 0)]);
    let facts = Facts { daemon: Ok(Status { helpers: vec![helper], ..Status::default() }), ..healthy() };
    let finding = only(traffic::refused, &facts);
    assert_eq!((finding.level, finding.what.as_str()), (Level::Warn, "ftp: 3 announcements refused by the rule foreign-address"));
    assert!(finding.remedy.unwrap().contains("loose = true in [helper.ftp]"));
}

#[test]
fn a_full_table_of_connections_fails() {
    for (count, level) in [(10, Level::Ok), (58_983, Level::Warn), (65_536, Level::Fail)] {
        let facts = Facts { conntracks: Some((count, 65_536)), ..healthy() };
        assert_eq!(only(traffic::conntracks, &facts).level, level, "{count}");
    }
}

#[test]
fn an_offloaded_connection_on_a_helpers_port_fails() {
    let facts = |tracked| Facts { tracked: Ok(tracked), offloading: BTreeSet::from(["inet fw".to_owned()]), ..healthy() };
    let tracked = flow::Tracked { offloaded: 9, ..flow::Tracked::default() };
    assert_eq!(only(traffic::offloaded, &facts(tracked.clone())).level, Level::Ok);
    let finding = only(traffic::offloaded, &facts(flow::Tracked { missed_offloaded: 2, ..tracked.clone() }));
    assert_eq!((finding.level, finding.what.contains("inet fw") && finding.what.contains('2')), (Level::Fail, true));
    assert_eq!(only(traffic::offloaded, &facts(flow::Tracked { helped_offloaded: 1, ..tracked })).level, Level::Fail);
}

fn ends() -> FlowEnds {
    "10.0.1.2:40000-10.0.2.2:21".parse().unwrap()
}

fn asked(helper: Option<&str>) -> flow::Asked {
    let orig = cthelper_proto::types::Tuple {
        src: ends().from.ip(),
        dst: ends().to.ip(),
        proto: 6,
        sport: ends().from.port(),
        dport: ends().to.port(),
    };
    flow::Asked { id: Some(9), orig, helper: helper.map(str::to_owned), offloaded: false, expected: false, expectations: 1 }
}

fn about(asked: Vec<flow::Asked>) -> Facts {
    Facts { flow: Some(ends()), tracked: Ok(flow::Tracked { asked, ..flow::Tracked::default() }), ..healthy() }
}

#[test]
fn a_connection_is_explained() {
    let says = |facts: &Facts, level, words: &str| {
        let finding = only(flow::explain, facts);
        assert!(finding.level == level && finding.what.contains(words), "{words}: {finding:?}");
    };
    assert_eq!(flow::explain(&healthy()), []);
    says(&about(vec![]), Level::Fail, "no connection 10.0.1.2:40000 - 10.0.2.2:21 is tracked here");
    says(&about(vec![asked(Some("ftp"))]), Level::Ok, "has the helper ftp, and 1 expectations open");
    says(&about(vec![asked(None)]), Level::Fail, "though rules attach ftp: it began before");
    says(&Facts { attached: BTreeSet::new(), ..about(vec![asked(None)]) }, Level::Fail, "no rule attaches ftp");
    let mut odd = asked(None);
    odd.orig.dport = 2121;
    says(&about(vec![odd]), Level::Fail, "none that is served has port 2121");
    says(&about(vec![flow::Asked { offloaded: true, ..asked(Some("ftp")) }]), Level::Fail, "is offloaded by a flowtable");
    says(&about(vec![flow::Asked { expected: true, ..asked(None) }]), Level::Ok, "was expected by another connection");
    let disabled = Helper { status: DISABLED, ..helper("ftp", 2, 6) };
    says(&Facts { registry: Ok(vec![disabled]), ..about(vec![asked(Some("ftp"))]) }, Level::Fail, "which is disabled");
    says(&Facts { registry: Ok(vec![]), ..about(vec![asked(Some("irc"))]) }, Level::Warn, "it is the kernel's own");
}

/// Every reason for which a lane or the kernel lets a packet of a helped connection pass.
#[test]
fn a_connection_that_passes_beside_its_helper_is_explained() {
    let says = |facts: &Facts, level, words: &str| {
        let finding = only(flow::explain, facts);
        assert!(finding.level == level && finding.what.contains(words), "{words}: {finding:?}");
    };
    let helped = || about(vec![asked(Some("ftp"))]);
    let daemon = |status: HelperStatus| Ok(Status { helpers: vec![status], ..Status::default() });
    let with = |status: HelperStatus| Facts { daemon: daemon(status), ..helped() };
    let left = |id| vec![cthelper_proto::ctl::LeftAlone { id, for_secs: 77 }];
    let alone = |id| with(HelperStatus { left_alone: left(id), ..served("ftp", LaneState::Serving) });
    says(&alone(9), Level::Fail, "is left alone for 77 s more");
    says(&alone(8), Level::Ok, "has the helper ftp");
    says(&with(served("ftp", LaneState::Tripped)), Level::Fail, "whose circuit is open, it crashed too often: packets pass");
    let drops = HelperStatus { on_down: "drop".to_owned(), ..served("ftp", LaneState::Tripped) };
    says(&with(drops.clone()), Level::Fail, "packets are dropped");
    says(
        &with(HelperStatus { state: LaneState::Restarting, ..drops }),
        Level::Warn,
        "next worker: packets are dropped (on_down)",
    );
    says(&with(served("ftp", LaneState::Disabled)), Level::Fail, "which is disabled");
    let expected = about(vec![flow::Asked { expected: true, ..asked(Some("ftp")) }]);
    says(&expected, Level::Ok, "was expected by another connection: ftp reads its packets only if");
    says(&Facts { queues: Ok(Vec::new()), ..helped() }, Level::Fail, "whose queue nobody serves");
    says(&Facts { queues: Ok(queues::parse("6 31277 0 2 65531 5 0 812 1")), ..helped() }, Level::Warn, "too full for 5 packets");
    let other = Facts { daemon: daemon(served("tftp", LaneState::Serving)), ..helped() };
    says(&other, Level::Warn, "which another program serves");
    // The object of another family is not this connection's.
    let six = Facts { registry: Ok(vec![Helper { status: DISABLED, ..helper("ftp", 10, 6) }, helper("ftp", 2, 6)]), ..helped() };
    says(&six, Level::Ok, "has the helper ftp");
}

#[test]
fn a_connection_is_found_from_either_end_and_through_translation() {
    use cthelper_proto::netlink::entry::Entry;
    let orig = asked(None).orig;
    let translated = cthelper_proto::types::Tuple { dst: "192.0.2.1".parse().unwrap(), ..orig.inverse() };
    for (ends, found) in [
        ("10.0.1.2:40000-10.0.2.2:21", 1),
        ("10.0.2.2:21-10.0.1.2:40000", 1),
        ("192.0.2.1:40000-10.0.2.2:21", 1),
        ("10.0.1.2:40001-10.0.2.2:21", 0),
    ] {
        let mut tracked = flow::Tracked::default();
        tracked.count(&Entry { reply: Some(translated), ..Entry::new(orig) }, &[(6, 21)], Some(ends.parse().unwrap()));
        assert_eq!((tracked.asked.len(), tracked.missed_offloaded), (found, 0), "{ends}");
    }
    let mut tracked = flow::Tracked::default();
    let offloaded = Entry { status: Some(cthelper_proto::netlink::conntrack::status::OFFLOAD), ..Entry::new(orig) };
    tracked.count(&offloaded, &[(6, 21)], None);
    assert_eq!((tracked.offloaded, tracked.missed_offloaded, tracked.helped_offloaded), (1, 1, 0));
}

#[test]
fn two_ends_are_one_family_and_two_ports() {
    for text in ["10.0.1.2:1", "10.0.1.2-10.0.2.2", "[::1]:1-10.0.0.1:2", "a:1-b:2", ""] {
        assert!(text.parse::<FlowEnds>().is_err(), "{text}");
    }
    assert!("[fd00::1]:1-[fd00::2]:2".parse::<FlowEnds>().is_ok());
}
