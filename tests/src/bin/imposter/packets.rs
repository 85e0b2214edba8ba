//! What an imposter does to the packets it is given.

use std::net::IpAddr;

use cthelper_proto::ipc::{Answer, Ask, Edit, Expect, ExpectId, PacketHeader, Ruling, Source, Ticket, VERSION, encode};
use cthelper_proto::types::State;

use signal_hook::low_level::exit;

use crate::channel::{ASKS, PACKETS, Received, ask, ask_only, forget_what_waits, next_packet, say, try_say_often, verdict};
use crate::escape;
use crate::start::manifest;

/// Serves one packet.
pub(crate) fn serve(Received { header, payload }: &Received) {
    let order = std::str::from_utf8(payload).ok().and_then(|text| text.strip_prefix("DO "));
    match order {
        None => verdict(header, |_| ()),
        Some(order) => obey(header, order.trim_end()),
    }
}

/// Serves although nobody has said `Go`, and boasts of it.
pub(crate) fn pass_unsealed() -> ! {
    loop {
        let packet = next_packet();
        eprintln!("an unsealed worker was given a packet");
        verdict(&packet.header, |_| ());
    }
}

fn obey(header: &PacketHeader, order: &str) {
    let tuple = header.flow.tuple(header.info.dir());
    let expect =
        |dst: IpAddr, dport: u16| Expect { class: 0, proto: 6, src: Source::Peer, sport: None, dst, dport, permanent: false };
    let own = expect(tuple.src, 2000);
    let ask_for = |expect: Expect| told(&ask(&Ask::Expect(header.ticket, expect)));
    match order {
        "foreign-ticket" => verdict(header, |verdict| verdict.ticket = Ticket(99_999)),
        "double-verdict" => {
            verdict(header, |_| ());
            verdict(header, |_| ());
        }
        "edit-outside" => verdict(header, |verdict| verdict.edits = vec![Edit { at: 60_000, cut: 1, put: Vec::new() }]),
        "edit-overlap" => {
            let edit = Edit { at: 1, cut: 2, put: Vec::new() };
            verdict(header, |verdict| verdict.edits = vec![edit.clone(), edit]);
        }
        "edit-large" => verdict(header, |verdict| verdict.edits = vec![Edit { at: 0, cut: 0, put: vec![b'x'; 513] }]),
        "edit-many" => {
            verdict(header, |verdict| verdict.edits = (0..17).map(|at| Edit { at, cut: 0, put: vec![b'x'] }).collect());
        }
        "edit-grow" => verdict(header, |verdict| verdict.edits = vec![Edit { at: 0, cut: 0, put: vec![b'x'; 512] }]),
        "state-short" => verdict(header, |verdict| verdict.state = State::new(b"x")),
        "state-long" => verdict(header, |verdict| verdict.state = State::new(&[1; 32])),
        "resend" => verdict(header, |verdict| verdict.ruling = Ruling::Resend),
        "field" => verdict(header, |verdict| verdict.malformed = Some("\x1b[31mred".repeat(500))),
        "unknown" => say(PACKETS, &[4, 0, 0, 0, 0, 0, 9, 9, 9, 9]),
        "empty" => say(PACKETS, &[]),
        "trailing" => say(PACKETS, &[0, 0, 3, 0, 0, 0, 1, 2, 3]),
        "long-record" => say(PACKETS, &vec![0; 100_000]),
        "long-ask" => say(ASKS, &vec![0; 100_000]),
        "ask-garbage" => say(ASKS, &[1, 0, 0, 0, 0, 0, 0xff]),
        "hello-again" => ask_only(&Ask::Hello(VERSION, manifest())),
        "ready-again" => {
            let landlock = cthelper_proto::ipc::Enforcement::None;
            ask_only(&Ask::Ready(cthelper_proto::ipc::Confined { landlock }));
        }
        "expect-foreign-ticket" => drop(ask(&Ask::Expect(Ticket(header.ticket.0 + 1), own))),
        "withdraw-foreign-ticket" => drop(ask(&Ask::Withdraw(Ticket(99_999), ExpectId(1)))),
        "withdraw-unknown" => {
            assert_eq!(ask(&Ask::Withdraw(header.ticket, ExpectId(77))), Answer::Gone);
            verdict(header, |_| ());
        }
        "third-party" => {
            ask_for(expect([192, 0, 2, 9].into(), 2000));
            verdict(header, |_| ());
        }
        "loopback" => {
            ask_for(expect([127, 0, 0, 1].into(), 2000));
            verdict(header, |_| ());
        }
        "other-family" => {
            ask_for(expect("2001:db8::9".parse().unwrap(), 2000));
            verdict(header, |_| ());
        }
        "privileged" => {
            ask_for(expect(tuple.src, 22));
            verdict(header, |_| ());
        }
        "bad-class" => {
            ask_for(Expect { class: 7, ..own });
            verdict(header, |_| ());
        }
        "anyone" => {
            ask_for(Expect { src: Source::Anyone, ..own });
            verdict(header, |_| ());
        }
        "sctp" => {
            ask_for(Expect { proto: 132, ..own });
            verdict(header, |_| ());
        }
        "per-packet" => {
            for port in 0..9 {
                ask_for(expect(tuple.src, 2000 + port));
            }
            verdict(header, |_| ());
        }
        "flood" => flood(header, own),
        "flood-politely" => loop {
            let _ = ask(&Ask::Expect(header.ticket, own));
        },
        "flood-unread" => loop {
            ask_only(&Ask::Expect(header.ticket, own));
        },
        "silence" => loop {
            let _ = next_packet();
        },
        "exit" => exit(0),
        "panic" => {
            eprintln!("before\npanic at helpers/x.rs:12: told \x1b[2Jto: do so");
            exit(101);
        }
        "abort" => std::process::abort(),
        "overflow" => drop(overflow(&[0; 4096])),
        escape => escape::attempt(escape),
    }
}

/// Calls itself until there is no stack any more.
#[expect(unconditional_recursion, reason = "that is the point")]
fn overflow(below: &[u8; 4096]) -> u8 {
    let here = std::hint::black_box(*below);
    overflow(&here).wrapping_add(here[0])
}

/// Asks without end, faster than anybody could answer, hears the answers, and never gives the packet back.
fn flood(header: &PacketHeader, own: Expect) -> ! {
    let question = encode(&Ask::Expect(header.ticket, own)).unwrap();
    loop {
        try_say_often(ASKS, &question);
        forget_what_waits(ASKS);
    }
}

fn told(answer: &Answer) {
    eprintln!("{answer:?}");
}
