//! placeholder
use std::path::PathBuf;
/// x
pub enum Failure {
    Open(String),
    Data(String),
    Unavailable(String),
}
/// x
pub fn run(_: &[PathBuf], _: &[String], _: bool, _: &mut impl std::io::Write) -> Result<(), Failure> {
    Ok(())
}
