use cthelper_proto::ipc::Rule;
use proptest::prelude::*;

use super::*;
use crate::testkit::{Kernel, Net, Talk, talk};

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(BODY + body.len()).unwrap().to_be_bytes();
    [&length[..], &[0, 0, kind, 0, 0, 0], body].concat()
}

fn redirect(text: &str) -> Vec<u8> {
    packet(REDIRECT, &[&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat())
}

fn data(text: &str) -> Vec<u8> {
    packet(DATA, &[&[0, 0], text.as_bytes()].concat())
}

fn asked(net: Net, kernel: Kernel) -> Talk {
    talk(Tns).across(net).before(kernel).from_client(packet(1, &[1; 50])).expects_nothing().passes_unchanged()
}

fn plain() -> Talk {
    asked(Net::Plain4, Kernel::default())
}

const TEXT4: &str = "(ADDRESS=(PROTOCOL=TCP)(HOST=10.0.2.2)(PORT=49152))";

fn at(addr: &str) -> cthelper_proto::ipc::Expect {
    crate::testkit::tcp(addr)
}

#[test]
fn a_redirect_expects_the_client_there() {
    plain().from_server(redirect(TEXT4)).expects(at("10.0.2.2:49152")).passes_unchanged().well_formed();
    plain()
        .from_server(redirect("(DESCRIPTION=(ADDRESS_LIST=( address = (protocol = tcps) (port = 49152) (host = 10.0.2.2 ))))"))
        .expects(at("10.0.2.2:49152"));
    asked(Net::Plain6, Kernel::default())
        .from_server(redirect("(ADDRESS=(PROTOCOL=TCP)(HOST=[2001:DB8:2::2])(PORT=49152))"))
        .expects(at("[2001:db8:2::2]:49152"));
}

#[test]
fn a_redirect_whose_data_follow_expects_the_same() {
    let head = packet(REDIRECT, &u16::try_from(TEXT4.len()).unwrap().to_be_bytes());
    plain().from_server(&head).expects_nothing().well_formed().from_server(data(TEXT4)).expects(at("10.0.2.2:49152"));
    let both = [head, data(TEXT4)].concat();
    plain().from_server(&both).expects(at("10.0.2.2:49152"));
    let (first, second) = both.split_at(33);
    plain().from_server(first).expects_nothing().from_server(second).expects(at("10.0.2.2:49152"));
}

#[test]
fn a_name_is_the_servers_own() {
    plain().from_server(redirect("(ADDRESS=(PROTOCOL=TCP)(HOST=db-1.example.org)(PORT=49152))")).expects(at("10.0.2.2:49152"));
    asked(Net::Dnat4, Kernel::that_grants_from("10.0.1.1").at_port(50_000))
        .from_server(redirect("(ADDRESS=(PROTOCOL=TCP)(HOST=db-1.example.org)(PORT=49152))"))
        .expects(at("10.0.2.2:49152"))
        .passes_as(redirect("(ADDRESS=(PROTOCOL=TCP)(HOST=db-1.example.org)(PORT=50000))"));
}

#[test]
fn another_address_is_told_with_all_lengths_right() {
    let behind = || asked(Net::Dnat4, Kernel::that_grants_from("10.0.1.254").at_port(1025));
    let more = "\0(DESCRIPTION=(CONNECT_DATA=(CID=(HOST=10.9.9.9))))";
    for (order, told) in [
        (TEXT4, "(ADDRESS=(PROTOCOL=TCP)(HOST=10.0.1.254)(PORT=1025))"),
        ("(ADDRESS=(PORT=49152)(HOST=10.0.2.2))", "(ADDRESS=(PORT=1025)(HOST=10.0.1.254))"),
    ] {
        behind().from_server(redirect(&format!("{order}{more}"))).passes_as(redirect(&format!("{told}{more}"))).again().passes_as(
            redirect(&format!("{told}{more}")),
        );
        let head = packet(REDIRECT, &u16::try_from(order.len()).unwrap().to_be_bytes());
        behind().from_server(head).passes_unchanged().from_server(data(order)).passes_as(data(told));
    }
    asked(Net::Dnat6, Kernel::that_grants_from("2001:db8:1::1"))
        .from_server(redirect("(ADDRESS=(HOST=[2001:db8:2::2])(PORT=49152))"))
        .passes_as(redirect("(ADDRESS=(HOST=[2001:db8:1::1])(PORT=49152))"));
}

#[test]
fn a_cut_redirect_is_sent_again_where_addresses_are_translated() {
    let whole = redirect(TEXT4);
    for cut in [1, 2, 5, 12, 40] {
        let talk = asked(Net::Dnat4, Kernel::that_grants_from("10.0.1.1"));
        let seq = talk.next_seq(Dir::Reply);
        talk.segment(Dir::Reply, seq, &whole[..cut])
            .is_resent()
            .segment(Dir::Reply, seq, &whole)
            .passes_as(redirect(&TEXT4.replace("10.0.2.2", "10.0.1.1")));
    }
    plain().from_server(&whole[..12]).passes_unchanged();
}

#[test]
fn a_session_is_not_looked_at() {
    plain().from_server(packet(ACCEPT, &[0; 24])).from_server(redirect(TEXT4)).expects_nothing().from_server("\0\x01garbage").well_formed();
    plain().from_client(redirect(TEXT4)).expects_nothing().from_server(packet(11, &[])).from_server(redirect(TEXT4)).expects(at("10.0.2.2:49152"));
}

#[test]
fn an_address_of_another_protocol_or_none_announces_nothing() {
    for text in ["(ADDRESS=(PROTOCOL=IPC)(KEY=x)(HOST=1.2.3.4)(PORT=5))", "", "(((((((", "HOST=10.0.2.2 PORT=1", "\0(HOST=10.0.2.2)(PORT=1)"] {
        plain().from_server(redirect(text)).expects_nothing().well_formed();
    }
}

#[test]
fn bad_fields_are_named() {
    let named = |text: &str, field: &str| plain().from_server(redirect(text)).expects_nothing().passes_unchanged().malformed(field);
    named("(HOST=10.0.2.2)(PORT=65536)", "port over 65535");
    named("(HOST=10.0.2.2)(PORT=0)", "port 0");
    named("(HOST=10.0.2.2)(PORT=1x)", "PORT");
    named("(HOST=10.0.2.2)(PORT=)", "PORT");
    named("(HOST=10.0.2.256)(PORT=4000)", "HOST");
    named("(HOST=::1%lo)(PORT=4000)", "HOST");
    named("(HOST=)(PORT=4000)", "HOST");
    named("(HOST=10.0.2.2)", "half an address");
    named("(PORT=4000)", "half an address");
    let lying = packet(REDIRECT, &[&[0, 60][..], TEXT4.as_bytes()].concat());
    plain().from_server(lying).expects_nothing().malformed("redirect length");
    plain().from_server(packet(REDIRECT, &[])).expects_nothing().malformed("redirect length");
    plain().from_server([0, 7, 0, 0, 5, 0, 0]).malformed("record length").from_server(redirect(TEXT4)).expects_nothing();
}

#[test]
fn foreign_hosts_and_privileged_ports_are_for_the_supervisor_to_refuse() {
    let text = "(HOST=192.0.2.9)(PORT=22)";
    asked(Net::Dnat4, Kernel::that_refuses(Rule::ForeignAddress)).from_server(redirect(text)).expects(at("192.0.2.9:22")).passes_unchanged();
}

#[test]
fn a_sum_that_would_be_wrong_takes_the_grant_back() {
    let mut summed = redirect(TEXT4);
    summed[3] = 1;
    asked(Net::Dnat4, Kernel::that_grants_from("10.0.1.1")).from_server(summed).withdraws(1).malformed("granted address");
}

#[test]
fn of_a_packet_that_is_too_long_the_head_is_read() {
    let text = format!("{TEXT4}\0{}", "x".repeat(9000));
    let told = text.replace("10.0.2.2", "10.0.1.254");
    asked(Net::Dnat4, Kernel::that_grants_from("10.0.1.254")).from_server(redirect(&text)).passes_as(redirect(&told));
}

proptest! {
    #[test]
    fn any_text_is_read(text in "(\\(|\\)|=|HOST|PORT|ADDRESS|PROTOCOL=TCP|10.0.2.2|[0-9]{1,6}| |\\PC){0,60}", dnat in any::<bool>()) {
        let net = if dnat { Net::Dnat4 } else { Net::Plain4 };
        let talk = asked(net, Kernel::that_grants_from("10.0.1.254").at_port(9)).from_server(redirect(&text));
        prop_assert!(talk.asked().len() <= 1);
        // What goes on is still a packet whose lengths are right.
        let out = talk.forwarded();
        prop_assert_eq!(usize::from(u16::from_be_bytes([out[0], out[1]])), out.len());
        prop_assert_eq!(usize::from(u16::from_be_bytes([out[8], out[9]])), out.len() - TEXT);
    }

    #[test]
    fn any_segments_are_read(segments in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(0u8), Just(5), Just(10), any::<u8>()], 0..60), 0..20)) {
        let mut talk = asked(Net::Dnat4, Kernel::that_grants_from("10.0.1.254"));
        for segment in segments {
            talk = talk.from_server(&segment);
        }
    }
}
