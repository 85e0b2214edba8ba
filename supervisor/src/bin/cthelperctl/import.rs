//! `import`: a conntrackd.conf becomes a configuration on stdout, complete; what will differ goes to stderr, a line each with its place in
//! the old file.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use cthelper_policy::config::Config;
use cthelper_supervisor::import::import;

use crate::exit::{Exit, Failure};
use crate::text::printable;

/// Longest file that is read, bytes: a hundred times the longest example that conntrack-tools ships.
const SIZE: u64 = 1 << 20;

/// Prints the configuration to `out` and the remarks to `err`.
pub fn run(file: &Path, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failure> {
    let name = file.display().to_string();
    let text = read(file)?;
    let imported = import(&text, &name).map_err(|wrong| Failure::new(Exit::Config, wrong.line(&name)))?;
    // What is printed must be what `cthelperd check` takes.
    Config::parse(&imported.toml, "the result").map_err(|error| Failure::new(Exit::Software, error.to_string()))?;
    for remark in &imported.remarks {
        let _ = writeln!(err, "{}", printable(&remark.line(&name)));
    }
    out.write_all(imported.toml.as_bytes())?;
    Ok(())
}

/// A comment may be in any encoding; what is not UTF-8 elsewhere is no word of conntrackd's.
fn read(file: &Path) -> Result<String, Failure> {
    let name = file.display();
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(SIZE + 1).read_to_end(&mut bytes));
    let length = read.map_err(|error| Failure::new(Exit::NoInput, format!("{name}: {error}")))?;
    if u64::try_from(length).is_ok_and(|length| length <= SIZE) {
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    Err(Failure::new(Exit::Config, format!("{name}: longer than 1 MiB: is it a conntrackd.conf?")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_is_refused() {
        let failure = run(Path::new("/dev/zero"), &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert_eq!((failure.exit, failure.words.contains("longer than 1 MiB")), (Exit::Config, true), "{failure:?}");
    }

    #[test]
    fn a_file_that_is_not_there_is_said_so() {
        let failure = run(Path::new("/nowhere/c.conf"), &mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert_eq!(
            (failure.exit, failure.words.as_str()),
            (Exit::NoInput, "/nowhere/c.conf: No such file or directory (os error 2)")
        );
    }
}
