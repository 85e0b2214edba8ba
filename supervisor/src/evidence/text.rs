//! A worker's words, made safe to keep and to show.

use cthelper_proto::events::Panic;

/// Longest message or location of a panic that is kept, bytes: a line of the worker's log.
const PANIC: usize = 512;

/// `bytes` as lines of printable ASCII; any other byte is written `\xNN`. Line feeds at the end are left out.
pub fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\n' | b' '..=b'~' => out.push(char::from(*byte)),
            b'\t' => out.push(' '),
            _ => {
                out.push_str("\\x");
                push_hex(&mut out, *byte);
            }
        }
    }
    out.truncate(out.trim_end_matches('\n').len());
    out
}

/// Two digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        push_hex(&mut out, *byte);
    }
    out
}

/// The bytes that [`hex`] wrote; none if it is anything else.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

fn push_hex(out: &mut String, byte: u8) {
    for digit in [byte >> 4, byte & 15] {
        out.extend(char::from_digit(digit.into(), 16));
    }
}

/// `text` on one line of printable ASCII, at most `limit` bytes.
pub fn one_line(text: &str, limit: usize) -> String {
    let mut line = escaped(text.as_bytes()).replace('\n', "\\n");
    line.truncate(limit); // ASCII, so any place is a boundary
    line
}

/// The panic that the last line of an [`escaped`] log tells of, in the form of the worker's `log.rs`:
/// `panic at FILE:LINE: MESSAGE`, or `panic: MESSAGE`.
pub fn panic_of(log: &str) -> Option<Panic> {
    let line = log.lines().next_back()?;
    let (location, message) = match line.strip_prefix("panic at ") {
        Some(rest) => {
            let (location, message) = rest.split_once(": ")?;
            (Some(one_line(location, PANIC)), message)
        }
        None => (None, line.strip_prefix("panic: ")?),
    };
    Some(Panic { message: one_line(message, PANIC), location })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_printable_bytes_and_line_feeds_stay() {
        assert_eq!(escaped(b"a\nb\x1b[2J\xe2\x80\xae\r\t\\x\n\n"), "a\nb\\x1b[2J\\xe2\\x80\\xae\\x0d \\x");
        assert_eq!(one_line("a\nb\u{202e}", 100), "a\\nb\\xe2\\x80\\xae");
        assert_eq!(one_line(&"\u{1b}".repeat(1000), 7).len(), 7);
    }

    #[test]
    fn hex_goes_there_and_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        assert_eq!((hex(&[0x0a, 0xf0]).as_str(), unhex("0"), unhex("zz"), unhex("é")), ("0af0", None, None, None));
    }

    #[test]
    fn a_panic_is_read_from_the_last_line() {
        let panic = panic_of("panic: earlier\npanic at worker/src/x.rs:12: asked: for\\nit").unwrap();
        assert_eq!((panic.location.as_deref(), panic.message.as_str()), (Some("worker/src/x.rs:12"), "asked: for\\nit"));
        let panic = panic_of("panic: no message").unwrap();
        assert_eq!((panic.location, panic.message.as_str()), (None, "no message"));
    }

    #[test]
    fn anything_else_is_no_panic_and_a_long_one_is_cut() {
        for log in ["", "panic", "panic at nowhere", "panic: said\nand went on", " panic: x"] {
            assert_eq!(panic_of(log), None, "{log:?}");
        }
        assert_eq!(panic_of(&format!("panic: {}", "x".repeat(5000))).unwrap().message.len(), PANIC);
    }
}
