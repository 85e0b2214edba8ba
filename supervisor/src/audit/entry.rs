//! What each event is in the journal: its `MESSAGE_ID`, how urgent it is, and a sentence. The ids are for ever: searches rely
//! on them.
//! packaging/journald/cthelperd.catalog explains them to `journalctl -x`.

use std::fmt::Write;

use cthelper_proto::events::{Crash, Event, Fault, Panic};

/// Levels of syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Something is out of service.
    Error = 3,
    /// Something was lost, refused or ended.
    Warning = 4,
    /// Worth knowing, and ordinary.
    Notice = 5,
    /// Ordinary.
    Info = 6,
}

/// An event as an entry of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<'a> {
    /// Name of the kind, as in the audit log.
    pub event: &'static str,
    /// `MESSAGE_ID`, 128 bits in hexadecimal.
    pub id: &'static str,
    /// `PRIORITY`.
    pub priority: Priority,
    /// The helper concerned.
    pub helper: Option<&'a str>,
    /// The process concerned, and the how-manieth worker of its lane it is.
    pub worker: Option<(u32, Option<u64>)>,
    /// Evidence of a death.
    pub crash: Option<&'a Crash>,
    /// `MESSAGE`, one line.
    pub message: String,
}

/// Whether the disk has to keep the event before anything else happens.
pub fn is_evidence(event: &Event) -> bool {
    matches!(event, Event::WorkerCrashed(_) | Event::WorkerHung(_) | Event::WorkerOutOfTurn { .. })
}

/// The event's entry.
pub fn of(event: &Event) -> Entry<'_> {
    use Priority::{Error, Info, Notice, Warning};
    match event {
        Event::Started { version, pid } => {
            let message = format!("cthelperd {version} serves");
            let entry = plain("started", "5fa0304c99f14d4b9a9b2a01cf769043", Info, None, message);
            Entry { worker: Some((*pid, None)), ..entry }
        }
        Event::Stopped => {
            let message = "cthelperd has drained its queues and ends".to_owned();
            plain("stopped", "fdd15a5b8d10438392ab4cd73f7f1226", Info, None, message)
        }
        Event::Adopted { helper, queue, waiting } => {
            let message =
                format!("helper {helper}: queue {queue} of an earlier life is served again; {waiting} packets waited in it");
            plain("adopted", "49129abdd115421890546e1ee5419147", Warning, Some(helper), message)
        }
        Event::WorkerStarted { helper, pid, generation, landlock, .. } => {
            let message = format!("helper {helper}: worker {pid} is verified and serves (landlock: {landlock})");
            let entry = plain("worker_started", "6c41c27ab4834b76ac2408e207804555", Info, Some(helper), message);
            Entry { worker: Some((*pid, Some(*generation))), ..entry }
        }
        Event::WorkerCrashed(crash) => death("worker_crashed", "e3df1b1658184ed895eea497cc77c3f4", Warning, crash, ending(crash)),
        Event::WorkerHung(crash) => death("worker_hung", "cac0256fd65c4e3891815dc6a00981b3", Warning, crash, ending(crash)),
        Event::WorkerOutOfTurn { crash, .. } => {
            death("worker_out_of_turn", "c611635a458448558a0bd5067fb24e7a", Error, crash, ending(crash))
        }
        Event::WorkerReplaced { helper, pid, generation } => {
            let message = format!("helper {helper}: worker {pid} is replaced");
            let entry = plain("worker_replaced", "e1d82d039f3544328b7a31fe19fdd8dc", Notice, Some(helper), message);
            Entry { worker: Some((*pid, Some(*generation))), ..entry }
        }
        Event::WorkerRetired { helper, pid, generation, packets } => {
            let message = format!("helper {helper}: worker {pid} is relieved after {packets} packets");
            let entry = plain("worker_retired", "731f2ed346ec4fa587e068359b2c46c9", Info, Some(helper), message);
            Entry { worker: Some((*pid, Some(*generation))), ..entry }
        }
        Event::WorkerRefused { helper, pid, reason } => {
            let message = format!("helper {helper}: worker {pid} is not confined as it must be and gets no packet: {reason}");
            let entry = plain("worker_refused", "584009c1f11f4d17824ba068ed214b53", Error, Some(helper), message);
            Entry { worker: Some((*pid, None)), ..entry }
        }
        Event::ExpectationRefused { helper, rule, master, .. } => {
            let (src, sport, dst, dport) = (master.src, master.sport, master.dst, master.dport);
            let message = format!("helper {helper}: refused by rule {rule}; connection {src} port {sport} to {dst} port {dport}");
            plain("expectation_refused", "8187dd3a60a84e589e53947ddff7c2b9", Notice, Some(helper), message)
        }
        Event::FlowQuarantined { helper, master } => {
            let (src, sport, dst, dport) = (master.src, master.sport, master.dst, master.dport);
            let message =
                format!("helper {helper}: connection {src} port {sport} to {dst} port {dport} ends workers and is left alone");
            plain("flow_quarantined", "8374221f5b7640c1a31c2cff1f9d23b1", Warning, Some(helper), message)
        }
        Event::BrokerEnded { pid, cause, decision } => {
            let message = format!("broker {pid} ended: {cause}; {decision}");
            let entry = plain("broker_ended", "1d69da8e395e48188aa39c020cc202fc", Warning, None, message);
            Entry { worker: Some((*pid, None)), ..entry }
        }
        Event::CircuitOpened { helper, reason } => {
            let message = format!("helper {helper}: {reason}; packets pass without it until `cthelperctl restart {helper}`");
            plain("circuit_opened", "105286430c0743bf95a9ea64f435d35c", Error, Some(helper), message)
        }
        Event::CircuitClosed { helper } => {
            let message = format!("helper {helper}: enabled again");
            plain("circuit_closed", "e890c57d280245f198cd9563fa42a2ee", Notice, Some(helper), message)
        }
    }
}

fn plain<'a>(
    event: &'static str,
    id: &'static str,
    priority: Priority,
    helper: Option<&'a String>,
    message: String,
) -> Entry<'a> {
    Entry { event, id, priority, helper: helper.map(String::as_str), worker: None, crash: None, message }
}

fn death<'a>(event: &'static str, id: &'static str, priority: Priority, crash: &'a Crash, message: String) -> Entry<'a> {
    let entry = plain(event, id, priority, Some(&crash.helper), message);
    Entry { worker: Some((crash.pid, Some(crash.generation))), crash: Some(crash), ..entry }
}

/// `helper ftp: worker 412 ended: signal SIGSYS (system call 41 socket); restart after 0 ms; crash ftp-…`
fn ending(crash: &Crash) -> String {
    let mut text = format!("helper {}: worker {} ended: {}", crash.helper, crash.pid, crash.cause);
    if let Some(detail) = detail(crash.panic.as_ref(), crash.fault.as_ref()) {
        let _ = write!(text, " ({detail})");
    }
    let _ = write!(text, "; {}; crash {}", crash.decision, crash.id);
    text
}

/// The most telling thing that is known beside the cause: the panic, the forbidden call, or the fault's address.
pub fn detail(panic: Option<&Panic>, fault: Option<&Fault>) -> Option<String> {
    if let Some(panic) = panic {
        let at = panic.location.as_deref().map(|location| format!(" at {location}")).unwrap_or_default();
        return Some(format!("panic{at}: {}", panic.message));
    }
    let fault = fault?;
    Some(match &fault.syscall {
        Some(call) => format!("system call {} {}", call.nr, call.name),
        None => fault.class.clone(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use cthelper_proto::events::{Exit, InHand, Master, Syscall};

    use super::*;

    pub(crate) fn master() -> Master {
        Master { src: [10, 0, 1, 2].into(), sport: 40_000, dst: [10, 0, 2, 2].into(), dport: 21 }
    }

    pub(crate) fn crash() -> Crash {
        let call = Syscall { nr: 41, name: "socket".to_owned(), args: [2, 1, 0, 0, 0, 0] };
        Crash {
            id: "ftp-19a000000ff-3".to_owned(),
            helper: "ftp".to_owned(),
            pid: 412,
            generation: 3,
            uptime: 12.5,
            packets: 1204,
            cause: "signal SIGSYS".to_owned(),
            exit: Exit::Signal { name: "SIGSYS".to_owned(), number: 31 },
            fault: Some(Fault { si_code: 1, class: "forbidden call".to_owned(), syscall: Some(call) }),
            panic: None,
            log: "first\nlast".to_owned(),
            in_hand: Some(InHand {
                flow: master(),
                direction: "orig".to_owned(),
                length: 62,
                hash: "sha256:00".to_owned(),
                file: None,
            }),
            in_flight: 1,
            landlock: "full (ABI 6)".to_owned(),
            decision: "restart after 0 ms".to_owned(),
            next_delay_ms: Some(0),
        }
    }

    /// One of each kind.
    pub(crate) fn every_event() -> Vec<Event> {
        let helper = || "ftp".to_owned();
        vec![
            Event::Started { version: "0.1.0".to_owned(), pid: 1 },
            Event::Stopped,
            Event::Adopted { helper: helper(), queue: 6200, waiting: 3 },
            Event::WorkerStarted {
                helper: helper(),
                pid: 2,
                uid: 3,
                generation: 1,
                landlock: "none".to_owned(),
                seccomp_filters: 2,
            },
            Event::WorkerCrashed(Box::new(crash())),
            Event::WorkerHung(Box::new(crash())),
            Event::WorkerOutOfTurn { said: "nonsense".to_owned(), crash: Box::new(crash()) },
            Event::WorkerReplaced { helper: helper(), pid: 2, generation: 1 },
            Event::WorkerRetired { helper: helper(), pid: 2, generation: 1, packets: 10 },
            Event::WorkerRefused { helper: helper(), pid: 2, reason: "Uid".to_owned() },
            Event::ExpectationRefused { helper: helper(), rule: "rate".to_owned(), master: master(), dst: None, dport: None },
            Event::FlowQuarantined { helper: helper(), master: master() },
            Event::BrokerEnded { pid: 9, cause: "exit 101: panic".to_owned(), decision: "restart after 0 ms".to_owned() },
            Event::CircuitOpened { helper: helper(), reason: "too many workers ended".to_owned() },
            Event::CircuitClosed { helper: helper() },
        ]
    }

    /// The schema and the catalogue name every event, and no other.
    #[test]
    fn schema_catalogue_and_code_know_the_same_events() {
        let schema = include_str!("../../../packaging/audit.schema.json");
        let catalogue = include_str!("../../../packaging/journald/cthelperd.catalog");
        let events = every_event();
        let mut ids = BTreeSet::new();
        for event in &events {
            let entry = of(event);
            assert!(ids.insert(entry.id), "{} has an id of its own", entry.event);
            assert!(entry.id.len() == 32 && entry.id.bytes().all(|byte| byte.is_ascii_hexdigit()));
            assert!(schema.contains(&format!("\"const\": \"{}\"", entry.event)), "{}", entry.event);
            assert!(catalogue.contains(&format!("-- {}\n", entry.id)), "{}", entry.event);
            let name = serde_json::to_value(event).unwrap()["event"].clone();
            assert_eq!(name, entry.event);
        }
        assert_eq!(catalogue.lines().filter(|line| line.starts_with("-- ")).count(), events.len());
        assert_eq!(schema.matches("\"const\": ").count(), events.len());
    }

    #[test]
    fn the_most_telling_detail_is_in_the_sentence() {
        let panic = Panic { message: "asked to".to_owned(), location: Some("a.rs:1".to_owned()) };
        let forbidden = crash().fault;
        assert_eq!(detail(Some(&panic), forbidden.as_ref()).as_deref(), Some("panic at a.rs:1: asked to"));
        assert_eq!(detail(None, forbidden.as_ref()).as_deref(), Some("system call 41 socket"));
        let fault = Fault { si_code: 1, class: "null page".to_owned(), syscall: None };
        assert_eq!(detail(None, Some(&fault)).as_deref(), Some("null page"));
        assert_eq!(detail(None, None), None);
    }
}
