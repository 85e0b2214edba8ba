//! Helpers out of the tree, built as a stranger builds them: `tests/outside` by cargo, `tests/outside-c` by cc. Both are `dial`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries::{binary, built, reachable, scratch};
use crate::program::cthelperctl;

/// The one in Rust, in a target folder of its own, beside this workspace's programs.
pub fn in_rust() -> PathBuf {
    reachable(cargo("build").join("debug/cthelper-dial"))
}

/// Its own tests: of what was recorded of it.
pub fn tested_in_rust() {
    cargo("test");
}

/// The target folder.
fn cargo(what: &str) -> PathBuf {
    let target = built().join("outside");
    let mut cargo = Command::new(std::env::var_os("CARGO").expect("cargo runs this test"));
    cargo.args([what, "--quiet", "--locked", "--manifest-path"]);
    cargo.arg(folder("outside").join("Cargo.toml")).arg("--target-dir").arg(&target).env("CTHELPERD", binary("cthelperd"));
    succeeds(&mut cargo);
    target
}

/// The one in C with these compiler flags: the filter comes from `cthelperctl`.
pub fn in_c(flags: &[&str]) -> PathBuf {
    compiled("dial.c", flags)
}

/// Its codec's own check.
pub fn golden_in_c() -> PathBuf {
    compiled("golden.c", &[])
}

fn compiled(source: &str, flags: &[&str]) -> PathBuf {
    let built = scratch("outside-c");
    let filter = cthelperctl(&["policy", "worker", "--bpf"]);
    assert_eq!((filter.code, filter.err.as_str()), (0, ""));
    std::fs::write(built.join("seal.h"), filter.out).unwrap();
    let program = built.join("cthelper-dial");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-Wextra", "-Werror", "-Wl,-z,now"]).args(flags);
    cc.arg("-I").arg(&built).arg("-o").arg(&program).arg(folder("outside-c").join(source));
    succeeds(&mut cc);
    reachable(program)
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn succeeds(command: &mut Command) {
    let built = command.output().unwrap();
    assert!(
        built.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&built.stdout),
        String::from_utf8_lossy(&built.stderr)
    );
}
