use super::*;
use crate::netlink::golden::{self, hex};

fn only(bytes: &[u8]) -> Message<'_> {
    let mut all = messages(bytes);
    let message = all.next().unwrap().unwrap();
    assert_eq!(all.next(), None);
    message
}

#[test]
fn an_acknowledgement_of_success_has_errno_0() {
    let bytes = hex(golden::ACK);
    let message = only(&bytes);
    assert_eq!(message.header, Header { kind: 2, flags: flag::CAPPED, seq: 0x68, pid: 1 });
    assert_eq!(message.body, Body::Ack(Ack { errno: 0, text: None, offset: None }));
}

#[test]
fn a_refusal_says_why_and_where() {
    let bytes = hex(golden::REFUSAL);
    let Body::Ack(ack) = only(&bytes).body else { panic!("not an acknowledgement") };
    assert_eq!(ack, Ack { errno: 22, text: Some("Attribute failed policy validation"), offset: Some(20) });
}

#[test]
fn a_refusal_that_quotes_the_whole_request_is_skipped_to_its_words() {
    // EINVAL, not capped: the quoted request is 22 bytes, 6 behind its header, padded to 8.
    let bytes = hex("40000000 0200 0002 05000000 01000000 eaffffff 16000000 0009 0504 05000000 00000000
        00000000 4142 0000 09000100 776f7264 00000000 08000200 14000000");
    let Body::Ack(ack) = only(&bytes).body else { panic!("not an acknowledgement") };
    assert_eq!(ack, Ack { errno: 22, text: Some("word"), offset: Some(20) });
}

#[test]
fn a_refusal_whose_quotation_is_cut_still_has_its_errno() {
    let bytes = hex("24000000 0200 0002 05000000 01000000 eaffffff ffffffff 0009 0504 05000000 00000000");
    assert_eq!(only(&bytes).body, Body::Ack(Ack { errno: 22, text: None, offset: None }));
}

#[test]
fn a_positive_errno_from_the_kernel_is_malformed() {
    let bytes = hex("24000000 0200 0001 68000000 01000000 16000000 74000000 0009 0504 68000000 00000000");
    assert_eq!(messages(&bytes).collect::<Vec<_>>(), [Err(Malformed("errno"))]);
    let bytes = hex("14000000 0300 0200 68000000 01000000 00000080");
    assert_eq!(messages(&bytes).collect::<Vec<_>>(), [Err(Malformed("errno"))]);
}

#[test]
fn the_end_of_a_dump_and_netlinks_own_kinds_are_told_apart() {
    assert_eq!(only(&hex("14000000 0300 0200 68000000 01000000 00000000")).body, Body::Done(0));
    assert_eq!(only(&hex("14000000 0300 0200 68000000 01000000 f0ffffff")).body, Body::Done(16));
    assert_eq!(only(&hex("10000000 0100 0000 00000000 00000000")).body, Body::Noop(&[]));
    assert_eq!(only(&hex("10000000 1000 0000 00000000 00000000")).body, Body::Other);
}

#[test]
fn a_message_of_a_subsystem_is_taken_apart() {
    let bytes = golden::packet();
    let Body::Nf { subsystem, op, family, res_id, attrs } = only(&bytes).body else { panic!("not nfnetlink") };
    assert_eq!((subsystem, op, family, res_id), (subsystem::QUEUE, op::QUEUE_PACKET, 2, 7));
    assert_eq!(attrs.as_bytes(), &bytes[20..]);
}

#[test]
fn several_messages_stand_in_one_datagram_and_the_last_may_lack_its_padding() {
    let mut bytes = hex(golden::ACK);
    bytes.extend(hex("15000000 0003 0000 00000000 00000000 0200 0007 ff"));
    let kinds: Vec<_> = messages(&bytes).map(|message| message.unwrap().header.kind).collect();
    assert_eq!(kinds, [2, 0x0300]);
}

#[test]
fn a_message_broken_inside_does_not_hide_the_next() {
    let mut bytes = hex("12000000 0003 0000 00000000 00000000 0200 0000");
    bytes.extend(hex(golden::ACK));
    let all: Vec<_> = messages(&bytes).collect();
    assert_eq!(all[0], Err(Malformed("nfgenmsg")));
    assert!(all[1].is_ok());
    assert_eq!(all.len(), 2);
}

#[test]
fn a_wrong_length_ends_the_datagram() {
    for length in ["00000000", "0f000000", "25000000", "ffffffff"] {
        let mut bytes = hex(golden::ACK);
        bytes[..4].copy_from_slice(&hex(length));
        assert_eq!(messages(&bytes).collect::<Vec<_>>(), [Err(Malformed("netlink length"))], "{length}");
    }
    assert_eq!(messages(&[1, 0]).collect::<Vec<_>>(), [Err(Malformed("netlink header"))]);
    assert_eq!(messages(&[]).count(), 0);
}

#[test]
fn requests_stand_one_behind_the_other_in_a_buffer() {
    let mut out = Vec::new();
    request(&mut out, subsystem::QUEUE, op::QUEUE_VERDICT, flag::ACK, 1, 2, 7, |w| w.u8(1, 5));
    request(&mut out, subsystem::CTHELPER, op::GET, flag::DUMP, 2, 0, 0, |_| ());
    assert_eq!(
        out,
        hex("1c000000 0103 0500 01000000 00000000 0200 0007 05000100 05000000
            14000000 0109 0103 02000000 00000000 0000 0000")
    );
    assert_eq!(messages(&out).count(), 2);
}
