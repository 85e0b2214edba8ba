//! Exit codes (sysexits) and where a mistake is pointed at.

use cthelper_tests::program::{Said, Temporary, cthelperd};

#[test]
fn a_file_that_is_not_there_is_66() {
    let Said { code, out, err } = cthelperd(&["replay", "--json", "/nowhere/at-all.pcap"]);
    assert_eq!((code, out.as_str()), (66, ""));
    assert!(err.contains("/nowhere/at-all.pcap: No such file or directory"), "{err}");
}

#[test]
fn a_helper_that_is_not_there_is_69_and_named() {
    let capture = Temporary::new("none.pcap", &cthelper_tests::capture::pcap(cthelper_tests::capture::Link::Raw, &[]));
    let Said { code, err, .. } = cthelperd(&["replay", "--helper", "gopher", capture.path()]);
    assert_eq!(code, 69);
    assert!(err.contains("unknown helper: gopher"), "{err}");
}

#[test]
fn wrong_arguments_are_64_and_help_is_0() {
    for args in [&[][..], &["serve"], &["replay"], &["replay", "--yaml", "x"], &["check", "--config"], &["run", "--helper"]] {
        let Said { code, out, err } = cthelperd(args);
        assert_eq!((code, out.as_str()), (64, ""), "{args:?}");
        assert!(err.starts_with("cthelperd: ") && err.lines().count() == 1, "{args:?}: {err}");
    }
    for args in [&["--help"][..], &["--version"], &["replay", "--help"]] {
        assert_eq!(cthelperd(args).code, 0, "{args:?}");
    }
}

#[test]
fn the_launchers_role_is_not_for_hands() {
    for args in [
        &["launch-worker"][..],
        &["launch-worker", "0", "0", "/bin/sh", "ftp"],
        &["launch-worker", "60642", "60642", "/bin/sh", "ftp"],
        &["launch-worker", "a", "b", "c", "d"],
    ] {
        let Said { code, err, .. } = cthelperd(args);
        assert_eq!(code, 70, "{args:?}");
        assert!(err.starts_with("launcher: "), "{args:?}: {err}");
    }
}

#[test]
fn a_right_configuration_is_0() {
    for text in [
        "[helper.ftp]\n",
        "[daemon]\nuser = \"nobody\"\n\n[helper.ftp]\nqueue = 7\nports = [21, 2121]\n\n[helper.ftp.restart]\ndeadline = \"500ms\"\n",
    ] {
        let file = Temporary::new("right.toml", text.as_bytes());
        assert_eq!(cthelperd(&["check", "--config", file.path()]), Said { code: 0, out: String::new(), err: String::new() });
    }
}

#[test]
fn a_reader_that_nobody_knows_is_named_and_no_mistake_of_the_file() {
    let file = Temporary::new("reader.toml", b"[helper.ftp]\n[events.queue.3]\nusers = [\"nobody-at-all\", \"root\"]\n");
    let err = "cthelperd: warning: events.queue.3: no user is called \"nobody-at-all\" on this machine\n".to_owned();
    assert_eq!(cthelperd(&["check", "--config", file.path()]), Said { code: 0, out: String::new(), err });
}

#[test]
fn a_mistake_in_the_configuration_is_78_and_pointed_at() {
    for (text, at) in [
        ("[helper.ftp]\nlose = true\n", ":2:1: "),
        ("[helper.ftp]\n\n  queue = \"seven\"\n", ":3:11: "),
        ("[helper.ftp]\nports = [0]\n", ":2:9: "),
        ("[helper.ftp\n", ":1:12: "),
        ("[helper.a]\nqueue = 1\n[helper.b]\nqueue = 1\n", ":4:9: "),
        ("[daemon]\nuser = \"root\"\n[helper.ftp]\n", ":2:8: "),
        ("[helper.ftp]\ndeadline = \"1s\"\n", ":2:1: `deadline` now belongs in [helper.NAME.restart]"),
        ("[helper.ftp.restart]\nspare = 2\n", ":2:1: unknown key `spare`; did you mean `spares`?"),
        ("[helper.ftp.restart]\nhold = \"2 s\"\n", ":2:8: time span \"2 s\""),
        ("[helper.ftp.restart]\nbackoff = { initial = \"6s\" }\n", ":2:23: backoff: initial (6s) is above max (5s)"),
        ("[helper.ftp.restart]\nlimit = { burst = 0 }\n", ":2:19: a whole number from 1 to 1000"),
    ] {
        let file = Temporary::new("wrong.toml", text.as_bytes());
        let Said { code, out, err } = cthelperd(&["check", "--config", file.path()]);
        assert_eq!((code, out.as_str()), (78, ""), "{text}");
        assert!(err.contains(&format!("{}{at}", file.path())), "{text}: {err}");
    }
}

#[test]
fn a_configuration_that_is_not_there_or_empty_is_78() {
    let empty = Temporary::new("empty.toml", b"");
    for (path, said) in [("/nowhere/at-all.toml", "No such file"), (empty.path(), "no helper")] {
        let Said { code, err, .. } = cthelperd(&["check", "--config", path]);
        assert_eq!(code, 78, "{err}");
        assert!(err.contains(path) && err.contains(said), "{err}");
    }
}
