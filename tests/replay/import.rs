//! `cthelperctl import` on the files that the VM rung shows to conntrackd itself: those it takes are imported and are then a configuration
//! of cthelperd; those it refuses are refused with their place.

use std::fs;
use std::path::PathBuf;

use cthelper_tests::program::{Said, Temporary, cthelperctl, cthelperd};

/// The files whose name begins so.
fn files(prefix: &str) -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vm/guest/tools/conntrackd");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.file_name().unwrap().to_str().unwrap().starts_with(prefix));
    files.sort();
    files
}

#[test]
fn what_conntrackd_takes_becomes_a_configuration() {
    let accepted = files("accepted-");
    assert_eq!(accepted.len(), 7);
    for file in accepted {
        let Said { code, out, err } = cthelperctl(&["import", file.to_str().unwrap()]);
        assert_eq!(code, 0, "{}: {err}", file.display());
        let config = Temporary::new("imported.toml", out.as_bytes());
        let checked = cthelperd(&["check", "--config", config.path()]);
        assert_eq!(checked, Said { code: 0, out: String::new(), err: String::new() }, "{}: {out}", file.display());
        assert!(err.lines().all(|line| line.starts_with(file.to_str().unwrap())), "{err}");
    }
}

#[test]
fn what_conntrackd_refuses_is_78_and_pointed_at() {
    let refused = files("refused-");
    assert_eq!(refused.len(), 12);
    for file in refused {
        let Said { code, out, err } = cthelperctl(&["import", file.to_str().unwrap()]);
        assert_eq!((code, out.as_str()), (78, ""), "{}", file.display());
        let place = err.strip_prefix(&format!("cthelperctl: {}:", file.display())).unwrap_or_else(|| panic!("{err}"));
        let mut numbers = place.splitn(3, ':').map(str::parse::<u32>);
        assert!(matches!((numbers.next(), numbers.next()), (Some(Ok(1..)), Some(Ok(1..)))), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}

#[test]
fn a_file_that_is_not_there_is_66() {
    let Said { code, err, .. } = cthelperctl(&["import", "/nowhere/conntrackd.conf"]);
    assert_eq!((code, err.as_str()), (66, "cthelperctl: /nowhere/conntrackd.conf: No such file or directory (os error 2)\n"));
}
