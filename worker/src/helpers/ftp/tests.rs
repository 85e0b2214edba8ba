//! Conversations with the FTP helper.

mod split;

use cthelper_proto::ipc::{Rule, Segment};
use cthelper_proto::types::{CtInfo, Dir};
use proptest::prelude::*;

use super::Ftp;
use crate::testkit::{Kernel, Net, Talk, talk, tcp};

const PASV: &str = "227 Entering Passive Mode (10,0,2,2,7,208).\r\n";

fn greeted() -> Talk {
    talk(Ftp).from_server("220 ready\r\n").expects_nothing()
}

fn greeted_across(net: Net, kernel: Kernel) -> Talk {
    talk(Ftp).across(net).before(kernel).from_server("220 ready\r\n").expects_nothing()
}

#[test]
fn passive_mode_expects_the_client_at_the_server() {
    greeted().from_client("PASV\r\n").expects_nothing().from_server(PASV).expects(tcp("10.0.2.2:2000")).passes_unchanged();
    greeted().from_server("229 Extended (|||6446|)\r\n").expects(tcp("10.0.2.2:6446")).passes_unchanged().well_formed();
}

#[test]
fn active_mode_expects_the_server_at_the_client() {
    greeted().from_client("PORT 10,0,1,2,7,208\r\n").expects(tcp("10.0.1.2:2000")).passes_unchanged();
    greeted().from_client("eprt |1|10.0.1.2|2000|\r\n").expects(tcp("10.0.1.2:2000")).passes_unchanged();
    talk(Ftp)
        .across(Net::Plain6)
        .from_client("EPRT |2|2001:DB8:1:0::2|2000|\r\n")
        .expects(tcp("[2001:db8:1::2]:2000"))
        .passes_unchanged();
}

#[test]
fn a_bare_lf_ends_a_line() {
    greeted().from_client("PORT 10,0,1,2,7,208\n").expects(tcp("10.0.1.2:2000")).well_formed();
}

#[test]
fn behind_snat_port_and_eprt_announce_the_public_address() {
    let kernel = Kernel::that_grants_from("10.0.2.1");
    greeted_across(Net::Snat4, kernel.clone())
        .from_client("PORT 10,0,1,2,7,208\r\n")
        .expects(tcp("10.0.1.2:2000"))
        .passes_as("PORT 10,0,2,1,7,208\r\n");
    greeted_across(Net::Snat4, kernel.at_port(65_535))
        .from_client("eprt !1!10.0.1.2!2000!\r\nNOOP\r\n")
        .passes_as("eprt !1!10.0.2.1!65535!\r\nNOOP\r\n");
}

#[test]
fn behind_snat_an_ipv6_address_is_announced_in_its_canonical_form() {
    greeted_across(Net::Snat6, Kernel::that_grants_from("2001:0db8:0002:0:0:0:0:1"))
        .from_client("EPRT |2|2001:db8:1::2|2000|\r\n")
        .expects(tcp("[2001:db8:1::2]:2000"))
        .passes_as("EPRT |2|2001:db8:2::1|2000|\r\n");
}

#[test]
fn behind_dnat_227_announces_the_public_address_and_229_the_granted_port() {
    let kernel = Kernel::that_grants_from("10.0.1.1").at_port(2001);
    greeted_across(Net::Dnat4, kernel.clone())
        .from_server(PASV)
        .expects(tcp("10.0.2.2:2000"))
        .passes_as("227 Entering Passive Mode (10,0,1,1,7,209).\r\n");
    greeted_across(Net::Dnat4, kernel)
        .from_server("229 ok (|||6446|)\r\n")
        .expects(tcp("10.0.2.2:6446"))
        .passes_as("229 ok (|||2001|)\r\n");
}

#[test]
fn a_server_that_announces_its_public_address_is_asked_with_it_and_left_alone() {
    greeted_across(Net::Dnat4, Kernel::that_grants_from("10.0.1.1"))
        .from_server("227 (10,0,1,1,7,208)\r\n")
        .expects(tcp("10.0.1.1:2000"))
        .passes_unchanged();
}

#[test]
fn a_229_keeps_its_port_when_only_the_address_is_translated() {
    greeted_across(Net::Dnat4, Kernel::that_grants_from("10.0.1.1")).from_server("229 (|||6446|)\r\n").passes_as("229 (|||6446|)\r\n");
}

#[test]
fn a_refused_announcement_passes_untouched() {
    greeted_across(Net::Snat4, Kernel::that_refuses(Rule::ForeignAddress))
        .from_client("PORT 10,9,9,9,7,208\r\n")
        .expects(tcp("10.9.9.9:2000"))
        .passes_unchanged()
        .well_formed();
}

#[test]
fn a_retransmission_gets_the_same_announcement_and_the_same_edit() {
    greeted_across(Net::Snat4, Kernel::that_grants_from("10.0.2.1"))
        .from_client("PORT 10,0,1,2,7,208\r\n")
        .passes_as("PORT 10,0,2,1,7,208\r\n")
        .again()
        .expects(tcp("10.0.1.2:2000"))
        .passes_as("PORT 10,0,2,1,7,208\r\n")
        .keeps_state();
}

#[test]
fn a_227_logout_and_other_codes_announce_nothing() {
    for line in ["227 Logout.\r\n", "226 (10,0,2,2,7,208)\r\n", "200 229 (|||6446|)\r\n", " 227 (10,0,2,2,7,208)\r\n"] {
        greeted().from_server(line).expects_nothing().passes_unchanged().well_formed();
    }
}

#[test]
fn each_side_says_only_its_own() {
    greeted().from_client(PASV).expects_nothing();
    greeted().from_client("229 (|||6446|)\r\n").expects_nothing();
    greeted().from_server("PORT 10,0,2,2,7,208\r\n").expects_nothing();
    greeted().from_server("EPRT |1|10.0.2.2|2000|\r\n").expects_nothing();
}

#[test]
fn a_greeting_from_the_originator_reverses_the_roles_and_a_later_one_does_not() {
    talk(Ftp)
        .from_client("220 ready\r\n")
        .from_server("PORT 10,0,2,2,7,208\r\n")
        .expects(tcp("10.0.2.2:2000"))
        .restarted()
        .from_client("227 (10,0,1,2,7,208)\r\n")
        .expects(tcp("10.0.1.2:2000"));
    greeted().from_client("220 ready\r\n").from_client("PORT 10,0,1,2,7,208\r\n").expects(tcp("10.0.1.2:2000"));
}

#[test]
fn lines_within_a_multi_line_reply_are_text_also_over_a_restart() {
    talk(Ftp)
        .from_server("220-Welcome\r\n227 (10,0,2,2,7,208)\r\n")
        .expects_nothing()
        .restarted()
        .from_server("229 (|||6446|)\r\n220-x\r\n")
        .expects_nothing()
        .from_server("220 ready\r\n")
        .from_server(PASV)
        .expects(tcp("10.0.2.2:2000"));
}

#[test]
fn a_reply_whose_closing_line_was_never_read_ends_with_the_next_question() {
    for command in ["PASV\r\n", "EPSV\r\n", "epsv 1\r\n"] {
        // The closing line in a gap.
        greeted()
            .from_server("230-Welcome\r\n")
            .lost(Dir::Reply, 10)
            .from_server("xx\r\n")
            .from_client(command)
            .from_server(PASV)
            .expects(tcp("10.0.2.2:2000"));
        // The closing line in a packet that passed without the helper, whose worker died.
        greeted()
            .from_server("230-Welcome\r\n")
            .lost(Dir::Reply, 10)
            .restarted()
            .from_client(command)
            .from_server("229 (|||6446|)\r\n")
            .expects(tcp("10.0.2.2:6446"));
    }
    greeted().from_server("230-Welcome\r\n").from_client("NOOP\r\n").from_server(PASV).expects_nothing();
    greeted()
        .from_server("230-Welcome\r\n")
        .from_client("AUTH TLS\r\n")
        .from_server("234 go\r\n")
        .from_client("PORT 10,0,1,2,7,208\r\n")
        .expects_nothing();
}

#[test]
fn an_over_long_line_opens_and_ends_a_reply_by_its_head() {
    let long = "x".repeat(600);
    greeted()
        .from_server(format!("230-a\r\n230 {long}\r\n"))
        .malformed("line length")
        .from_server(PASV)
        .expects(tcp("10.0.2.2:2000"));
    greeted().from_server("230-a\r\n").from_server(format!("230 {long}")).from_server(format!("\r\n{PASV}")).expects(tcp("10.0.2.2:2000"));
    greeted().from_server(format!("230-{long}\r\n{PASV}")).expects_nothing();
    greeted().from_server(format!("230-a\r\n231 {long}\r\n{PASV}")).expects_nothing();
    greeted().from_server(format!("227 (10,0,2,2,7,208){long}\r\n")).expects_nothing().malformed("line length");
    greeted().from_server(format!("234 {long}\r\n")).from_client("PORT 10,0,1,2,7,208\r\n").expects_nothing();
}

#[test]
fn slipstream_with_a_long_url() {
    let url = "a".repeat(1400);
    for head in [format!("POST /{url}"), format!("GET /{url} HTTP/1.1\r\n"), "PUT /x\r\n".into()] {
        greeted()
            .from_client(&head)
            .from_client("bbb HTTP/1.1\r\nPORT 10,0,1,2,7,208\r\n")
            .expects_nothing()
            .restarted()
            .from_client("PORT 10,0,1,2,7,208\r\n")
            .expects_nothing()
            .from_server(PASV)
            .expects_nothing();
    }
}

#[test]
fn tls_on_the_control_port() {
    let long = [b"\x16\x03\x01\x04\0".as_slice(), &[b'a'; 600]].concat();
    for hello in [b"\x16\x03\x01\x02\0\x01\r\n".as_slice(), b"\x80.\x01\0\x02\n", &long] {
        greeted().from_client(hello).from_client("\r\nPORT 10,0,1,2,7,208\r\n").expects_nothing();
    }
    greeted().from_client(b"\xff\xfb\x03\r\n").from_client("PORT 10,0,1,2,7,208\r\n").expects(tcp("10.0.1.2:2000"));
}

#[test]
fn rein_and_a_greeting_end_the_promise_of_epsv_all() {
    let promised = || greeted().from_client("EPSV ALL\r\n").from_server("200 ok\r\n");
    promised().from_client("REIN\r\n").from_client("PORT 10,0,1,2,7,208\r\n").expects(tcp("10.0.1.2:2000"));
    promised().from_server("220 ready\r\n").from_server(PASV).expects(tcp("10.0.2.2:2000"));
}

#[test]
fn a_multi_line_227_announces_in_its_last_line() {
    greeted()
        .from_server("227-Entering (10,0,2,2,7,207)\r\n (10,0,2,2,7,206)\r\n227 (10,0,2,2,7,208)\r\n")
        .expects(tcp("10.0.2.2:2000"));
}

#[test]
fn after_epsv_all_only_229_announces() {
    greeted()
        .from_client("EPSV ALL\r\n")
        .from_client("PORT 10,0,1,2,7,208\r\n")
        .expects_nothing()
        .malformed("command after EPSV ALL")
        .from_server("200 ok\r\n")
        .restarted()
        .from_client("EPRT |1|10.0.1.2|2000|\r\n")
        .expects_nothing()
        .from_server(PASV)
        .expects_nothing()
        .malformed("reply after EPSV ALL")
        .from_server("229 (|||6446|)\r\n")
        .expects(tcp("10.0.2.2:6446"));
}

#[test]
fn a_refused_epsv_all_promises_nothing() {
    greeted().from_client("EPSV ALL\r\n").from_server("502 no\r\n").from_server(PASV).expects(tcp("10.0.2.2:2000"));
}

#[test]
fn after_auth_tls_the_connection_is_never_looked_at_again() {
    for code in ["234", "334"] {
        greeted()
            .from_client("AUTH TLS\r\n")
            .from_server(format!("{code} proceed\r\n{PASV}"))
            .expects_nothing()
            .from_client("\x16\x03\x01\0\n")
            .well_formed()
            .restarted()
            .from_server(PASV)
            .expects_nothing()
            .from_client("PORT 10,0,1,2,7,208\r\n")
            .expects_nothing()
            .keeps_state();
    }
    greeted().from_client("AUTH TLS\r\n").from_server("502 no\r\n").from_server(PASV).expects(tcp("10.0.2.2:2000"));
}

#[test]
fn bytes_before_the_end_of_the_handshake_are_not_looked_at() {
    for info in [CtInfo::New, CtInfo::Related] {
        talk(Ftp)
            .packet(info, Segment { seq: 1, last: false }, b"PORT 10,0,1,2,7,208\r\n")
            .expects_nothing()
            .passes_unchanged()
            .keeps_state();
    }
}

#[test]
fn bad_input_passes_and_names_its_field() {
    for (line, field) in [
        ("PORT 10,0,1,256,7,208", "number over 255"),
        ("PORT 10,0,1,2,7,4294967504", "number over 255"),
        ("EPRT |1|10.0.1.2|65536|", "port over 65535"),
        ("PORT 10,0,1,2,0,0", "port 0"),
        ("PORT 10,0,1,2,7,208\0", "control byte in a command"),
        ("\0PORT 10,0,1,2,7,208", "control byte in a command"),
        ("EPRT |1|10.0.1.2|20", "EPRT argument"),
        ("PORT ten", "PORT argument"),
    ] {
        greeted()
            .from_client("NOOP\r\n")
            .from_client(format!("{line}\r\n"))
            .expects_nothing()
            .passes_unchanged()
            .malformed(field)
            .from_client("PORT 10,0,1,2,7,208\r\n")
            .expects(tcp("10.0.1.2:2000"));
    }
    let long = format!("PORT 10,0,1,2,7,208{}\r\n", " ".repeat(600));
    greeted().from_client(&long).expects_nothing().passes_unchanged().malformed("line length");
    greeted()
        .from_server("227 (10,0,2,2,7,208) (10,0,2,2,7,209)\r\n")
        .expects_nothing()
        .passes_unchanged()
        .malformed("two announcements");
    greeted().from_server("229 (|1|10.9.9.9|6446|)\r\n").expects_nothing().passes_unchanged().malformed("229 address");
}

#[test]
fn a_foreign_address_is_for_the_supervisor_to_judge() {
    greeted().from_server("227 (192,0,2,9,7,208)\r\n").expects(tcp("192.0.2.9:2000"));
    greeted().from_client("PORT 10,0,2,2,0,22\r\n").expects(tcp("10.0.2.2:22"));
}

#[test]
fn half_a_line_for_ever_is_skipped_at_the_limit_and_the_next_line_is_read() {
    let mut talk = greeted();
    for _ in 0..100 {
        talk = talk.from_client("PORT 10,0,1,").expects_nothing().passes_unchanged();
    }
    talk.from_client("2,7,208\r\n").expects_nothing().from_client("PORT 10,0,1,2,7,208\r\n").expects(tcp("10.0.1.2:2000"));
}

#[test]
fn a_flood_of_announcements_in_one_packet_is_cut_off() {
    let talk = greeted().from_client("PORT 10,0,1,2,7,208\r\n".repeat(1000));
    assert_eq!(talk.asked().len(), crate::helper::MAX_ASKS);
}

#[test]
fn a_line_over_two_segments_is_joined() {
    greeted()
        .from_client("PORT 10,0,1,")
        .expects_nothing()
        .passes_unchanged()
        .from_client("2,7,208\r\nNOOP\r\n")
        .expects(tcp("10.0.1.2:2000"))
        .passes_unchanged()
        .well_formed();
}

#[test]
fn an_announcement_in_the_middle_of_a_line_is_none_also_over_a_restart() {
    greeted().from_client("STOR a").from_client("PORT 10,0,1,2,7,208\r\n").expects_nothing();
    greeted().from_client("STOR a").restarted().from_client("PORT 10,0,1,2,7,208\r\n").expects_nothing();
    greeted().from_client("NOOP\r\n").lost(Dir::Orig, 5).from_client("PORT 10,0,1,2,7,208\r\n").expects_nothing();
}

#[test]
fn packets_without_state_go_on_from_the_last_one() {
    greeted()
        .from_client("EPSV ALL\r\n")
        .in_flight()
        .from_client("PORT 10,0,1,2,7,208\r\n")
        .expects_nothing()
        .keeps_state()
        .restarted()
        .from_client("PORT 10,0,1,2,7,208\r\n")
        .expects_nothing()
        .passes_unchanged()
        .keeps_state();
}

const CONVERSATION: &[(Dir, &str)] = &[
    (Dir::Reply, "220-hello\r\n227 (10,0,2,2,1,1)\r\n220 ready\r\n"),
    (Dir::Orig, "USER x\r\nPORT 10,0,1,2,7,208\r\n"),
    (Dir::Reply, "331 pass\n200 ok\n"),
    (Dir::Orig, "EPRT |1|10.0.1.2|2001|\r\nPASV\r\n"),
    (Dir::Reply, "200 ok\r\n227 Entering (10,0,2,2,7,210)\r\n"),
    (Dir::Orig, "EPSV ALL\r\nPORT 10,0,1,2,7,1\r\nEPSV\r\n"),
    (Dir::Reply, "200 ok\r\n500 no\r\n229 Extended (|||2003|)\r\n"),
];

proptest! {
    #[test]
    fn any_segmentation_gives_the_same_expectations(cuts in proptest::collection::vec(1usize..30, 1..40), restart in 0usize..40) {
        let mut talk = talk(Ftp);
        let mut asked = Vec::new();
        let mut cuts = cuts.into_iter().cycle();
        let mut count = 0;
        for (dir, text) in CONVERSATION {
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                let (head, tail) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                talk = talk.from_dir(*dir, head).passes_unchanged();
                asked.extend_from_slice(talk.asked());
                talk = talk.again().passes_unchanged().keeps_state();
                rest = tail;
                count += 1;
            }
            if count > restart {
                talk = talk.restarted();
            }
        }
        let wanted: Vec<_> = ["10.0.1.2:2000", "10.0.1.2:2001", "10.0.2.2:2002", "10.0.2.2:2003"].map(tcp).into();
        prop_assert_eq!(asked, wanted);
    }

    #[test]
    fn any_bytes_at_any_place_do_no_harm(
        packets in proptest::collection::vec((any::<bool>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 0..700)), 0..20),
        nat in any::<bool>(),
    ) {
        let mut talk = talk(Ftp).across(if nat { Net::Snat4 } else { Net::Plain4 });
        for (orig, seq, payload) in packets {
            let dir = if orig { Dir::Orig } else { Dir::Reply };
            talk = talk.segment(dir, u32::from(seq).wrapping_sub(128).wrapping_mul(10), &payload);
            let _ = talk.forwarded();
        }
    }

    #[test]
    fn any_text_like_an_announcement_is_edited_within_its_bounds(
        line in "(PORT |EPRT |227 |229 |EPSV |220-|234)[(|,.:)0-9a-fA ]{0,40}",
        dir in any::<bool>(),
    ) {
        let talk = talk(Ftp).across(Net::Snat4).before(Kernel::that_grants_from("10.0.2.1").at_port(9));
        let talk = talk.from_dir(if dir { Dir::Orig } else { Dir::Reply }, format!("{line}\r\n").as_bytes());
        let _ = talk.forwarded();
        prop_assert!(talk.asked().len() <= 1);
    }
}
