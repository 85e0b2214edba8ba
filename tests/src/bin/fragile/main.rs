//! A worker on the SDK that serves as it should, until a message asks it to come to harm. For the VM rung, named in a configuration by
//! `worker = "…/fragile"`. It knows two helpers:
//!
//! | name | is | comes to harm on |
//! |---|---|---|
//! | `ftp` | FTP as it is shipped | a command `SITE HARM`, such as `SITE PANIC` |
//! | `echo` | a datagram protocol that announces nothing | a datagram `HARM` |
//!
//! [`harm::of`] lists the harms. Whatever happens to it here could happen to any helper with a bug.

mod echo;
mod ftp;
mod harm;

use std::process::ExitCode;

use cthelper_worker::{Helper, run};

fn main() -> ExitCode {
    run::main(|name| match name {
        "ftp" => Some(Box::new(ftp::Fragile::default()) as Box<dyn Helper>),
        "echo" => Some(Box::new(echo::Echo)),
        _ => None,
    })
}
