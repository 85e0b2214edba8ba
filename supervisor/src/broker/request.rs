//! What a client of `events.sock` may ask for: one line, one JSON object.

use serde::Deserialize;

/// Longest request, bytes with its line feed.
pub(super) const REQUEST: usize = 4096;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The counters, as OpenMetrics text.
    Metrics,
}

/// The object as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    metrics: Option<Nothing>,
}

/// `{}`: what is wanted has no particulars.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// What a client has sent so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// More is to come.
    Incomplete,
    /// This.
    Wanted(Wanted),
    /// It cannot be understood, and why.
    Wrong(String),
}

/// Reads the first line. What follows it is not looked at: a client has one wish.
pub(super) fn asked(bytes: &[u8]) -> Asked {
    let Some(line) = bytes.iter().position(|byte| *byte == b'\n').and_then(|end| bytes.get(..end)) else {
        let wrong = || Asked::Wrong(format!("a request has at most {REQUEST} bytes"));
        return if bytes.len() < REQUEST { Asked::Incomplete } else { wrong() };
    };
    match serde_json::from_slice::<Line>(line) {
        Ok(Line { metrics: Some(Nothing {}) }) => Asked::Wanted(Wanted::Metrics),
        Ok(Line { metrics: None }) => Asked::Wrong("nothing is asked for".to_owned()),
        Err(error) => Asked::Wrong(error.to_string()),
    }
}

/// `{"error":"…"}` as a line.
pub(super) fn error(reason: &str) -> Vec<u8> {
    let mut line = serde_json::json!({ "error": reason }).to_string().into_bytes();
    line.push(b'\n');
    line
}

/// `{"ok":"…"}` as a line.
pub(super) fn ok(what: &str) -> Vec<u8> {
    let mut line = serde_json::json!({ "ok": what }).to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_request_is_one_line_and_nothing_unknown_is_overlooked() {
        assert_eq!(asked(b"{\"metrics\":{}}\n"), Asked::Wanted(Wanted::Metrics));
        assert_eq!(asked(b"{\"metrics\":{}}"), Asked::Incomplete);
        assert_eq!(asked(b"{}\n"), Asked::Wrong("nothing is asked for".to_owned()));
        for wrong in [&b"{\"metrics\":{},\"more\":1}\n"[..], b"\n", b"metrics\n", b"{\"metrics\":{\"x\":1}}\n", b"\xff\n"] {
            assert!(matches!(asked(wrong), Asked::Wrong(_)), "{}", wrong.escape_ascii());
        }
        assert_eq!(asked(&[b'{'; REQUEST]), Asked::Wrong("a request has at most 4096 bytes".to_owned()));
        assert_eq!(error("a \"b\"\n"), b"{\"error\":\"a \\\"b\\\"\\n\"}\n");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            asked(&bytes);
        }
    }
}
