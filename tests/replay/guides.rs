//! The guides of packaging/doc name tests: each of them exists. They show command lines: each of them is one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use cthelper_supervisor::cli::{ctl, daemon};

pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every function below this folder that has no arguments.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let names = text
                .lines()
                .filter_map(|line| line.trim_start().strip_prefix("fn ")?.split_once("()").map(|(name, _)| name.to_owned()));
            found.extend(names);
        }
    }
}

#[test]
fn every_test_that_a_guide_names_exists() {
    let root = repository();
    let mut known = BTreeSet::new();
    for folder in ["proto/src", "policy/src", "policy/tests", "supervisor/src", "worker/src", "worker/tests", "tests"] {
        functions(&root.join(folder), &mut known);
    }
    for (guide, least) in [("THREATS.md", 35), ("CVES.md", 12)] {
        let text = fs::read_to_string(root.join("packaging/doc").join(guide)).unwrap();
        // Between backticks, and of the last column: a test's name has letters, digits and at least one `_`, or is one of ours by chance.
        let rows = text.lines().filter(|line| line.starts_with("| "));
        let words = rows
            .filter_map(|line| line.trim_end_matches(" |").rsplit_once(" | "))
            .flat_map(|(_, last)| last.split('`').skip(1).step_by(2));
        let names: Vec<&str> = words
            .filter(|word| word.contains('_') && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
            .collect();
        assert!(names.len() >= least, "{guide} names {} tests", names.len());
        let missing: Vec<&&str> = names.iter().filter(|name| !known.contains(**name)).collect();
        assert!(missing.is_empty(), "{guide} names tests that are not there: {missing:?}");
    }
}

/// What stands in backticks or on an indented line, up to what is the shell's.
fn command_lines(text: &str) -> Vec<String> {
    let spans = text.lines().flat_map(|line| match line.strip_prefix("    ") {
        Some(code) => vec![code],
        None => line.split('`').skip(1).step_by(2).collect(),
    });
    let commands = spans.map(str::trim).filter(|span| span.starts_with("cthelperctl ") || span.starts_with("cthelperd "));
    // A grammar is no command line.
    let concrete = commands.filter(|span| !span.contains(['[', '{', '<', '\u{2026}']) && !span.contains("\\|"));
    concrete.map(|span| span.split([';', '|', '>', '#', '&']).next().unwrap().trim().to_owned()).collect()
}

#[test]
fn every_command_that_a_guide_shows_is_taken() {
    let mut shown = 0;
    for guide in [
        "packaging/doc/ADMIN.md",
        "packaging/doc/MIGRATION.md",
        "packaging/doc/hardening.md",
        "packaging/doc/by-hand.md",
        "README.md",
    ] {
        for line in command_lines(&fs::read_to_string(repository().join(guide)).unwrap()) {
            let words = line.split_whitespace();
            let read = if line.starts_with("cthelperd ") {
                daemon::Cli::try_parse_from(words).map(drop)
            } else {
                ctl::Cli::try_parse_from(words).map(drop)
            };
            assert!(read.is_ok(), "{guide}: {line}: {}", read.unwrap_err());
            shown += 1;
        }
    }
    assert!(shown >= 30, "{shown} commands were found");
}
