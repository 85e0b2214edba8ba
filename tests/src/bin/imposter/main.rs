//! A worker that does not play by the rules: it speaks the protocol by hand, and misbehaves as it is told.
//!
//! Its argument says what it does before it serves (`honest` = nothing wrong); from then on packets tell it: a payload `DO x` makes it do
//! `x`, any other is passed and counted in the first private byte. Started as `broker`, it is a false broker.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "nobody relies on it")]

mod broker;
mod channel;
mod escape;
mod packets;
mod start;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, uid, gid] = arguments.as_slice()
        && role == "broker"
    {
        broker::run(uid, gid);
    }
    start::greet(&arguments[0]);
    loop {
        packets::serve(&channel::next_packet());
    }
}
