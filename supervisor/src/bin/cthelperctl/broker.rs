//! The client's end of `events.sock`: one line there, one line back, then what was asked for.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use cthelper_proto::events_sock::{Denial, Denied};
use serde::Deserialize;

use crate::control::{unanswered, unreachable_daemon};
use crate::exit::{Exit, Failure};

/// The broker waits 3 s for the supervisor.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest first line, bytes.
const LINE: u64 = 4096;
/// Bytes the metrics may have: some 500 helpers'.
const METRICS: u64 = 4 << 20;

/// The first line of an answer.
#[derive(Deserialize)]
struct Answer {
    ok: Option<serde_json::Value>,
    error: Option<Denied>,
}

/// Connects, asks, and returns what follows a good answer.
pub fn ask(runtime_dir: &Path, request: &str) -> Result<BufReader<UnixStream>, Failure> {
    let socket = runtime_dir.join("events.sock");
    let stream = UnixStream::connect(&socket).map_err(|error| unreachable_daemon(&socket, &error))?;
    let exchanged = exchange(stream, request).map_err(|error| unanswered(&error));
    let (line, rest) = exchanged?;
    match serde_json::from_str::<Answer>(&line) {
        Ok(Answer { ok: Some(_), error: None }) => Ok(rest),
        Ok(Answer { ok: None, error: None }) => {
            Err(Failure::new(Exit::Software, "cthelperd answered another question: is it of another version?"))
        }
        Ok(Answer { error: Some(Denied { code, reason, .. }), .. }) => {
            let exit = if code == Denial::Forbidden { Exit::Permission } else { Exit::Unavailable };
            Err(Failure::new(exit, format!("cthelperd: {reason}")))
        }
        Err(error) => {
            let words = format!("cthelperd's answer cannot be read ({error}): is it of another version?");
            Err(Failure::new(Exit::Software, words))
        }
    }
}

fn exchange(stream: UnixStream, request: &str) -> std::io::Result<(String, BufReader<UnixStream>)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    (&stream).write_all(format!("{request}\n").as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    let is_there = next_line(&mut (&mut reader).take(LINE), &mut line)?;
    if is_there { Ok((line, reader)) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// Whether there is another line, which is then in `line`. What breaks off before a line's end is no answer.
pub fn next_line(answer: &mut impl BufRead, line: &mut String) -> std::io::Result<bool> {
    line.clear();
    let length = answer.read_line(line)?;
    if length > 0 && !line.ends_with('\n') { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(length > 0) }
}

/// The daemon's counters as OpenMetrics text.
pub fn metrics(runtime_dir: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let rest = ask(runtime_dir, r#"{"metrics":{}}"#)?;
    rest.take(METRICS).read_to_string(&mut text).map_err(|error| unanswered(&error))?;
    if text.ends_with("# EOF\n") { Ok(text) } else { Err(Failure::new(Exit::Software, "cthelperd's answer is cut off")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn answered(name: &str, answer: &'static str) -> Result<String, Failure> {
        let folder = std::env::temp_dir().join(format!("cthelperctl-broker-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let listener = UnixListener::bind(folder.join("events.sock")).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            line
        });
        let got = metrics(&folder);
        assert_eq!(server.join().unwrap(), "{\"metrics\":{}}\n");
        std::fs::remove_dir_all(folder).unwrap();
        got
    }

    #[test]
    fn whole_answers_are_taken_and_others_named() {
        assert_eq!(answered("good", "{\"ok\":\"metrics\"}\na 1\n# EOF\n").unwrap(), "a 1\n# EOF\n");
        assert_eq!(answered("short", "{\"ok\":\"metrics\"}").unwrap_err().exit, Exit::Unavailable);
        assert_eq!(answered("cut", "{\"ok\":\"metrics\"}\na 1\n").unwrap_err().exit, Exit::Software);
        assert_eq!(
            answered("no", "{\"error\":{\"code\":\"busy\",\"reason\":\"too many clients\"}}\n").unwrap_err().words,
            "cthelperd: too many clients"
        );
        assert_eq!(answered("empty", "").unwrap_err().exit, Exit::Unavailable);
        assert_eq!(answered("foreign", "SSH-2.0\n").unwrap_err().exit, Exit::Software);
    }
}
