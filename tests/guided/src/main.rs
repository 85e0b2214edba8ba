//! One target of `cthelper_tests::readers` under libFuzzer: the one that `TARGET` names. Each input meets a reader that has read nothing yet.
#![no_main]

use std::cell::OnceCell;
use std::path::PathBuf;

use cthelper_tests::readers::{self, Target};
use libfuzzer_sys::fuzz_target;

thread_local! {
    /// The target that is run; libFuzzer calls from one thread.
    static CHOSEN: OnceCell<Target> = const { OnceCell::new() };
}

fuzz_target!(
    init: list_or_seed(),
    |bytes: &[u8]| CHOSEN.with(|chosen| (chosen.get_or_init(named).reader)()(bytes))
);

fn named() -> Target {
    let name = std::env::var("TARGET").expect("TARGET names what is to read");
    readers::all().into_iter().find(|target| target.name == name).unwrap_or_else(|| panic!("no target {name}"))
}

/// Without a target their names are printed; with `SEEDS` the target's seeds are written to that folder. Both end here.
fn list_or_seed() {
    if std::env::var_os("TARGET").is_none() {
        readers::all().iter().for_each(|target| println!("{}", target.name));
        std::process::exit(0);
    }
    if let Some(folder) = std::env::var_os("SEEDS").map(PathBuf::from) {
        for (number, seed) in named().seeds.iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed).expect("SEEDS can be written to");
        }
        std::process::exit(0);
    }
}
