//! Addresses in text.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Text, number};

/// Longest IPv6 text: eight groups, the last two as an IPv4 address (RFC 4291 §2.2), bytes.
const IPV6_MAX: usize = 45;

/// All of `text` as an IPv4 address in four decimal numbers; leading zeros mean nothing, unlike in the standard library.
pub fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut text = Text::new(text);
    let mut octets = [0u8; 4];
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 && !text.eat(b'.') {
            return None;
        }
        *octet = u8::try_from(number(&mut text, 255)?.ok()?).ok()?;
    }
    text.rest().is_empty().then(|| octets.into())
}

/// All of `text` as an IPv6 address in any valid form (RFC 4291 §2.2), without a zone.
pub fn ipv6(text: &[u8]) -> Option<Ipv6Addr> {
    if text.len() > IPV6_MAX {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_takes_four_numbers_and_nothing_else() {
        assert_eq!(ipv4(b"192.0.2.1"), Some([192, 0, 2, 1].into()));
        assert_eq!(ipv4(b"010.000.002.1"), Some([10, 0, 2, 1].into()));
        for bad in ["", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.4 ", " 1.2.3.4", "1..2.3", "0x1.2.3.4", "1.2.3.4\0"] {
            assert_eq!(ipv4(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn ipv6_takes_any_valid_form() {
        let wanted: Ipv6Addr = "2001:db8::1".parse().unwrap();
        for good in ["2001:db8::1", "2001:0DB8:0:0:0:0:0:1", "2001:db8:0:0::1", "2001:db8::0.0.0.1"] {
            assert_eq!(ipv6(good.as_bytes()), Some(wanted), "{good}");
        }
        for bad in ["", "::1%eth0", "[::1]", ":::", "1.2.3.4", "2001:db8::1::2", "::1\0", "12345::"] {
            assert_eq!(ipv6(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(ipv6(&[b'0'; 46]), None);
    }
}
