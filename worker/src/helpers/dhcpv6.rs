//! DHCP for IPv6 (RFC 8415): a client asks the group of servers and relays; any of them answers, from its own address, to the client's port 546.
//! A relay that asks the group of servers is answered to the port it asked from (547).
//!
//! Attacks answered here: types that do not exist, options longer than the message, relays of relays without an end (the message inside is
//! not opened), a relayed nothing.

use std::borrow::Cow;

use cthelper_proto::Malformed;
use cthelper_proto::ipc::Expect;
use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::reader::Reader;
use cthelper_proto::types::{Dir, Family, L4s};

use crate::helper::{About, Cx, Helper, answers};

/// Where clients listen (RFC 8415 §7.2).
const CLIENT: u16 = 546;
/// How long a question is kept without traffic, seconds: `SOL_MAX_RT` (RFC 3315 §5.5). The kernel's 30 would take the expectation along.
const SOLICITED: u32 = 120;
/// What may become of a relayed message on its way: `HOP_COUNT_LIMIT` of RFC 3315 §5.5; RFC 8415 says 8.
const HOPS: u8 = 32;
/// `OPTION_RELAY_MSG`.
const RELAYED: u16 = 9;

static MANIFEST: Manifest = Manifest {
    name: Cow::Borrowed("dhcpv6"),
    l4s: L4s::Udp,
    families: Cow::Borrowed(&[Family::Inet6]),
    classes: Cow::Borrowed(&[Class::new("dhcpv6", Scope::AnyToEnd, 1, 300).udp().staying().to_own_port().to_reserved(CLIENT).keeping_master(SOLICITED)]),
    state_len: 0,
    ports: Cow::Borrowed(&[547]),
    source: Cow::Borrowed("RFC 8415, 5007"),
};

/// The helper; it keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dhcpv6;

/// For the registry.
pub fn helper() -> Dhcpv6 {
    Dhcpv6
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Nobody,
    Client,
    Relay,
}

impl Helper for Dhcpv6 {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn about(&self) -> About {
        About { rewrites: false, attacks: &["unknown type", "option longer than the message", "relays without an end"] }
    }

    fn message(&mut self, cx: &mut Cx<'_>, message: &[u8]) -> Result<(), Malformed> {
        if cx.dir() == Dir::Reply {
            return Ok(());
        }
        let dport = match asks(message)? {
            Asks::Nobody => return Ok(()),
            Asks::Client => CLIENT,
            Asks::Relay => cx.sender_port(),
        };
        if cx.asks_many() {
            // A refusal is counted by the supervisor.
            let _granted = cx.expect(Expect { dport, ..answers(0, cx) });
        }
        Ok(())
    }
}

/// The types of RFC 8415 §7.3, and the lease query of RFC 5007 and 5460.
fn asks(message: &[u8]) -> Result<Asks, Malformed> {
    let mut reader = Reader::new(message);
    let asks = match reader.u8("dhcpv6 type")? {
        // Solicit, request, confirm, renew, rebind, release, decline, information request; lease query.
        1 | 3..=6 | 8 | 9 | 11 | 14 => Asks::Client,
        12 => return relayed(&mut reader),
        13 => return Ok(Asks::Nobody),
        // Advertise, reply, reconfigure; answers to lease queries.
        2 | 7 | 10 | 15..=17 => Asks::Nobody,
        _ => return Err(Malformed("dhcpv6 type")),
    };
    reader.take(3, "dhcpv6 transaction")?;
    options(&mut reader, |_, _| ())?;
    Ok(asks)
}

/// Hop count, link and peer address, options; one of these is the message that is relayed (RFC 8415 §9).
fn relayed(reader: &mut Reader<'_>) -> Result<Asks, Malformed> {
    if reader.u8("dhcpv6 hops")? > HOPS {
        return Err(Malformed("dhcpv6 hops"));
    }
    reader.take(32, "dhcpv6 relay")?;
    let mut holds_message = false;
    options(reader, |code, value| holds_message |= code == RELAYED && !value.is_empty())?;
    if holds_message { Ok(Asks::Relay) } else { Err(Malformed("dhcpv6 relay")) }
}

/// Code, length and value of each (RFC 8415 §21.1).
fn options(reader: &mut Reader<'_>, mut each: impl FnMut(u16, &[u8])) -> Result<(), Malformed> {
    while !reader.is_empty() {
        let code = reader.be16("dhcpv6 option")?;
        let length = reader.be16("dhcpv6 option")?;
        each(code, reader.take(usize::from(length), "dhcpv6 option")?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testkit::{Net, Talk, answers_from, talk};

    fn asking() -> Talk {
        talk(Dhcpv6).across(Net::Plain6).to("ff02::1:2").from_port(546)
    }

    fn message(kind: u8, options: &[u8]) -> Vec<u8> {
        [&[kind, 1, 2, 3][..], options].concat()
    }

    fn relay(hops: u8, options: &[u8]) -> Vec<u8> {
        [&[12, hops][..], &[0xfe; 32], options].concat()
    }

    const ELAPSED: &[u8] = &[0, 8, 0, 2, 0, 0];

    #[test]
    fn a_client_that_asks_expects_answers_at_port_546_from_anybody() {
        for kind in [1, 3, 4, 5, 6, 8, 9, 11, 14] {
            let asked = asking().from_client(message(kind, ELAPSED));
            asked.expects(answers_from(None, "[2001:db8:1::2]:546")).passes_unchanged().well_formed();
        }
        let from_elsewhere = asking().from_port(40_000).from_client(message(1, ELAPSED));
        from_elsewhere.expects(answers_from(None, "[2001:db8:1::2]:546"));
    }

    #[test]
    fn a_relay_expects_answers_where_it_asks() {
        let asked = asking().to("ff05::1:3").from_port(547).from_client(relay(0, &[0, 9, 0, 4, 1, 1, 2, 3]));
        asked.expects(answers_from(None, "[2001:db8:1::2]:547")).well_formed();
    }

    #[test]
    fn answers_and_questions_to_one_server_expect_nothing() {
        for kind in [2, 7, 10, 15, 16, 17] {
            asking().from_client(message(kind, ELAPSED)).expects_nothing().well_formed();
        }
        asking().from_client([13, 0]).expects_nothing().well_formed();
        asking().from_server(message(1, ELAPSED)).expects_nothing();
        asking().to("2001:db8:2::2").from_client(message(1, ELAPSED)).expects_nothing().well_formed();
    }

    #[test]
    fn what_is_no_question_is_named() {
        for (bad, field) in [
            (vec![], "dhcpv6 type"),
            (message(0, b""), "dhcpv6 type"),
            (message(200, b""), "dhcpv6 type"),
            (vec![1, 2], "dhcpv6 transaction"),
            (message(1, &[0]), "dhcpv6 option"),
            (message(1, &[0, 8, 0]), "dhcpv6 option"),
            (message(1, &[0, 8, 0, 3, 0, 0]), "dhcpv6 option"),
            (message(1, &[0, 8, 0xff, 0xff]), "dhcpv6 option"),
            (vec![12], "dhcpv6 hops"),
            (relay(33, &[0, 9, 0, 1, 1]), "dhcpv6 hops"),
            (vec![12, 0, 1, 2, 3], "dhcpv6 relay"),
            (relay(0, b""), "dhcpv6 relay"),
            (relay(0, &[0, 9, 0, 0]), "dhcpv6 relay"),
            (relay(0, &[0, 9, 0, 9, 1]), "dhcpv6 option"),
        ] {
            asking().from_client(bad).expects_nothing().passes_unchanged().malformed(field);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(kind in 0..20_u8, body in prop::collection::vec(any::<u8>(), 0..300)) {
            let talk = asking().from_client([&[kind][..], &body].concat()).passes_unchanged();
            prop_assert!(talk.asked().len() <= 1);
        }
    }
}
