//! Service Location Protocol (version 2: RFC 2608; version 1: RFC 2165): a request to the group, or by broadcast, is answered by whoever
//! has the service, from port 427 to the port that asked.
//!
//! A request to one agent is answered by that agent, which needs no expectation.
//!
//! Attacks answered here: other versions, functions that do not exist, lengths that are not the datagram's.

use std::borrow::Cow;

use cthelper_proto::Malformed;
use cthelper_proto::ipc::Expect;
use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::reader::Reader;
use cthelper_proto::types::{Dir, Family, L4s};

use crate::helper::{About, Cx, Helper, answers};

const PORT: u16 = 427;
/// Requests for services, attributes and types of services (RFC 2608 §8); the numbers of RFC 2165 §4 are the same.
const REQUESTS: [u8; 3] = [1, 6, 9];
/// The highest function of RFC 2608; RFC 2165 has 10.
const LAST_FUNCTION: u8 = 11;

static MANIFEST: Manifest = Manifest {
    name: Cow::Borrowed("slp"),
    l4s: L4s::Udp,
    families: Cow::Borrowed(&Family::ALL),
    classes: Cow::Borrowed(&[Class::new("slp", Scope::AnyToEnd, 8, 16).udp().staying().to_own_port()]),
    state_len: 0,
    ports: Cow::Borrowed(&[PORT]),
    source: Cow::Borrowed("RFC 2608, 2165, 3111"),
};

/// The helper; it keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slp;

/// For the registry.
pub fn helper() -> Slp {
    Slp
}

impl Helper for Slp {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn about(&self) -> About {
        About { rewrites: false, attacks: &["unknown version or function", "length that is not the datagram's"] }
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

/// Whether the message is a request that many may answer.
fn asks(message: &[u8]) -> Result<bool, Malformed> {
    let mut header = Reader::new(message);
    let version = header.u8("slp version")?;
    let function = header.u8("slp function")?;
    let length = match version {
        1 => version_1(&mut header)?,
        2 => version_2(&mut header)?,
        _ => return Err(Malformed("slp version")),
    };
    if !(1..=LAST_FUNCTION).contains(&function) {
        return Err(Malformed("slp function"));
    }
    if length != message.len() {
        return Err(Malformed("slp length"));
    }
    Ok(REQUESTS.contains(&function))
}

/// Length 2, flags 1, dialect 1, language 2, encoding 2, id 2 (RFC 2165 §4).
fn version_1(header: &mut Reader<'_>) -> Result<usize, Malformed> {
    let length = header.be16("slp header")?;
    header.take(8, "slp header")?;
    Ok(usize::from(length))
}

/// Length 3, flags 2, extension 3, id 2, language tag with its length 2 (RFC 2608 §8).
fn version_2(header: &mut Reader<'_>) -> Result<usize, Malformed> {
    let [high, middle, low] = *header.array("slp header")?;
    header.take(7, "slp header")?;
    let tag = header.be16("slp header")?;
    header.take(usize::from(tag), "slp language")?;
    Ok(usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testkit::{Net, answers_from, talk};

    const GROUP: &str = "239.255.255.253";

    fn v2(function: u8, body: &[u8]) -> Vec<u8> {
        let length = u8::try_from(16 + body.len()).unwrap();
        [&[2, function, 0, 0, length, 0x20, 0, 0, 0, 0, 0, 7, 0, 2, b'e', b'n'][..], body].concat()
    }

    fn v1(function: u8, body: &[u8]) -> Vec<u8> {
        let length = u8::try_from(12 + body.len()).unwrap();
        [&[1, function, 0, length, 0, 0, b'e', b'n', 0, 3, 0, 7][..], body].concat()
    }

    #[test]
    fn requests_to_many_expect_answers_from_port_427_of_anybody() {
        for request in [v2(1, b"\0\0\0\x0fservice:printer\0\0\0\0\0\0"), v2(6, b""), v2(9, b"x"), v1(1, b""), v1(6, b"yz")] {
            for group in [GROUP, "224.0.1.22", "255.255.255.255", "10.0.1.255"] {
                talk(Slp).to(group).from_client(&request).expects(answers_from(Some(427), "10.0.1.2:40000")).well_formed();
            }
        }
        let six = talk(Slp).across(Net::Plain6).to("ff02::1:1000").from_client(v2(1, b""));
        six.expects(answers_from(Some(427), "[2001:db8:1::2]:40000"));
    }

    #[test]
    fn other_functions_replies_and_requests_to_one_agent_expect_nothing() {
        for function in [2, 3, 4, 5, 7, 8, 10, 11] {
            talk(Slp).to(GROUP).from_client(v2(function, b"")).expects_nothing().well_formed();
        }
        talk(Slp).from_client(v2(1, b"")).expects_nothing().well_formed();
        talk(Slp).to(GROUP).from_server(v2(1, b"")).expects_nothing();
    }

    #[test]
    fn what_is_no_request_is_named() {
        let longer = [v2(1, b""), b"x".to_vec()].concat();
        for (bad, field) in [
            (vec![], "slp version"),
            (vec![2], "slp function"),
            (vec![3; 20], "slp version"),
            (v2(0, b""), "slp function"),
            (v2(12, b""), "slp function"),
            (v2(1, b"")[..13].to_vec(), "slp header"),
            (v1(1, b"")[..11].to_vec(), "slp header"),
            (v2(1, b"")[..15].to_vec(), "slp language"),
            (longer, "slp length"),
            ([v1(1, b""), b"x".to_vec()].concat(), "slp length"),
        ] {
            talk(Slp).to(GROUP).from_client(bad).expects_nothing().passes_unchanged().malformed(field);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(version in 0..4_u8, body in prop::collection::vec(any::<u8>(), 0..300)) {
            let talk = talk(Slp).to(GROUP).from_client([&[version][..], &body].concat()).passes_unchanged();
            prop_assert!(talk.asked().len() <= 1);
        }
    }
}
