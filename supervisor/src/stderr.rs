//! Words on stderr. Whoever reads them may be gone, or may have stopped to: no process of ours ends for that, and no lane waits.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Mutex;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::EnvFilter;

/// Bytes of a log line that are shown: what a pipe that is ready takes at once (`PIPE_BUF`, pipe(7)).
const LINE: usize = 4096;

/// Says one line, to a reader who has the time it takes.
pub fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// From now on this process logs on stderr; `CTHELPERD_LOG` chooses what.
pub fn start_log() {
    let filter = EnvFilter::try_from_env("CTHELPERD_LOG").unwrap_or_else(|_| "info".into());
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Mutex::new(Lines::to(io::stderr())));
    log.with_ansi(colours).with_target(false).compact().init();
}

/// Lines written while there is room for them. The others are counted, and the count is told when there is room again.
#[derive(Debug)]
struct Lines<F> {
    out: F,
    missed: u64,
}

impl<F: AsFd> Lines<F> {
    fn to(out: F) -> Self {
        Self { out, missed: 0 }
    }

    /// Whether the line, or its beginning, could be written at once.
    fn put(&self, line: &[u8]) -> bool {
        let mut ready = [PollFd::new(self.out.as_fd(), PollFlags::POLLOUT)];
        poll(&mut ready, PollTimeout::ZERO) == Ok(1) && nix::unistd::write(&self.out, &cut(line)).is_ok()
    }
}

/// Not longer than [`LINE`], and ended.
fn cut(line: &[u8]) -> Vec<u8> {
    let mut cut = line.to_vec();
    if line.len() > LINE {
        cut.truncate(LINE - 1);
        cut.push(b'\n');
    }
    cut
}

impl<F: AsFd> Write for Lines<F> {
    /// A whole line, as the log hands it over; never fails.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.missed > 0 && self.put(format!("{} lines of this log could not be written\n", self.missed).as_bytes()) {
            self.missed = 0;
        }
        if self.missed > 0 || !self.put(line) {
            self.missed = self.missed.saturating_add(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use nix::errno::Errno;
    use nix::fcntl::OFlag;
    use nix::unistd::{pipe2, read};

    use super::*;

    fn said(reader: &OwnedFd) -> String {
        let mut all = Vec::new();
        let mut piece = [0; 8192];
        while let Ok(length @ 1..) = read(reader, &mut piece) {
            all.extend_from_slice(&piece[..length]);
        }
        assert_eq!(read(reader, &mut piece), Err(Errno::EAGAIN));
        String::from_utf8(all).unwrap()
    }

    fn pipe() -> (OwnedFd, OwnedFd) {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        (reader, writer)
    }

    #[test]
    fn a_reader_who_stops_is_not_waited_for_and_told_later_how_much_there_was() {
        let (reader, writer) = pipe();
        let mut lines = Lines::to(writer);
        for n in 0..10_000 {
            assert_eq!(lines.write(format!("{n:0>100}\n").as_bytes()).unwrap(), 101);
        }
        let (before, missed) = (said(&reader), lines.missed);
        let whole = u64::try_from(before.lines().filter(|line| line.len() == 100).count()).unwrap();
        assert!(missed > 0 && whole > 0 && whole + missed == 10_000, "{whole} + {missed}");
        lines.write_all(b"again\n").unwrap();
        assert_eq!((said(&reader), lines.missed), (format!("{missed} lines of this log could not be written\nagain\n"), 0));
    }

    #[test]
    fn a_reader_who_is_gone_ends_nothing() {
        let (reader, writer) = pipe();
        drop(reader);
        let mut lines = Lines::to(writer);
        lines.write_all(b"hello\n").unwrap();
        assert_eq!(lines.missed, 1);
    }

    #[test]
    fn a_line_of_any_length_is_one_line() {
        let (reader, writer) = pipe();
        let mut lines = Lines::to(writer);
        lines.write_all(&[b"x".repeat(100_000), b"\n".to_vec()].concat()).unwrap();
        assert_eq!(said(&reader), "x".repeat(LINE - 1) + "\n");
    }
}
