//! What a client of `events.sock` may ask for: one line, one JSON object.

use cthelper_proto::events_sock::{self, Answer, Denial, Denied, Granted, MAX_REQUEST};
use serde::{Deserialize, Serialize};

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The counters, as OpenMetrics text.
    Metrics,
    /// The connections that have a helper, a JSON object a line.
    Flows,
    /// A queue's events.
    Events(events_sock::Request),
}

/// What is wanted once, `{"metrics":{}}` or `{"flows":{}}`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Once {
    Metrics(Nothing),
    Flows(Nothing),
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
        let wrong = || Asked::Wrong(format!("a request has at most {MAX_REQUEST} bytes"));
        return if bytes.len() < MAX_REQUEST { Asked::Incomplete } else { wrong() };
    };
    match serde_json::from_slice::<Once>(line) {
        Ok(Once::Metrics(Nothing {})) => return Asked::Wanted(Wanted::Metrics),
        Ok(Once::Flows(Nothing {})) => return Asked::Wanted(Wanted::Flows),
        Err(_) => {}
    }
    match serde_json::from_slice::<events_sock::Request>(line) {
        Ok(request) => Asked::Wanted(Wanted::Events(request)),
        Err(error) => Asked::Wrong(error.to_string()),
    }
}

/// The answer to one who gets nothing.
pub(super) fn denied(code: Denial, reason: &str, queues: Vec<u16>) -> Vec<u8> {
    line(&Answer::Error(Denied { code, reason: reason.to_owned(), queues }))
}

/// The answer to a subscriber.
pub(super) fn granted(granted: Granted) -> Vec<u8> {
    line(&Answer::Ok(granted))
}

/// `{"ok":"…"}`: what was wanted follows, up to the end.
pub(super) fn ok(what: &str) -> Vec<u8> {
    line(&serde_json::json!({ "ok": what }))
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
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
        assert_eq!(asked(b"{\"flows\":{}}\n"), Asked::Wanted(Wanted::Flows));
        assert_eq!(asked(b"{\"metrics\":{}}"), Asked::Incomplete);
        let Asked::Wanted(Wanted::Events(request)) = asked(b"{\"queue\":7,\"format\":\"json\"}\nrest") else { panic!() };
        assert_eq!((request.queue, request.resync), (7, false));
        let wrong: [&[u8]; 7] = [
            b"{\"metrics\":{},\"more\":1}\n",
            b"\n",
            b"{}\n",
            b"metrics\n",
            b"{\"metrics\":{\"x\":1}}\n",
            b"\xff\n",
            b"{\"queue\":65536}\n",
        ];
        for wrong in wrong {
            assert!(matches!(asked(wrong), Asked::Wrong(_)), "{}", wrong.escape_ascii());
        }
        assert_eq!(asked(&[b'{'; MAX_REQUEST]), Asked::Wrong("a request has at most 1024 bytes".to_owned()));
        assert_eq!(
            denied(Denial::Busy, "a \"b\"\n", Vec::new()),
            b"{\"error\":{\"code\":\"busy\",\"reason\":\"a \\\"b\\\"\\n\"}}\n"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            asked(&bytes);
        }
    }
}
