//! What `nfct add helper` knows of each helper: the definitions that conntrackd's helpers are compiled with.
//!
//! Checked against what nfct 1.4.7 sends for each of them. They differ from what cthelperd registers for its own helpers on
//! purpose: an object made by `nfct add` must look to other programs as if nfct had made it.

use cthelper_proto::netlink::cthelper::{DISABLED, Helper, Policy};
use cthelper_proto::types::L4;

use super::grammar::Key;

/// One definition. The only class is named after the helper.
struct Builtin {
    name: &'static str,
    l4: L4,
    /// Open expectations per connection.
    expect_max: u32,
    /// Seconds an expectation lives.
    timeout: u32,
    /// Private bytes per connection.
    state_len: u32,
}

const fn builtin(name: &'static str, l4: L4, expect_max: u32, timeout: u32, state_len: u32) -> Builtin {
    Builtin { name, l4, expect_max, timeout, state_len }
}

const BUILTINS: [Builtin; 12] = [
    builtin("amanda", L4::Udp, 3, 180, 0),
    builtin("dhcpv6", L4::Udp, 1, 300, 0),
    builtin("ftp", L4::Tcp, 1, 300, 24),
    builtin("mdns", L4::Udp, 8, 30, 0),
    builtin("rpc", L4::Tcp, 1, 300, 16),
    builtin("rpc", L4::Udp, 1, 300, 16),
    builtin("sane", L4::Tcp, 1, 300, 4),
    builtin("slp", L4::Udp, 8, 16, 0),
    builtin("ssdp", L4::Tcp, 8, 300, 0),
    builtin("ssdp", L4::Udp, 8, 300, 0),
    builtin("tftp", L4::Udp, 1, 300, 0),
    builtin("tns", L4::Tcp, 1, 300, 1),
];

/// The object `nfct add helper` makes, if it knows one of this name and protocol.
pub fn definition(key: &Key) -> Option<Helper> {
    let known = BUILTINS.iter().find(|known| known.name == key.name && known.l4 == key.l4)?;
    let class = Policy { name: known.name.to_owned(), expect_max: known.expect_max, timeout_secs: known.timeout };
    Some(Helper {
        name: key.name.clone(),
        family: u16::from(key.family.number()),
        l4: key.l4.number(),
        queue: 0,
        classes: vec![class],
        state_len: known.state_len,
        status: DISABLED,
    })
}

#[cfg(test)]
mod tests {
    use cthelper_proto::netlink::cthelper;
    use cthelper_proto::types::Family;

    use super::*;

    fn key(name: &str, l4: L4) -> Key {
        Key { name: name.to_owned(), family: Family::Inet6, l4 }
    }

    #[test]
    fn the_protocol_is_part_of_what_is_known() {
        assert!(definition(&key("ftp", L4::Tcp)).is_some());
        assert!(definition(&key("rpc", L4::Udp)).is_some());
        for unknown in [key("ftp", L4::Udp), key("dhcpv6", L4::Tcp), key("sip", L4::Udp), key("FTP", L4::Tcp), key("", L4::Tcp)] {
            assert_eq!(definition(&unknown), None, "{unknown:?}");
        }
    }

    /// The attributes of nfct 1.4.7's own request for `add helper tns inet6 tcp`, in the order in which we send them.
    #[test]
    fn a_definition_says_what_nfct_says() {
        let mut sent = Vec::new();
        cthelper::add(&mut sent, 1, &definition(&key("tns", L4::Tcp)).unwrap());
        let policy = b"\x1c\x00\x02\x80\x08\x00\x01\x00tns\x00\x08\x00\x02\x00\x00\x00\x00\x01\x08\x00\x03\x00\x00\x00\x01\x2c";
        for part in [&b"\x08\x00\x01\x00tns\x00"[..], b"\x06\x00\x01\x00\x00\x0a\x00\x00\x05\x00\x02\x00\x06", policy] {
            assert!(sent.windows(part.len()).any(|window| window == part), "{part:x?} in {sent:x?}");
        }
        assert!(sent.ends_with(b"\x08\x00\x05\x00\x00\x00\x00\x01"), "private length 1 ends it: {sent:x?}");
        assert_eq!(sent.len(), 96, "as long as nfct's");
    }
}
