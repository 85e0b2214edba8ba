//! Every command of both programs with wrong, missing and too many words, without a daemon, without privileges, and with a daemon of
//! another version: one line on stderr, nothing on stdout, a status of sysexits. The commands come from the definitions that the programs
//! parse by, so a new one is tried without being named here.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory};
use cthelper_supervisor::cli::{ctl, daemon};
use cthelper_tests::binaries::binary;
use cthelper_tests::program::{Said, Temporary, unprivileged};

/// A command of a program, with the words that lead to it.
struct Place {
    program: &'static str,
    path: Vec<String>,
    command: Command,
}

/// What a refusal must look like.
struct Refused<'a> {
    code: i32,
    words: &'a [&'a str],
}

impl Place {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for (program, mut command) in [("cthelperctl", ctl::Cli::command()), ("cthelperd", daemon::Cli::command())] {
            command.build();
            Self { program, path: Vec::new(), command }.walk(&mut all);
        }
        all
    }

    fn walk(self, all: &mut Vec<Self>) {
        for command in self.command.get_subcommands().filter(|command| command.get_name() != "help") {
            let path = [&self.path[..], &[command.get_name().to_owned()]].concat();
            Self { program: self.program, path, command: command.clone() }.walk(all);
        }
        all.push(self);
    }

    /// Takes any words, and any number of them, for another grammar.
    fn is_open(&self) -> bool {
        self.command.get_positionals().any(Arg::is_allow_hyphen_values_set)
    }

    fn options(&self) -> impl Iterator<Item = (&Arg, String)> {
        let named = |arg: &&Arg| !["help", "version"].contains(&arg.get_id().as_str());
        self.command.get_opts().filter(named).filter_map(|arg| Some((arg, format!("--{}", arg.get_long()?))))
    }

    /// Words for what must stand behind the command.
    fn required(&self) -> Vec<String> {
        let required = self.command.get_positionals().filter(|arg| arg.is_required_set());
        required.map(|arg| value_for(arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name))).collect()
    }

    fn run(&self, words: &[String]) -> (String, Said) {
        let line: Vec<&str> = self.path.iter().chain(words).map(String::as_str).collect();
        (format!("{} {}", self.program, line.join(" ")), unprivileged(self.program, &line))
    }

    fn is_refused(&self, words: &[String], refused: &Refused<'_>) {
        let (line, said) = self.run(words);
        assert_eq!(said.code, refused.code, "{line}: {}{}", said.out, said.err);
        self.is_one_line(&line, &said);
        for word in refused.words {
            assert!(said.err.contains(word), "{line}: {word} in {}", said.err);
        }
    }

    fn is_one_line(&self, line: &str, said: &Said) {
        assert_eq!((said.out.as_str(), said.err.lines().count()), ("", 1), "{line}: {}{}", said.out, said.err);
        assert!(said.err.starts_with(&format!("{}: ", self.program)), "{line}: {}", said.err);
    }
}

/// Something that is well written and leads nowhere.
fn value_for(name: &str) -> String {
    match name {
        "FILE" => "/nowhere/file".to_owned(),
        "NAME" => "ftp".to_owned(),
        _ => "1".to_owned(),
    }
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

const WRONG: i32 = 64;

#[test]
fn unknown_words_are_named_with_the_nearest_known_one() {
    for place in Place::all().iter().filter(|place| !place.is_open()) {
        place.is_refused(&words(["--no-such-thing"]), &Refused { code: WRONG, words: &["--no-such-thing"] });
        for (_, option) in place.options() {
            place.is_refused(&words([&format!("{option}x")]), &Refused { code: WRONG, words: &[&format!("'{option}'")] });
        }
        for command in place.command.get_subcommands() {
            let name = command.get_name();
            place.is_refused(&words([&format!("{name}x")]), &Refused { code: WRONG, words: &[&format!("'{name}'")] });
        }
    }
}

#[test]
fn missing_words_are_asked_for() {
    for place in Place::all().iter().filter(|place| !place.is_open()) {
        if place.command.is_subcommand_required_set() {
            let first = place.command.get_subcommands().next().unwrap().get_name();
            place.is_refused(&[], &Refused { code: WRONG, words: &["requires a subcommand", first] });
        }
        if let Some(missing) = place.command.get_positionals().find(|arg| arg.is_required_set()) {
            let name = missing.get_value_names().unwrap()[0].to_string();
            place.is_refused(&[], &Refused { code: WRONG, words: &[&format!("<{name}>")] });
        }
        for (arg, option) in place.options().filter(|(arg, _)| arg.get_num_args().is_some_and(|range| range.min_values() > 0)) {
            let mut wanted = vec![option.clone()];
            wanted.extend(arg.get_possible_values().first().map(|value| value.get_name().to_owned()));
            place.is_refused(
                &words([&option]),
                &Refused { code: WRONG, words: &wanted.iter().map(String::as_str).collect::<Vec<_>>() },
            );
        }
    }
}

#[test]
fn wrong_values_are_answered_with_the_right_ones() {
    for place in Place::all() {
        for (arg, option) in place.options() {
            if let Some(known) = arg.get_possible_values().first().filter(|_| arg.get_action().takes_values()) {
                let refused = Refused { code: WRONG, words: &["no-such-value", &option, known.get_name()] };
                place.is_refused(&words([&option, "no-such-value"]), &refused);
            }
        }
    }
}

#[test]
fn words_too_many_are_named() {
    let bounded = |place: &&Place| {
        let mut positionals = place.command.get_positionals();
        !place.command.has_subcommands() && positionals.all(|arg| arg.get_num_args().is_none_or(|range| range.max_values() == 1))
    };
    for place in Place::all().iter().filter(bounded) {
        let count = place.command.get_positionals().count();
        let mut line: Vec<String> = place
            .command
            .get_positionals()
            .map(|arg| value_for(arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name)))
            .collect();
        if place.path.ends_with(&words(["expect", "delete"])) {
            line = words(["tcp", "127.0.0.1:0", "127.0.0.1:1"]);
        }
        assert_eq!(line.len(), count, "{:?}", place.path);
        line.push("one-too-many".to_owned());
        place.is_refused(&line, &Refused { code: WRONG, words: &["'one-too-many'"] });
    }
}

/// What a shell hands on need not be text (execve(2)); the name of a file may well be such.
#[test]
fn words_that_are_no_text_are_refused_in_one_line_or_name_nothing() {
    let odd = OsStr::from_bytes(b"\xff");
    for place in Place::all() {
        let options: Vec<String> =
            place.options().filter(|(arg, _)| arg.get_action().takes_values()).map(|(_, option)| option).collect();
        for option in [None].into_iter().chain(options.iter().map(Some)) {
            let line: Vec<&OsStr> = place.path.iter().chain(option).map(OsStr::new).chain([odd]).collect();
            let (said, name) = (unprivileged(place.program, &line), format!("{line:?}"));
            match said.code {
                0 => {
                    let is_a_folder = option.is_some_and(|option| option.ends_with("-dir"));
                    assert!(is_a_folder && said.err.is_empty(), "{name}: {}", said.err);
                }
                1 if place.path == ["doctor"] => {}
                1 => assert!(place.is_open() && said.err.lines().count() == 1, "{name}: {}", said.err),
                64 | 66 | 69 | 77 | 78 => place.is_one_line(&name, &said),
                other => panic!("{name}: status {other}: {}{}", said.out, said.err),
            }
        }
    }
}

/// A pipe's reader who has seen enough takes nothing from the status.
#[test]
fn nobody_who_reads_stderr_is_needed() {
    for (program, words, code) in [
        ("cthelperctl", &["stats"] as &[_], WRONG),
        ("cthelperctl", &["status", "--runtime-dir", "/nowhere"], 69),
        ("cthelperd", &["check", "--config", "/nowhere/file"], 78),
        ("cthelperd", &["keeper", "1"], WRONG),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = std::process::Command::new(binary(program)).args(words).stderr(writer).status().unwrap();
        assert_eq!(ended.code(), Some(code), "{program} {words:?}");
    }
}

/// Everything that can be run as it is, by a user without privileges, in a folder where no daemon is.
fn alone(place: &Place, runtime_dir: &Path) -> Option<(String, Said)> {
    if place.command.is_subcommand_required_set() {
        return None;
    }
    let mut line = place.required();
    if place.command.get_arguments().any(|arg| arg.get_id() == "runtime_dir") {
        line.extend(words(["--runtime-dir", runtime_dir.to_str().unwrap()]));
    }
    Some(place.run(&line))
}

#[test]
fn without_daemon_and_privileges_each_command_ends_in_one_line_or_does_its_work() {
    let mut daemonless = 0;
    for place in Place::all().iter().filter(|place| !place.is_open()) {
        let Some((line, said)) = alone(place, Path::new("/nowhere")) else { continue };
        match said.code {
            0 => {}
            1 => assert!(place.path == ["doctor"], "{line}: {}{}", said.out, said.err),
            64 | 66 | 69 | 77 | 78 => place.is_one_line(&line, &said),
            other => panic!("{line}: status {other}: {}{}", said.out, said.err),
        }
        if said.err.contains("/nowhere/") && said.err.contains(".sock") {
            assert!(said.code == 69 && said.err.contains("systemctl start cthelperd"), "{line}: {}", said.err);
            daemonless += 1;
        }
    }
    assert!(
        daemonless >= 8,
        "{daemonless} commands that need a daemon: status, restart, enable, disable, reload, metrics, flows, events"
    );
}

#[test]
fn what_needs_privileges_says_so() {
    for (program, line) in [
        ("cthelperctl", "expect list"),
        ("cthelperctl", "expect watch"),
        ("cthelperctl", "expect flush"),
        ("cthelperctl", "expect delete --helper ftp"),
        ("cthelperctl", "expect delete tcp 127.0.0.1:0 127.0.0.1:1"),
        ("cthelperctl", "disarm"),
    ] {
        let said = unprivileged(program, &line.split(' ').collect::<Vec<_>>());
        assert_eq!((said.code, said.out.as_str(), said.err.lines().count()), (77, "", 1), "{line}: {}", said.err);
    }
    let said = unprivileged("cthelperctl", &["nfct", "list", "timeout"]);
    assert_eq!((said.code, said.out.as_str(), said.err.lines().count()), (1, "", 1), "{}", said.err);
}

/// A folder with sockets that answer each request with a line of another program, or of another version.
fn another_version(name: &str, mode: u32) -> (Temporary, PathBuf) {
    let folder = Temporary::new(name, b"");
    let path = PathBuf::from(folder.path()).parent().unwrap().to_owned();
    for socket in ["control.sock", "events.sock"] {
        let listener = UnixListener::bind(path.join(socket)).unwrap();
        std::fs::set_permissions(path.join(socket), PermissionsExt::from_mode(mode)).unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut asked = String::new();
                let _ = BufReader::new(stream.try_clone().unwrap()).read_line(&mut asked);
                let _ = stream.write_all(b"{\"is\":\"of-tomorrow\",\"version\":\"7.0.0\"}\n");
            }
        });
    }
    (folder, path)
}

#[test]
fn a_daemon_of_another_version_is_named_and_a_closed_socket_is_no_permission() {
    let (_open, open) = another_version("tomorrow", 0o666);
    let (_shut, shut) = another_version("shut", 0o000);
    let needs_daemon = |place: &&Place| {
        !place.is_open()
            && alone(place, Path::new("/nowhere")).is_some_and(|(_, said)| said.err.contains("systemctl start cthelperd"))
    };
    for place in Place::all().iter().filter(needs_daemon).filter(|place| place.path != ["doctor"]) {
        let (line, said) = alone(place, &open).unwrap();
        assert_eq!(said.code, 70, "{line}: {}{}", said.out, said.err);
        place.is_one_line(&line, &said);
        assert!(said.err.contains("version"), "{line}: {}", said.err);
        let (line, said) = alone(place, &shut).unwrap();
        assert_eq!(said.code, 77, "{line}: {}{}", said.out, said.err);
        place.is_one_line(&line, &said);
    }
}
