//! `helpers`: what the built-in helpers and those of the configuration are, as their programs tell it.
//!
//! A helper's program is not linked here, nor trusted: it is asked (`--list`) with no environment, and as root's tool not as root.

use std::fmt::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use cthelper_policy::config::Config;
use cthelper_proto::manifest::{Class, Listing};
use cthelper_supervisor::cli::ctl::helpers::Options;
use cthelper_supervisor::spawn::worker_binary;
use serde::Serialize;

use crate::configuration;
use crate::exit::{Exit, Failure};
use crate::text::{columns, printable};

/// `nobody`, everywhere.
const NOBODY: u32 = 65_534;

const HEADING: [&str; 8] = ["HELPER", "L4", "FAMILIES", "PORTS", "EXPECTS", "NAT", "STATE", "CONFIGURED"];

/// One helper.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Told {
    #[serde(flatten)]
    listing: Listing,
    /// The configuration has it.
    configured: bool,
    /// Its program, if it is not a built-in one.
    worker: Option<String>,
}

/// A table, or a JSON array.
pub fn run(options: &Options) -> Result<String, Failure> {
    let config = match &options.config {
        Some(file) => Some(configuration::read(file)?),
        None => configuration::standard()?,
    };
    let (helpers, remarks) = all(config.as_ref())?;
    if options.json {
        let line = serde_json::to_string(&helpers).map_err(|error| Failure::new(Exit::Software, error.to_string()))?;
        return Ok(line + "\n");
    }
    Ok(table(&helpers) + &remarks.concat())
}

/// The built-in helpers, then those of other programs; and what could not be learnt of them.
fn all(config: Option<&Config>) -> Result<(Vec<Told>, Vec<String>), Failure> {
    let unavailable = |words: String| Failure::new(Exit::Unavailable, words);
    let worker = worker_binary(None).map_err(unavailable)?;
    let own = |name: &str| config.and_then(|config| config.helpers.get(name));
    let built_in = ask(&worker, None).map_err(unavailable)?.into_iter();
    let mut helpers: Vec<Told> = built_in
        .filter(|listing| own(&listing.manifest.name).is_none_or(|helper| helper.worker.is_none()))
        .map(|listing| Told { configured: own(&listing.manifest.name).is_some(), listing, worker: None })
        .collect();
    helpers.sort_by(|one, other| one.listing.manifest.name.cmp(&other.listing.manifest.name));
    let mut remarks = Vec::new();
    let others = config.into_iter().flat_map(|config| config.helpers.values());
    for (helper, program) in others.filter_map(|helper| Some((helper, helper.worker.as_deref()?))) {
        match ask(program, Some(&helper.name)) {
            Ok(listings) => helpers.extend(listings.into_iter().map(|listing| Told {
                listing,
                configured: true,
                worker: Some(program.display().to_string()),
            })),
            Err(why) => remarks.push(format!("{}: {}\n", printable(&helper.name), printable(&why))),
        }
    }
    Ok((helpers, remarks))
}

/// What a worker's program tells of all its helpers, or of one.
fn ask(program: &Path, name: Option<&str>) -> Result<Vec<Listing>, String> {
    let mut command = Command::new(program);
    command.arg("--list").args(name).env_clear().stdin(Stdio::null()).stderr(Stdio::null());
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let name = program.display();
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{name} --list: {}", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{name} --list: {error}"))
}

fn table(helpers: &[Told]) -> String {
    let mut rows = vec![HEADING.map(str::to_owned).to_vec()];
    rows.extend(helpers.iter().map(row));
    let mut out = columns(&rows);
    out.push('\n');
    for Told { listing: Listing { manifest, attacks, .. }, .. } in helpers {
        let _ = write!(out, "{}: {}", printable(&manifest.name), printable(&manifest.source));
        if !attacks.is_empty() {
            let _ = write!(out, "; against: {}", printable(&attacks.join("; ")));
        }
        out.push('\n');
    }
    out
}

fn row(told: &Told) -> Vec<String> {
    let Listing { manifest, rewrites, .. } = &told.listing;
    let families: Vec<&str> = manifest.families.iter().map(|family| family.name()).collect();
    let ports: Vec<String> = manifest.ports.iter().map(u16::to_string).collect();
    let classes: Vec<String> = manifest.classes.iter().map(class).collect();
    vec![
        printable(&manifest.name),
        manifest.l4s.to_string(),
        families.join(","),
        ports.join(","),
        classes.join("; "),
        if *rewrites { "rewrites" } else { "follows" }.to_owned(),
        manifest.state_len.to_string(),
        match &told.worker {
            Some(program) => printable(program),
            None if told.configured => "yes".to_owned(),
            None => "-".to_owned(),
        },
    ]
}

/// `4 tcp 300 s`, with what is special.
fn class(class: &Class) -> String {
    let stays = if class.may_stay { ", staying" } else { "" };
    let read = class.helped_by.as_deref().map(|helper| format!(", read by {}", printable(helper))).unwrap_or_default();
    let kept = class.master_timeout_secs.map(|seconds| format!(", master kept {seconds} s")).unwrap_or_default();
    format!("{} {} {} s{stays}{read}{kept}", class.expect_max, class.l4s, class.timeout_secs)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use cthelper_proto::manifest::{Manifest, Scope};
    use cthelper_proto::types::{Family, L4s};

    use super::*;

    fn rpc() -> Told {
        let manifest = Manifest {
            name: Cow::Borrowed("rpc"),
            l4s: L4s::Both,
            families: Cow::Borrowed(&Family::ALL),
            classes: Cow::Owned(vec![Class::new("rpc", Scope::BothEnds, 1, 300).tcp_or_udp().staying()]),
            state_len: 16,
            ports: Cow::Borrowed(&[111]),
            source: Cow::Borrowed("RFC 1833"),
        };
        Told { listing: Listing { manifest, rewrites: true, attacks: vec!["a lie".into()] }, configured: true, worker: None }
    }

    #[test]
    fn a_table_has_a_row_and_a_word_for_each() {
        assert_eq!(
            table(&[rpc()]),
            "\
HELPER  L4       FAMILIES    PORTS  EXPECTS                   NAT       STATE  CONFIGURED
rpc     tcp,udp  inet,inet6  111    1 tcp,udp 300 s, staying  rewrites  16     yes

rpc: RFC 1833; against: a lie
"
        );
    }

    #[test]
    fn the_next_link_of_a_chain_and_a_kept_master_are_told() {
        let next = Class::new("call", Scope::BothEnds, 4, 60).helped_by("q931").keeping_master(300);
        assert_eq!(class(&next), "4 tcp 60 s, read by q931, master kept 300 s");
    }

    #[test]
    fn json_has_the_manifest_and_what_is_known_besides() {
        let line = serde_json::to_string(&[rpc()]).unwrap();
        assert!(line.starts_with(r#"[{"name":"rpc","l4s":"tcp,udp","families":["inet","inet6"],"#), "{line}");
        assert!(line.ends_with(r#""rewrites":true,"attacks":["a lie"],"configured":true,"worker":null}]"#), "{line}");
        let listing = serde_json::to_string(&rpc().listing).unwrap();
        assert_eq!(serde_json::from_str::<Listing>(&listing).unwrap(), rpc().listing);
    }

    #[test]
    fn a_program_that_does_not_tell_is_named() {
        assert!(ask(Path::new("/nonexistent/worker"), None).unwrap_err().starts_with("/nonexistent/worker: "));
        assert!(ask(Path::new("/bin/false"), None).unwrap_err().starts_with("/bin/false --list: exit status: 1"));
        assert!(ask(Path::new("/bin/echo"), Some("x")).unwrap_err().starts_with("/bin/echo --list: "));
    }
}
