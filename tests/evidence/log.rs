//! `cthelperctl crashes` on what a lane recorded.

use cthelper_supervisor::audit::{Audit, Places};
use cthelper_tests::control::{Control, Net};
use cthelper_tests::program::{cthelperctl, cthelperd};

use crate::{Kept, death, ends};

#[test]
fn from_the_log_to_the_packet_to_the_same_end() {
    let kept = Kept::new();
    let events = ends(&kept.0, vec![Control::over(Net::Snat4, 1).client("DO abort")]);
    let crash = events.iter().find_map(death).unwrap();
    let log = kept.0.join("audit.jsonl");
    let (audit, writer) = Audit::open(&Places { log: Some(log.clone()), journal: None }).unwrap();
    events.iter().cloned().for_each(|event| audit.write(event));
    drop(audit);
    writer.finish();
    let log = log.to_str().unwrap();

    let list = cthelperctl(&["crashes", "--audit-log", log]);
    assert!(list.code == 0 && list.out.contains(&crash.id) && list.out.contains(&crash.cause), "{list:?}");
    let shown = cthelperctl(&["crashes", "show", "last", "--audit-log", log]);
    let file = crash.in_hand.as_ref().unwrap().file.as_ref().unwrap();
    assert!(shown.code == 0 && shown.out.contains(&format!("{file}\n")), "{shown:?}");
    let copy = kept.0.join("copy.pcapng");
    let exported = cthelperctl(&["crashes", "export", &crash.id, copy.to_str().unwrap(), "--audit-log", log]);
    assert_eq!((exported.code, exported.err.as_str()), (0, ""));
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(file).unwrap());
    let config = kept.0.join("config.toml");
    let worker = cthelper_tests::binaries::binary("imposter");
    std::fs::write(&config, format!("[helper.imposter]\nworker = \"{}\"\n", worker.display())).unwrap();
    let again = cthelperd(&["replay", "--config", config.to_str().unwrap(), copy.to_str().unwrap()]);
    assert_eq!(again.code, 70);
    assert!(again.out.contains(&format!("; crash {} is reproduced", crash.id)), "{again:?}");

    let missing = cthelperctl(&["crashes", "show", "nobody", "--audit-log", log]);
    assert!(missing.code == 66 && missing.err.contains("crashes list"), "{missing:?}");
    let missing = cthelperctl(&["crashes", "--audit-log", "/nonexistent/audit.jsonl"]);
    assert!(missing.code == 66 && missing.err.contains("--audit-log"), "{missing:?}");
}
