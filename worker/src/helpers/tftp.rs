//! TFTP (RFC 1350, 2347): a read or write request goes to port 69, and the server answers from a port of its own to the client's.
//!
//! Only a request announces, and only towards the server: what a server sends to port 69's flow is an error message or a stranger's doing.
//! The announcement is the packet's own source, so nothing is rewritten; where the client is translated, the supervisor expects the answer at
//! the translated port.
//!
//! Attacks answered here: requests without an end, with other modes than the three there are, options without a value.

use std::borrow::Cow;

use cthelper_proto::Malformed;
use cthelper_proto::manifest::{Class, Manifest, Scope};
use cthelper_proto::reader::Reader;
use cthelper_proto::types::{Dir, Family, L4s};

use crate::helper::{About, Cx, Helper, udp};
use crate::scan::Text;

/// Opcodes of RFC 1350 §5: read and write request, data, acknowledgement, error; and of RFC 2347: option acknowledgement.
const REQUESTS: [u16; 2] = [1, 2];
const LAST_OPCODE: u16 = 6;
const MODES: [&[u8]; 3] = [b"octet", b"netascii", b"mail"];

static MANIFEST: Manifest = Manifest {
    name: Cow::Borrowed("tftp"),
    l4s: L4s::Udp,
    families: Cow::Borrowed(&Family::ALL),
    classes: Cow::Borrowed(&[Class::new("tftp", Scope::BothEnds, 1, 300).udp().to_own_port()]),
    state_len: 0,
    ports: Cow::Borrowed(&[69]),
    source: Cow::Borrowed("RFC 1350, 2347"),
};

/// The helper; it keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tftp;

/// For the registry.
pub fn helper() -> Tftp {
    Tftp
}

impl Helper for Tftp {
    fn manifest(&self) -> &'static Manifest {
        &MANIFEST
    }

    fn about(&self) -> About {
        About { rewrites: false, attacks: &["request without an end", "unknown mode", "option without a value"] }
    }

    fn message(&mut self, cx: &mut Cx<'_>, message: &[u8]) -> Result<(), Malformed> {
        if cx.dir() == Dir::Reply {
            return Ok(());
        }
        let mut packet = Reader::new(message);
        let opcode = packet.be16("tftp opcode")?;
        if !REQUESTS.contains(&opcode) {
            return if (1..=LAST_OPCODE).contains(&opcode) { Ok(()) } else { Err(Malformed("tftp opcode")) };
        }
        let mut text = Text::new(packet.rest());
        text.until(0).filter(|name| !name.is_empty()).ok_or(Malformed("tftp file name"))?;
        let mode = text.until(0).ok_or(Malformed("tftp mode"))?;
        if !MODES.iter().any(|known| known.eq_ignore_ascii_case(mode)) {
            return Err(Malformed("tftp mode"));
        }
        // A refusal is counted by the supervisor.
        let _granted = cx.expect(udp(0, cx.sender(), cx.sender_port()));
        options(&mut text)
    }
}

/// Pairs of name and value, each with its zero (RFC 2347). They change nothing for us, so a request with bad ones has been announced all
/// the same: it is the server that will say no, from its own port.
fn options(text: &mut Text<'_>) -> Result<(), Malformed> {
    while text.peek().is_some() {
        text.until(0).zip(text.until(0)).ok_or(Malformed("tftp option"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testkit::{self, Net, talk};

    const READ: &[u8] = b"\0\x01pxelinux.0\0octet\0";

    #[test]
    fn requests_announce_the_clients_own_port() {
        for request in [READ, b"\0\x02up\0NetASCII\0", b"\0\x01f\0octet\0tsize\x000\0blksize\x001468\0"] {
            talk(Tftp).from_client(request).expects(testkit::udp("10.0.1.2:40000")).passes_unchanged().well_formed();
        }
        talk(Tftp).across(Net::Plain6).from_client(READ).expects(testkit::udp("[2001:db8:1::2]:40000"));
    }

    #[test]
    fn behind_nat_the_packet_stays_as_it_is() {
        for net in [Net::Snat4, Net::Dnat4] {
            talk(Tftp).across(net).from_client(READ).expects(testkit::udp("10.0.1.2:40000")).passes_unchanged();
        }
    }

    #[test]
    fn nothing_else_announces() {
        for other in [&b"\0\x03\0\x01data"[..], b"\0\x04\0\x01", b"\0\x05\0\x01gone\0", b"\0\x06tsize\x0099\0"] {
            talk(Tftp).from_client(other).expects_nothing().well_formed();
        }
        talk(Tftp).from_server(READ).expects_nothing().well_formed();
    }

    #[test]
    fn bad_requests_are_named() {
        for (request, field) in [
            (&b"\0"[..], "tftp opcode"),
            (b"\0\0f\0octet\0", "tftp opcode"),
            (b"\0\x07", "tftp opcode"),
            (b"\x01\0f\0octet\0", "tftp opcode"),
            (b"\0\x01", "tftp file name"),
            (b"\0\x01\0octet\0", "tftp file name"),
            (b"\0\x01no-end", "tftp file name"),
            (b"\0\x01f\0", "tftp mode"),
            (b"\0\x01f\0octet", "tftp mode"),
            (b"\0\x01f\0binary\0", "tftp mode"),
        ] {
            talk(Tftp).from_client(request).expects_nothing().passes_unchanged().malformed(field);
        }
    }

    #[test]
    fn a_bad_option_is_the_servers_to_refuse() {
        for request in [&b"\0\x01f\0octet\0blksize\0"[..], b"\0\x01f\0octet\0blksize", b"\0\x01f\0octet\0blksize\x001"] {
            talk(Tftp).from_client(request).expects(testkit::udp("10.0.1.2:40000")).malformed("tftp option");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(payload in prop::collection::vec(any::<u8>(), 0..600), head in any::<bool>()) {
            let payload = if head { [&b"\0\x01"[..], &payload].concat() } else { payload };
            let talk = talk(Tftp).from_client(&payload).passes_unchanged();
            prop_assert!(talk.asked().len() <= 1);
        }
    }
}
