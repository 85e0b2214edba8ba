//! Announcements that TCP cuts in two where addresses are translated, and grants that cannot be told.

use cthelper_proto::ipc::Segment;
use cthelper_proto::types::{CtInfo, Dir};

use super::greeted_across;
use crate::testkit::{Kernel, Net, tcp};

#[test]
fn under_nat_a_cut_announcement_is_sent_again_whole() {
    let talk = greeted_across(Net::Snat4, Kernel::that_grants_from("10.0.2.1"));
    let seq = talk.next_seq(Dir::Orig);
    let (first, second) = ("po", "RT 10,0,1,2,7,208\r\n");
    // As Linux sends: both halves, the last again as tail loss probe, perhaps the first alone, then all in one piece.
    talk.from_client(first)
        .is_resent()
        .keeps_state()
        .from_client(second)
        .is_resent()
        .expects_nothing()
        .keeps_state()
        .again()
        .is_resent()
        .expects_nothing()
        .segment(Dir::Orig, seq, first.as_bytes())
        .is_resent()
        .segment(Dir::Orig, seq, format!("{first}{second}").as_bytes())
        .expects(tcp("10.0.1.2:2000"))
        .passes_as("poRT 10,0,2,1,7,208\r\n")
        .well_formed()
        .again()
        .passes_as("poRT 10,0,2,1,7,208\r\n")
        .keeps_state()
        .from_client("PORT 10,0,1,2,7,209\r\n")
        .passes_as("PORT 10,0,2,1,7,209\r\n");
}

#[test]
fn under_nat_nothing_overtakes_a_cut_announcement() {
    let talk = greeted_across(Net::Snat4, Kernel::that_grants_from("10.0.2.1"));
    let seq = talk.next_seq(Dir::Orig);
    talk.from_client("NOOP\r\nPORT 10,0,")
        .is_resent()
        .from_client("1,2,7,208\r\n")
        .is_resent()
        .from_client("PORT 10,0,1,2,7,209\r\n")
        .is_resent()
        .expects_nothing()
        .from_server("200 ok\r\n")
        .passes_unchanged()
        .segment(Dir::Orig, seq, b"NOOP\r\nPORT 10,0,1,2,7,208\r\n")
        .passes_as("NOOP\r\nPORT 10,0,2,1,7,208\r\n")
        .segment(Dir::Orig, crate::stream::end_of(seq, 27), b"PORT 10,0,1,2,7,209\r\n")
        .passes_as("PORT 10,0,2,1,7,209\r\n");
}

#[test]
fn under_nat_a_cut_announcement_that_needs_no_edit_comes_whole_too() {
    let talk = greeted_across(Net::Dnat4, Kernel::default());
    let seq = talk.next_seq(Dir::Reply);
    talk.from_server("229 Ext")
        .is_resent()
        .from_server("ended (|||6446|)\r\n")
        .is_resent()
        .segment(Dir::Reply, seq, b"229 Extended (|||6446|)\r\n")
        .expects(tcp("10.0.2.2:6446"))
        .passes_unchanged();
}

#[test]
fn a_grant_that_the_peer_cannot_be_told_is_withdrawn() {
    greeted_across(Net::Plain4, Kernel::default().at_port(2001))
        .from_client("PORT 10,0,1,")
        .from_client("2,7,208\r\n")
        .expects(tcp("10.0.1.2:2000"))
        .withdraws(1)
        .malformed("split announcement");
    greeted_across(Net::Snat4, Kernel::that_grants_from("2001:db8::1"))
        .from_client("PORT 10,0,1,2,7,208\r\n")
        .withdraws(1)
        .passes_unchanged()
        .malformed("granted address");
    greeted_across(Net::Snat4, Kernel::that_grants_from("10.0.2.1"))
        .from_client("EPRT .2.2001:db8:1::2.2000.\r\n")
        .passes_as("EPRT |1|10.0.2.1|2000|\r\n")
        .withdraws(0);
}

#[test]
fn under_nat_other_cut_lines_pass() {
    let talk = || greeted_across(Net::Snat4, Kernel::default());
    talk().from_client("RETR fi").passes_unchanged();
    talk().from_server("226 Trans").passes_unchanged();
    talk().from_server("230-text\r\n22").passes_unchanged();
    let seq = talk().next_seq(Dir::Orig);
    talk().packet(CtInfo::Established, Segment { seq, last: true }, b"PORT 1").passes_unchanged();
}

#[test]
fn a_split_announcement_that_comes_split_again_and_again_passes_and_is_counted() {
    let mut talk = greeted_across(Net::Snat4, Kernel::that_grants_from("10.0.2.1"));
    let seq = talk.next_seq(Dir::Orig);
    let (first, second) = (b"PORT 10,0,1,", b"2,7,208\r\n");
    let end = crate::stream::end_of(seq, first.len());
    for _ in 0..3 {
        talk = talk.segment(Dir::Orig, seq, first).is_resent().segment(Dir::Orig, end, second).is_resent().well_formed();
    }
    talk.segment(Dir::Orig, seq, first)
        .passes_unchanged()
        .segment(Dir::Orig, end, second)
        .expects(tcp("10.0.1.2:2000"))
        .passes_unchanged()
        .withdraws(1)
        .malformed("split announcement")
        .segment(Dir::Orig, crate::stream::end_of(end, second.len()), b"PORT 10,0,1,2,7,209\r\n")
        .passes_as("PORT 10,0,2,1,7,209\r\n");
}
