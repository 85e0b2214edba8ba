use cthelper_proto::ipc::{Expect, Rule};
use proptest::prelude::*;

use super::*;
use crate::testkit::{Kernel, Net, Talk, talk};

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn string(text: &str) -> Vec<u8> {
    let mut out = words(&[u32::try_from(text.len()).unwrap()]);
    out.extend(text.bytes());
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// A call of the portmapper, with credentials and verifier empty.
fn call(xid: u32, version: u32, procedure: u32, args: &[u8]) -> Vec<u8> {
    [words(&[xid, 0, 2, 100_000, version, procedure, 0, 0, 0, 0]), args.to_vec()].concat()
}

fn getport(xid: u32, protocol: u32) -> Vec<u8> {
    call(xid, 2, 3, &words(&[100_005, 3, protocol, 0]))
}

fn getaddr(xid: u32, version: u32, procedure: u32) -> Vec<u8> {
    call(xid, version, procedure, &[words(&[100_005, 3]), string("tcp"), string("10.0.1.2.0.111"), string("")].concat())
}

fn reply(xid: u32, results: &[u8]) -> Vec<u8> {
    [words(&[xid, 1, 0, 0, 0, 0]), results.to_vec()].concat()
}

/// Behind a record mark.
fn record(message: &[u8]) -> Vec<u8> {
    fragment(true, message)
}

fn fragment(last: bool, body: &[u8]) -> Vec<u8> {
    let mark = u32::try_from(body.len()).unwrap() | if last { 1 << 31 } else { 0 };
    [&mark.to_be_bytes(), body].concat()
}

fn staying(mut expect: Expect) -> Expect {
    expect.permanent = true;
    expect
}

fn tcp(to: &str) -> Expect {
    staying(crate::testkit::tcp(to))
}

fn udp(to: &str) -> Expect {
    staying(crate::testkit::udp(to))
}

fn over_udp() -> Talk {
    talk(Rpc).over_udp()
}

#[test]
fn a_port_is_expected_of_the_protocol_the_call_asked_for() {
    for (protocol, wanted) in [(6, tcp("10.0.2.2:2049")), (17, udp("10.0.2.2:2049"))] {
        over_udp()
            .from_client(getport(9, protocol))
            .expects_nothing()
            .from_server(reply(9, &words(&[2049])))
            .expects(wanted)
            .passes_unchanged()
            .well_formed();
        talk(Rpc)
            .from_client(record(&getport(9, protocol)))
            .restarted()
            .from_server(record(&reply(9, &words(&[2049]))))
            .expects(wanted)
            .passes_unchanged();
    }
}

#[test]
fn a_universal_address_is_expected_of_the_protocol_the_call_came_by() {
    for (version, procedure) in [(3, 3), (4, 3), (4, 9)] {
        let answer = reply(1, &string("10.0.2.2.8.1"));
        over_udp().from_client(getaddr(1, version, procedure)).from_server(&answer).expects(udp("10.0.2.2:2049"));
        talk(Rpc).from_client(record(&getaddr(1, version, procedure))).from_server(record(&answer)).expects(tcp("10.0.2.2:2049"));
    }
    over_udp()
        .across(Net::Plain6)
        .over_udp()
        .from_client(getaddr(1, 4, 3))
        .from_server(reply(1, &string("2001:db8:2::2.8.1")))
        .expects(udp("[2001:db8:2::2]:2049"));
}

#[test]
fn in_many_fragments_and_segments_it_is_the_same() {
    let answer = reply(5, &string("10.0.2.2.8.1"));
    let (head, tail) = answer.split_at(30);
    let fragments = [fragment(false, head), fragment(false, b""), fragment(true, tail)].concat();
    talk(Rpc).from_client(record(&getaddr(5, 4, 3))).from_server(&fragments).expects(tcp("10.0.2.2:2049"));
    let (first, second) = fragments.split_at(20);
    talk(Rpc).from_client(record(&getaddr(5, 4, 3))).from_server(first).from_server(second).expects(tcp("10.0.2.2:2049"));
}

#[test]
fn behind_dnat_another_port_or_address_is_told() {
    let kernel = || Kernel::that_grants_from("10.0.1.254").at_port(4000);
    over_udp()
        .across(Net::Dnat4)
        .before(kernel())
        .from_client(getport(1, 6))
        .from_server(reply(1, &words(&[2049])))
        .passes_as(reply(1, &words(&[4000])));
    over_udp()
        .across(Net::Dnat4)
        .before(kernel())
        .from_client(getaddr(1, 4, 3))
        .from_server(reply(1, &string("10.0.2.2.8.1")))
        .passes_as(reply(1, &string("10.0.1.254.15.160")))
        .again()
        .expects(udp("10.0.2.2:2049"))
        .passes_as(reply(1, &string("10.0.1.254.15.160")));
    talk(Rpc)
        .across(Net::Dnat4)
        .before(kernel())
        .from_client(record(&getaddr(1, 4, 3)))
        .from_server(record(&reply(1, &string("10.0.2.2.8.1"))))
        .passes_as(record(&reply(1, &string("10.0.1.254.15.160"))));
    talk(Rpc)
        .across(Net::Dnat6)
        .before(Kernel::that_grants_from("2001:db8:1::1"))
        .from_client(record(&getaddr(1, 4, 9)))
        .from_server(record(&reply(1, &string("2001:db8:2::2.8.1"))))
        .passes_as(record(&reply(1, &string("2001:db8:1::1.8.1"))));
}

#[test]
fn a_fragment_grows_with_its_mark() {
    let answer = reply(1, &string("10.0.2.2.8.1"));
    let (head, tail) = answer.split_at(24);
    let told = reply(1, &string("10.0.1.254.15.160"));
    talk(Rpc)
        .across(Net::Dnat4)
        .before(Kernel::that_grants_from("10.0.1.254").at_port(4000))
        .from_client(record(&getaddr(1, 4, 3)))
        .from_server([fragment(false, head), fragment(true, tail), record(b"junk")].concat())
        .passes_as([fragment(false, &told[..24]), fragment(true, &told[24..]), record(b"junk")].concat());
    // An address in two fragments cannot be replaced.
    let (head, tail) = answer.split_at(30);
    talk(Rpc)
        .across(Net::Dnat4)
        .before(Kernel::that_grants_from("10.0.1.254"))
        .from_client(record(&getaddr(1, 4, 3)))
        .from_server([fragment(false, head), fragment(true, tail)].concat())
        .withdraws(1)
        .passes_unchanged()
        .malformed("split announcement");
}

#[test]
fn a_cut_answer_is_sent_again_where_addresses_are_translated() {
    let answer = record(&reply(1, &string("10.0.2.2.8.1")));
    for cut in [2, 4, 20, 40] {
        let talk = talk(Rpc).across(Net::Dnat4).before(Kernel::that_grants_from("10.0.1.254")).from_client(record(&getaddr(1, 4, 3)));
        let seq = talk.next_seq(Dir::Reply);
        talk.segment(Dir::Reply, seq, &answer[..cut])
            .is_resent()
            .segment(Dir::Reply, seq, &answer)
            .passes_as(record(&reply(1, &string("10.0.1.254.8.1"))));
    }
}

#[test]
fn three_calls_are_remembered_and_an_answer_is_given_once() {
    let mut talk = talk(Rpc);
    for xid in 1..=4 {
        talk = talk.from_client(record(&getport(xid, 6)));
    }
    talk.from_server(record(&reply(1, &words(&[2049]))))
        .expects_nothing()
        .malformed("answer without a call")
        .from_server(record(&reply(3, &words(&[2049]))))
        .expects(tcp("10.0.2.2:2049"))
        .again()
        .from_server(record(&reply(3, &words(&[2049]))))
        .expects_nothing()
        .malformed("answer without a call");
}

#[test]
fn other_procedures_and_failures_announce_nothing() {
    let results = words(&[2049]);
    for other in [call(1, 2, 4, &[]), call(1, 2, 5, &[0; 32]), call(1, 3, 5, &[]), call(1, 4, 11, &[]), call(1, 2, 0, &[]), getport(1, 132)] {
        over_udp().from_client(other).well_formed().from_server(reply(1, &results)).expects_nothing().well_formed();
    }
    let asked = || over_udp().from_client(getport(1, 6));
    asked().from_server(reply(1, &words(&[0]))).expects_nothing().well_formed();
    asked().from_server(words(&[1, 1, 0, 0, 0, 1])).expects_nothing().well_formed();
    asked().from_server(words(&[1, 1, 1, 0, 2, 2])).expects_nothing().well_formed();
    over_udp().from_client(getaddr(1, 4, 3)).from_server(reply(1, &string(""))).expects_nothing().well_formed();
}

#[test]
fn bad_fields_are_named() {
    let asked = || over_udp().from_client(getport(1, 6));
    asked().from_server(reply(2, &words(&[2049]))).malformed("answer without a call");
    asked().from_server(reply(1, &words(&[65_536]))).malformed("port over 65535");
    asked().from_server(reply(1, &[])).malformed("port");
    asked().from_server(reply(1, &words(&[2049, 0]))).malformed("bytes behind the port");
    asked().from_server(words(&[1, 1, 7])).malformed("reply status");
    asked().from_server(words(&[1, 1, 0, 0, 404])).malformed("verifier");
    asked().from_server([0, 0]).malformed("xid");
    asked().from_server(words(&[1, 2])).malformed("message type");
    asked().from_server(getport(1, 6)).malformed("call from the server");
    asked().from_client(reply(1, &words(&[2049]))).expects_nothing().malformed("answer from the client");
    let told = |text: &[u8], field: &str| over_udp().from_client(getaddr(1, 4, 3)).from_server(reply(1, text)).expects_nothing().malformed(field);
    told(&words(&[400]), "address length");
    told(&[&words(&[12])[..], b"10.0"].concat(), "address length");
    told(&string("10.0.2.2.8"), "universal address");
    told(&string("10.0.2.2.8.256"), "universal address");
    told(&[string("10.0.2.2.8.1"), words(&[0])].concat(), "bytes behind the address");
    over_udp().from_client(words(&[1, 0, 3])).malformed("RPC version");
    over_udp().from_client(words(&[1, 0, 2, 100_000, 2, 3, 1, 401])).malformed("credentials");
    over_udp().from_client(words(&[1, 0, 2, 100_000, 2, 3, 1, 8, 0])).malformed("credentials");
    over_udp().from_client(words(&[1, 0, 2, 100_000, 2, 3, 0, 0, 0, 0, 100_005])).malformed("version");
}

#[test]
fn foreign_hosts_and_privileged_ports_are_for_the_supervisor_to_refuse() {
    for rule in [Rule::ForeignAddress, Rule::PrivilegedPort] {
        over_udp()
            .before(Kernel::that_refuses(rule))
            .from_client(getaddr(1, 4, 3))
            .from_server(reply(1, &string("192.0.2.9.0.22")))
            .expects(udp("192.0.2.9:22"))
            .passes_unchanged()
            .well_formed();
    }
}

proptest! {
    #[test]
    fn any_packets_are_read(packets in proptest::collection::vec((any::<bool>(), proptest::collection::vec(prop_oneof![Just(0u32), Just(1), Just(2), Just(100_000), Just(0x8000_0018), any::<u32>()], 0..14), 0usize..4), 0..20), udp in any::<bool>()) {
        let mut talk = if udp { over_udp() } else { talk(Rpc).across(Net::Dnat4) };
        for (client, content, cut) in packets {
            let content = words(&content);
            let content = &content[..content.len().saturating_sub(cut)];
            talk = if client { talk.from_client(content) } else { talk.from_server(content) };
            prop_assert!(talk.asked().len() <= 16);
        }
    }

    #[test]
    fn what_is_remembered_is_found_again(xids in proptest::collection::vec(any::<u32>(), 1..6), len in 15usize..=16) {
        let mut memory = vec![0; len];
        for xid in &xids {
            let mut pending = Pending::load(&memory);
            pending.add(*xid, Asked::Address);
            pending.store(&mut memory);
        }
        for xid in xids.iter().rev().take(3) {
            prop_assert_eq!(Pending::load(&memory).find(*xid), Some(Asked::Address));
        }
    }
}
