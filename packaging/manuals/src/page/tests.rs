//! Pages say what the programs know.

use std::collections::BTreeMap;

use cthelper_policy::config::Config;
use pulldown_cmark::{Event, Parser, Tag, TagEnd};

use super::*;

/// Tables and their keys. A segment of a table's name that the operator chooses is `*`.
type Keys = BTreeMap<String, Vec<String>>;

/// Names that operators may choose: of a helper or a class, and a number.
const CHOSEN: [&str; 2] = ["x", "1"];
/// No key.
const NONE: &str = "no-key-has-this-name";

/// The keys of a table, as the parser lists them to somebody who wrote a wrong one; `None` = it is no table.
fn known(table: &str) -> Option<Vec<String>> {
    let heading = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
    let reason = Config::parse(&format!("{heading}{NONE} = 1\n"), "").err()?.reason;
    let list = reason.strip_prefix(&format!("unknown key `{NONE}`; known here: "))?;
    Some(list.split(", ").map(str::to_owned).collect())
}

/// Every table below this one that has keys, and their keys that are no tables.
fn walk(table: &str, keys: &mut Keys) {
    let mut leaves = Vec::new();
    for key in known(table).unwrap() {
        let path = if table.is_empty() { key.clone() } else { format!("{table}.{key}") };
        let below = std::iter::once(path.clone()).chain(CHOSEN.map(|name| format!("{path}.{name}")));
        match below.into_iter().find(|path| known(path).is_some()) {
            Some(found) => walk(&found, keys),
            None => leaves.push(key),
        }
    }
    leaves.sort();
    let starred = |segment: &str| if CHOSEN.contains(&segment) { "*".to_owned() } else { segment.to_owned() };
    let name: Vec<String> = table.split('.').map(starred).collect();
    if !leaves.is_empty() {
        keys.insert(name.join("."), leaves);
    }
}

/// What stands under a heading like `[helper.NAME]` as a definition that begins with a key, and the rest of its title.
fn documented() -> BTreeMap<String, Vec<(String, String)>> {
    let page = PAGES.iter().find(|page| page.name == "cthelperd.toml").unwrap();
    let mut keys: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let (mut table, mut text, mut code) = (String::new(), String::new(), String::new());
    for event in Parser::new_ext(page.prose, prose::OPTIONS) {
        match event {
            Event::Start(Tag::Heading { .. } | Tag::DefinitionListTitle) => {
                text.clear();
                code.clear();
            }
            Event::End(TagEnd::Heading(_)) => {
                let chosen = |segment: &str| segment.chars().all(|c| c.is_ascii_uppercase());
                let segments = text.trim_matches(['[', ']']).split('.');
                table = segments.map(|segment| if chosen(segment) { "*" } else { segment }).collect::<Vec<_>>().join(".");
                if !text.starts_with('[') {
                    table.clear();
                }
            }
            Event::End(TagEnd::DefinitionListTitle) if !table.is_empty() => {
                keys.entry(table.clone()).or_default().push((code.clone(), text.clone()));
            }
            Event::Code(word) if code.is_empty() => code = word.to_string(),
            Event::Code(word) | Event::Text(word) => text.push_str(&word),
            _ => {}
        }
    }
    keys
}

#[test]
fn cthelperd_toml_has_exactly_the_keys_that_the_parser_knows() {
    let mut parsed = Keys::new();
    walk("", &mut parsed);
    let written: Keys = documented()
        .into_iter()
        .map(|(table, keys)| {
            let mut keys: Vec<String> = keys.into_iter().map(|(key, _)| key).collect();
            keys.sort();
            (table, keys)
        })
        .collect();
    assert!(parsed.contains_key("helper.*.restart.backoff") && parsed.contains_key("helper.*.classes.*"), "{parsed:?}");
    assert_eq!(written, parsed);
}

#[test]
fn every_key_says_its_default_and_when_a_reload_applies_it() {
    for (table, keys) in documented() {
        for (key, title) in keys {
            assert!(title.contains("default"), "[{table}] {key}: {title}");
            assert!(title.ends_with("at once") || title.ends_with("at the next start"), "[{table}] {key}: {title}");
        }
    }
}

#[test]
fn every_page_has_the_sections_of_a_page_and_no_marker() {
    for page in PAGES {
        let text = page.roff().unwrap();
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"] {
            assert!(
                text.contains(&format!("\n.SH {section}\n")) || text.contains(&format!("\n.SH \"{section}\"\n")),
                "{} {section}",
                page.name
            );
        }
        assert!(!text.contains("{{"), "{}", page.name);
    }
}
