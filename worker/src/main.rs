//! `cthelper-worker NAME`: serves one built-in helper on the channels the launcher left on fd 0, 1 and 2.
//! `cthelper-worker --list [NAME]` tells of all of them, or of one, as JSON.

use std::process::ExitCode;

use cthelper_worker::{helpers, run};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == "--list") && words.next().is_none() {
        return run::list(&helpers::all());
    }
    run::main(helpers::find)
}
