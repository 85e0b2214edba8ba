use super::*;
use crate::netlink::conntrack::Event;
use crate::netlink::golden::{self, built, hex, tuple};

fn data_connection() -> Expectation {
    Expectation::new(tuple("10.0.1.2", 0, "10.0.2.2", 3000), tuple("10.0.1.2", 40296, "10.0.2.2", 2121))
}

#[test]
fn a_creation_is_what_the_kernel_took() {
    let wanted = Expectation { timeout: Some(60), ..data_connection() };
    let out = built(|out| create(out, 0x6a, flag::CREATE | flag::EXCL | flag::ACK, &wanted));
    assert_eq!(out, golden::expect_new());
}

#[test]
fn its_event_is_the_expectation_with_the_classs_timeout() {
    let told = Expectation { timeout: Some(300), id: Some(0x8d2f_1c44), helper: Some("uftp".to_owned()), ..data_connection() };
    assert_eq!(Expectation::parse(Attrs::new(&golden::expect_event()[20..]), 2), Ok(told));
}

#[test]
fn an_expectation_without_one_of_its_tuples_or_of_another_family_is_refused() {
    let event = golden::expect_event();
    let parse = |bytes: &[u8], family| Expectation::parse(Attrs::new(bytes), family).unwrap_err();
    assert_eq!(parse(&event[72..], 2), Malformed("expectation tuple"));
    assert_eq!(parse(&event[20..72], 2), Malformed("expectation master"));
    assert_eq!(parse(&[&event[20..72], &event[124..]].concat(), 2), Malformed("expectation mask"));
    assert_eq!(parse(&event[20..], 10), Malformed("expectation family"));
}

#[test]
fn a_line_is_what_conntrack_prints() {
    let told = Expectation { timeout: Some(300), helper: Some("ftp".to_owned()), ..data_connection() };
    let line = "300 proto=6 src=10.0.1.2 dst=10.0.2.2 sport=0 dport=3000 mask-src=255.255.255.255 mask-dst=255.255.255.255 sport=0 \
                dport=65535 master-src=10.0.1.2 master-dst=10.0.2.2 sport=40296 dport=2121 class=0 helper=ftp";
    assert_eq!(told.to_string(), line);
    assert_eq!(told.event_line(Event::New), format!("    [NEW] {line}"));
    assert_eq!(told.event_line(Event::Update), format!(" [UPDATE] {line}"));
    assert_eq!(told.event_line(Event::Destroy), format!("[DESTROY] {line}"));
}

#[test]
fn a_mask_as_the_kernel_told_it_is_printed_as_told() {
    let mut mdns =
        Expectation::new(tuple("0.0.0.0", 5353, "169.254.33.186", 38407), tuple("169.254.33.186", 38407, "224.0.0.251", 5353));
    mdns.tuple.proto = 17;
    mdns.master.proto = 17;
    let raw = Tuple { proto: 17, ..tuple("0.0.0.0", 65535, "0.0.0.0", 65535) };
    mdns.mask = Mask::parse(raw, &mdns.tuple);
    assert_eq!(mdns.mask, Mask { src_addr: false, sport: true, raw: Some(raw) });
    let mdns = Expectation { timeout: Some(30), flags: PERMANENT, helper: Some("mdns".to_owned()), ..mdns };
    assert_eq!(
        mdns.event_line(Event::New),
        "    [NEW] 30 proto=17 src=0.0.0.0 dst=169.254.33.186 sport=5353 dport=38407 mask-src=0.0.0.0 mask-dst=0.0.0.0 sport=65535 \
         dport=65535 master-src=169.254.33.186 master-dst=224.0.0.251 sport=38407 dport=5353 PERMANENT class=0 helper=mdns"
    );
}

#[test]
fn a_line_without_timeout_or_helper_has_no_blank_at_either_end() {
    let bare = Expectation { zone: 7, flags: PERMANENT | INACTIVE | USERSPACE, class: 2, ..data_connection() };
    let line = bare.to_string();
    assert!(line.starts_with("proto=6 src="), "{line}");
    assert!(line.ends_with(" dport=2121 zone=7 PERMANENT,INACTIVE,USERSPACE class=2"), "{line}");
}

#[test]
fn a_line_shows_keys_of_gre_and_type_code_and_id_of_icmp() {
    let mut gre = data_connection();
    gre.tuple.proto = 47;
    assert!(gre.to_string().starts_with("proto=47 src=10.0.1.2 dst=10.0.2.2 srckey=0x0 dstkey=0xbb8 mask-src="));
    gre.tuple = Tuple { proto: 1, sport: 77, dport: 0x0801, ..gre.tuple };
    assert!(gre.to_string().starts_with("proto=1 src=10.0.1.2 dst=10.0.2.2 type=8 code=1 id=77 mask-src="));
    gre.tuple.proto = 89;
    assert!(gre.to_string().starts_with("proto=89 src=10.0.1.2 dst=10.0.2.2 mask-src="));
}

#[test]
fn ipv6_addresses_are_shown_as_inet_ntop_shows_them() {
    let line = |src: &str| Expectation::new(tuple(src, 0, "fd00::2", 3000), tuple("fd00::1", 1, "fd00::2", 21)).to_string();
    let ones = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    assert!(line("fd00:0:0:1::1").starts_with("proto=6 src=fd00:0:0:1::1 dst=fd00::2 sport=0 dport=3000 "));
    assert!(line("::1").contains(&format!("src=::1 dst=fd00::2 sport=0 dport=3000 mask-src={ones} mask-dst={ones} sport=0 ")));
    assert!(line("::10.1.2.3").contains(" src=::10.1.2.3 "));
    assert!(line("::ffff:10.1.2.3").contains(" src=::ffff:10.1.2.3 "));
    assert!(line("::").contains(" src=:: "));
}

#[test]
fn withdrawal_names_one_expectation_or_one_helper_and_only_flush_neither() {
    let expected =
        "34000280 14000180 08000100 0a000102 08000200 0a000202 1c000280 05000100 06000000 06000200 00000000 06000300 0bb80000";
    let tuple = data_connection().tuple;
    let one = hex(&format!("58000000 0202 0500 01000000 00000000 0200 0000 {expected} 06000700 00050000 08000500 0000002a"));
    assert_eq!(built(|out| delete(out, 1, &tuple, 5, Some(42))), one);
    let helper = hex("1c000000 0202 0500 01000000 00000000 0000 0000 08000600 66747000");
    assert_eq!(built(|out| delete_of_helper(out, 1, "ftp")), helper);
    assert_eq!(built(|out| flush(out, 1)), hex("14000000 0202 0500 01000000 00000000 0000 0000"));
    let asked = hex(&format!("48000000 0102 0500 01000000 00000000 0200 0000 {expected}"));
    assert_eq!(built(|out| get(out, 1, &tuple, 0)), asked);
}

#[test]
fn a_dump_asks_for_a_family_or_a_master() {
    assert_eq!(built(|out| dump(out, 1, 0)), hex("14000000 0102 0103 01000000 00000000 0000 0000"));
    let out = built(|out| dump_of_master(out, 1, &data_connection().master, 0));
    assert_eq!(out[..20], hex("48000000 0102 0103 01000000 00000000 0200 0000"));
    assert_eq!(out[20..24], hex("34000180"));
}
