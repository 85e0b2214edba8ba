//! As much of HTTP as a scraper needs: `GET /metrics`, one request to a connection.

/// Longest request, bytes.
pub(super) const REQUEST: usize = 8192;

/// `Content-Type` of OpenMetrics text.
const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a client wants by what it has sent so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// More is to come.
    Incomplete,
    /// The metrics.
    Metrics,
    /// Something we do not have, with the status line's number and words.
    Other(&'static str),
}

/// Reads a request as far as it is there; the last `fresh` bytes are new since it was incomplete, and only there an end can be: a client that sends
/// byte by byte costs no more than one that does not. Its headers say nothing that matters here.
pub(super) fn asked(bytes: &[u8], fresh: usize) -> Asked {
    let tail = bytes.get(bytes.len().saturating_sub(fresh.saturating_add(3))..).unwrap_or_default();
    let is_complete = tail.windows(4).any(|end| end == b"\r\n\r\n") || tail.windows(2).any(|end| end == b"\n\n");
    if !is_complete {
        return if bytes.len() < REQUEST { Asked::Incomplete } else { Asked::Other("431 Request Header Fields Too Large") };
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let words: Vec<&str> = std::str::from_utf8(line).unwrap_or_default().trim_end().split(' ').collect();
    match words.as_slice() {
        ["GET", target, version] if version.starts_with("HTTP/1.") => {
            let path = target.split('?').next().unwrap_or_default();
            if path == "/metrics" { Asked::Metrics } else { Asked::Other("404 Not Found") }
        }
        [_, _, version] if version.starts_with("HTTP/1.") => Asked::Other("405 Method Not Allowed"),
        _ => Asked::Other("400 Bad Request"),
    }
}

/// A whole answer; the connection is closed behind it.
pub(super) fn answer(status: &str, body: &str) -> Vec<u8> {
    let kind = if status.starts_with("200") { TYPE } else { "text/plain; charset=utf-8" };
    let allow = if status.starts_with("405") { "Allow: GET\r\n" } else { "" };
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{allow}Connection: close\r\n\r\n{body}")
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_metrics_can_be_got() {
        let table: [(&[u8], Asked); 9] = [
            (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Asked::Metrics),
            (b"GET /metrics?a=b HTTP/1.0\r\n\r\n", Asked::Metrics),
            (b"GET /metrics HTTP/1.1\n\n", Asked::Metrics),
            (b"GET /metrics HTTP/1.1\r\n", Asked::Incomplete),
            (b"GET / HTTP/1.1\r\n\r\n", Asked::Other("404 Not Found")),
            (b"POST /metrics HTTP/1.1\r\n\r\n", Asked::Other("405 Method Not Allowed")),
            (b"\x16\x03\x01\r\n\r\n", Asked::Other("400 Bad Request")),
            (b"GET /metrics HTTP/2\r\n\r\n", Asked::Other("400 Bad Request")),
            (b"", Asked::Incomplete),
        ];
        for (bytes, wanted) in table {
            assert_eq!(asked(bytes, bytes.len()), wanted, "{}", bytes.escape_ascii());
        }
        assert_eq!(asked(&[b'x'; REQUEST], 1), Asked::Other("431 Request Header Fields Too Large"));
    }

    #[test]
    fn the_end_is_found_wherever_a_piece_ends() {
        for end in ["\r\n\r\n", "\n\n"] {
            let request = format!("GET /metrics HTTP/1.1\r\nHost: x{end}");
            for piece in 1..=request.len() {
                let mut told = Asked::Incomplete;
                for begin in (0..request.len()).step_by(piece) {
                    assert_eq!(told, Asked::Incomplete);
                    let there = request.len().min(begin + piece);
                    told = asked(&request.as_bytes()[..there], there - begin);
                }
                assert_eq!(told, Asked::Metrics, "in pieces of {piece}");
            }
        }
    }

    #[test]
    fn an_answer_says_how_long_it_is() {
        let text = String::from_utf8(answer("405 Method Not Allowed", "no\n")).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n") && text.contains("\r\nContent-Length: 3\r\nAllow: GET\r\n"),
            "{text}"
        );
        assert!(text.ends_with("\r\n\r\nno\n"), "{text}");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            asked(&bytes, bytes.len());
        }
    }
}
