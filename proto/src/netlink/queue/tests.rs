use super::*;
use crate::netlink::expect::{FOLLOW_MASTER, Nat};
use crate::netlink::golden::{self, built, hex, tuple};
use crate::types::Dir;

fn data_connection() -> Expectation {
    Expectation {
        nat: Some(Nat { dir: Dir::Orig, addr: None, port: 3000 }),
        function: Some(FOLLOW_MASTER.to_owned()),
        ..Expectation::new(tuple("10.0.1.2", 0, "10.0.2.2", 3000), tuple("10.0.1.2", 40296, "10.0.2.2", 2121))
    }
}

fn kinds(message: &[u8]) -> Vec<u16> {
    Attrs::new(&message[20..]).iter().map(|attr| attr.unwrap().kind).collect()
}

#[test]
fn bind_and_configuration_are_what_the_kernel_took() {
    assert_eq!(built(|out| bind(out, 0x65, 9)), hex(golden::BIND));
    let config = Config {
        copy_range: 0xffff,
        max_len: 2048,
        flags: config::FAIL_OPEN | config::CONNTRACK,
        mask: config::FAIL_OPEN | config::CONNTRACK,
    };
    assert_eq!(built(|out| configure(out, 0x66, 9, &config)), hex(golden::CONFIG));
    assert_eq!(built(|out| unbind(out, 1, 9)), hex("1c000000 0203 0500 01000000 00000000 0000 0009 08000100 02000000"));
}

#[test]
fn a_packet_comes_with_its_connection() {
    let bytes = golden::packet();
    let packet = Packet::parse(2, 7, Attrs::new(&bytes[20..])).unwrap();
    assert_eq!((packet.queue, packet.id, packet.hw_protocol, packet.hook), (7, 1, 0x0800, hook::POST_ROUTING));
    assert_eq!((packet.indev, packet.outdev), (Some(2), Some(4)));
    assert_eq!((packet.info, packet.mark, packet.skb_info, packet.cap_len), (Some(CtInfo::New), 0, 0, None));
    assert_eq!((packet.payload.len(), packet.payload[0]), (60, 0x45));
    let ct = packet.ct.unwrap();
    assert_eq!(ct.orig, tuple("10.0.1.2", 40296, "10.0.2.2", 2121));
    assert_eq!(ct.status, conntrack::status::HELPER);
    assert_eq!(ct.help.unwrap().info, Some(&[0; 24][..]));
}

#[test]
fn a_packet_whose_connection_is_malformed_still_has_its_id() {
    let mut bytes = golden::packet();
    let at = bytes.windows(4).position(|window| window == hex("34000180")).unwrap();
    bytes[at] = 3;
    let attrs = Attrs::new(&bytes[20..]);
    assert_eq!(Packet::parse(2, 7, attrs), Err(Malformed("attribute length")));
    assert_eq!(Packet::id_of(attrs), Some(1));
}

#[test]
fn a_packet_without_a_header_is_refused() {
    let bytes = golden::packet();
    let attrs = Attrs::new(&bytes[32..]);
    assert_eq!(Packet::parse(2, 7, attrs), Err(Malformed("packet header")));
    assert_eq!(Packet::id_of(attrs), None);
}

#[test]
fn an_unknown_ct_info_is_none() {
    let bytes = hex("0b000100 00000009 86dd 01 00 08000c00 00000007 08000d00 00001000 08000e00 00000003 08000300 00000005");
    let packet = Packet::parse(10, 1, Attrs::new(&bytes)).unwrap();
    assert_eq!((packet.id, packet.info, packet.payload), (9, None, &[][..]));
    assert_eq!((packet.cap_len, packet.skb_info, packet.mark), (Some(4096), 3, 5));
}

#[test]
fn a_verdict_with_everything_is_what_the_kernel_took() {
    let expectation = data_connection();
    let parts = VerdictParts {
        ct: Some(CtUpdate { help: Some(("uftp", &[1; 24])), mark: None, timeout_secs: None }),
        expect: Some(&expectation),
        ack: true,
        ..VerdictParts::default()
    };
    assert_eq!(built(|out| verdict(out, 0x6c, 7, 4, Decision::Accept, &parts)), golden::verdict());
}

#[test]
fn a_plain_verdict_is_a_header_alone_and_asks_for_nothing() {
    let out = built(|out| verdict(out, 1, 7, 4, Decision::Accept, &VerdictParts::default()));
    assert_eq!(out, hex("20000000 0103 0100 01000000 00000000 0000 0007 0c000200 00000001 00000004"));
}

#[test]
fn an_expectation_without_a_connection_gets_an_empty_one_beside_it() {
    let expectation = data_connection();
    let parts = VerdictParts { expect: Some(&expectation), ..VerdictParts::default() };
    let out = built(|out| verdict(out, 1, 7, 4, Decision::Accept, &parts));
    assert_eq!(kinds(&out), [NFQA_VERDICT_HDR, NFQA_CT, NFQA_EXP]);
    assert_eq!(out[32..36], hex("04000b80"));
}

#[test]
fn a_changed_payload_alone_carries_no_connection() {
    let parts = VerdictParts { payload: Some(&[0x60, 1, 2, 3, 4]), mark: Some(9), ..VerdictParts::default() };
    let out = built(|out| verdict(out, 1, 7, 4, Decision::Drop, &parts));
    assert_eq!(
        out,
        hex(
            "34000000 0103 0100 01000000 00000000 0000 0007 0c000200 00000000 00000004 08000300 00000009 09000a00 6001020304 000000"
        )
    );
}

#[test]
fn a_mark_of_the_connection_is_part_of_it() {
    let parts = VerdictParts { ct: Some(CtUpdate { help: None, mark: Some(5), timeout_secs: None }), ..VerdictParts::default() };
    let out = built(|out| verdict(out, 1, 7, 4, Decision::Queue(12), &parts));
    assert_eq!(out[24..28], hex("000c0003"));
    assert_eq!(out[32..], hex("0c000b80 08000800 00000005"));
}

#[test]
fn a_batch_names_the_newest() {
    let out = built(|out| verdict_batch(out, 1, 7, 0x0102_0304, Decision::Repeat));
    assert_eq!(out, hex("20000000 0303 0100 01000000 00000000 0000 0007 0c000200 00000004 01020304"));
}
