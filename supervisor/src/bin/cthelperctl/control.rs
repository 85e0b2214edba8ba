//! The client's end of `control.sock`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use cthelper_proto::ctl::{Evidence, Reply, Request, Status};

use crate::exit::{Exit, Failure};

/// The daemon answers at once; replacing a worker takes it a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes an answer may have: some 3000 helpers' status.
const ANSWER_MAX: u64 = 1 << 20;

/// Asks the daemon that serves `runtime_dir`.
pub fn ask(runtime_dir: &Path, request: &Request) -> Result<Reply, Failure> {
    let socket = runtime_dir.join("control.sock");
    let stream = UnixStream::connect(&socket).map_err(|error| unreachable_daemon(&socket, &error))?;
    let line = exchange(&stream, request).map_err(|error| unanswered(&error))?;
    serde_json::from_str(&line).map_err(|error| unreadable(&line, &error))
}

/// An answer of another version; from 0.1.0 on a status says which.
fn unreadable(line: &str, error: &serde_json::Error) -> Failure {
    let answer = serde_json::from_str::<serde_json::Value>(line).unwrap_or_default();
    let ours = env!("CARGO_PKG_VERSION");
    let words = match answer.get("version").and_then(serde_json::Value::as_str) {
        Some(theirs) => {
            format!("cthelperd is of version {theirs}, this is {ours}, and its answer cannot be read ({error}): restart it")
        }
        None => format!("cthelperd's answer cannot be read ({error}): is it of another version than {ours}?"),
    };
    Failure::new(Exit::Software, words)
}

/// How the helpers are.
pub fn status(runtime_dir: &Path) -> Result<Status, Failure> {
    match ask(runtime_dir, &Request::Status)? {
        Reply::Status(status) => Ok(status),
        other => Err(out_of_place(&other)),
    }
}

/// Where it keeps evidence.
pub fn evidence(runtime_dir: &Path) -> Result<Evidence, Failure> {
    match ask(runtime_dir, &Request::Evidence)? {
        Reply::Evidence(evidence) => Ok(evidence),
        other => Err(out_of_place(&other)),
    }
}

/// Has something done.
pub fn order(runtime_dir: &Path, request: &Request) -> Result<(), Failure> {
    match ask(runtime_dir, request)? {
        Reply::Done => Ok(()),
        other => Err(out_of_place(&other)),
    }
}

/// Has the configuration read again; returns what became of it, a line for each change.
pub fn reload(runtime_dir: &Path) -> Result<String, Failure> {
    match ask(runtime_dir, &Request::Reload)? {
        Reply::Reloaded { applied, waiting } => {
            let applied = applied.iter().map(|change| format!("applied: {change}\n"));
            let waiting = waiting.iter().map(|change| format!("waits for a restart of the daemon: {change}\n"));
            let lines: String = applied.chain(waiting).collect();
            Ok(if lines.is_empty() { "nothing has changed\n".to_owned() } else { lines })
        }
        Reply::Failed { reason } => Err(Failure::new(Exit::Config, reason)),
        other => Err(out_of_place(&other)),
    }
}

fn out_of_place(reply: &Reply) -> Failure {
    match reply {
        Reply::Failed { reason } => Failure::new(Exit::Unavailable, format!("cthelperd: {reason}")),
        _ => Failure::new(Exit::Software, "cthelperd answered another question: is it of another version?"),
    }
}

/// One line there, one line back, without its newline.
fn exchange(stream: &UnixStream, request: &Request) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    (&*stream).write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_MAX)).read_line(&mut answer)?;
    match answer.pop() {
        Some('\n') => Ok(answer),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

pub(crate) fn unreachable_daemon(socket: &Path, error: &io::Error) -> Failure {
    let path = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            Exit::Unavailable,
            format!("no cthelperd here, {path} does not exist: start it (systemctl start cthelperd), or name its --runtime-dir"),
        ),
        io::ErrorKind::ConnectionRefused => Failure::new(
            Exit::Unavailable,
            format!("no cthelperd listens at {path}, it has ended without cleaning up: start it (systemctl start cthelperd)"),
        ),
        io::ErrorKind::PermissionDenied => Failure::new(Exit::Permission, format!("not allowed to open {path}: try sudo")),
        _ => Failure::new(Exit::Unavailable, format!("cannot connect to {path}: {error}")),
    }
}

pub(crate) fn unanswered(error: &io::Error) -> Failure {
    let words = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "cthelperd does not answer".to_owned(),
        io::ErrorKind::UnexpectedEof => "cthelperd closed the connection without a whole answer".to_owned(),
        _ => format!("talking to cthelperd failed: {error}"),
    };
    Failure::new(Exit::Unavailable, words)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::thread;

    use super::*;

    /// A folder of our own, gone when dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("cthelperctl-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Serves one client with `answer`, and returns what it asked.
    fn daemon(folder: &Folder, answer: &'static str) -> thread::JoinHandle<String> {
        let listener = UnixListener::bind(folder.0.join("control.sock")).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            asked
        })
    }

    #[test]
    fn one_line_goes_there_and_one_comes_back() {
        let folder = Folder::new("order");
        let served = daemon(&folder, "{\"is\":\"done\"}\n");
        order(&folder.0, &Request::Restart { helper: "ftp".to_owned() }).unwrap();
        assert_eq!(served.join().unwrap(), "{\"do\":\"restart\",\"helper\":\"ftp\"}\n");
    }

    #[test]
    fn a_refusal_is_the_daemons_words() {
        let folder = Folder::new("refusal");
        let served = daemon(&folder, "{\"is\":\"failed\",\"reason\":\"no helper\\u001b[2J here\"}\n");
        let failure = order(&folder.0, &Request::Enable { helper: "x".to_owned() }).unwrap_err();
        served.join().unwrap();
        assert_eq!(failure.exit, Exit::Unavailable);
        assert_eq!(failure.to_string(), "cthelperd: no helper\\u{1b}[2J here");
    }

    #[test]
    fn an_answer_that_is_cut_off_or_foreign_is_reported() {
        for (answer, exit) in [
            ("", Exit::Unavailable),
            ("{\"is\":\"done\"}", Exit::Unavailable),
            ("hello\n", Exit::Software),
            ("{\"is\":\"done\"}\n", Exit::Software),
        ] {
            let folder = Folder::new(&format!("foreign-{}", answer.len()));
            let served = daemon(&folder, answer);
            assert_eq!(status(&folder.0).unwrap_err().exit, exit, "{answer:?}");
            served.join().unwrap();
        }
    }

    #[test]
    fn a_daemon_of_another_version_is_named() {
        let folder = Folder::new("version");
        let served = daemon(&folder, "{\"is\":\"status\",\"helpers\":7,\"version\":\"9.9\\u001b[2J\"}\n");
        let failure = status(&folder.0).unwrap_err();
        served.join().unwrap();
        assert_eq!(failure.exit, Exit::Software);
        let words = failure.to_string();
        assert!(words.starts_with("cthelperd is of version 9.9\\u{1b}[2J, this is "), "{words}");
    }

    #[test]
    fn no_daemon_is_said_so() {
        let folder = Folder::new("none");
        let failure = status(&folder.0).unwrap_err();
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.words.contains("does not exist"), "{}", failure.words);
        drop(UnixListener::bind(folder.0.join("control.sock")).unwrap());
        assert!(status(&folder.0).unwrap_err().words.contains("ended without cleaning up"));
    }
}
