use super::*;
use crate::netlink::golden::{self, built, hex, tuple};

fn control() -> Tuple {
    tuple("10.0.1.2", 40296, "10.0.2.2", 2121)
}

#[test]
fn a_new_connection_tells_its_helper() {
    let bytes = golden::conntrack_new();
    let ct = Conntrack::parse(Attrs::new(&bytes[20..])).unwrap();
    assert_eq!(ct.orig, control());
    assert_eq!(ct.reply, Some(control().inverse()));
    assert_eq!((ct.id, ct.timeout, ct.tcp_state), (Some(0x1b90_d77b), Some(120), Some(1)));
    assert_eq!(ct.status, status::HELPER | status::CONFIRMED);
    assert_eq!(ct.help, Some(Help { name: "uftp".into(), info: Some(&[0; 24]) }));
    assert_eq!((ct.zone, ct.mark, ct.master, ct.seqadj), (0, 0, None, [None; 2]));
}

#[test]
fn an_expected_connection_tells_its_master_and_an_ended_one_no_helper() {
    let bytes = golden::conntrack_related();
    let ct = Conntrack::parse(Attrs::new(&bytes[20..])).unwrap();
    assert_eq!((ct.orig, ct.master), (tuple("10.0.1.2", 0, "10.0.2.2", 3000), Some(control())));
    assert_eq!(ct.status, status::EXPECTED | status::CONFIRMED | status::SRC_NAT_DONE | status::DST_NAT_DONE);
    let bytes = golden::conntrack_destroy();
    let ct = Conntrack::parse(Attrs::new(&bytes[20..])).unwrap();
    assert_eq!((ct.help, ct.status & status::DYING), (None, status::DYING));
}

#[test]
fn events_are_told_apart_by_operation_and_flags() {
    assert_eq!(event(op::NEW, flag::CREATE | flag::EXCL), Some(Event::New));
    assert_eq!(event(op::NEW, 0), Some(Event::Update));
    assert_eq!(event(op::DELETE, 0), Some(Event::Destroy));
    assert_eq!(event(op::GET, 0), None);
}

#[test]
fn a_zone_of_the_original_direction_counts_when_both_share_none() {
    let zoned = built(|out| Writer::new(out).be16(3, 9));
    let mut inside = built(|out| tuple::write(&mut Writer::new(out), CTA_TUPLE_ORIG, &control())).split_off(4);
    inside.extend(zoned);
    let mut bytes = built(|out| Writer::new(out).attr(CTA_TUPLE_ORIG, &inside));
    assert_eq!(Conntrack::parse(Attrs::new(&bytes)).unwrap().zone, 9);
    Writer::new(&mut bytes).be16(CTA_ZONE, 4);
    assert_eq!(Conntrack::parse(Attrs::new(&bytes)).unwrap().zone, 4);
}

#[test]
fn negative_adjustments_are_read() {
    let mut bytes = built(|out| tuple::write(&mut Writer::new(out), CTA_TUPLE_ORIG, &control()));
    let shrunk = SeqAdj { pos: 0xffff_0000, before: 0, after: -3 };
    write_seqadj(&mut Writer::new(&mut bytes), Dir::Reply, &shrunk);
    assert_eq!(Conntrack::parse(Attrs::new(&bytes)).unwrap().seqadj, [None, Some(shrunk)]);
}

#[test]
fn a_connection_without_a_tuple_is_refused() {
    assert_eq!(Conntrack::parse(Attrs::new(&hex("08000c00 1b90d77b"))), Err(Malformed("conntrack tuple")));
}

#[test]
fn an_update_carries_the_tuple_and_what_changes_but_never_creates() {
    let client = tuple("fd00:1::2", 40296, "fd00:2::2", 21);
    let seqadj = SeqAdj { pos: 0x1122_3344, before: 2, after: -1 };
    let change = Update { seqadj: Some((Dir::Orig, seqadj)), help: Some(("ftp", &[7, 8])), timeout: Some(60) };
    let out = built(|out| update(out, 5, &client, 3, &change));
    assert_eq!(
        out,
        hex("a0000000 0001 0500 05000000 00000000 0a00 0000
            4c000180 2c000180 14000300 fd000001000000000000000000000002 14000400 fd000002000000000000000000000002
            1c000280 05000100 06000000 06000200 9d680000 06000300 00150000
            06001200 00030000
            14000580 08000100 66747000 06000200 07080000
            1c000f80 08000100 11223344 08000200 00000002 08000300 ffffffff
            08000700 0000003c")
    );
}

#[test]
fn get_and_delete_name_one_connection() {
    let key =
        "34000180 14000180 08000100 0a000102 08000200 0a000202 1c000280 05000100 06000000 06000200 9d680000 06000300 08490000";
    let asked = hex(&format!("48000000 0101 0500 01000000 00000000 0200 0000 {key}"));
    assert_eq!(built(|out| get(out, 1, &control(), 0)), asked);
    let ended = hex(&format!("50000000 0201 0500 01000000 00000000 0200 0000 {key} 08000c00 00000005"));
    assert_eq!(built(|out| delete(out, 1, &control(), 0, Some(5))), ended);
    assert_eq!(built(|out| dump(out, 1, 10)), hex("14000000 0101 0103 01000000 00000000 0a00 0000"));
}
