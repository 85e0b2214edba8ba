//! Compiles the part of the imposter that is not in Rust: bare system calls.

fn main() {
    const RAW: &str = "src/bin/imposter/raw.c";
    println!("cargo::rerun-if-changed={RAW}");
    let objects =
        cc::Build::new().file(RAW).warnings(true).extra_warnings(true).warnings_into_errors(true).compile_intermediates();
    for object in objects {
        println!("cargo::rustc-link-arg-bin=imposter={}", object.display());
    }
}
