use std::path::Path;

use cthelper_policy::config::Config;
use cthelper_proto::ctl::{HelperStatus, LaneState, Status};
use cthelper_proto::types::{Family, L4, L4s};
use cthelper_supervisor::cli::ctl::rules::{Layer3, Protocol};

use super::plan::Attachment;
use super::*;

/// What is known without a daemon.
fn plan(wanted: &Options, config: Option<&Config>) -> Result<Plan, Failure> {
    plan::plan(wanted, config, None)
}

fn wanted(helpers: &[&str]) -> Options {
    let helpers = helpers.iter().map(|&name| name.to_owned()).collect();
    Options { helpers, ports: Vec::new(), protocol: None, family: None, output: false, config: None }
}

const NFT_FTP: &str = r#"# Attaches helpers to new connections. Each helper must be registered (cthelperd running) before this is loaded.
# A forward (or input, or output) chain that drops by default must let in what the helpers expect:
#     ct state established accept
#     ct state related ct helper "ftp" accept

table inet cthelperd
delete table inet cthelperd

table inet cthelperd {
	ct helper helper-ftp-tcp-inet {
		type "ftp" protocol tcp;
		l3proto ip;
	}

	ct helper helper-ftp-tcp-inet6 {
		type "ftp" protocol tcp;
		l3proto ip6;
	}

	chain prerouting {
		type filter hook prerouting priority -150; policy accept;
		meta nfproto ipv4 tcp dport 21 ct helper set "helper-ftp-tcp-inet"
		meta nfproto ipv6 tcp dport 21 ct helper set "helper-ftp-tcp-inet6"
	}
}
"#;

#[test]
fn nft_rules_for_both_families() {
    assert_eq!(nft::text(&plan(&wanted(&["ftp"]), None).unwrap()), NFT_FTP);
}

#[test]
fn nft_rules_with_ports_one_family_and_output() {
    let wanted = Options { ports: vec![21, 2121], family: Some(Layer3::Inet6), output: true, ..wanted(&["ftp"]) };
    let rules = nft::text(&plan(&wanted, None).unwrap());
    let rule = "\t\tmeta nfproto ipv6 tcp dport { 21, 2121 } ct helper set \"helper-ftp-tcp-inet6\"\n";
    let chain = |hook| format!("\tchain {hook} {{\n\t\ttype filter hook {hook} priority -150; policy accept;\n{rule}\t}}\n");
    assert!(rules.ends_with(&format!("{}\n{}}}\n", chain("prerouting"), chain("output"))), "{rules}");
    assert!(!rules.contains("ipv4"));
}

const IPTABLES_FTP: &str = "\
# Attaches helpers to new connections. Each helper must be registered (cthelperd running) before this is run.
# A FORWARD (or INPUT, or OUTPUT) chain that drops by default must let in what the helpers expect:
#     iptables -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
#     iptables -A FORWARD -m conntrack --ctstate RELATED -m helper --helper ftp -j ACCEPT
#     ip6tables -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
#     ip6tables -A FORWARD -m conntrack --ctstate RELATED -m helper --helper ftp -j ACCEPT

iptables -t raw -A PREROUTING -p tcp --dport 21 -j CT --helper ftp
ip6tables -t raw -A PREROUTING -p tcp --dport 21 -j CT --helper ftp
";

#[test]
fn iptables_rules_for_both_families() {
    assert_eq!(iptables::text(&plan(&wanted(&["ftp"]), None).unwrap()), IPTABLES_FTP);
}

#[test]
fn iptables_rules_for_two_helpers_with_output() {
    let wanted = Options { family: Some(Layer3::Inet), output: true, ..wanted(&["tftp", "rpc", "tftp"]) };
    let rules = iptables::text(&plan(&wanted, None).unwrap());
    let commands: Vec<&str> = rules.lines().filter(|line| line.starts_with("iptables")).collect();
    let expected =
        ["udp --dport 69 -j CT --helper tftp", "tcp --dport 111 -j CT --helper rpc", "udp --dport 111 -j CT --helper rpc"];
    let expected: Vec<String> = expected
        .iter()
        .flat_map(|rule| ["PREROUTING", "OUTPUT"].map(|chain| format!("iptables -t raw -A {chain} -p {rule}")))
        .collect();
    assert_eq!(commands, expected);
}

#[test]
fn a_protocol_narrows_a_helper_that_has_two() {
    let wanted = Options { protocol: Some(Protocol::Udp), ..wanted(&["rpc"]) };
    let plan = plan(&wanted, None).unwrap();
    assert_eq!(
        plan.attachments,
        [Attachment { name: "rpc".to_owned(), l4: L4::Udp, ports: vec![111], families: Family::ALL.to_vec() }]
    );
}

#[test]
fn an_unknown_helper_needs_its_protocol_and_ports() {
    let mine = wanted(&["mine"]);
    for incomplete in
        [mine.clone(), Options { protocol: Some(Protocol::Udp), ..mine.clone() }, Options { ports: vec![9], ..mine.clone() }]
    {
        assert_eq!(plan(&incomplete, None).unwrap_err().exit, Exit::Usage);
    }
    let complete = Options { protocol: Some(Protocol::Udp), ports: vec![9], ..mine };
    assert_eq!(
        plan(&complete, None).unwrap().attachments,
        [Attachment { name: "mine".to_owned(), l4: L4::Udp, ports: vec![9], families: Family::ALL.to_vec() }]
    );
}

#[test]
fn a_name_that_could_leave_its_quotes_is_refused() {
    for name in ["", "a b", "x\"", "x;", "sixteen-letters-", "x\n", "$(x)"] {
        assert_eq!(plan(&wanted(&[name]), None).unwrap_err().exit, Exit::Usage, "{name}");
    }
}

#[test]
fn ports_for_several_helpers_are_refused() {
    let wanted = Options { ports: vec![9], ..wanted(&["ftp", "tftp"]) };
    assert_eq!(plan(&wanted, None).unwrap_err().exit, Exit::Usage);
}

#[test]
fn ports_are_those_of_the_command_line_or_of_the_configuration_or_the_protocols_own() {
    let config = Config::parse("[helper.ftp]\nports = [21, 2121]\n[helper.tftp]\n[helper.mine]\nports = [9]", "c.toml").unwrap();
    let ports = |wanted: &Options| plan(wanted, Some(&config)).map(|plan| plan.attachments[0].ports.clone());
    assert_eq!(ports(&wanted(&["ftp"])), Ok(vec![21, 2121]));
    assert_eq!(ports(&Options { ports: vec![8021], ..wanted(&["ftp"]) }), Ok(vec![8021]));
    assert_eq!(ports(&wanted(&["tftp"])), Ok(vec![69]));
    assert_eq!(ports(&wanted(&["sip"])), Ok(vec![5060]));
    assert_eq!(ports(&Options { protocol: Some(Protocol::Udp), ..wanted(&["mine"]) }), Ok(vec![9]));
    assert_eq!(ports(&wanted(&["mine"])).unwrap_err().exit, Exit::Usage);
}

#[test]
fn a_helper_is_attached_in_its_own_families_only() {
    let config = Config::parse(
        "[helper.ftp]\nfamilies = [\"inet\"]\n[helper.nbns]\nports = [137]\n[helper.nbns.ask]\nto = [\"broadcast\"]\n[helper.dhcpv6]",
        "c.toml",
    )
    .unwrap();
    let plan = plan(&wanted(&["ftp", "nbns", "dhcpv6", "mdns"]), Some(&config)).unwrap();
    let found: Vec<_> = plan.attachments.iter().map(|one| (one.name.as_str(), one.l4, one.families.as_slice())).collect();
    let (four, six) = (&[Family::Inet][..], &[Family::Inet6][..]);
    let wanted = [("ftp", L4::Tcp, four), ("nbns", L4::Udp, four), ("dhcpv6", L4::Udp, six), ("mdns", L4::Udp, &Family::ALL)];
    assert_eq!(found, wanted);
    let (nft, iptables) = (nft::text(&plan), iptables::text(&plan));
    for (line, said) in
        [("helper-dhcpv6-udp-inet\"", false), ("helper-dhcpv6-udp-inet6\"", true), ("helper-nbns-udp-inet6", false)]
    {
        assert_eq!(nft.contains(line), said, "{line}");
    }
    assert_eq!(iptables.matches("--dport 547 ").count(), 1, "{iptables}");
}

#[test]
fn a_configuration_that_cannot_be_read_is_said_so() {
    let missing = Options { config: Some("/nowhere/c.toml".into()), ..wanted(&["ftp"]) };
    let failure = run(&Dialect::Iptables(missing), Path::new("/nowhere"), &mut Vec::new()).unwrap_err();
    assert_eq!((failure.exit, failure.words.starts_with("/nowhere/c.toml: ")), (Exit::Config, true), "{failure:?}");
}

/// A daemon that serves `rpc` over both protocols for IPv4, and `asks`, which has no ports.
fn serving() -> Status {
    let helper = |name: &str, l4, ports: &[u16]| HelperStatus {
        name: name.to_owned(),
        l4,
        families: vec![Family::Inet],
        ports: ports.to_vec(),
        queue: 6,
        state: LaneState::Serving,
        on_down: "pass".to_owned(),
        classes: Vec::new(),
        packets: 0,
        verdicts: 0,
        expectations: 0,
        refused: std::collections::BTreeMap::new(),
        malformed: std::collections::BTreeMap::new(),
        trouble: std::collections::BTreeMap::new(),
        restarts: 0,
        workers: Vec::new(),
        left_alone: Vec::new(),
    };
    Status { helpers: vec![helper("rpc", L4s::Both, &[111, 1111]), helper("asks", L4s::Udp, &[])], ..Status::default() }
}

#[test]
fn what_the_daemon_serves_is_attached_as_it_is_registered() {
    let plan = plan::plan(&wanted(&[]), None, Some(&serving())).unwrap();
    let over = |l4| Attachment { name: "rpc".to_owned(), l4, families: vec![Family::Inet], ports: vec![111, 1111] };
    assert_eq!(plan.attachments, [over(L4::Tcp), over(L4::Udp)]);
    assert_eq!(plan.remarks.len(), 1, "{:?}", plan.remarks);
    assert!(plan.remarks[0].contains("'asks'"));
    let rules = nft::text(&plan);
    assert!(
        rules.contains("tcp dport { 111, 1111 }") && rules.contains("udp dport { 111, 1111 }") && !rules.contains("ipv6"),
        "{rules}"
    );
}

#[test]
fn a_family_that_is_not_registered_is_refused() {
    let six = Options { family: Some(Layer3::Inet6), ..wanted(&["rpc"]) };
    let failure = plan::plan(&six, None, Some(&serving())).unwrap_err();
    assert_eq!((failure.exit, failure.words.as_str()), (Exit::Usage, "rpc is not for the family inet6"));
}

#[test]
fn without_a_daemon_the_configuration_says_which_or_else_it_is_ftp() {
    let config = Config::parse("[helper.tftp]\n[helper.tns]\nenabled = false\n", "c.toml").unwrap();
    let names = |config: Option<&Config>| {
        let plan = plan(&wanted(&[]), config).unwrap();
        plan.attachments.iter().map(|attachment| attachment.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(Some(&config)), ["tftp"]);
    assert_eq!(names(None), ["ftp"]);
}

#[test]
fn nothing_to_attach_is_said_so() {
    let mut status = serving();
    status.helpers.remove(0);
    assert_eq!(plan::plan(&wanted(&[]), None, Some(&status)).unwrap_err().exit, Exit::Unavailable);
}
