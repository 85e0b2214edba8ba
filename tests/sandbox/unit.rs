//! The service's unit, as systemd judges it.

use std::path::Path;
use std::process::Command;

/// What SPECIFICATION.md says; systemd 252. Newer ones weigh a little differently.
const EXPOSURE: f64 = 3.0;

#[test]
fn the_units_exposure_is_no_higher_than_specified() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/systemd/cthelperd.service");
    let Ok(said) = Command::new("systemd-analyze").args(["security", "--offline=true", unit]).output() else {
        return println!("skipped: no systemd-analyze");
    };
    let said = String::from_utf8(said.stdout).unwrap();
    let Some((_, level)) = said.split_once("exposure level for cthelperd.service: ") else {
        return println!("skipped: this systemd-analyze does not judge files");
    };
    let level = level.split(' ').next().unwrap();
    println!("exposure {level}");
    assert!(level.parse::<f64>().unwrap() <= EXPOSURE, "{level}");
}

#[test]
fn apparmors_parser_takes_the_profile() {
    let profile = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/apparmor/usr.sbin.cthelperd");
    // Reads it, compiles it, loads nothing.
    let parser = ["/sbin/apparmor_parser", "/usr/sbin/apparmor_parser"].into_iter().find(|path| Path::new(path).exists());
    let Some(parser) = parser else { return println!("skipped: no apparmor_parser") };
    let said = Command::new(parser).args(["--skip-kernel-load", "--skip-cache", profile]).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}
