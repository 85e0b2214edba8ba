//! `[helper.NAME]`: one helper's settings.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU8;
use std::ops::Range;
use std::path::PathBuf;

use cthelper_proto::ipc::{QUESTION_CLASS, QUESTION_MARK, Question, Settings};
use cthelper_proto::manifest::Manifest;
use cthelper_proto::types::Family;
use serde::Deserialize;
use toml::Spanned;

use super::ask;
use super::restart;
use super::values::{OptionValue, Seconds};
use crate::expect::Rules;
use crate::limits::Rate;
use crate::restart::Policy;

/// One helper's settings, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperConfig {
    /// Its name in the kernel's registry.
    pub name: String,
    /// False: not served; disabled in the kernel if an earlier run left it there, so that packets pass without it.
    pub enabled: bool,
    /// Number of the kernel queue; absent = the supervisor picks a free one.
    pub queue: Option<u16>,
    /// Packets the kernel's queue holds before it fails open.
    pub queue_length: u32,
    /// Families to register; absent = those of the manifest.
    pub families: Option<Vec<Family>>,
    /// Ports that printed rules attach to; absent = those of the manifest.
    pub ports: Option<Vec<u16>>,
    /// What may be announced.
    pub rules: Rules,
    /// Limits of classes, by their name.
    pub classes: BTreeMap<String, ClassConfig>,
    /// The helper's own options.
    pub options: BTreeMap<String, String>,
    /// `[helper.NAME.ask]`: there is no parser of this name, only this question.
    pub question: Option<Question>,
    /// A worker binary other than the one that is shipped.
    pub worker: Option<PathBuf>,
    /// What follows the end of its worker.
    pub restart: Policy,
}

/// `[helper.NAME.classes.CLASS]`: what is absent stays as the manifest says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassConfig {
    /// Expectations one connection may have at a time.
    pub expect_max: Option<u8>,
    /// How long the kernel waits for the expected connection, seconds.
    pub timeout_secs: Option<u32>,
}

/// The configuration names something that the helper does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MismatchedManifest(String);

impl fmt::Display for MismatchedManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MismatchedManifest {}

impl HelperConfig {
    /// Packets a queue holds by default. 4096: the kernel's own 1024 overflows when 512 connections announce at once.
    pub const QUEUE_LENGTH: u32 = 4096;

    /// The defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Table::default().into_config(name.into())
    }

    /// What the worker is told.
    pub fn settings(&self) -> Settings {
        let options = self.options.clone().into_iter().collect();
        Settings { loose: self.rules.loose, options, question: self.question.clone() }
    }

    /// What the worker is started with: its name, marked when there is no parser of that name.
    pub fn argument(&self) -> String {
        if self.question.is_some() { format!("{QUESTION_MARK}{}", self.name) } else { self.name.clone() }
    }

    /// The manifest as the operator wants it served: the result is what the kernel's helper is registered from.
    ///
    /// # Errors
    /// A name, family or class that the worker's manifest does not have.
    pub fn adapt(&self, mut manifest: Manifest) -> Result<Manifest, MismatchedManifest> {
        let mismatch = |what: String| Err(MismatchedManifest(format!("helper {}: {what}", self.name)));
        if manifest.name != self.name {
            return mismatch(format!("the worker says its name is {}", manifest.name.escape_debug()));
        }
        if let Some(families) = &self.families {
            if let Some(missing) = families.iter().find(|family| !manifest.families.contains(family)) {
                return mismatch(format!("it does not know the family {missing}"));
            }
            manifest.families = families.clone().into();
        }
        if let Some(ports) = &self.ports {
            manifest.ports = ports.clone().into();
        }
        for (name, limits) in &self.classes {
            let Some(class) = manifest.classes.to_mut().iter_mut().find(|class| class.name == *name) else {
                return mismatch(format!("it has no class {name}"));
            };
            class.expect_max = limits.expect_max.unwrap_or(class.expect_max);
            class.timeout_secs = limits.timeout_secs.unwrap_or(class.timeout_secs);
        }
        Ok(manifest)
    }
}

/// `[helper.NAME]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Table {
    enabled: bool,
    queue: Option<Spanned<u16>>,
    queue_length: QueueLength,
    families: Option<Families>,
    ports: Option<Ports>,
    loose: bool,
    privileged_ports: bool,
    rate: RateTable,
    classes: BTreeMap<String, ClassTable>,
    options: BTreeMap<String, OptionValue>,
    ask: Option<Spanned<ask::Table>>,
    worker: Option<AbsolutePath>,
    restart: restart::Table,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            enabled: true,
            queue: None,
            queue_length: QueueLength(HelperConfig::QUEUE_LENGTH),
            families: None,
            ports: None,
            loose: false,
            privileged_ports: false,
            rate: RateTable::default(),
            classes: BTreeMap::new(),
            options: BTreeMap::new(),
            ask: None,
            worker: None,
            restart: restart::Table::default(),
        }
    }
}

impl Table {
    pub(super) fn into_config(self, name: String) -> HelperConfig {
        let ask = self.ask.map(Spanned::into_inner);
        let mut classes: BTreeMap<_, _> = self.classes.into_iter().map(|(name, class)| (name, class.into_config())).collect();
        if let Some(ask) = &ask {
            classes.entry(QUESTION_CLASS.to_owned()).or_insert_with(|| ask.limits());
        }
        let families = self.families.map(|families| families.0).or_else(|| ask.as_ref().map(ask::Table::families));
        HelperConfig {
            name,
            enabled: self.enabled,
            queue: self.queue.map(Spanned::into_inner),
            queue_length: self.queue_length.0,
            families,
            ports: self.ports.map(|ports| ports.0),
            rules: Rules {
                loose: self.loose,
                privileged_ports: self.privileged_ports,
                rate: Rate { burst: self.rate.burst, per_second: self.rate.per_second },
                ..Rules::default()
            },
            classes,
            options: self.options.into_iter().map(|(key, value)| (key, value.into())).collect(),
            question: ask.map(ask::Table::into_question),
            worker: self.worker.map(|path| path.0),
            restart: self.restart.policy(),
        }
    }
}

impl Table {
    /// A question has no ports but those of the configuration.
    fn question_without_ports(&self) -> Option<(Range<usize>, String)> {
        let ask = self.ask.as_ref()?;
        match (&self.ports, &self.worker) {
            (_, Some(_)) => Some((ask.span(), "ask: not beside `worker`, which reads what it likes".to_owned())),
            (None, None) => {
                Some((ask.span(), "ask: needs `ports`, to which the question goes, in the helper's table".to_owned()))
            }
            (Some(_), None) => None,
        }
    }
}

/// The first thing in a table that contradicts another, and where.
pub(super) fn contradiction<'a>(mut helpers: impl Iterator<Item = &'a Table>) -> Option<(Range<usize>, String)> {
    helpers.find_map(|helper| helper.restart.contradiction().or_else(|| helper.question_without_ports()))
}

/// The second place that names a queue which has an owner already.
pub(super) fn queue_used_twice<'a>(helpers: impl Iterator<Item = &'a Table>) -> Option<(u16, Range<usize>)> {
    let mut named: Vec<_> =
        helpers.filter_map(|helper| helper.queue.as_ref()).map(|queue| (queue.span(), *queue.get_ref())).collect();
    named.sort_by_key(|(span, _)| span.start);
    let mut seen = BTreeSet::new();
    named.into_iter().find(|(_, queue)| !seen.insert(*queue)).map(|(span, queue)| (queue, span))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RateTable {
    burst: u32,
    per_second: u32,
}

impl Default for RateTable {
    fn default() -> Self {
        let Rate { burst, per_second } = Rate::default();
        Self { burst, per_second }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ClassTable {
    expect_max: Option<NonZeroU8>,
    expect_timeout: Option<Seconds>,
}

impl ClassTable {
    fn into_config(self) -> ClassConfig {
        ClassConfig { expect_max: self.expect_max.map(NonZeroU8::get), timeout_secs: self.expect_timeout.map(|span| span.0) }
    }
}

/// 1 to 65536 packets.
#[derive(Debug, Deserialize)]
#[serde(try_from = "u32")]
struct QueueLength(u32);

impl TryFrom<u32> for QueueLength {
    type Error = &'static str;

    fn try_from(length: u32) -> Result<Self, Self::Error> {
        if (1..=65_536).contains(&length) { Ok(Self(length)) } else { Err("queue_length: 1 to 65536 packets") }
    }
}

/// One or two, each once.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Vec<Family>")]
struct Families(Vec<Family>);

impl TryFrom<Vec<Family>> for Families {
    type Error = &'static str;

    fn try_from(families: Vec<Family>) -> Result<Self, Self::Error> {
        let different: BTreeSet<_> = families.iter().collect();
        let right = !families.is_empty() && different.len() == families.len();
        if right { Ok(Self(families)) } else { Err("families: \"inet\", \"inet6\" or both, each once") }
    }
}

/// 1 to 16 ports, each once, none 0.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Vec<u16>")]
struct Ports(Vec<u16>);

impl TryFrom<Vec<u16>> for Ports {
    type Error = &'static str;

    fn try_from(ports: Vec<u16>) -> Result<Self, Self::Error> {
        let different: BTreeSet<_> = ports.iter().collect();
        let right = (1..=16).contains(&ports.len()) && different.len() == ports.len() && !ports.contains(&0);
        if right { Ok(Self(ports)) } else { Err("ports: 1 to 16, each once, none 0") }
    }
}

/// A path that does not depend on where the daemon was started.
#[derive(Debug, Deserialize)]
#[serde(try_from = "PathBuf")]
struct AbsolutePath(PathBuf);

impl TryFrom<PathBuf> for AbsolutePath {
    type Error = &'static str;

    fn try_from(path: PathBuf) -> Result<Self, Self::Error> {
        if path.is_absolute() { Ok(Self(path)) } else { Err("worker: an absolute path") }
    }
}
