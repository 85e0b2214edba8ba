//! Both packages ship what an operator needs, and an installed document names what is installed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guides::repository;

/// What the manifest says of one package: each file's source, from the repository's root, and where it is installed.
struct Assets(Vec<(String, String)>);

impl Assets {
    fn of_deb(manifest: &toml::Table) -> Self {
        let deb = &manifest["package"]["metadata"]["deb"];
        let assets = deb["assets"].as_array().unwrap().iter().map(|asset| {
            let source = asset[0].as_str().unwrap();
            // cargo-deb reads a path from the crate's folder, but for `target/release`.
            let source = source.strip_prefix("../").unwrap_or(source);
            (source.to_owned(), format!("/{}", asset[1].as_str().unwrap()))
        });
        Self(assets.collect())
    }

    fn of_rpm(manifest: &toml::Table) -> Self {
        let rpm = &manifest["package"]["metadata"]["generate-rpm"];
        let word = |asset: &toml::Value, key: &str| asset[key].as_str().unwrap().to_owned();
        Self(rpm["assets"].as_array().unwrap().iter().map(|asset| (word(asset, "source"), word(asset, "dest"))).collect())
    }

    /// Where everything is installed. Of what only a build makes, a pattern stands for its files.
    fn destinations(&self, documents: &Path) -> BTreeSet<String> {
        self.0
            .iter()
            .flat_map(|(source, destination)| {
                let names = if destination.ends_with('/') { matches(source, documents) } else { vec![String::new()] };
                names.into_iter().map(move |name| format!("{destination}{name}"))
            })
            .collect()
    }
}

/// Names of the files that a source means, `*` at its end or before an extension.
fn matches(source: &str, documents: &Path) -> Vec<String> {
    let (folder, pattern) = source.rsplit_once('/').unwrap();
    let Some((before, after)) = pattern.split_once('*') else { return vec![pattern.to_owned()] };
    let folder = match folder.strip_prefix("target/package/documents") {
        Some(below) => documents.join(below.trim_start_matches('/')),
        None if folder.starts_with("target/") => return vec![pattern.to_owned()],
        None => repository().join(folder),
    };
    files(&folder).into_iter().filter(|name| name.starts_with(before) && name.ends_with(after)).collect()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_file());
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

fn manifest() -> toml::Table {
    fs::read_to_string(repository().join("supervisor/Cargo.toml")).unwrap().parse().unwrap()
}

/// The installed documents, as `packaging/documents` makes them.
fn documents(of: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("documents-{of}"));
    let made = Command::new(repository().join("packaging/documents")).arg(&folder).status().unwrap();
    assert!(made.success());
    folder
}

/// Without what is each distribution's own: where zsh looks, how pages are packed, its profiles and licences.
fn in_common(destinations: &BTreeSet<String>) -> BTreeSet<String> {
    let own = [
        "/etc/apparmor.d/",
        "/usr/share/lintian/",
        "/usr/share/licenses/",
        "/usr/share/doc/cthelperd/third-party.txt",
        "/usr/share/doc/cthelperd/CHANGELOG.md",
    ];
    let shared = destinations.iter().filter(|path| !own.iter().any(|own| path.starts_with(own)));
    shared
        .map(|path| path.replace("/zsh/site-functions/", "/zsh/vendor-completions/").trim_end_matches(".gz").to_owned())
        .collect()
}

#[test]
fn deb_and_rpm_ship_the_same() {
    let (manifest, documents) = (manifest(), documents("same"));
    let deb = in_common(&Assets::of_deb(&manifest).destinations(&documents));
    let rpm = in_common(&Assets::of_rpm(&manifest).destinations(&documents));
    assert_eq!(deb, rpm);
}

#[test]
fn whatever_an_operator_needs_is_shipped() {
    let documents = documents("shipped");
    let shipped = Assets::of_deb(&manifest()).destinations(&documents);
    let names: BTreeSet<&str> = shipped.iter().filter_map(|path| path.rsplit('/').next()).collect();
    let folders = [
        "apparmor",
        "doc",
        "examples",
        "grafana",
        "journald",
        "logrotate",
        "man",
        "modules-load.d",
        "systemd",
        "sysusers.d",
        "tmpfiles.d",
    ];
    for folder in folders {
        for file in files(&repository().join("packaging").join(folder)) {
            let name = match (folder, file.as_str()) {
                ("grafana", _) => "grafana.json",
                // Of the other package.
                ("man", "nfct.8.md") => continue,
                ("man", page) => page.trim_end_matches(".md"),
                (_, name) => name,
            };
            assert!(names.contains(name), "packaging/{folder}/{file} is in no package");
        }
    }
}

/// Paths below the folders in which only a package installs. A sentence may end behind one.
fn installed_paths(text: &str) -> impl Iterator<Item = &str> {
    const FOLDERS: [&str; 4] = [
        "/usr/share/doc/cthelperd",
        "/usr/lib/systemd/system/cthelperd",
        "/usr/lib/sysusers.d/cthelperd",
        "/etc/logrotate.d/cthelperd",
    ];
    let part_of_a_path = |c: char| c.is_ascii_alphanumeric() || "/._@-".contains(c);
    text.split(move |c| !part_of_a_path(c))
        .map(|word| word.trim_end_matches(['.', '/']))
        .filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)))
}

#[test]
fn an_installed_document_names_what_is_installed() {
    let documents = documents("named");
    let shipped = Assets::of_deb(&manifest()).destinations(&documents);
    let mut named = 0;
    for folder in [documents.clone(), documents.join("examples"), repository().join("packaging/man")] {
        for file in files(&folder) {
            let text = fs::read_to_string(folder.join(&file)).unwrap();
            for path in installed_paths(&text) {
                named += 1;
                let below = format!("{path}/");
                assert!(
                    shipped.iter().any(|there| there == path || there.starts_with(&below)),
                    "{file} names {path}, which no package has"
                );
            }
            // What is not shipped is the sources': how a package is made.
            let sources = text
                .split(['`', '(', ')', '[', ']', ' ', '\n'])
                .filter(|word| word.starts_with("packaging/") && *word != "packaging/");
            for path in sources.filter(|_| file != "by-hand.md") {
                assert!(matches!(path, "packaging/openwrt" | "packaging/manuals"), "{file} names {path}, which is not installed");
            }
        }
    }
    assert!(named >= 10, "{named} paths are named");
}
