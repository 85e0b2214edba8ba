//! What the operator may set: `/etc/cthelperd/cthelperd.toml`.
//!
//! A file that says `[helper.ftp]` is complete. A key we do not know is an error: a misspelt `loose` must not be a silent default.

mod ask;
mod error;
mod events;
mod helper;
mod literal;
mod metrics;
pub mod reload;
mod restart;
mod values;

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

pub use error::ConfigError;
pub use events::{Access, EventsConfig, QueueConfig, Readers, Room, Select, UnknownReader, WhenFull, Who};
pub use helper::{ClassConfig, HelperConfig, MismatchedManifest};
pub use metrics::Metrics;
use values::HelperName;
pub use values::Uids;

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[daemon]`.
    pub daemon: Daemon,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[helper.NAME]`, by name; at least one.
    pub helpers: BTreeMap<String, HelperConfig>,
    /// `[events]`.
    pub events: EventsConfig,
    /// `[events.queue.N]`, by number.
    pub queues: BTreeMap<u16, QueueConfig>,
}

/// `[daemon]`: what concerns all helpers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// User that workers run as; must exist and not be root.
    pub user: String,
    /// Group that workers run as; likewise.
    pub group: String,
    /// Uids for workers, one per helper, instead of the user's.
    pub uids: Option<Uids>,
}

impl Default for Daemon {
    /// The user and group that packaging/sysusers.d creates.
    fn default() -> Self {
        Self { user: Self::USER.into(), group: Self::USER.into(), uids: None }
    }
}

impl Daemon {
    /// Default name of both.
    pub const USER: &'static str = "cthelperd";
}

/// `[daemon]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DaemonTable {
    #[serde(deserialize_with = "values::not_root")]
    user: String,
    #[serde(deserialize_with = "values::not_root")]
    group: String,
    uids: Option<Spanned<Uids>>,
}

impl Default for DaemonTable {
    fn default() -> Self {
        let Daemon { user, group, .. } = Daemon::default();
        Self { user, group, uids: None }
    }
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    daemon: DaemonTable,
    metrics: metrics::Table,
    helper: BTreeMap<HelperName, helper::Table>,
    events: events::Events,
}

impl Config {
    /// The file read when no other is named.
    pub const PATH: &'static str = "/etc/cthelperd/cthelperd.toml";

    /// Reads the text of a configuration file; `file_name` is for errors only.
    ///
    /// # Errors
    /// The first thing that is wrong, and where.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|error| ConfigError::from_toml(file_name, text, &error))?;
        if file.helper.is_empty() {
            return Err(ConfigError::somewhere(file_name, "no helper: a line [helper.ftp] would serve FTP"));
        }
        if let Some((queue, span)) = helper::queue_used_twice(file.helper.values()) {
            return Err(ConfigError::at(file_name, text, span, format!("queue {queue} already belongs to another helper")));
        }
        if let Some((span, reason)) = helper::contradiction(file.helper.values()) {
            return Err(ConfigError::at(file_name, text, span, reason));
        }
        if let Some(uids) = file.daemon.uids.as_ref().filter(|uids| uids.get_ref().count() < file.helper.len()) {
            let reason = format!("uids: {} numbers for {} helpers: widen the range", uids.get_ref().count(), file.helper.len());
            return Err(ConfigError::at(file_name, text, uids.span(), reason));
        }
        let helpers = file.helper.into_iter().map(|(name, table)| (name.0.clone(), table.into_config(name.0))).collect();
        let wrong = |(span, reason)| ConfigError::at(file_name, text, span, reason);
        let events = file.events.config().map_err(wrong)?;
        let queues = file.events.into_queues(text).map_err(wrong)?;
        let DaemonTable { user, group, uids } = file.daemon;
        let daemon = Daemon { user, group, uids: uids.map(Spanned::into_inner) };
        Ok(Self { daemon, metrics: file.metrics.into(), helpers, events, queues })
    }

    /// The uid for this helper's workers, if `[daemon] uids` gives them one: the first for the first name of the configuration in the
    /// order of the alphabet, and so on. A helper that is added or removed may move the others'; nothing is kept under a uid.
    pub fn uid_of(&self, helper: &str) -> Option<u32> {
        let place = self.helpers.keys().position(|name| name == helper)?;
        self.daemon.uids.as_ref()?.nth(place)
    }

    /// The uid for the broker, if `[daemon] uids` has one left: the first behind the helpers'.
    pub fn brokers_uid(&self) -> Option<u32> {
        self.daemon.uids.as_ref()?.nth(self.helpers.len())
    }

    /// The built-in defaults for helpers named on the command line.
    ///
    /// # Errors
    /// A name that no helper can have.
    pub fn for_helpers<I>(names: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator<Item: Into<String>>,
    {
        let helpers = names.into_iter().map(|name| {
            let name = HelperName::try_from(name.into()).map_err(|reason| ConfigError::somewhere("--helper", reason))?;
            Ok((name.0.clone(), HelperConfig::new(name.0)))
        });
        Ok(Self { helpers: helpers.collect::<Result<_, _>>()?, ..Self::default() })
    }
}

#[cfg(test)]
mod tests;
