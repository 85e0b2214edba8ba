use super::*;
use crate::netlink::entry::{Counters, Labels, Lifetime, ProtoInfo};
use crate::netlink::golden;
use crate::netlink::message::messages;
use crate::types::Tuple;

/// Of a datagram with one message.
fn report(datagram: &[u8]) -> Report<'_> {
    Report::parse(&messages(datagram).next().unwrap().unwrap()).unwrap().unwrap()
}

fn line(report: &Report<'_>) -> String {
    report.line(Moment(1_700_000_000_000_042), false).to_string()
}

const ORIG: &str = "src=10.0.1.2 dst=10.0.2.2 sport=40296 dport=2121";
const REPLY: &str = "src=10.0.2.2 dst=10.0.1.2 sport=2121 dport=40296";

#[test]
fn a_line_is_what_conntrack_prints() {
    let new = golden::conntrack_new();
    assert_eq!(line(&report(&new)), format!("    [NEW] tcp      6 120 SYN_SENT {ORIG} [UNREPLIED] {REPLY} helper=uftp"));
    let destroy = golden::conntrack_destroy();
    assert_eq!(line(&report(&destroy)), format!("[DESTROY] tcp      6 119 TIME_WAIT {ORIG} {REPLY} [ASSURED]"));
    let related = golden::conntrack_related();
    let expected = "src=10.0.1.2 dst=10.0.2.2 sport=0 dport=3000 [UNREPLIED] src=10.0.2.2 dst=10.0.1.2 sport=3000 dport=0";
    assert_eq!(line(&report(&related)), format!("    [NEW] tcp      6 120 SYN_SENT {expected} mark=0"));
}

fn whole() -> Report<'static> {
    let orig = golden::tuple("10.0.1.2", 7, "10.0.2.2", 80);
    let counters = |packets, bytes| Some(Counters { packets, bytes });
    let entry = Entry {
        reply: Some(orig.inverse()),
        id: Some(9),
        status: Some(0xe),
        timeout: Some(5),
        zones: [Some(3), Some(4)],
        zone: Some(8),
        mark: Some(7),
        secctx: Some("system_u:object_r:x".into()),
        labels: Some(Labels::with([1, 127])),
        counters: [counters(1, 60), counters(2, 120)],
        lifetime: Lifetime { start: Some(1_500_000_000), stop: Some(9_400_000_000) },
        helper: Some("ftp".into()),
        uses: Some(2),
        ..Entry::new(orig)
    };
    Report { event: Some(Event::Update), port_id: 77, subject: Subject::Flow(entry) }
}

#[test]
fn everything_has_its_place_in_the_line() {
    assert_eq!(
        line(&whole()),
        " [UPDATE] tcp      6 5 src=10.0.1.2 dst=10.0.2.2 sport=7 dport=80 zone-orig=3 packets=1 bytes=60 src=10.0.2.2 dst=10.0.1.2 \
         sport=80 dport=7 zone-reply=4 packets=2 bytes=120 [ASSURED] mark=7 secctx=system_u:object_r:x zone=8 delta-time=8 \
         helper=ftp use=2 [USERSPACE] portid=77"
    );
}

#[test]
fn a_time_is_printed_as_conntrack_prints_it() {
    let stamped = |report: &Report<'_>, moment| report.line(Moment(moment), true).to_string();
    assert!(stamped(&whole(), 1_700_000_000_000_042).starts_with("[1700000000.000042]\t [UPDATE] tcp"));
    assert!(stamped(&whole(), 5_000_042).starts_with("[00000005.000042]\t"));
    let expect = golden::expect_event();
    assert!(stamped(&report(&expect), 1_700_000_000_000_042).starts_with("[1700000000.42    ]\t    [NEW] 300 proto=6 "));
    let mut seen = whole();
    if let Subject::Flow(entry) = &mut seen.subject {
        entry.event_time = Some(6_000_001_999);
    }
    assert!(stamped(&seen, 5).starts_with("[00000006.000001]\t"), "the kernel's word counts");
}

#[test]
fn offload_hides_assurance_and_a_protocol_has_its_own_states() {
    let with = |status, protoinfo| {
        let tuple = Tuple { proto: 33, ..golden::tuple("10.0.1.2", 7, "10.0.2.2", 80) };
        let entry = Entry { status: Some(status), protoinfo, ..Entry::new(tuple) };
        line(&Report { event: None, port_id: 0, subject: Subject::Flow(entry) })
    };
    assert!(with(0x4006, None).ends_with(" dport=80 [OFFLOAD]"));
    assert!(with(0xc006, None).ends_with(" dport=80 [HW_OFFLOAD]"));
    let dccp = ProtoInfo::Dccp { state: Some(4), role: None, handshake_seq: None };
    assert_eq!(with(2, Some(dccp)), "dccp     33 OPEN src=10.0.1.2 dst=10.0.2.2 sport=7 dport=80");
}

#[test]
fn kinds_are_told_by_operation_flags_and_subsystem() {
    let kind = |datagram: &[u8]| report(datagram).kind();
    assert_eq!(kind(&golden::conntrack_new()), Some(Kind::New));
    assert_eq!(kind(&golden::conntrack_destroy()), Some(Kind::Destroy));
    assert_eq!(kind(&golden::expect_event()), Some(Kind::ExpectNew));
    let flagged = |flags: u16| {
        let mut out = golden::conntrack_new();
        out[6..8].copy_from_slice(&flags.to_ne_bytes());
        kind(&out)
    };
    assert_eq!((flagged(0), flagged(2)), (Some(Kind::Update), None));
    let queue = golden::packet();
    assert_eq!(Report::parse(&messages(&queue).next().unwrap().unwrap()), Ok(None));
}

#[test]
fn the_json_form_has_what_was_told() {
    let json = |report: &Report<'_>| serde_json::to_value(report.json(Moment(42))).unwrap();
    assert_eq!(
        json(&whole()),
        serde_json::json!({
            "time_us": 42, "event": "update", "family": "inet", "proto": 6, "id": 9, "timeout": 5,
            "orig": { "src": "10.0.1.2", "dst": "10.0.2.2", "sport": 7, "dport": 80, "zone": 3, "packets": 1, "bytes": 60 },
            "reply": { "src": "10.0.2.2", "dst": "10.0.1.2", "sport": 80, "dport": 7, "zone": 4, "packets": 2, "bytes": 120 },
            "status": ["SEEN_REPLY", "ASSURED", "CONFIRMED"], "mark": 7, "labels": [1, 127], "zone": 8, "helper": "ftp",
            "secctx": "system_u:object_r:x", "start_ns": 1_500_000_000, "stop_ns": 9_400_000_000_u64, "use": 2, "port_id": 77,
        })
    );
    let expect = golden::expect_event();
    assert_eq!(
        json(&report(&expect)),
        serde_json::json!({
            "time_us": 42, "event": "expect-new", "family": "inet", "proto": 6, "id": 0x8d2f_1c44_u32, "timeout": 300,
            "tuple": { "src": "10.0.1.2", "dst": "10.0.2.2", "sport": 0, "dport": 3000 },
            "mask": { "src": "255.255.255.255", "dst": "255.255.255.255", "sport": 0, "dport": 65535 },
            "master": { "src": "10.0.1.2", "dst": "10.0.2.2", "sport": 40296, "dport": 2121 },
            "flags": [], "class": 0, "helper": "uftp", "port_id": 1,
        })
    );
    let new = golden::conntrack_new();
    assert_eq!(json(&report(&new))["state"], "SYN_SENT");
    assert_eq!(
        json(&report(&new))["protoinfo"],
        serde_json::json!({ "wscale_orig": 7, "wscale_reply": 0, "flags_orig": 3, "flags_reply": 0 })
    );
}
