use super::*;
use crate::netlink::golden;
use crate::writer::Writer;

/// A connection with these attributes behind its tuple.
fn with(rest: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    tuple::write(&mut writer, CTA_TUPLE_ORIG, &golden::tuple("10.0.1.2", 7, "10.0.2.2", 80));
    rest(&mut writer);
    out
}

fn parse(bytes: &[u8]) -> Entry<'_> {
    Entry::parse(Attrs::new(bytes)).unwrap()
}

#[test]
fn everything_an_event_tells_is_read() {
    let out = with(|w| {
        w.nest(CTA_COUNTERS_ORIG, |w| {
            w.attr(COUNTERS_PACKETS, &5_u64.to_be_bytes());
            w.attr(COUNTERS_BYTES, &500_u64.to_be_bytes());
        });
        w.nest(CTA_COUNTERS_REPLY, |w| w.attr(COUNTERS_PACKETS, &5_u64.to_be_bytes()));
        w.nest(CTA_TIMESTAMP, |w| w.attr(TIMESTAMP_START, &1_u64.to_be_bytes()));
        w.nest(CTA_SECCTX, |w| w.str0(SECCTX_NAME, "u:r:t"));
        w.attr(CTA_LABELS, &[0x22, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80]);
        w.attr(CTA_TIMESTAMP_EVENT, &7_u64.to_be_bytes());
        w.be32(CTA_MARK, 9);
        w.be16(CTA_ZONE, 3);
        w.be32(CTA_USE, 2);
        w.attr(CTA_SYNPROXY, &[0; 4]);
    });
    let entry = parse(&out);
    assert_eq!(entry.counters, [Some(Counters { packets: 5, bytes: 500 }), None]);
    assert_eq!(entry.lifetime, Lifetime { start: Some(1), stop: None });
    assert_eq!((entry.secctx, entry.event_time, entry.mark, entry.uses), (Some("u:r:t".into()), Some(7), Some(9), Some(2)));
    assert_eq!(entry.labels.unwrap().iter().collect::<Vec<_>>(), [1, 5, 127]);
    assert_eq!((entry.zone_of(Dir::Orig), entry.zone_of(Dir::Reply)), (3, 3));
    assert_eq!(entry.skipped, 0);
}

#[test]
fn what_cannot_be_read_is_skipped_and_counted() {
    let out = with(|w| {
        w.attr(CTA_MARK, &[1, 2]);
        w.attr(99, &[]);
        w.attr(CTA_HELP, &[1]);
        w.nest(CTA_PROTOINFO, |w| w.nest(1, |w| w.attr(1, &[])));
        w.be32(CTA_ID, 4);
    });
    let entry = parse(&out);
    assert_eq!((entry.skipped, entry.id, entry.mark, entry.helper, entry.protoinfo), (4, Some(4), None, None, None));
    let torn = parse(&out[..out.len() - 2]);
    assert_eq!((torn.skipped, torn.id), (5, None));
}

#[test]
fn a_name_of_any_bytes_is_kept() {
    let out = with(|w| w.nest(CTA_HELP, |w| w.attr(HELP_NAME, b"a\n\xff\0")));
    let entry = parse(&out);
    assert_eq!(entry.helper.unwrap().to_string(), "a\\x0a\\xff");
}

#[test]
fn only_the_original_tuple_must_be_there() {
    assert_eq!(Entry::parse(Attrs::new(&[])), Err(Malformed("conntrack tuple")));
    let out = with(|_| ());
    assert!(Entry::parse(Attrs::new(&out[..out.len() - 5])).is_err());
    assert_eq!(parse(&out), Entry::new(golden::tuple("10.0.1.2", 7, "10.0.2.2", 80)));
}

#[test]
fn states_are_named_as_in_the_headers() {
    let state = |kind: u16, number: u8| {
        let out = with(|w| w.nest(CTA_PROTOINFO, |w| w.nest(kind, |w| w.attr(1, &[number]))));
        parse(&out).protoinfo.unwrap().state().unwrap()
    };
    assert_eq!([state(1, 3), state(2, 3), state(3, 3), state(1, 200)], ["ESTABLISHED", "PARTOPEN", "COOKIE_ECHOED", "NONE"]);
    assert_eq!(ProtoInfo::state_names().count(), 10 + 8 + 9);
}
