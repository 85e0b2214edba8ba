//! The place in a line where an address and port are announced, and how it is written anew in the same form.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use cthelper_proto::Malformed;

use crate::scan::{Text, number};

/// An announcement in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// The address; `None` = the sender's own.
    pub(super) addr: Option<IpAddr>,
    /// The port, not 0.
    pub(super) port: u16,
    /// The bytes that are written anew when something else was granted.
    pub(super) span: Range<usize>,
    /// How they are written.
    pub(super) form: Form,
}

/// How an announcement is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `h1,h2,h3,h4,p1,p2` (RFC 959 §4.1.2).
    Six,
    /// `<d>af<d>addr<d>port<d>` with this delimiter (RFC 2428 §2).
    Extended(u8),
    /// The port alone.
    Port,
}

impl Spot {
    /// The text of another address and port in the same form; `None` if the form cannot say it.
    pub(super) fn render(&self, addr: IpAddr, port: u16) -> Option<String> {
        match (self.form, addr) {
            (Form::Six, IpAddr::V4(addr)) => {
                let ([a, b, c, d], [high, low]) = (addr.octets(), port.to_be_bytes());
                Some(format!("{a},{b},{c},{d},{high},{low}"))
            }
            (Form::Six, IpAddr::V6(_)) => None,
            (Form::Extended(delimiter), addr) => {
                let text = addr.to_string();
                // The announced delimiter may stand in the granted address: no address holds the usual one.
                let d = Some(char::from(delimiter)).filter(|d| !text.contains(*d)).unwrap_or('|');
                let family = if addr.is_ipv4() { 1 } else { 2 };
                Some(format!("{d}{family}{d}{text}{d}{port}{d}"))
            }
            (Form::Port, _) => Some(port.to_string()),
        }
    }
}

/// Six comma-separated numbers at the cursor, read whole. `None`: no six numbers stand here.
/// `Some(Err)`: they do, but say no address and port.
pub(super) fn six_numbers(text: &mut Text<'_>) -> Option<Result<Spot, Malformed>> {
    let start = text.offset();
    let mut bytes = [0u8; 6];
    let mut bad = None;
    for (index, byte) in bytes.iter_mut().enumerate() {
        if index > 0 && !text.eat(b',') {
            return None;
        }
        match number(text, 255)?.map(u8::try_from) {
            Ok(Ok(value)) => *byte = value,
            _ => bad = Some(Malformed("number over 255")),
        }
    }
    if text.peek() == Some(b',') {
        bad = bad.or(Some(Malformed("more than six numbers")));
    }
    let [a, b, c, d, high, low] = bytes;
    let port = u16::from_be_bytes([high, low]);
    if port == 0 {
        bad = bad.or(Some(Malformed("port 0")));
    }
    let addr = Some(Ipv4Addr::new(a, b, c, d).into());
    Some(bad.map_or(Ok(Spot { addr, port, span: start..text.offset(), form: Form::Six }), Err))
}

/// A port from 1 to 65535.
pub(super) fn port(text: &mut Text<'_>) -> Result<u16, Malformed> {
    match number(text, u32::from(u16::MAX)) {
        None => Err(Malformed("port missing")),
        Some(Err(_)) => Err(Malformed("port over 65535")),
        Some(Ok(value)) => u16::try_from(value).ok().filter(|port| *port > 0).ok_or(Malformed("port 0")),
    }
}

/// Whether a byte may delimit the fields of `EPRT` and 229: 33 to 126 (RFC 2428 §2). A digit could not be told from a port.
pub(super) fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii_graphic() && !byte.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Result<(String, Range<usize>), Malformed>> {
        let spot = six_numbers(&mut Text::new(text.as_bytes()))?;
        Some(spot.map(|spot| (format!("{}:{}", spot.addr.unwrap(), spot.port), spot.span)))
    }

    #[test]
    fn six_numbers_are_an_address_and_a_port() {
        assert_eq!(read("10,0,2,2,7,208"), Some(Ok(("10.0.2.2:2000".into(), 0..14))));
        assert_eq!(read("010,000,2,2,007,0208)."), Some(Ok(("10.0.2.2:2000".into(), 0..20))));
    }

    #[test]
    fn other_than_six_numbers_are_none_or_malformed() {
        assert_eq!(read("10,0,2,2,7"), None);
        assert_eq!(read("10,0,2,2,7,"), None);
        assert_eq!(read("10, 0,2,2,7,208"), None);
        assert_eq!(read("10,0,2,2,7,208,9"), Some(Err(Malformed("more than six numbers"))));
    }

    #[test]
    fn a_number_over_255_and_port_0_are_malformed() {
        assert_eq!(read("256,0,2,2,7,208"), Some(Err(Malformed("number over 255"))));
        assert_eq!(read("10,0,2,2,7,99999999999999999999"), Some(Err(Malformed("number over 255"))));
        assert_eq!(read("10,0,2,2,0,0"), Some(Err(Malformed("port 0"))));
    }

    #[test]
    fn ports_are_1_to_65535() {
        let read = |text: &str| port(&mut Text::new(text.as_bytes()));
        assert_eq!(read("65535|"), Ok(65_535));
        assert_eq!(read("00021"), Ok(21));
        assert_eq!(read("65536"), Err(Malformed("port over 65535")));
        assert_eq!(read("0"), Err(Malformed("port 0")));
        assert_eq!(read("|"), Err(Malformed("port missing")));
    }

    #[test]
    fn ipv6_is_written_in_its_canonical_form() {
        let spot = Spot { addr: None, port: 1, span: 0..0, form: Form::Extended(b'|') };
        let addr = "2001:0db8:0:0:1:0:0:1".parse().unwrap();
        assert_eq!(spot.render(addr, 2000).unwrap(), "|2|2001:db8::1:0:0:1|2000|");
        assert_eq!(Spot { form: Form::Six, ..spot.clone() }.render(addr, 2000), None);
        assert_eq!(Spot { form: Form::Extended(b':'), ..spot }.render(addr, 2000).unwrap(), "|2|2001:db8::1:0:0:1|2000|");
    }
}
