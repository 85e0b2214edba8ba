//! Multicast DNS (RFC 6762): a question to the group is answered by whoever knows, from port 5353 to the port that asked.
//!
//! This matters where the asker's port is not 5353 ("legacy unicast", §6.7), or it wants a unicast answer (§5.4). A question to one host is
//! answered by that host, which needs no expectation.
//!
//! Attacks answered here: counts that lie, names without an end, compression that points at itself or ahead. Names are walked over, never
//! expanded, so the work is linear in the packet.

use std::borrow::Cow;

use cthelper_proto::Malformed;
use cthelper_proto::ipc::Expect;
use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::reader::Reader;
use cthelper_proto::types::{Dir, Family, L4s};

use crate::helper::{About, Cx, Helper, answers};

const PORT: u16 = 5353;
/// Bits of the second word of a DNS header (RFC 1035 §4.1.1).
const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
/// Longest name, bytes (RFC 1035 §2.3.4).
const NAME: usize = 255;
const HEADER: usize = 12;

static MANIFEST: Manifest = Manifest {
    name: Cow::Borrowed("mdns"),
    l4s: L4s::Udp,
    families: Cow::Borrowed(&Family::ALL),
    classes: Cow::Borrowed(&[Class::new("mdns", Scope::AnyToEnd, 8, 30).udp().staying().to_own_port()]),
    state_len: 0,
    ports: Cow::Borrowed(&[PORT]),
    source: Cow::Borrowed("RFC 6762"),
};

/// The helper; it keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mdns;

/// For the registry.
pub fn helper() -> Mdns {
    Mdns
}

impl Helper for Mdns {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn about(&self) -> About {
        About { rewrites: false, attacks: &["counts that lie", "name without an end", "compression that loops"] }
    }

    fn message(&mut self, cx: &mut Cx<'_>, message: &[u8]) -> Result<(), Malformed> {
        if cx.dir() == Dir::Reply || !asks(message)? || !cx.asks_many() {
            return Ok(());
        }
        // A refusal is counted by the supervisor.
        let _granted = cx.expect(Expect { sport: Some(PORT), ..answers(0, cx) });
        Ok(())
    }
}

/// Whether the message holds a question. One that only lists known answers belongs to another that did (RFC 6762 §7.2).
fn asks(message: &[u8]) -> Result<bool, Malformed> {
    let mut header = Reader::new(message);
    let [_id, flags, questions] = [header.be16("dns header")?, header.be16("dns header")?, header.be16("dns header")?];
    header.take(6, "dns header")?;
    if flags & RESPONSE != 0 {
        return Ok(false);
    }
    if flags & OPCODE != 0 {
        return Err(Malformed("dns opcode"));
    }
    let mut body = header;
    for _ in 0..questions {
        name(message.len(), &mut body)?;
        body.take(4, "dns question")?;
    }
    Ok(questions > 0)
}

/// Walks over a name in a message of `whole` bytes. A pointer ends it, and must lead to where an earlier name may stand.
fn name(whole: usize, body: &mut Reader<'_>) -> Result<(), Malformed> {
    const BAD: Malformed = Malformed("dns name");
    let start = whole.saturating_sub(body.rest().len());
    let mut length = 0;
    loop {
        let head = body.u8(BAD.0)?;
        match head >> 6 {
            0 if head == 0 => return Ok(()),
            0 => {
                length += usize::from(head) + 1;
                body.take(usize::from(head), BAD.0)?;
            }
            3 => {
                let target = usize::from(head & 0x3f) << 8 | usize::from(body.u8(BAD.0)?);
                return if (HEADER..start).contains(&target) { Ok(()) } else { Err(BAD) };
            }
            _ => return Err(BAD),
        }
        if length >= NAME {
            return Err(BAD);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testkit::{Net, answers_from, talk};

    const GROUP: &str = "224.0.0.251";

    /// A message with these flags, this count of questions, and this behind the header.
    fn message(flags: u16, questions: u16, body: &[u8]) -> Vec<u8> {
        let words = [0, flags, questions, 0, 0, 0].map(u16::to_be_bytes).concat();
        [&words[..], body].concat()
    }

    const IPP: &[u8] = b"\x04_ipp\x04_tcp\x05local\0\0\x0c\0\x01";

    #[test]
    fn a_question_to_the_group_expects_answers_from_port_5353_of_anybody() {
        talk(Mdns)
            .to(GROUP)
            .from_client(message(0, 1, IPP))
            .expects(answers_from(Some(5353), "10.0.1.2:40000"))
            .passes_unchanged()
            .well_formed();
        talk(Mdns)
            .across(Net::Plain6)
            .to("ff02::fb")
            .from_client(message(0, 1, IPP))
            .expects(answers_from(Some(5353), "[2001:db8:1::2]:40000"));
    }

    #[test]
    fn a_second_question_may_point_back_at_the_first_name() {
        let two = [IPP, b"\x04_ssh\xc0\x11\0\x0c\0\x01"].concat();
        talk(Mdns).to(GROUP).from_client(message(0, 2, &two)).expects(answers_from(Some(5353), "10.0.1.2:40000")).well_formed();
    }

    #[test]
    fn answers_known_answers_and_questions_to_one_host_expect_nothing() {
        talk(Mdns).to(GROUP).from_client(message(0x8400, 0, b"whatever")).expects_nothing().well_formed();
        talk(Mdns).to(GROUP).from_client(message(0, 0, b"whatever")).expects_nothing().well_formed();
        talk(Mdns).from_client(message(0, 1, IPP)).expects_nothing().well_formed();
        talk(Mdns).to(GROUP).from_server(message(0, 1, IPP)).expects_nothing();
    }

    #[test]
    fn what_is_no_question_is_named() {
        let long = [[&[63][..], &[b'a'; 63]].concat().repeat(4), b"\0\0\x0c\0\x01".to_vec()].concat();
        for (bad, field) in [
            (vec![0; 11], "dns header"),
            (message(0x2800, 1, IPP), "dns opcode"),
            (message(0, 1, b""), "dns name"),
            (message(0, 2, IPP), "dns name"),
            (message(0, u16::MAX, IPP), "dns name"),
            (message(0, 1, b"\x04_ip"), "dns name"),
            (message(0, 1, b"\xc0\x0c\0\x0c\0\x01"), "dns name"),
            (message(0, 1, b"\x01a\xc0\x0c\0\x0c\0\x01"), "dns name"),
            (message(0, 1, b"\xc0\xff\0\x0c\0\x01"), "dns name"),
            (message(0, 1, b"\xc0\0\0\x0c\0\x01"), "dns name"),
            (message(0, 1, b"\x40a\0\0\x0c\0\x01"), "dns name"),
            (message(0, 1, &long), "dns name"),
            (message(0, 1, b"\x01a\0\0\x0c"), "dns question"),
        ] {
            talk(Mdns).to(GROUP).from_client(bad).expects_nothing().passes_unchanged().malformed(field);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(flags in any::<u16>(), questions in any::<u16>(), body in prop::collection::vec(any::<u8>(), 0..600)) {
            let talk = talk(Mdns).to(GROUP).from_client(message(flags, questions, &body)).from_client(&body).passes_unchanged();
            prop_assert!(talk.asked().len() <= 1);
        }
    }
}
