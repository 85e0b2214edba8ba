//! What the client says.

use std::net::IpAddr;

use cthelper_proto::Malformed;

use super::spot::{Form, Spot, is_delimiter, port, six_numbers};
use crate::scan::{Text, ipv4, ipv6};

/// A command line, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// `PORT` or `EPRT`: the client will listen there.
    Announce(Spot),
    /// `EPSV ALL`: the client promises to use nothing but `EPSV` (RFC 2428 §4).
    EpsvAll,
    /// `PASV`, `EPSV` or `AUTH`: the next reply matters.
    Asks,
    /// `REIN`: all starts anew (RFC 959 §4.1.1).
    Reinitialize,
    /// Any other.
    Other,
}

/// Reads a command line. Commands are in any case (RFC 959 §5.3); spaces around the argument are tolerated, none within.
pub(super) fn read(line: &[u8]) -> Result<Command, Malformed> {
    if has_control(line) {
        return Err(Malformed("control byte in a command"));
    }
    let mut text = Text::new(line);
    let reader: fn(&mut Text<'_>) -> Result<Command, Malformed> = if text.word(b"PORT") {
        |text| Ok(Command::Announce(six_numbers(text).unwrap_or(Err(Malformed("PORT argument")))?))
    } else if text.word(b"EPRT") {
        |text| extended_port(text).map(Command::Announce)
    } else if text.word(b"EPSV") {
        |text| Ok(if text.word(b"ALL") { Command::EpsvAll } else { Command::Asks })
    } else if text.word(b"PASV") || text.word(b"AUTH") {
        |_| Ok(Command::Asks)
    } else if text.word(b"REIN") {
        |_| Ok(Command::Reinitialize)
    } else {
        return Ok(Command::Other);
    };
    if text.peek().is_some_and(|byte| byte != b' ') {
        return Ok(Command::Other);
    }
    text.take_while(|byte| byte == b' ');
    let command = reader(&mut text)?;
    text.take_while(|byte| byte == b' ');
    match command {
        Command::Announce(_) if !text.rest().is_empty() => Err(Malformed("bytes after the port")),
        command => Ok(command),
    }
}

/// `<d>1<d>IPv4<d>port<d>` or `<d>2<d>IPv6<d>port<d>`.
fn extended_port(text: &mut Text<'_>) -> Result<Spot, Malformed> {
    const SHORT: Malformed = Malformed("EPRT argument");
    let start = text.offset();
    let delimiter = text.byte().filter(|byte| is_delimiter(*byte)).ok_or(Malformed("EPRT delimiter"))?;
    let family = text.until(delimiter).ok_or(SHORT)?;
    let addr = text.until(delimiter).ok_or(SHORT)?;
    let addr: Option<IpAddr> = match family {
        b"1" => ipv4(addr).map(IpAddr::V4),
        b"2" => ipv6(addr).map(IpAddr::V6),
        _ => return Err(Malformed("EPRT family")),
    };
    let addr = Some(addr.ok_or(Malformed("EPRT address"))?);
    let port = port(text)?;
    if !text.eat(delimiter) {
        return Err(SHORT);
    }
    Ok(Spot { addr, port, span: start..text.offset(), form: Form::Extended(delimiter) })
}

/// Whether the line, of which the head is enough, is the first of an HTTP request (RFC 9112 §3): it starts with a method, which is never
/// an FTP command, and a space.
pub(super) fn is_http(head: &[u8]) -> bool {
    const METHODS: [&[u8]; 9] = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];
    METHODS.iter().any(|method| head.strip_prefix(*method).is_some_and(|rest| rest.first() == Some(&b' ')))
}

/// Whether a client that starts with this line speaks another protocol, such as TLS: a control byte that is not part of a telnet command
/// (IAC, 255, at the line's start; RFC 854).
pub(super) fn is_foreign(head: &[u8]) -> bool {
    const IAC: u8 = 255;
    head.first() != Some(&IAC) && has_control(head)
}

fn has_control(line: &[u8]) -> bool {
    line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(line: &str) -> Result<String, Malformed> {
        match read(line.as_bytes())? {
            Command::Announce(spot) => {
                Ok(format!("{} {} {}", spot.addr.unwrap(), spot.port, line.get(spot.span).unwrap()))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn port_in_any_case_and_with_spaces_around_its_argument() {
        for line in ["PORT 10,0,2,2,7,208", "port 10,0,2,2,7,208", "pOrT  10,0,2,2,7,208 "] {
            assert_eq!(announced(line).unwrap(), "10.0.2.2 2000 10,0,2,2,7,208");
        }
    }

    #[test]
    fn eprt_with_any_delimiter_and_family() {
        assert_eq!(announced("EPRT |1|132.235.1.2|6275|").unwrap(), "132.235.1.2 6275 |1|132.235.1.2|6275|");
        assert_eq!(announced("eprt !1!132.235.1.2!6275!").unwrap(), "132.235.1.2 6275 !1!132.235.1.2!6275!");
        assert_eq!(announced("EPRT :1:1.2.3.4:5:").unwrap(), "1.2.3.4 5 :1:1.2.3.4:5:");
        let long = "EPRT |2|1080:0000:0:0:8:800:200C:417A|5282|";
        assert_eq!(announced(long).unwrap(), "1080::8:800:200c:417a 5282 |2|1080:0000:0:0:8:800:200C:417A|5282|");
    }

    #[test]
    fn a_bad_argument_names_its_field() {
        for (line, field) in [
            ("PORT", "PORT argument"),
            ("PORT 1,2,3,4,5", "PORT argument"),
            ("PORT 1,2,3, 4,5,6", "PORT argument"),
            ("PORT -1,2,3,4,5,6", "PORT argument"),
            ("PORT 1,2,3,4,5,6,7", "more than six numbers"),
            ("PORT 1,2,3,4,5,6x", "bytes after the port"),
            ("PORT 1,2,3,4,5,6 7", "bytes after the port"),
            ("PORT 1,2,3,4,5,256", "number over 255"),
            ("PORT 1,2,3,4,0,0", "port 0"),
            ("EPRT", "EPRT delimiter"),
            ("EPRT 11|1.2.3.4|5|", "EPRT delimiter"),
            ("EPRT \u{e9}1\u{e9}", "EPRT delimiter"),
            ("EPRT |1", "EPRT argument"),
            ("EPRT |1|1.2.3.4", "EPRT argument"),
            ("EPRT |1|1.2.3.4|5", "EPRT argument"),
            ("EPRT |1|1.2.3.4|5|6", "bytes after the port"),
            ("EPRT |3|1.2.3.4|5|", "EPRT family"),
            ("EPRT |01|1.2.3.4|5|", "EPRT family"),
            ("EPRT ||1.2.3.4|5|", "EPRT family"),
            ("EPRT |1|::1|5|", "EPRT address"),
            ("EPRT |2|1.2.3.4|5|", "EPRT address"),
            ("EPRT |1||5|", "EPRT address"),
            ("EPRT :2:::1:5:", "EPRT address"),
            ("EPRT |1|1.2.3.4||", "port missing"),
            ("EPRT |1|1.2.3.4|0|", "port 0"),
            ("EPRT |1|1.2.3.4|65536|", "port over 65535"),
            ("PORT 1,2,3,4,5,6\0", "control byte in a command"),
            ("PO\0RT 1,2,3,4,5,6", "control byte in a command"),
            ("RETR a\rb", "control byte in a command"),
        ] {
            assert_eq!(read(line.as_bytes()), Err(Malformed(field)), "{line:?}");
        }
    }

    #[test]
    fn other_commands_do_not_matter() {
        for line in ["", "USER anonymous", "PORTER 1,2,3,4,5,6", "EPSV,ALL", "EPRT|1|1.2.3.4|5|", "PORT-1,2,3,4,5,6", "PASVE", "RETR f\u{fc}r", "\t"] {
            assert_eq!(read(line.as_bytes()), Ok(Command::Other), "{line:?}");
        }
        assert_eq!(read(b"\xff\xf4\xff\xf2ABOR"), Ok(Command::Other));
        assert_eq!(read(b"epsv  all"), Ok(Command::EpsvAll));
        for line in ["EPSV", "EPSV 2", "pasv", "PASV ", "AUTH TLS"] {
            assert_eq!(read(line.as_bytes()), Ok(Command::Asks), "{line:?}");
        }
        assert_eq!(read(b"REIN"), Ok(Command::Reinitialize));
    }

    #[test]
    fn another_protocol_is_known_by_the_head_of_its_first_line() {
        for line in ["GET / HTTP/1.1", "POST /aaaa", "OPTIONS *", "PUT "] {
            assert!(is_http(line.as_bytes()), "{line:?}");
        }
        for line in ["", "GET", "GETX /", "get x", "DELE x", " GET /", "PORT 1,2,3,4,5,6"] {
            assert!(!is_http(line.as_bytes()), "{line:?}");
        }
        assert!(is_foreign(b"\x16\x03\x01\x02") && is_foreign(b"\x80.\x01\0\x02") && is_foreign(b"USER a\0"));
        assert!(!is_foreign(b"USER anonymous") && !is_foreign(b"") && !is_foreign(b"\xff\xfb\x03USER a"));
    }
}
