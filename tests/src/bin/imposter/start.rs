//! From the first breath to `Go`, with one thing wrong.

use std::borrow::Cow;

use cthelper_policy::confine::seal_worker;
use cthelper_proto::ipc::{Answer, Ask, Confined, Enforcement, Expect, Namespaces, Source, Ticket, VERSION};
use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::types::{Family, L4s};
use nix::sys::signal::{Signal, raise};

use crate::channel::{ASKS, PACKETS, ask, ask_only, say};
use crate::packets::pass_unsealed;

/// What an honest imposter says of itself.
pub(crate) fn manifest() -> Manifest {
    Manifest {
        name: Cow::Borrowed("imposter"),
        l4s: L4s::Tcp,
        families: Cow::Borrowed(&Family::ALL),
        classes: Cow::Owned(vec![Class::new("data", Scope::BothEnds, 4, 300)]),
        state_len: 8,
        ports: Cow::Borrowed(&[21]),
        source: Cow::Borrowed("nowhere"),
    }
}

/// Hello, Welcome, confinement, Ready, Go; except for what `mode` names.
pub(crate) fn greet(mode: &str) {
    let mut hello = manifest();
    let mut version = VERSION;
    if let Some(order) = mode.strip_prefix("early ") {
        crate::escape::attempt(order);
    }
    match mode {
        "exit" => std::process::exit(3),
        "silent" => idle(),
        "raise" => {
            let _ = raise(Signal::SIGSEGV); // std's handler is used up
            let _ = raise(Signal::SIGSEGV);
        }
        "ask-first" => ask_only(&Ask::Expect(
            Ticket(1),
            Expect {
                class: 0,
                proto: 6,
                src: Source::Peer,
                sport: None,
                dst: [10, 0, 1, 2].into(),
                dport: 2000,
                permanent: false,
            },
        )),
        "ready-first" => ask_only(&Ask::Ready(Confined { landlock: Enforcement::Full { abi: 9 } })),
        "launched-again" => {
            let launched = cthelper_proto::ipc::Launched {
                landlock: Enforcement::None,
                own: Namespaces::default(),
                write_xor_execute: true,
            };
            ask_only(&Ask::Launched(launched));
        }
        "verdict-first" => say(PACKETS, &[2, 0, 0, 0]),
        "garbage" => say(ASKS, &[4, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        "later-version" => say(ASKS, &[8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0xff, 0xff]), // a Hello that nobody here can read to its end
        "huge" => say(ASKS, &vec![0; 100_000]),
        "other-name" => hello.name = Cow::Borrowed("ftp"),
        "bad-name" => hello.name = Cow::Borrowed("../../etc/passwd"),
        "no-class" => hello.classes = Cow::Borrowed(&[]),
        "wide-state" => hello.state_len = 33,
        "other-class" => hello.classes.to_mut()[0].expect_max = 255,
        "other-version" => version = VERSION + 1,
        _ => {}
    }
    let Answer::Welcome(_) = ask(&Ask::Hello(version, hello)) else { panic!("no welcome") };
    match mode {
        "hello-twice" => ask_only(&Ask::Hello(VERSION, manifest())),
        "not-ready" => idle(),
        "unsealed" => {
            ask_only(&Ask::Ready(Confined { landlock: Enforcement::Full { abi: 9 } }));
            pass_unsealed();
        }
        _ => {}
    }
    let confined = seal_worker().unwrap();
    let Answer::Go = ask(&Ask::Ready(confined)) else { panic!("no go") };
    if mode == "talkative" {
        say(PACKETS, &[2, 0, 0, 0]);
    }
}

/// Waits on its channel without a word. The launcher's filter allows no sleep.
fn idle() -> ! {
    loop {
        let _ = crate::channel::next_packet();
    }
}
