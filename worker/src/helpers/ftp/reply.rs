//! What the server says.

use std::net::IpAddr;

use cthelper_proto::Malformed;

use super::spot::{Form, Spot, is_delimiter, port, six_numbers};
use crate::scan::{Text, ipv4, ipv6};

/// A reply line, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// `ddd-…`: the first line of a multi-line reply.
    Opens(u16),
    /// `ddd …`: the last line of a reply.
    Last(u16),
    /// Text within a multi-line reply, or nothing FTP knows.
    Text,
}

/// Reads a reply line. `inside`: the code of the multi-line reply it stands in, which only a line with the same code ends (RFC 959 §4.2).
pub(super) fn read(line: &[u8], inside: Option<u16>) -> Reply {
    let Some((code, more)) = code(line) else { return Reply::Text };
    match inside {
        Some(open) if open != code || more => Reply::Text,
        _ if more => Reply::Opens(code),
        _ => Reply::Last(code),
    }
}

/// The three digits a reply starts with, and whether more lines follow. A bare code without text is a last line, too.
fn code(line: &[u8]) -> Option<(u16, bool)> {
    let (digits, rest) = line.split_first_chunk::<3>()?;
    let more = match rest.first() {
        None | Some(b' ') => false,
        Some(b'-') => true,
        Some(_) => return None,
    };
    if !digits.iter().all(u8::is_ascii_digit) || !(b'1'..=b'6').contains(&digits[0]) {
        return None;
    }
    Some((digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0')), more))
}

/// Whether a line is how a server starts (RFC 959 §5.4): ready, ready soon, or not available.
pub(super) fn is_greeting(line: &[u8]) -> bool {
    matches!(code(line), Some((120 | 220 | 421, _)))
}

/// The announcement in `227 …`: the first place where six comma-separated numbers stand, with or without parentheses
/// (RFC 1123 §4.1.2.6). `None` if there is no such place (`227 Logout.`).
pub(super) fn passive(line: &[u8]) -> Result<Option<Spot>, Malformed> {
    only_one(line, |line, from| {
        let mut text = Text::new(line).at(from);
        loop {
            text.take_while(|byte| !byte.is_ascii_digit());
            let at_digits = text;
            text.peek()?;
            if let Some(found) = six_numbers(&mut text) {
                return Some(found);
            }
            text = at_digits;
            text.take_while(|byte| byte.is_ascii_digit());
        }
    })
}

/// The announcement in `229 … (<d><d><d>port<d>)` (RFC 2428 §3). Family and address, which should be empty, may be the sender's `own`.
/// `None` if no parenthesis holds such a thing.
pub(super) fn extended_passive(line: &[u8], own: &[IpAddr]) -> Result<Option<Spot>, Malformed> {
    only_one(line, |line, from| {
        let mut text = Text::new(line).at(from);
        loop {
            text.until(b'(')?;
            let mut inner = text;
            if let Some(found) = in_parentheses(&mut inner, own) {
                return Some(found.map(|(port, span)| Spot { addr: None, port, span, form: Form::Port }));
            }
        }
    })
}

/// The first announcement `find` sees in a reply line; a second one makes both worthless.
fn only_one(
    line: &[u8],
    find: impl Fn(&[u8], usize) -> Option<Result<Spot, Malformed>>,
) -> Result<Option<Spot>, Malformed> {
    const CODE: usize = 3;
    let Some(first) = find(line, CODE).transpose()? else { return Ok(None) };
    if line.iter().any(u8::is_ascii_control) {
        return Err(Malformed("control byte in a reply"));
    }
    match find(line, first.span.end) {
        None => Ok(Some(first)),
        Some(_) => Err(Malformed("two announcements")),
    }
}

/// `<d>[af]<d>[addr]<d>port<d>)`; the port, and where it stands. `None` if this is no such form.
fn in_parentheses(text: &mut Text<'_>, own: &[IpAddr]) -> Option<Result<(u16, std::ops::Range<usize>), Malformed>> {
    let delimiter = text.byte().filter(|byte| is_delimiter(*byte))?;
    // At most one byte: a search for the delimiter from each parenthesis on would be quadratic in the line.
    let family = text.take_while(|byte| matches!(byte, b'1' | b'2'));
    if family.len() > 1 || !text.eat(delimiter) {
        return None;
    }
    let addr = text.until(delimiter)?;
    if !is_own(family, addr, own) {
        return Some(Err(Malformed("229 address")));
    }
    let start = text.offset();
    let port = port(text);
    let span = start..text.offset();
    if !text.eat(delimiter) || !text.eat(b')') {
        return Some(Err(Malformed("229 port")));
    }
    Some(port.map(|port| (port, span)))
}

fn is_own(family: &[u8], addr: &[u8], own: &[IpAddr]) -> bool {
    let addr = match (family, addr) {
        (b"", b"") => return true,
        (b"1", addr) => ipv4(addr).map(IpAddr::V4),
        (b"2", addr) => ipv6(addr).map(IpAddr::V6),
        _ => None,
    };
    addr.is_some_and(|addr| own.contains(&addr))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pasv(line: &str) -> Result<Option<String>, Malformed> {
        Ok(passive(line.as_bytes())?.map(|spot| format!("{}:{} {}", spot.addr.unwrap(), spot.port, line.get(spot.span).unwrap())))
    }

    fn epsv(line: &str) -> Result<Option<(u16, &str)>, Malformed> {
        let own = ["10.0.2.2".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        Ok(extended_passive(line.as_bytes(), &own)?.map(|spot| (spot.port, line.get(spot.span).unwrap())))
    }

    #[test]
    fn a_227_with_and_without_parentheses() {
        let wanted = Ok(Some("10.0.2.2:2000 10,0,2,2,7,208".to_owned()));
        assert_eq!(pasv("227 Entering Passive Mode (10,0,2,2,7,208)."), wanted);
        assert_eq!(pasv("227 Entering Passive Mode 10,0,2,2,7,208"), wanted);
        assert_eq!(pasv("227 =10,0,2,2,7,208"), wanted);
        assert_eq!(pasv("227 RFC 1123, 4.1.2.6: 1,2,(10,0,2,2,7,208)"), wanted);
    }

    #[test]
    fn a_227_without_an_address_announces_nothing() {
        for line in ["227 Logout.", "227 ", "227", "227 Entering Passive Mode", "227 (10,0,2,2,7)", "227 (10, 0, 2, 2, 7, 208)"] {
            assert_eq!(pasv(line), Ok(None), "{line}");
        }
    }

    #[test]
    fn a_bad_227_names_its_field() {
        assert_eq!(pasv("227 (10,0,2,256,7,208)"), Err(Malformed("number over 255")));
        assert_eq!(pasv("227 (10,0,2,2,0,0)"), Err(Malformed("port 0")));
        assert_eq!(pasv("227 (10,0,2,2,7,208,1)"), Err(Malformed("more than six numbers")));
        assert_eq!(pasv("227 (10,0,2,2,7,208) (10,0,2,2,7,209)"), Err(Malformed("two announcements")));
        assert_eq!(pasv("227 (10,0,2,2,7,208) (10,0,2,2,7,999)"), Err(Malformed("two announcements")));
        assert_eq!(pasv("227 \0(10,0,2,2,7,208)"), Err(Malformed("control byte in a reply")));
    }

    #[test]
    fn a_229_with_any_delimiter() {
        assert_eq!(epsv("229 Entering Extended Passive Mode (|||6446|)"), Ok(Some((6446, "6446"))));
        assert_eq!(epsv("229 (ftp) ok (!!!00021!)."), Ok(Some((21, "00021"))));
        assert_eq!(epsv("229 ((((6446()"), Ok(Some((6446, "6446"))));
    }

    #[test]
    fn a_229_may_name_its_own_address_and_no_other() {
        assert_eq!(epsv("229 (|1|10.0.2.2|6446|)"), Ok(Some((6446, "6446"))));
        assert_eq!(epsv("229 (|2|2001:DB8:0::1|6446|)"), Ok(Some((6446, "6446"))));
        assert_eq!(epsv("229 (|1|10.0.2.3|6446|)"), Err(Malformed("229 address")));
        assert_eq!(epsv("229 (|1||6446|)"), Err(Malformed("229 address")));
        assert_eq!(epsv("229 (||10.0.2.2|6446|)"), Err(Malformed("229 address")));
    }

    #[test]
    fn a_bad_229_names_its_field() {
        assert_eq!(epsv("229 (|||0|)"), Err(Malformed("port 0")));
        assert_eq!(epsv("229 (|||65536|)"), Err(Malformed("port over 65535")));
        assert_eq!(epsv("229 (|||6446|"), Err(Malformed("229 port")));
        assert_eq!(epsv("229 (|||64 46|)"), Err(Malformed("229 port")));
        assert_eq!(epsv("229 (||||)"), Err(Malformed("port missing")));
        assert_eq!(epsv("229 (|||1|) (|||2|)"), Err(Malformed("two announcements")));
        assert_eq!(epsv("229 Entering (nothing)"), Ok(None));
        assert_eq!(epsv("229 |||6446|"), Ok(None));
    }

    #[test]
    fn only_the_same_code_ends_a_multi_line_reply() {
        assert_eq!(read(b"220-Welcome", None), Reply::Opens(220));
        assert_eq!(read(b"227 (10,0,2,2,7,208)", Some(220)), Reply::Text);
        assert_eq!(read(b"220-more", Some(220)), Reply::Text);
        assert_eq!(read(b" 220 text", Some(220)), Reply::Text);
        assert_eq!(read(b"220 done", Some(220)), Reply::Last(220));
        assert_eq!(read(b"220", Some(220)), Reply::Last(220));
    }

    #[test]
    fn what_is_no_code_is_text() {
        for line in ["", "22", "2200 x", "727 x", "027 x", "2x7 x", "227\tx", "welcome"] {
            assert_eq!(read(line.as_bytes(), None), Reply::Text, "{line:?}");
        }
    }
}
