//! A capture of a live run as a regression test: `cthelperd replay` runs the helper's own program on it, confined and judged as it will be.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Replays `capture` (pcap or pcapng) through the program of a helper, and compares what is told of it with the file beside it that ends in
/// `.jsonl`: each expectation, each refusal, and the sum. `UPDATE=1` writes that file; read it before you commit it.
///
/// ```no_run
/// # let program = "/usr/local/libexec/cthelper-dial";
/// cthelper_worker::testkit::recorded("dial", program, "tests/call.pcap"); // in a test: env!("CARGO_BIN_EXE_cthelper-dial")
/// ```
///
/// It needs neither root nor a kernel module, but `cthelperd`: that of `CTHELPERD`, or else of `PATH`.
pub fn recorded(helper: &str, program: impl AsRef<Path>, capture: impl AsRef<Path>) {
    let capture = capture.as_ref();
    let config = Config::new(helper, program.as_ref());
    let cthelperd = std::env::var_os("CTHELPERD").unwrap_or_else(|| "cthelperd".into());
    let mut command = Command::new(&cthelperd);
    command.args(["replay", "--json", "--config"]).arg(&config.0).arg(capture).env("CTHELPERD_LOG", "error");
    let said = command.output().unwrap_or_else(|error| {
        panic!("{}: {error}; install cthelperd, or name it by CTHELPERD", Path::new(&cthelperd).display())
    });
    let (told, words) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{}: {}: {words}", capture.display(), said.status);
    let golden = capture.with_extension("jsonl");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&golden, told.as_ref()).unwrap_or_else(|error| panic!("{}: {error}", golden.display()));
    }
    let wanted =
        std::fs::read_to_string(&golden).unwrap_or_else(|error| panic!("{}: {error}; UPDATE=1 writes it", golden.display()));
    assert_eq!(told, wanted, "{}", capture.display());
}

/// A configuration of one line, gone with the test.
struct Config(PathBuf);

impl Config {
    fn new(helper: &str, program: &Path) -> Self {
        let name = format!("{helper}-{}-{:?}.toml", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        let program = program.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let program = program.to_str().expect("a configuration is UTF-8");
        std::fs::write(&path, format!("[helper.{helper}]\nworker = {program:?}\n")).unwrap();
        Self(path)
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
