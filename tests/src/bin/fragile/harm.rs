//! What a helper with a bug does, each way by a word.

use std::hint::black_box;

use nix::sys::socket::{MsgFlags, recv};

/// The channel of asks; nothing comes on it that was not asked for.
const ASKS: i32 = 1;
/// What is asked for at a time, bytes: small, so that it is the limit that ends it and not one absurd size.
const BITE: usize = 64 * 1024;

/// The harm of this word: `PANIC`, `SYSCALL`, `HANG`, `SPIN` or `EAT`.
pub(crate) fn of(word: &[u8]) -> Option<fn()> {
    match word {
        b"PANIC" => Some(panic),
        b"SYSCALL" => Some(syscall),
        b"HANG" => Some(hang),
        b"SPIN" => Some(spin),
        b"EAT" => Some(eat),
        _ => None,
    }
}

#[allow(clippy::panic, reason = "that is what it is for")]
fn panic() {
    panic!("a message asked for it");
}

/// `socket`, which no worker may call.
fn syscall() {
    black_box(std::net::TcpStream::connect("127.0.0.1:9").is_ok());
}

/// Waits for an answer that nobody owes it.
fn hang() {
    while recv(ASKS, &mut [0; 1], MsgFlags::empty()) != Ok(0) {}
}

fn spin() {
    loop {
        std::hint::spin_loop();
    }
}

fn eat() {
    let mut eaten = Vec::new();
    loop {
        eaten.push(black_box(vec![1_u8; BITE]));
    }
}
