//! SANE's network protocol (SANE standard, chapter 5): the answer to `NET_START` announces the connection the image comes by.
//!
//! - Client and server take turns, each turn in segments of its own; a message says nothing of its length. So a request is taken for a start only
//!   if it is all of a segment, and its answer is the next segment of the server (as in `nf_conntrack_sane.c`).
//! - An answer that names a resource asks for a password first; `AUTHORIZE` and its four bytes of answer come between.
//!
//! Attacks answered here: an answer without a request, a port over 65535. Work per packet: its first 16 bytes.

use std::borrow::Cow;

use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::types::{Dir, Family, L4, L4s};
use cthelper_proto::Malformed;
use cthelper_proto::reader::Reader;

use crate::helper::{About, Cx, Framing, Helper, tcp};

/// As conntrackd registers it.
pub static MANIFEST: Manifest = Manifest {
    name: Cow::Borrowed("sane"),
    l4s: L4s::Tcp,
    families: Cow::Borrowed(&Family::ALL),
    classes: Cow::Borrowed(&[Class::new("sane", Scope::BothEnds, 1, 300)]),
    state_len: 4,
    ports: Cow::Borrowed(&[6566]),
    source: Cow::Borrowed("SANE standard 1.06, 5.2"),
};

const START: u32 = 7;
const AUTHORIZE: u32 = 9;
/// Where an answer has its port.
const PORT_AT: usize = 4;

/// The helper.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sane;

/// For the registry.
pub fn helper() -> Sane {
    Sane
}

impl Helper for Sane {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn about(&self) -> About {
        About { rewrites: true, attacks: &["answer without a request", "port over 65535"] }
    }

    fn framing(&self, _: L4) -> Framing {
        Framing::Datagram
    }

    fn message(&mut self, cx: &mut Cx<'_>, segment: &[u8]) -> Result<(), Malformed> {
        match cx.dir() {
            Dir::Orig => {
                let awaits = request(segment, awaits(cx));
                set_awaits(cx, awaits);
                Ok(())
            }
            Dir::Reply if awaits(cx) => answer(cx, segment),
            Dir::Reply => Ok(()),
        }
    }
}

/// Whether the next answer is that to a start.
fn awaits(cx: &Cx<'_>) -> bool {
    cx.memory().first().is_some_and(|byte| *byte != 0)
}

fn set_awaits(cx: &mut Cx<'_>, awaits: bool) {
    if let Some(byte) = cx.memory_mut().first_mut() {
        *byte = awaits.into();
    }
}

/// Whether a start is under way after this request; `before`: whether one was.
fn request(segment: &[u8], before: bool) -> bool {
    let Some((operation, rest)) = segment.split_first_chunk() else { return false };
    match u32::from_be_bytes(*operation) {
        START => rest.len() == 4,
        AUTHORIZE => before,
        _ => false,
    }
}

fn answer(cx: &mut Cx<'_>, segment: &[u8]) -> Result<(), Malformed> {
    if segment.len() == 4 {
        return Ok(()); // to AUTHORIZE
    }
    let read = read(segment);
    set_awaits(cx, read == Ok(Answer::Password));
    let Answer::Port(port) = read? else { return Ok(()) };
    let server = cx.sender();
    let Ok(grant) = cx.expect(tcp(0, server, port)) else { return Ok(()) };
    if grant.port == port {
        return Ok(());
    }
    cx.tell(&grant, PORT_AT..PORT_AT + 4, Some(u32::from(grant.port).to_be_bytes()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Port(u16),
    Password,
    Refused,
}

/// Status, port, byte order, resource (5.2.8).
fn read(segment: &[u8]) -> Result<Answer, Malformed> {
    let mut reader = Reader::new(segment);
    let (status, port) = (reader.be32("status")?, reader.be32("port")?);
    if status != 0 {
        return Ok(Answer::Refused);
    }
    if port == 0 {
        let resource = reader.be32("byte order").and_then(|_| reader.be32("resource"));
        return if resource.is_ok_and(|length| length > 0) { Ok(Answer::Password) } else { Err(Malformed("port 0")) };
    }
    u16::try_from(port).map(Answer::Port).map_err(|_| Malformed("port over 65535"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testkit::{Kernel, Net, Talk, talk};

    const START: &[u8] = &[0, 0, 0, 7, 0, 0, 0, 1];

    fn answer(status: u32, port: u32, resource: &str) -> Vec<u8> {
        let length = if resource.is_empty() { 0 } else { u32::try_from(resource.len() + 1).unwrap() };
        let mut out: Vec<u8> = [status, port, 0x1234, length].into_iter().flat_map(u32::to_be_bytes).collect();
        out.extend(resource.bytes().chain((length > 0).then_some(0)));
        out
    }

    fn started(net: Net, kernel: Kernel) -> Talk {
        talk(Sane).across(net).before(kernel).from_client(START).expects_nothing().passes_unchanged()
    }

    #[test]
    fn the_answer_to_a_start_expects_the_client_at_the_server() {
        started(Net::Plain4, Kernel::default())
            .from_server(answer(0, 40_000, ""))
            .expects(crate::testkit::tcp("10.0.2.2:40000"))
            .passes_unchanged()
            .well_formed()
            .from_server(answer(0, 40_001, ""))
            .expects_nothing();
        started(Net::Plain6, Kernel::default())
            .restarted()
            .from_server(answer(0, 40_000, ""))
            .expects(crate::testkit::tcp("[2001:db8:2::2]:40000"));
    }

    #[test]
    fn another_port_is_told_behind_dnat_and_again_when_the_segment_is_repeated() {
        started(Net::Dnat4, Kernel::that_grants_from("10.0.1.1").at_port(40_001))
            .from_server(answer(0, 40_000, ""))
            .expects(crate::testkit::tcp("10.0.2.2:40000"))
            .passes_as(answer(0, 40_001, ""))
            .keeps_memory_when_repeated();
    }

    impl Talk {
        fn keeps_memory_when_repeated(self) {
            // The client's start comes again, late: no answer is awaited because of it.
            let seq = self.next_seq(Dir::Orig).wrapping_sub(8);
            self.segment(Dir::Orig, seq, START).keeps_state().from_server(answer(0, 50_000, "")).expects_nothing();
        }
    }

    #[test]
    fn a_password_may_be_asked_for_first() {
        let authorize = [&[0, 0, 0, 9][..], &[0; 24]].concat();
        started(Net::Plain4, Kernel::default())
            .from_server(answer(0, 0, "test"))
            .expects_nothing()
            .well_formed()
            .from_client(authorize)
            .from_server([0; 4])
            .from_server(answer(0, 40_000, ""))
            .expects(crate::testkit::tcp("10.0.2.2:40000"));
    }

    #[test]
    fn what_is_no_start_or_no_answer_to_one_announces_nothing() {
        for request in [&[0, 0, 0, 6, 0, 0, 0, 1][..], &[0, 0, 0, 7], &[0, 0, 0, 7, 0, 0, 0, 1, 0], &[0, 0, 7], &[7; 8]] {
            talk(Sane).from_client(request).from_server(answer(0, 40_000, "")).expects_nothing().well_formed();
        }
        let begun = || started(Net::Plain4, Kernel::default());
        begun().from_server(answer(3, 40_000, "")).expects_nothing().well_formed();
        begun().from_client([0, 0, 0, 8, 0, 0, 0, 1]).from_server(answer(0, 40_000, "")).expects_nothing();
        talk(Sane).from_server(answer(0, 40_000, "")).expects_nothing().well_formed();
    }

    #[test]
    fn bad_fields_are_named() {
        let begun = || started(Net::Plain4, Kernel::default());
        begun().from_server(answer(0, 65_536, "")).expects_nothing().malformed("port over 65535");
        begun().from_server(answer(0, 0, "")).expects_nothing().malformed("port 0");
        begun().from_server([0; 7]).expects_nothing().malformed("port");
        begun().from_server([0; 3]).expects_nothing().malformed("status");
    }

    proptest! {
        #[test]
        fn any_segments_are_read(segments in proptest::collection::vec((any::<bool>(), proptest::collection::vec(prop_oneof![Just(0u8), Just(7), any::<u8>()], 0..20)), 0..20)) {
            let mut talk = talk(Sane);
            for (client, segment) in segments {
                talk = if client { talk.from_client(&segment) } else { talk.from_server(&segment) };
                prop_assert!(talk.asked().len() <= 1);
            }
        }
    }
}
