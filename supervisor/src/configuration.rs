//! Where the configuration comes from: a file, the command line, or both; read at the start and again at each reload.

use std::path::{Path, PathBuf};

use cthelper_policy::config::{Config, ConfigError};

/// What the command line says of it.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// The file named; without it, the standard one if it exists.
    pub file: Option<PathBuf>,
    /// Helpers named: these are served, and no others.
    pub helpers: Vec<String>,
}

impl Source {
    /// The file that is read, if any.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_deref().or_else(|| Some(Path::new(Config::PATH)).filter(|path| path.exists()))
    }

    /// What the file says, or without one the defaults for the helpers named.
    ///
    /// # Errors
    /// The first thing that is wrong, and where.
    pub fn read(&self) -> Result<Config, ConfigError> {
        let Some(path) = self.path() else { return Config::for_helpers(&self.helpers) };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            file: name.clone(),
            at: None,
            reason: error.to_string(),
        })?;
        let mut config = Config::parse(&text, &name)?;
        if !self.helpers.is_empty() {
            let named = Config::for_helpers(&self.helpers)?;
            let configured = std::mem::take(&mut config.helpers);
            config.helpers = named.helpers;
            for (name, helper) in configured {
                config.helpers.entry(name).and_modify(|default| *default = helper);
            }
        }
        Ok(config)
    }
}
