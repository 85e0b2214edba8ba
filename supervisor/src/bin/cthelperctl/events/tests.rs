use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;

use super::*;

/// A folder with a broker's socket, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cthelperctl-events-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Serves one subscriber with `answer`, and returns what it asked.
    fn broker(&self, answer: &'static [u8]) -> thread::JoinHandle<String> {
        let listener = UnixListener::bind(self.0.join(SOCKET)).unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; 200];
            let length = stream.read(&mut asked).unwrap();
            stream.write_all(answer).unwrap();
            String::from_utf8(asked[..length].to_vec()).unwrap()
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn wanted(queue: u16) -> Options {
    Options { queue, format: None, count: false, timestamp: false, resync: false }
}

/// What was asked, what came out, and how it ended.
fn served(name: &str, wanted: &Options, answer: &'static [u8]) -> (String, String, Failure) {
    let folder = Folder::new(name);
    let broker = folder.broker(answer);
    let path = folder.0.join("out");
    let failure = run(wanted, &folder.0, &mut File::create(&path).unwrap()).unwrap_err();
    (broker.join().unwrap(), std::fs::read_to_string(path).unwrap(), failure)
}

#[test]
fn frames_are_copied_until_the_stream_ends() {
    let options = Options { format: Some(cli::Format::Json), timestamp: true, resync: true, ..wanted(7) };
    let answer = b"{\"ok\":{\"queue\":7,\"format\":\"json\"}}\n{\"event\":\"new\"}\n{\"notice\":\"gap\"}\n";
    let (asked, out, failure) = served("copy", &options, answer);
    assert_eq!(asked, "{\"queue\":7,\"format\":\"json\",\"timestamp\":true,\"resync\":true}\n");
    assert_eq!(out, "{\"event\":\"new\"}\n{\"notice\":\"gap\"}\n");
    assert_eq!(failure.exit, Exit::Unavailable);
    assert!(failure.words.contains("ended the stream"));
}

#[test]
fn a_denial_says_what_to_do() {
    let denied = |name, answer| served(name, &wanted(5), answer).2;
    let failure = denied("none", b"{\"error\":{\"code\":\"no-queue\",\"reason\":\"x\",\"queues\":[1,20]}}\n");
    assert_eq!((failure.exit, failure.words.as_str()), (Exit::NoInput, "there is no event queue 5, only 1, 20"));
    let failure = denied("forbidden", b"{\"error\":{\"code\":\"forbidden\",\"reason\":\"uid 7\"}}\n");
    assert_eq!(failure.exit, Exit::Permission);
    assert!(failure.words.contains("event queue 5 (uid 7): add yourself to its users or groups"));
    assert_eq!(denied("busy", b"{\"error\":{\"code\":\"busy\",\"reason\":\"64 subscribers\"}}\n").words, "64 subscribers");
    assert_eq!(denied("bad", b"{\"error\":{\"code\":\"bad-request\",\"reason\":\"x\"}}\n").exit, Exit::Software);
}

#[test]
fn an_answer_that_is_cut_off_or_foreign_is_reported() {
    for (name, answer, exit) in [
        ("empty", &b""[..], Exit::Unavailable),
        ("cut", b"{\"ok\":{\"queue\":7", Exit::Unavailable),
        ("foreign", b"hello\n", Exit::Software),
        ("another", b"{\"is\":\"done\"}\n", Exit::Software),
    ] {
        assert_eq!(served(name, &wanted(1), answer).2.exit, exit, "{name}");
    }
}

#[test]
fn a_count_asks_for_raw_and_prints_at_the_end() {
    let options = Options { count: true, ..wanted(1) };
    let (asked, out, _) = served("count", &options, b"{\"ok\":{\"queue\":1,\"format\":\"raw\"}}\n");
    assert!(asked.contains("\"format\":\"raw\""));
    assert_eq!(out, "new 0  update 0  destroy 0  expect-new 0  expect-destroy 0  lost 0  gaps 0\n");
}

#[test]
fn a_reader_that_is_gone_ends_it_quietly_though_nothing_comes() {
    let folder = Folder::new("pipe");
    let listener = UnixListener::bind(folder.0.join(SOCKET)).unwrap();
    let broker = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"{\"ok\":{\"queue\":1,\"format\":\"text\"}}\n").unwrap();
        stream
    });
    let (reader, writer) = nix::unistd::pipe().unwrap();
    drop(reader);
    assert_eq!(run(&wanted(1), &folder.0, &mut File::from(writer)), Ok(()));
    drop(broker.join().unwrap());
}

#[test]
fn no_daemon_is_said_so() {
    let folder = Folder::new("absent");
    let failure = run(&wanted(1), &folder.0, &mut File::create(folder.0.join("out")).unwrap()).unwrap_err();
    assert_eq!(failure.exit, Exit::Unavailable);
    assert!(failure.words.contains("does not exist"));
}

#[test]
fn a_terminal_gets_nothing_that_moves_its_cursor() {
    let mut bytes = b"helper=\x1b[2J\x9b2J\tx\n".to_vec();
    make_harmless(&mut bytes);
    assert_eq!(bytes, b"helper=?[2J?2J\tx\n");
}
