//! The judgement, on the six ways a master can be translated.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use cthelper_proto::types::{FlowId, Tuple};
use proptest::prelude::*;

use super::*;

const CLIENT: &str = "10.0.1.2";
const SERVER: &str = "198.51.100.7";
const ROUTER: &str = "203.0.113.1";
const INSIDE: &str = "192.168.5.5";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn tuple(src: &str, sport: u16, dst: &str, dport: u16) -> Tuple {
    Tuple { src: ip(src), dst: ip(dst), proto: 6, sport, dport }
}

fn flow(orig: Tuple, reply: Tuple) -> Flow {
    Flow { id: FlowId(7), orig, reply }
}

fn plain() -> Flow {
    let orig = tuple(CLIENT, 40000, SERVER, 21);
    flow(orig, orig.inverse())
}

/// The client is behind the router: the server sees the router's address.
fn snat() -> Flow {
    flow(tuple(CLIENT, 40000, SERVER, 21), tuple(SERVER, 21, ROUTER, 40000))
}

/// The server is behind the router: the client talks to the router's address.
fn dnat() -> Flow {
    flow(tuple(CLIENT, 40000, ROUTER, 21), tuple(INSIDE, 21, CLIENT, 40000))
}

fn data() -> Class {
    Class::new("data", Scope::BothEnds, 2, 300)
}

fn to(dst: &str, dport: u16) -> Expect {
    Expect { class: 0, proto: 6, src: Source::Peer, sport: None, dst: ip(dst), dport, permanent: false }
}

fn judged(flow: &Flow, dir: Dir, expect: &Expect) -> Result<Permit, Rule> {
    judge(&Rules::default(), Some(&data()), flow, dir, expect)
}

fn permit(src: &str, dst: &str, dport: u16, nat: Option<Dir>) -> Permit {
    Permit {
        src: Some(ip(src)),
        sport: None,
        dst: ip(dst),
        dport,
        saved: dport,
        own_port: false,
        proto: 6,
        class: 0,
        permanent: false,
        nat,
        helped: false,
        master_timeout_secs: None,
    }
}

#[test]
fn passive_mode_expects_client_to_server() {
    assert_eq!(judged(&plain(), Dir::Reply, &to(SERVER, 2000)), Ok(permit(CLIENT, SERVER, 2000, None)));
}

#[test]
fn active_mode_expects_server_to_client() {
    assert_eq!(judged(&plain(), Dir::Orig, &to(CLIENT, 2000)), Ok(permit(SERVER, CLIENT, 2000, None)));
}

#[test]
fn active_mode_behind_snat_expects_server_to_the_clients_face() {
    let wanted = Ok(permit(SERVER, ROUTER, 2000, Some(Dir::Reply)));
    assert_eq!(judged(&snat(), Dir::Orig, &to(CLIENT, 2000)), wanted);
    assert_eq!(judged(&snat(), Dir::Orig, &to(ROUTER, 2000)), wanted, "a client that knows its public address may announce it");
}

#[test]
fn passive_mode_behind_snat_still_follows_the_master() {
    assert_eq!(judged(&snat(), Dir::Reply, &to(SERVER, 2000)), Ok(permit(CLIENT, SERVER, 2000, Some(Dir::Orig))));
}

#[test]
fn passive_mode_behind_dnat_expects_client_to_the_servers_face() {
    let wanted = Ok(permit(CLIENT, ROUTER, 2000, Some(Dir::Orig)));
    assert_eq!(judged(&dnat(), Dir::Reply, &to(INSIDE, 2000)), wanted);
    assert_eq!(judged(&dnat(), Dir::Reply, &to(ROUTER, 2000)), wanted);
}

#[test]
fn active_mode_behind_dnat_comes_from_the_servers_own_address() {
    assert_eq!(judged(&dnat(), Dir::Orig, &to(CLIENT, 2000)), Ok(permit(INSIDE, CLIENT, 2000, Some(Dir::Reply))));
}

fn datagrams(flow: Flow) -> Flow {
    let udp = |tuple: Tuple| Tuple { proto: 17, ..tuple };
    Flow { orig: udp(flow.orig), reply: udp(flow.reply), ..flow }
}

#[test]
fn a_flows_own_port_is_expected_where_its_peer_knows_it() {
    let class = Class::new("tftp", Scope::BothEnds, 1, 300).udp().to_own_port();
    let own = Expect { proto: 17, ..to(CLIENT, 40000) };
    let mut master = datagrams(snat());
    master.reply.dport = 1024;
    let granted = judge(&Rules::default(), Some(&class), &master, Dir::Orig, &own).unwrap();
    assert_eq!((granted.dst, granted.dport, granted.saved, granted.nat), (ip(ROUTER), 1024, 40000, Some(Dir::Reply)));
    assert_eq!(granted.ports(7).collect::<Vec<_>>(), [1024], "nobody could be told of another");
    let other = Expect { dport: 40001, ..own };
    let granted = judge(&Rules::default(), Some(&class), &master, Dir::Orig, &other).unwrap();
    assert_eq!((granted.dport, granted.saved, granted.own_port), (40001, 40001, false));
    let plain = Class { own_port: false, ..class };
    let granted = judge(&Rules::default(), Some(&plain), &master, Dir::Orig, &own).unwrap();
    assert_eq!((granted.dport, granted.saved), (40000, 40000), "a class that does not say so names ports of its own");
}

#[test]
fn a_privileged_port_may_be_the_flows_own_or_the_classs() {
    let class = Class::new("dhcpv6", Scope::AnyToEnd, 1, 300).udp().staying().to_own_port().to_reserved(546);
    let mut master = datagrams(plain());
    (master.orig.sport, master.reply.dport) = (547, 547);
    let expect = |dst: &str, dport| Expect { src: Source::Anyone, proto: 17, permanent: true, ..to(dst, dport) };
    let judged =
        |class: &Class, expect: &Expect| judge(&Rules::default(), Some(class), &master, Dir::Orig, expect).map(|p| p.dport);
    assert_eq!(judged(&class, &expect(CLIENT, 547)), Ok(547));
    assert_eq!(judged(&class, &expect(CLIENT, 546)), Ok(546));
    assert_eq!(judged(&class, &expect(CLIENT, 548)), Err(Rule::PrivilegedPort));
    assert_eq!(judged(&class, &expect(CLIENT, 0)), Err(Rule::PrivilegedPort));
    let without = Class { own_port: false, reserved: None, ..class };
    for port in [546, 547] {
        assert_eq!(judged(&without, &expect(CLIENT, port)), Err(Rule::PrivilegedPort));
    }
    let loose = Rules { loose: true, ..Rules::default() };
    let elsewhere = judge(
        &loose,
        Some(&Class { own_port: true, reserved: Some(546), ..without }),
        &master,
        Dir::Orig,
        &expect("192.0.2.9", 546),
    );
    assert_eq!(elsewhere, Err(Rule::PrivilegedPort), "of the asking host only");
}

#[test]
fn the_other_end_is_foreign_too() {
    assert_eq!(judged(&plain(), Dir::Orig, &to(SERVER, 2000)), Err(Rule::ForeignAddress), "a bounce off the server");
    assert_eq!(judged(&dnat(), Dir::Orig, &to(INSIDE, 2000)), Err(Rule::ForeignAddress));
}

#[test]
fn third_party_is_refused_unless_loose() {
    assert_eq!(judged(&plain(), Dir::Reply, &to("192.0.2.9", 2000)), Err(Rule::ForeignAddress));
    let loose = Rules { loose: true, ..Rules::default() };
    for master in [plain(), dnat()] {
        let granted = judge(&loose, Some(&data()), &master, Dir::Reply, &to("192.0.2.9", 2000));
        assert_eq!(granted, Ok(permit(CLIENT, "192.0.2.9", 2000, None)), "following the master would lead to the server");
    }
}

#[test]
fn unreachable_addresses_are_bad_even_when_loose() {
    let loose = Rules { loose: true, ..Rules::default() };
    let v4 = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "169.254.1.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"];
    let other_family = ["2001:db8::1", "::ffff:10.0.1.2"];
    for dst in v4.into_iter().chain(other_family) {
        assert_eq!(judge(&loose, Some(&data()), &plain(), Dir::Reply, &to(dst, 2000)), Err(Rule::BadAddress), "{dst}");
    }
    let orig = tuple("2001:db8::1", 40000, "2001:db8::2", 21);
    let master = flow(orig, orig.inverse());
    for dst in ["::", "::1", "ff02::1", "fe80::1", "::ffff:192.0.2.1", "192.0.2.1"] {
        assert_eq!(judge(&loose, Some(&data()), &master, Dir::Reply, &to(dst, 2000)), Err(Rule::BadAddress), "{dst}");
    }
}

#[test]
fn loopback_is_good_where_it_is_the_masters_own() {
    let orig = tuple("127.0.0.1", 40000, "127.0.0.1", 21);
    let granted = judged(&flow(orig, orig.inverse()), Dir::Reply, &to("127.0.0.1", 2000));
    assert_eq!(granted, Ok(permit("127.0.0.1", "127.0.0.1", 2000, None)));
}

#[test]
fn privileged_ports_need_permission_and_port_0_never_gets_it() {
    let allowed = Rules { privileged_ports: true, ..Rules::default() };
    for (port, default, permitted) in
        [(0, false, false), (1, false, true), (1023, false, true), (1024, true, true), (65535, true, true)]
    {
        assert_eq!(judged(&plain(), Dir::Reply, &to(SERVER, port)).is_ok(), default, "{port}");
        assert_eq!(judge(&allowed, Some(&data()), &plain(), Dir::Reply, &to(SERVER, port)).is_ok(), permitted, "{port}");
    }
    let from = |sport| Expect { sport: Some(sport), ..to(CLIENT, 2000) };
    assert_eq!(judged(&plain(), Dir::Orig, &from(0)), Err(Rule::PrivilegedPort));
    assert_eq!(judged(&plain(), Dir::Orig, &from(20)).map(|permit| permit.sport), Ok(Some(20)), "FTP's data port");
}

#[test]
fn a_class_opens_its_own_protocol_only() {
    for (class, own) in [(data(), &[6][..]), (data().udp(), &[17]), (data().tcp_or_udp(), &[6, 17])] {
        for proto in [6, 17, 0, 1, 47, 255] {
            let judged = judge(&Rules::default(), Some(&class), &plain(), Dir::Reply, &Expect { proto, ..to(SERVER, 2000) });
            assert_eq!(judged.err(), (!own.contains(&proto)).then_some(Rule::BadProtocol), "{proto}");
        }
    }
}

#[test]
fn an_expectation_stays_in_a_class_that_says_so_only() {
    let staying = Expect { permanent: true, ..to(SERVER, 2000) };
    assert_eq!(judged(&plain(), Dir::Reply, &staying), Err(Rule::BadClass));
    assert!(
        judge(&Rules::default(), Some(&data().staying()), &plain(), Dir::Reply, &staying).is_ok_and(|permit| permit.permanent)
    );
}

#[test]
fn unknown_class_is_refused() {
    assert_eq!(judge(&Rules::default(), None, &plain(), Dir::Reply, &to(SERVER, 2000)), Err(Rule::BadClass));
}

#[test]
fn anyone_may_connect_in_a_class_that_says_so_only() {
    let anyone = Expect { src: Source::Anyone, permanent: true, ..to(CLIENT, 2000) };
    assert_eq!(judged(&plain(), Dir::Orig, &anyone), Err(Rule::BadClass));
    let answers = Class::new("answers", Scope::AnyToEnd, 8, 16).staying();
    let granted = judge(&Rules::default(), Some(&answers), &plain(), Dir::Orig, &anyone).unwrap();
    assert_eq!((granted.src, granted.dst, granted.permanent), (None, ip(CLIENT), true));
    let third = judge(&Rules::default(), Some(&answers), &plain(), Dir::Orig, &Expect { dst: ip(SERVER), ..anyone });
    assert_eq!(third, Err(Rule::ForeignAddress));
}

#[test]
fn anyone_may_connect_to_a_third_party_only_where_the_peers_other_address_is_not_known() {
    let loose = Rules { loose: true, ..Rules::default() };
    let class = Class::new("ssdp", Scope::AnyToEnd, 8, 300).staying();
    let to_anyone = |rules: &Rules, asker: &str, place: &str| {
        let orig = Tuple { proto: 17, ..tuple("fe80::7", 1900, asker, 40000) };
        let expect = Expect { src: Source::Anyone, permanent: true, ..to(place, 5000) };
        judge(rules, Some(&class), &flow(orig, orig.inverse()), Dir::Orig, &expect).map(|permit| (permit.src, permit.dst))
    };
    assert_eq!(to_anyone(&loose, "fe80::2", "2001:db8::7"), Ok((None, ip("2001:db8::7"))));
    assert_eq!(to_anyone(&Rules::default(), "fe80::2", "2001:db8::7"), Err(Rule::ForeignAddress));
    assert_eq!(to_anyone(&loose, "2001:db8::2", "2001:db8::7"), Err(Rule::ForeignAddress), "the asker's address is known");
    assert_eq!(to_anyone(&loose, "fe80::2", "fe80::8"), Err(Rule::BadAddress));
    assert_eq!(to_anyone(&loose, "fe80::2", "fe80::7"), Ok((None, ip("fe80::7"))), "the device itself");
    let third = Expect { src: Source::Anyone, ..to("192.0.2.9", 2000) };
    assert_eq!(judge(&loose, Some(&class), &plain(), Dir::Reply, &third), Err(Rule::ForeignAddress));
}

#[test]
fn without_nat_there_is_one_port_to_try() {
    assert_eq!(permit(CLIENT, SERVER, 2000, None).ports(9).collect::<Vec<_>>(), [2000]);
}

#[test]
fn port_search_depends_on_the_seed_alone() {
    let permit = permit(SERVER, ROUTER, 2000, Some(Dir::Reply));
    let walk = |seed| permit.ports(seed).collect::<Vec<_>>();
    assert_eq!(walk(1), walk(1));
    assert_ne!(walk(1), walk(2));
}

fn announcement<'a>(class: &'a Class, flow: &'a Flow, expect: &'a Expect, before: u8) -> Announcement<'a> {
    Announcement { class: Some(class), flow, dir: Dir::Reply, before, expect, helper_is_ours: false }
}

#[test]
fn one_packet_announces_four_times_at_most() {
    let (class, flow, now) = (data(), plain(), Instant::now());
    let mut judge = Judge::new(Rules::default());
    let expect = to(SERVER, 2000);
    for before in 0..4 {
        assert!(judge.judge(&announcement(&class, &flow, &expect, before), now).is_ok());
    }
    assert_eq!(judge.judge(&announcement(&class, &flow, &expect, 4), now), Err(Rule::PerPacket));
}

#[test]
fn only_a_helper_of_ours_may_be_named_for_what_is_announced() {
    let (class, flow, now) = (data().helped_by("next").keeping_master(4000), plain(), Instant::now());
    let mut judge = Judge::new(Rules::default());
    let expect = to(SERVER, 2000);
    assert_eq!(judge.judge(&announcement(&class, &flow, &expect, 0), now), Err(Rule::ForeignHelper));
    let ours = Announcement { helper_is_ours: true, ..announcement(&class, &flow, &expect, 0) };
    let permit = judge.judge(&ours, now).unwrap();
    assert_eq!((permit.helped, permit.master_timeout_secs), (true, Some(600)), "ten minutes at most");
}

#[test]
fn refused_announcements_cost_tokens_too() {
    let (class, flow, now) = (data(), plain(), Instant::now());
    let mut judge = Judge::new(Rules { rate: Rate { burst: 2, per_second: 1 }, ..Rules::default() });
    let bounce = to("192.0.2.9", 2000);
    let mut verdict = |now| judge.judge(&announcement(&class, &flow, &bounce, 0), now).unwrap_err();
    assert_eq!([verdict(now), verdict(now), verdict(now)], [Rule::ForeignAddress, Rule::ForeignAddress, Rule::Rate]);
    assert_eq!(verdict(now + Duration::from_secs(1)), Rule::ForeignAddress);
}

proptest! {
    #[test]
    fn ports_are_distinct_of_one_kind_and_start_with_the_announced(announced in 1_u16.., seed in any::<u64>()) {
        let ports: Vec<_> = permit(SERVER, ROUTER, announced, Some(Dir::Reply)).ports(seed).collect();
        prop_assert_eq!(ports[0], announced);
        prop_assert!((128..=129).contains(&ports.len()));
        prop_assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
        let range = if announced < 1024 { 600..=1023 } else { 1024..=65535 };
        prop_assert!(ports[1..].iter().all(|port| range.contains(port)));
    }

    #[test]
    fn no_announcement_opens_a_way_to_a_host_that_did_not_announce(
        own in any::<u32>(), face in any::<u32>(), peer in any::<u32>(), announced in any::<u32>(), port in any::<u16>(), orig in any::<bool>(),
    ) {
        let addr = |bits: u32| IpAddr::V4(bits.into());
        let there = Tuple { src: addr(own), dst: addr(peer), proto: 6, sport: 21, dport: 4000 };
        let back = Tuple { src: addr(peer), dst: addr(face), proto: 6, sport: 4000, dport: 21 };
        let (dir, flow) = if orig { (Dir::Orig, flow(there, back)) } else { (Dir::Reply, flow(back, there)) };
        for dst in [announced, own, face] {
            if let Ok(permit) = judged(&flow, dir, &Expect { dst: addr(dst), ..to(SERVER, port) }) {
                prop_assert!(dst == own || dst == face);
                prop_assert_eq!((permit.src, permit.dst), (Some(addr(peer)), addr(face)));
                prop_assert!(permit.dport >= 1024);
                prop_assert_eq!(permit.nat, flow.is_translated().then_some(dir.flip()));
            }
        }
    }
}
