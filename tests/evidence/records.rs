//! Records of real ends are what the schema says, and say what happened.

use std::time::Duration;

use cthelper_proto::events::{Crash, Event, Exit, Record};
use cthelper_supervisor::audit::{Audit, Places};
use cthelper_supervisor::evidence::crash::hash;
use cthelper_supervisor::lane::Ended;
use cthelper_tests::control::{Control, Net};
use cthelper_tests::schema::Schema;
use cthelper_tests::stage::Play;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{Kept, death, ends};

fn record(event: &Event) -> Value {
    serde_json::to_value(Record { time: 1.5, event: event.clone() }).unwrap()
}

fn is_in_the_schema(events: &[Event]) {
    let schema = Schema::of_the_audit_log();
    for event in events {
        schema.check(&record(event)).unwrap_or_else(|why| panic!("{why}\n{event:?}"));
    }
}

#[test]
fn records_of_real_ends_are_what_the_schema_says() {
    let kept = Kept::new();
    let mut flow = Control::over(Net::Snat4, 1);
    let mut other = Control::over(Net::Plain6, 2);
    // A flow that has ended two workers is left alone.
    let packets =
        vec![flow.client("DO abort"), flow.client("DO exit"), other.server("DO foreign-ticket"), other.server("DO socket")];
    let events = ends(&kept.0, packets);
    is_in_the_schema(&events);
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| match event {
            Event::WorkerCrashed(_) => "crashed",
            Event::WorkerOutOfTurn { .. } => "out of turn",
            Event::FlowQuarantined { .. } => "left alone",
            _ => "",
        })
        .filter(|kind| !kind.is_empty())
        .collect();
    for kind in ["crashed", "out of turn", "left alone"] {
        assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
    }
    let crashes: Vec<&Crash> = events.iter().filter_map(death).collect();
    let mut ids: Vec<&str> = crashes.iter().map(|crash| crash.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), crashes.len(), "each death has an id of its own");
}

#[test]
fn a_record_says_what_was_in_hand_and_how_it_ended() {
    let kept = Kept::new();
    let packet = Control::over(Net::Snat4, 1).server("DO abort");
    let events = ends(&kept.0, vec![packet.clone()]);
    let crash = events.iter().find_map(death).unwrap();
    let Exit::Signal { name, number } = &crash.exit else { panic!("{crash:?}") };
    assert_eq!(crash.cause, format!("signal {name}"));
    assert_eq!(Signal::try_from(*number).unwrap().as_str(), name);
    let in_hand = crash.in_hand.as_ref().unwrap();
    assert_eq!((in_hand.flow.sport, in_hand.direction.as_str()), (40_001, "reply"));
    assert_eq!((in_hand.length, &in_hand.hash), (packet.bytes.len(), &hash(&packet.bytes)));
    assert_eq!(crash.in_flight, 1);
    assert!(crash.landlock.len() > 3 && crash.next_delay_ms.is_some(), "{crash:?}");
}

#[test]
fn a_panic_is_told_in_the_workers_words_made_harmless() {
    let kept = Kept::new();
    let events = ends(&kept.0, vec![Control::over(Net::Plain4, 1).client("DO panic")]);
    is_in_the_schema(&events);
    let crash = events.iter().find_map(death).unwrap();
    let panic = crash.panic.as_ref().unwrap();
    assert_eq!((panic.location.as_deref(), panic.message.as_str()), (Some("helpers/x.rs:12"), "told \\x1b[2Jto: do so"));
    assert_eq!((crash.cause.as_str(), &crash.exit), ("exit 101", &Exit::Code(101)));
    assert_eq!(crash.log, "before\npanic at helpers/x.rs:12: told \\x1b[2Jto: do so");
}

#[test]
fn a_hang_is_in_the_schema_too() {
    let stage = Play::ftp().deadline(Duration::from_millis(200)).start();
    stage.freeze();
    stage.kernel.carries(Control::over(Net::Plain4, 1).client("NOOP\r\n"));
    stage.audits("the hang", |event| matches!(event, Event::WorkerHung(_)).then_some(()));
    is_in_the_schema(&stage.audited());
    assert!(matches!(stage.stop(), Ended::Orderly));
}

#[test]
fn the_schema_is_strict() {
    let schema = Schema::of_the_audit_log();
    let good = json!({ "time": 1.5, "event": "circuit_closed", "helper": "ftp" });
    assert_eq!(schema.check(&good), Ok(()));
    for (field, value) in [("helper", json!("")), ("event", json!("made_up")), ("surplus", json!(1)), ("time", json!(-1))] {
        let mut bad = good.clone();
        bad[field] = value;
        assert!(schema.check(&bad).is_err(), "{bad}");
    }
    assert!(schema.check(&json!({ "time": 1.5, "event": "circuit_closed" })).is_err());
}

/// What reaches the disk is what the lane audited, line by line, and each line is a record.
#[test]
fn the_log_on_disk_holds_whole_records() {
    let kept = Kept::new();
    let path = kept.0.join("audit.jsonl");
    let (audit, writer) = Audit::open(&Places { log: Some(path.clone()), journal: None }).unwrap();
    let stage = Play::ftp().start();
    let pid = stage.serves();
    stage.signal(pid, Signal::SIGKILL);
    stage.serves_after(pid);
    stage.audits("the crash", |event| death(event).map(drop));
    let events = stage.audited();
    events.iter().cloned().for_each(|event| audit.write(event));
    assert!(matches!(stage.stop(), Ended::Orderly));
    drop(audit);
    writer.finish();
    let text = std::fs::read_to_string(path).unwrap();
    let records: Vec<Record> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.into_iter().map(|record| record.event).collect::<Vec<_>>(), events);
}
