use std::path::PathBuf;

use cthelper_proto::events::{Crash, Event, Exit as End, Fault, InHand, Master, Panic, Record, Syscall};

use super::*;

/// A folder of our own with an audit log in it, gone when dropped.
struct Case(PathBuf);

impl Case {
    fn new(name: &str, log: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cthelperctl-crashes-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("audit.jsonl"), log).unwrap();
        Self(folder)
    }

    fn says(&self, what: What, json: bool) -> Result<String, Failure> {
        let wanted = Options { audit_log: Some(self.0.join("audit.jsonl")), json, what: Some(what) };
        let mut out = Vec::new();
        run(&wanted, Path::new("/nonexistent"), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn list(&self) -> String {
        self.says(What::List(Listing::default()), false).unwrap()
    }

    fn show(&self, id: &str) -> Result<String, Failure> {
        self.says(What::Show { id: id.to_owned() }, false)
    }

    fn export(&self, id: &str, file: &Path, json: bool) -> Result<String, Failure> {
        self.says(What::Export { id: id.to_owned(), file: file.to_owned() }, json)
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn crash(generation: u64) -> Crash {
    let call = Syscall { nr: 41, name: "socket".to_owned(), args: [2, 1, 0, 0, 0, u64::MAX] };
    let flow = Master { src: [10, 0, 1, 2].into(), sport: 40_000, dst: [10, 0, 2, 2].into(), dport: 21 };
    let in_hand = InHand { flow, direction: "reply".to_owned(), length: 62, hash: "sha256:ab".to_owned(), file: None };
    Crash {
        id: format!("ftp-19a000000ff-{generation}"),
        helper: "ftp".to_owned(),
        pid: 412,
        generation,
        uptime: 12.5,
        packets: 1204,
        cause: "signal SIGSYS".to_owned(),
        exit: End::Signal { name: "SIGSYS".to_owned(), number: 31 },
        fault: Some(Fault { si_code: 1, class: "forbidden call".to_owned(), syscall: Some(call) }),
        panic: None,
        log: "first\nlast\x1b[2J".to_owned(),
        in_hand: Some(in_hand),
        in_flight: 3,
        landlock: "full (ABI 6)".to_owned(),
        decision: "restart after 0 ms".to_owned(),
        next_delay_ms: Some(0),
    }
}

fn line(event: Event) -> String {
    serde_json::to_string(&Record { time: 1_700_000_000.25, event }).unwrap() + "\n"
}

fn crashed(crash: Crash) -> String {
    line(Event::WorkerCrashed(Box::new(crash)))
}

#[test]
fn the_table_has_a_line_for_each_death() {
    let panic = Panic { message: "asked to".to_owned(), location: Some("a.rs:1".to_owned()) };
    let panicked = Crash { panic: Some(panic), in_hand: None, decision: "circuit opened".to_owned(), ..crash(4) };
    let case = Case::new("table", &(line(Event::Stopped) + &crashed(crash(3)) + &line(Event::WorkerHung(Box::new(panicked)))));
    let expected = "\
TIME                  ID                 PID  SERVED          END                                       IN HAND                                 THEN
2023-11-14T22:13:20Z  ftp-19a000000ff-3  412  1204 in 12.5 s  signal SIGSYS (system call 41 socket)     10.0.2.2:21 > 10.0.1.2:40000 (62 bytes)  restart after 0 ms
2023-11-14T22:13:20Z  ftp-19a000000ff-4  412  1204 in 12.5 s  signal SIGSYS (panic at a.rs:1: asked to)  -                                        circuit opened
";
    let squeeze = |text: &str| {
        let words = |line: &str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" | ");
        text.lines().map(words).collect::<Vec<_>>()
    };
    assert_eq!(squeeze(&case.list()), squeeze(expected));
    assert!(Case::new("none", "").list().starts_with("no worker has ended, says "));
}

#[test]
fn one_is_shown_with_everything_and_nothing_raw() {
    let case = Case::new("show", &crashed(crash(3)));
    let shown = case.show("last").unwrap();
    for words in [
        "crash     ftp-19a000000ff-3\n",
        "worker    process 412, generation 3: 1204 packets in 12.500 s\n",
        "end       crashed: signal SIGSYS\n",
        "exit      signal 31 SIGSYS\n",
        "fault     forbidden call (si_code 1)\n",
        "call      41 socket(0x2, 0x1, 0x0, 0x0, 0x0, 0xffffffffffffffff)\n",
        "in hand   10.0.2.2:21 > 10.0.1.2:40000, from the replier, 62 bytes\n",
        "kept      no: ",
        "in flight 3, the one in hand included\n",
        "landlock  full (ABI 6)\n",
        "then      restart after 0 ms\n",
        "log       first\n          last\\u{1b}[2J\n",
    ] {
        assert!(shown.contains(words), "{words:?} in:\n{shown}");
    }
}

#[test]
fn an_id_may_be_shortened_as_far_as_it_is_one() {
    let case = Case::new("short", &(crashed(crash(3)) + &crashed(crash(31)) + &crashed(crash(4))));
    assert!(case.show("ftp-19a000000ff-3").unwrap().contains("generation 3:"), "the whole id of one is the beginning of another");
    assert!(case.show("ftp-19a000000ff-4").is_ok());
    let failure = case.show("ftp-").unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.words.contains("ftp-19a000000ff-3 or ftp-19a000000ff-31"), "{}", failure.words);
    let failure = case.show("tftp").unwrap_err();
    assert_eq!(failure.exit, Exit::NoInput);
    assert!(failure.words.contains("`cthelperctl crashes list` names them"), "{}", failure.words);
    assert_eq!(Case::new("empty", "").show("last").unwrap_err().exit, Exit::NoInput);
}

#[test]
fn programs_get_the_records_as_they_are() {
    let (one, two) = (crashed(crash(3)), crashed(crash(4)));
    let case = Case::new("json", &format!("{one}{}{two}", line(Event::Stopped)));
    assert_eq!(case.says(What::List(Listing::default()), true).unwrap(), format!("{one}{two}"));
    assert_eq!(case.says(What::Show { id: "last".to_owned() }, true).unwrap(), two);
}

#[test]
fn torn_lines_and_unknown_events_do_not_hide_the_others() {
    let log =
        format!("{}{}\n{}{}\n", &crashed(crash(9))[..80], "", crashed(crash(3)), r#"{"time":1.0,"event":"invented_later"}"#);
    let case = Case::new("torn", &log);
    let read = Log::read(&case.0.join("audit.jsonl")).unwrap();
    assert_eq!((read.deaths.len(), read.damaged), (1, 1));
}

#[test]
fn the_log_before_the_rotation_is_read_first() {
    let case = Case::new("rotated", &crashed(crash(4)));
    std::fs::write(case.0.join("audit.jsonl.1"), crashed(crash(3))).unwrap();
    let read = Log::read(&case.0.join("audit.jsonl")).unwrap();
    assert_eq!(read.deaths.iter().map(|death| death.crash.generation).collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn a_packet_is_exported_once_and_what_is_missing_is_said() {
    let case = Case::new("export", "");
    let (kept, target) = (case.0.join("ftp-19a000000ff-3.pcapng"), case.0.join("out.pcapng"));
    std::fs::write(&kept, b"a packet").unwrap();
    let with = |file: Option<&Path>| Crash {
        in_hand: crash(3).in_hand.map(|in_hand| InHand { file: file.map(|file| file.display().to_string()), ..in_hand }),
        ..crash(3)
    };
    let log = |crash: Crash| std::fs::write(case.0.join("audit.jsonl"), crashed(crash)).unwrap();
    log(with(Some(&kept)));
    case.export("last", &target, false).unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), b"a packet");
    assert!(case.show("last").unwrap().contains("repeat    cthelperd replay "));
    let failure = case.export("last", &target, false).unwrap_err();
    assert!(failure.exit == Exit::CantCreate && failure.words.contains("name another file"), "{}", failure.words);
    assert_eq!(case.export("last", Path::new("-"), true).unwrap(), crashed(with(Some(&kept))));
    std::fs::remove_file(&kept).unwrap();
    for (crash, words) in [
        (with(Some(&kept)), "not there any more"),
        (with(None), "start cthelperd with --quarantine-dir"),
        (Crash { in_hand: None, ..crash(3) }, "no packet in hand"),
    ] {
        log(crash);
        let failure = case.export("last", &case.0.join("other"), false).unwrap_err();
        assert!(failure.exit == Exit::NoInput && failure.words.contains(words), "{}", failure.words);
    }
    std::os::unix::fs::symlink("/etc/hostname", &kept).unwrap();
    log(with(Some(&kept)));
    assert!(case.export("last", &case.0.join("other"), false).is_err(), "a link is not followed");
}

#[test]
fn a_log_that_is_not_there_is_said_with_its_remedy() {
    let failure = Log::read(Path::new("/nonexistent/audit.jsonl")).unwrap_err();
    assert!(failure.exit == Exit::NoInput && failure.words.contains("--audit-log"), "{}", failure.words);
    let failure = place(None, Path::new("/nonexistent")).map(|path| path.exists());
    match failure {
        Ok(exists) => assert!(exists, "the packaged log of this machine"),
        Err(failure) => assert!(failure.words.contains("name the audit log with --audit-log"), "{}", failure.words),
    }
}
