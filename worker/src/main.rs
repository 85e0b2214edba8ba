//! `cthelper-worker NAME`: serves one built-in helper on the channels the launcher left on fd 0, 1 and 2.

use cthelper_worker::{helpers, run};

fn main() {
    run::main(helpers::find)
}
