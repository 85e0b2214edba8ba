//! Words for the supervisor's log: one bounded line per message, one `write` per line.

use std::io::Write;
use std::panic::PanicHookInfo;

/// Longest line, bytes without its end; what is over is cut.
pub const MAX_LINE: usize = 512;

/// Writes `text` as one line to stderr. A log that nobody reads any more is no reason to stop.
pub fn line(text: &str) {
    let _ = std::io::stderr().write_all(escaped(text).as_bytes());
}

/// From now on a panic says where and why in one line, without a backtrace.
pub fn panics_in_one_line() {
    std::panic::set_hook(Box::new(|info| line(&panic_text(info))));
}

fn panic_text(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let why = text.unwrap_or("no message");
    match info.location() {
        Some(at) => format!("panic at {}:{}: {why}", at.file(), at.line()),
        None => format!("panic: {why}"),
    }
}

/// `text` in at most [`MAX_LINE`] printable ASCII bytes and a line feed.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_LINE) + 1);
    for byte in text.bytes() {
        let piece = byte.escape_ascii();
        if out.len() + piece.len() > MAX_LINE {
            break;
        }
        match byte {
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.extend(piece.map(char::from)),
        }
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_feed_or_escape_in_a_message_cannot_forge_a_second_line() {
        assert_eq!(escaped("a\nb\x1b[0m'\""), "a\\nb\\x1b[0m'\"\n");
    }

    #[test]
    fn a_long_message_is_cut() {
        assert_eq!(escaped(&"\n".repeat(2000)).len(), MAX_LINE + 1);
    }
}
