//! `cthelperctl` with wrong, missing or too many arguments, and without a daemon: one line that says what was expected, a sysexits status,
//! nothing on stdout.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use cthelper_tests::program::{Temporary, cthelperctl};

/// What a refusal must look like: its status, and words in its only line.
fn is_refused(line: &str, code: i32, words: &[&str]) {
    let args: Vec<&str> = line.split_whitespace().collect();
    let said = cthelperctl(&args);
    assert_eq!((said.code, said.out.as_str()), (code, ""), "{line}: {}", said.err);
    assert_eq!(said.err.lines().count(), 1, "{line}: {}", said.err);
    assert!(said.err.starts_with("cthelperctl: "), "{line}: {}", said.err);
    for word in words {
        assert!(said.err.contains(word), "{line}: {word} in {}", said.err);
    }
}

#[test]
fn wrong_words_are_64_in_one_line_with_what_may_be_meant() {
    for (line, words) in [
        ("", &["requires a subcommand", "status"][..]),
        ("rules", &["requires a subcommand", "nft, iptables"]),
        ("rules kept", &["requires a subcommand", "load, unload"]),
        ("expect", &["requires a subcommand", "list, watch, delete, flush"]),
        ("stat", &["'stat'", "'status'"]),
        ("statsu --json", &["'statsu'", "'status'"]),
        ("status now", &["'now'"]),
        ("status --jsno", &["'--jsno'", "'--json'"]),
        ("status --watch 0", &["'0'", "--watch"]),
        ("status --watch soon", &["'soon'"]),
        ("restart", &["<NAME>"]),
        ("restart a b", &["'b'"]),
        ("enable", &["<NAME>"]),
        ("disable", &["<NAME>"]),
        ("reload now", &["'now'"]),
        ("disarm --unhold", &["'--unhold'", "'--unheld'"]),
        ("crashes shwo", &["'shwo'", "'show'"]),
        ("crashes show", &["<ID>"]),
        ("crashes export x", &["<FILE>"]),
        ("crashes list --newest many", &["'many'"]),
        ("doctor --flow 10.0.0.1-10.0.0.2", &["SRC:PORT-DST:PORT"]),
        ("doctor --flow 10.0.0.1:1-[::1]:2", &["one family"]),
        ("rules nftables", &["'nftables'", "'nft'"]),
        ("rules nft --ports 0", &["'0'", "--ports"]),
        ("rules nft --ports 65536", &["'65536'"]),
        ("rules nft --family inet5", &["'inet5'", "inet6"]),
        ("rules nft --protocol sctp", &["'sctp'", "tcp", "udp"]),
        ("rules nft --apply --remove", &["--apply", "--remove"]),
        ("rules nft --helper a;b", &["'a;b'", "1 to 15"]),
        ("rules nft --helper ftp --helper tftp --ports 9", &["--ports", "one --helper"]),
        ("rules iptables --apply", &["'--apply'"]),
        ("expect lst", &["'lst'", "'list'"]),
        ("expect list -o xlm", &["'xlm'", "xml"]),
        ("expect list --json -o xml", &["--json", "--output"]),
        ("expect delete tcp 10.0.0.1:0", &["<TO>"]),
        ("expect delete ipx 10.0.0.1:0 10.0.0.2:1", &["'ipx'", "tcp"]),
        ("expect delete tcp 10.0.0.1 10.0.0.2:1", &["'10.0.0.1'"]),
        ("expect flush all", &["'all'"]),
        ("import", &["<FILE>"]),
        ("import a b", &["'b'"]),
        ("policy worker keeper", &["'keeper'"]),
        ("policy nobody", &["nobody"]),
    ] {
        is_refused(line, 64, words);
    }
}

#[test]
fn help_is_0() {
    for line in ["--help", "--version", "help status", "rules nft --help", "expect delete --help"] {
        let args: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(cthelperctl(&args).code, 0, "{line}");
    }
}

#[test]
fn without_a_daemon_69_says_how_to_start_it() {
    for command in ["status", "status --json", "restart ftp", "enable ftp", "disable ftp", "reload", "metrics"] {
        is_refused(
            &format!("--runtime-dir /nowhere {command}"),
            69,
            &["/nowhere/", "does not exist", "systemctl start cthelperd"],
        );
    }
}

/// In a pipe a watch ends with its daemon as every other one does, and stdout has nothing but what was asked for.
#[test]
fn a_watch_without_a_daemon_is_69_and_says_so_on_stderr() {
    for command in ["status --watch 1", "status --watch 1 --json", "flows --watch", "events --queue 1"] {
        is_refused(&format!("--runtime-dir /nowhere {command}"), 69, &["/nowhere/", "does not exist"]);
    }
}

#[test]
fn files_that_are_not_there_have_their_status() {
    is_refused("import /nowhere/c.conf", 66, &["/nowhere/c.conf: No such file"]);
    is_refused("rules nft --config /nowhere/c.toml", 78, &["/nowhere/c.toml: No such file"]);
}

/// A socket that answers one request with this line.
fn answers(name: &str, line: &'static str) -> (Temporary, PathBuf) {
    let folder = Temporary::new(name, b"");
    let path = PathBuf::from(folder.path()).parent().unwrap().to_owned();
    let listener = UnixListener::bind(path.join("control.sock")).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = String::new();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut asked).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
    });
    (folder, path)
}

#[test]
fn an_answer_of_another_version_is_70_and_names_it() {
    for (name, line, word) in [
        ("version", "{\"is\":\"status\",\"helpers\":{},\"version\":\"7.0.0\"}\n", "of version 7.0.0"),
        ("stranger", "HTTP/1.1 400\n", "another version"),
        ("question", "{\"is\":\"done\"}\n", "another question"),
    ] {
        let (_folder, path) = answers(name, line);
        is_refused(&format!("--runtime-dir {} status", path.display()), 70, &[word]);
    }
}

#[test]
fn names_from_others_cannot_move_the_cursor() {
    let (_folder, path) = answers("cursor", "{\"is\":\"failed\",\"reason\":\"no helper x\\u001b[2J\\u202e\"}\n");
    is_refused(&format!("--runtime-dir {} restart x", path.display()), 69, &["no helper x\\u{1b}[2J\\u{202e}"]);
}

#[test]
fn words_that_are_no_text_are_64() {
    use std::os::unix::ffi::OsStrExt;
    let program = cthelper_tests::binaries::binary("cthelperctl");
    let odd = std::ffi::OsStr::from_bytes(b"st\xff\x1b[2J");
    let said = std::process::Command::new(program).arg(odd).output().unwrap();
    assert_eq!(said.status.code(), Some(64));
    let err = String::from_utf8(said.stderr).unwrap();
    assert!(err.lines().count() == 1 && !err.contains('\u{1b}'), "{err:?}");
}
