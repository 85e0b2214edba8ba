//! Whole files, and where their mistakes are.

use std::time::Duration;

use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::types::{Family, L4s};
use proptest::prelude::*;

use super::*;
use crate::limits::Rate;
use crate::restart::Policy;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, "c.toml")
}

fn mistake(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn one_line_is_a_configuration() {
    let config = parse("[helper.ftp]").unwrap();
    assert_eq!(config.helpers.keys().collect::<Vec<_>>(), ["ftp"]);
    assert_eq!(config.helpers["ftp"], HelperConfig::new("ftp"));
    assert_eq!(config, Config::for_helpers(["ftp"]).unwrap());
}

#[test]
fn defaults_are_the_documented_ones() {
    let ftp = HelperConfig::new("ftp");
    assert_eq!((ftp.enabled, ftp.queue, ftp.queue_length), (true, None, 4096));
    assert_eq!((ftp.families, ftp.ports, ftp.worker), (None, None, None));
    assert_eq!((ftp.rules.loose, ftp.rules.privileged_ports, ftp.rules.per_packet), (false, false, 4));
    assert_eq!((ftp.rules.rate, ftp.restart), (Rate { burst: 128, per_second: 32 }, Policy::default()));
    assert_eq!(Config::default().daemon.user, "cthelperd");
}

#[test]
fn every_key_is_read() {
    let text = r#"
        [daemon]
        user = "nobody"
        group = "nogroup"
        [helper.ftp]
        enabled = false
        queue = 7
        queue_length = 1024
        families = ["inet6"]
        ports = [21, 2121]
        loose = true
        privileged_ports = true
        rate = { burst = 3, per_second = 1 }
        worker = "/opt/w"
        classes.ftp = { expect_max = 2, expect_timeout = "5min" }
        [helper.ftp.options]
        text = "a"
        number = 7
        switch = true
    "#;
    let config = parse(text).unwrap();
    assert_eq!(config.daemon, Daemon { user: "nobody".into(), group: "nogroup".into(), uids: None });
    let ftp = &config.helpers["ftp"];
    assert_eq!((ftp.enabled, ftp.queue, ftp.queue_length), (false, Some(7), 1024));
    assert_eq!((ftp.families.as_deref(), ftp.ports.as_deref()), (Some([Family::Inet6].as_slice()), Some([21, 2121].as_slice())));
    assert_eq!((ftp.rules.loose, ftp.rules.privileged_ports, ftp.rules.rate), (true, true, Rate { burst: 3, per_second: 1 }));
    assert_eq!(ftp.worker.as_deref(), Some(std::path::Path::new("/opt/w")));
    assert_eq!(ftp.classes["ftp"], ClassConfig { expect_max: Some(2), timeout_secs: Some(300) });
    let settings = ftp.settings();
    let options = [("number", "7"), ("switch", "true"), ("text", "a")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!((settings.loose, settings.options), (true, options.to_vec()));
}

#[test]
fn the_packaged_example_is_the_default() {
    let text = include_str!("../../../packaging/examples/cthelperd.toml");
    assert_eq!(parse(text).unwrap(), Config::for_helpers(["ftp"]).unwrap());
}

#[test]
fn the_packaged_examples_commented_keys_are_good_too() {
    let text = include_str!("../../../packaging/examples/cthelperd.toml");
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.starts_with('[') || key.split(' ').nth(1) == Some("=") => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let config = Config::parse(&uncommented, "example").unwrap();
    let ftp = &config.helpers["ftp"];
    assert_eq!((ftp.queue, ftp.rules), (Some(2121), HelperConfig::new("ftp").rules));
    assert_eq!(ftp.queue_length, HelperConfig::QUEUE_LENGTH);
    let age = Some(Duration::from_secs(12 * 3600));
    let shown = Policy { probe: Some(Duration::from_secs(300)), max_packets: Some(1_000_000), max_age: age, ..Policy::default() };
    assert_eq!(ftp.restart, shown, "what has no default apart, these are the defaults");
    assert_eq!(ftp.classes, BTreeMap::from([("ftp".to_owned(), ClassConfig { expect_max: Some(1), timeout_secs: Some(300) })]));
    assert_eq!(config.uid_of("ftp"), Some(60_700));
    assert_eq!(config.daemon, Daemon { uids: config.daemon.uids.clone(), ..Daemon::default() });
    // A worker of one's own apart, what is uncommented says what FTP says of itself.
    assert_eq!(ftp.adapt(manifest()), Ok(manifest()));
    let QueueConfig { filter, readers, .. } = config.queues[&1].clone();
    assert!(!filter.is_empty() && readers.users.len() == 1 && readers.groups.len() == 1);
    assert_eq!(config.queues[&1], QueueConfig { filter, readers, ..QueueConfig::new(1) }, "the others are the defaults");
    assert_eq!(config.queues[&2].select, Some(Select::Label(2)));
}

#[test]
fn mistakes_are_pointed_at() {
    let mistakes = [
        ("[helper.ftp]\nlose = true\n", "c.toml:2:1: unknown key `lose`; did you mean `loose`?"),
        ("[helper.ftp]\nqueue-length = 5\n", "c.toml:2:1: unknown key `queue-length`; did you mean `queue_length`?"),
        ("[helpers.ftp]\n", "c.toml:1:2: unknown key `helpers`; did you mean `helper`?"),
        ("[daemon]\nusr = \"x\"\n[helper.ftp]", "c.toml:2:1: unknown key `usr`; did you mean `user`?"),
        ("[daemon]\ncolour = \"x\"\n[helper.ftp]", "c.toml:2:1: unknown key `colour`; known here: user, group, uids"),
        ("[helper.ftp]\n\n  queue = 70000\n", "c.toml:3:11: invalid value: integer `70000`, expected u16"),
        ("[helper.ftp]\nqueue_length = 0", "c.toml:2:16: queue_length: 1 to 65536 packets"),
        ("[helper.ftp]\nenabled = \"yes\"", "c.toml:2:11: invalid type: string \"yes\", expected a boolean"),
        ("[helper.ftp]\nports = [21, 0]", "c.toml:2:9: ports: 1 to 16, each once, none 0"),
        ("[helper.ftp]\nports = [21, 21]", "c.toml:2:9: ports: 1 to 16, each once, none 0"),
        ("[helper.ftp]\nfamilies = []", "c.toml:2:12: families: \"inet\", \"inet6\" or both, each once"),
        ("[helper.ftp]\nworker = \"bin/w\"", "c.toml:2:10: worker: an absolute path"),
        ("[helper.ftp]\ndeadline = \"1s\"", "c.toml:2:1: `deadline` now belongs in [helper.NAME.restart]"),
        ("[helper.ftp]\nclasses.ftp.expect_max = 0", "c.toml:2:26: invalid value: integer `0`, expected a nonzero u8"),
        ("[helper.ftp]\nclasses.ftp.expect_timeout = \"1500ms\"", "c.toml:2:30: time span: whole seconds here"),
        ("[helper.ftp]\noptions.x = 1.5", "c.toml:2:13: an option is a string, a whole number or true or false"),
        ("[helper.ftp]\nqueue = 1\n[helper.sip]\nqueue = 1\n", "c.toml:4:9: queue 1 already belongs to another helper"),
        ("[helper.\"a b\"]\n", "c.toml:1:9: helper name \"a b\": 1 to 15 of a-z A-Z 0-9 _ . -"),
        ("", "c.toml: no helper: a line [helper.ftp] would serve FTP"),
        ("[daemon]\nuser = \"root\"\n[helper.ftp]", "c.toml:2:8: workers never run as root: name another"),
    ];
    for (text, wanted) in mistakes {
        assert_eq!(mistake(text), wanted, "{text}");
    }
}

#[test]
fn broken_toml_is_pointed_at() {
    for (text, place) in [
        ("[helper.ftp\n", "c.toml:1:12: "),
        ("[helper.ftp]\nloose = \n", "c.toml:2:9: "),
        ("[helper.ftp]\nä = 1\n", "c.toml:2:1: "),
    ] {
        let mistake = mistake(text);
        assert!(mistake.starts_with(place) && mistake.len() > place.len() && !mistake.contains('\n'), "{mistake}");
    }
}

#[test]
fn unknown_family_is_a_value_with_a_hint() {
    let mistake = mistake("[helper.ftp]\nfamilies = [\"inet\", \"ipv6\"]");
    assert_eq!(mistake, "c.toml:2:21: unknown value `ipv6`; known here: inet, inet6");
}

#[test]
fn each_helper_has_a_uid_of_the_range_in_the_order_of_names() {
    let config = parse("[daemon]\nuids = \"60700-60702\"\n[helper.tftp]\n[helper.ftp]\nenabled = false\n[helper.sip]").unwrap();
    let uids = ["ftp", "sip", "tftp", "irc"].map(|helper| config.uid_of(helper));
    assert_eq!(uids, [Some(60700), Some(60701), Some(60702), None]);
    assert_eq!(parse("[helper.ftp]").unwrap().uid_of("ftp"), None);
}

#[test]
fn a_range_of_uids_that_cannot_be_is_refused_where_it_stands() {
    for (uids, reason) in [
        ("60700", "two numbers, such as \"60700-60799\", the first not above the second"),
        ("60702-60700", "the first not above the second"),
        ("-1-7", "two numbers"),
        ("0-9", "0 is not for workers"),
        ("60000-70000", "65534 is not for workers"),
        ("4294967290-4294967295", "4294967295 is not for workers"),
        ("60700-60700", "uids: 1 numbers for 2 helpers: widen the range"),
    ] {
        let mistake = mistake(&format!("[daemon]\nuids = \"{uids}\"\n[helper.ftp]\n[helper.sip]"));
        assert!(mistake.starts_with("c.toml:2:8: uids") && mistake.contains(reason), "{mistake}");
    }
}

#[test]
fn helper_named_on_the_command_line_must_have_a_possible_name() {
    let error = Config::for_helpers(["ftp", "this-name-is-too-long"]).unwrap_err();
    assert_eq!(error.to_string(), "--helper: helper name \"this-name-is-too-long\": 1 to 15 of a-z A-Z 0-9 _ . -");
}

/// FTP's, as its helper has it.
fn manifest() -> Manifest {
    Manifest {
        name: "ftp".into(),
        l4s: L4s::Tcp,
        families: Family::ALL.to_vec().into(),
        classes: vec![Class::new("ftp", Scope::BothEnds, 1, 300)].into(),
        state_len: 24,
        ports: vec![21].into(),
        source: "RFC 959".into(),
    }
}

#[test]
fn manifest_is_adapted_within_what_the_helper_knows() {
    assert_eq!(HelperConfig::new("ftp").adapt(manifest()), Ok(manifest()));
    let config = parse("[helper.ftp]\nfamilies = ['inet']\nports = [2121]\nclasses.ftp.expect_max = 8").unwrap();
    let adapted = config.helpers["ftp"].adapt(manifest()).unwrap();
    assert_eq!((&*adapted.families, &*adapted.ports), ([Family::Inet].as_slice(), [2121].as_slice()));
    assert_eq!((adapted.classes[0].expect_max, adapted.classes[0].timeout_secs), (8, 300));
    assert_eq!(adapted.check(), Ok(()));
}

#[test]
fn manifest_that_does_not_fit_is_refused() {
    let refusal = |text: &str, name: &str, manifest| parse(text).unwrap().helpers[name].adapt(manifest).unwrap_err().to_string();
    let inet = Manifest { families: vec![Family::Inet].into(), ..manifest() };
    assert_eq!(refusal("[helper.ftp]\nfamilies = ['inet6']", "ftp", inet), "helper ftp: it does not know the family inet6");
    assert_eq!(refusal("[helper.ftp.classes.data]", "ftp", manifest()), "helper ftp: it has no class data");
    assert_eq!(refusal("[helper.sip]", "sip", manifest()), "helper sip: the worker says its name is ftp");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\[helper\\.ftp\\]\n)?[ -~\nä]{0,60}") {
        let _ = parse(&text);
    }

    #[test]
    fn spans_are_read_exactly(number in 10_u32..80_000) {
        let config = parse(&format!("[helper.ftp.restart]\ndeadline = \"{number}ms\"")).unwrap();
        prop_assert_eq!(config.helpers["ftp"].restart.deadline.as_millis(), u128::from(number));
    }
}
