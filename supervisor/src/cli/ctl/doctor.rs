//! `cthelperctl doctor`.

use clap::Args;

/// What to look at.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Helper that shall work; may be repeated (without it: those served, or else those of the configuration, or else ftp)
    #[arg(long = "helper", value_name = "NAME")]
    pub helpers: Vec<String>,
    /// One JSON object instead of lines
    #[arg(long)]
    pub json: bool,
}
