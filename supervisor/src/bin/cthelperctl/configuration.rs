//! The daemon's configuration, for commands that follow it when it is there.

use std::fs;
use std::io;
use std::path::Path;

use cthelper_policy::config::Config;

use crate::exit::{Exit, Failure};

/// The file the daemon reads when no other is named; `None` = it does not exist.
pub fn standard() -> Result<Option<Config>, Failure> {
    let path = Path::new(Config::PATH);
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => parse(path, text).map(Some),
    }
}

/// This file.
pub fn read(path: &Path) -> Result<Config, Failure> {
    parse(path, fs::read_to_string(path))
}

fn parse(path: &Path, text: io::Result<String>) -> Result<Config, Failure> {
    let name = path.display();
    let text = text.map_err(|error| Failure::new(Exit::Config, format!("{name}: {error}")))?;
    Config::parse(&text, &name.to_string()).map_err(|error| Failure::new(Exit::Config, error.to_string()))
}
