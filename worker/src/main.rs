//! `cthelper-worker NAME`: serves one built-in helper on the channels the launcher left on fd 0, 1 and 2.
use std::process::ExitCode;

use cthelper_worker::{helpers, run};

fn main() -> ExitCode {
    run::main(helpers::find)
}
