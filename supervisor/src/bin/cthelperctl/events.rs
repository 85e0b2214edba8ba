//! `events`: what one event queue tells, until the daemon ends it or the reader has seen enough.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use cthelper_proto::events_sock::{Answer, Denial, Denied, Format, Request, SOCKET};
use cthelper_supervisor::cli::ctl::events::{self as cli, Options};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::control::unreachable_daemon;
use crate::exit::{Exit, Failure};

mod count;

/// How long the broker may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes an answer may have: all 65536 numbers and some words.
const ANSWER_MAX: usize = 1 << 19;
/// Bytes read at once.
const PIECE: usize = 1 << 16;

/// Where frames go; it must be seen when nobody reads there any more.
pub trait Sink: Write + AsFd {}
impl<T: Write + AsFd> Sink for T {}

/// Prints them. Ends only by a signal, with its reader, or with the daemon.
pub fn run(wanted: &Options, runtime_dir: &Path, out: &mut impl Sink) -> Result<(), Failure> {
    let is_terminal = out.as_fd().is_terminal();
    if is_terminal && wanted.format == Some(cli::Format::Raw) {
        return Err(Failure::new(Exit::Usage, "raw messages are not for a terminal: redirect them"));
    }
    let socket = runtime_dir.join(SOCKET);
    let mut stream = UnixStream::connect(&socket).map_err(|error| unreachable_daemon(&socket, &error))?;
    let (format, first) = subscribe(&mut stream, request(wanted))?;
    if wanted.count {
        return count::run(&mut stream, &first, out);
    }
    if is_terminal && format == Format::Raw {
        return Err(Failure::new(
            Exit::Usage,
            "this queue's format is raw, not for a terminal: add --format text, or redirect it",
        ));
    }
    copy(&mut stream, first, is_terminal, out)
}

fn request(wanted: &Options) -> Request {
    let format = wanted.format.map(|format| match format {
        cli::Format::Text => Format::Text,
        cli::Format::Json => Format::Json,
        cli::Format::Raw => Format::Raw,
    });
    let format = if wanted.count { Some(Format::Raw) } else { format };
    Request { queue: wanted.queue, format, timestamp: wanted.timestamp, resync: wanted.resync }
}

/// Asks, and returns how frames look and those that came with the answer.
fn subscribe(stream: &mut UnixStream, request: Request) -> Result<(Format, Vec<u8>), Failure> {
    let (line, rest) = exchange(stream, request).map_err(|error| {
        let words = match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "cthelperd's broker does not answer".to_owned(),
            io::ErrorKind::UnexpectedEof => "cthelperd's broker closed the connection without an answer".to_owned(),
            _ => format!("talking to cthelperd's broker failed: {error}"),
        };
        Failure::new(Exit::Unavailable, words)
    })?;
    match serde_json::from_slice(&line) {
        Ok(Answer::Ok(granted)) => Ok((granted.format, rest)),
        Ok(Answer::Error(denied)) => Err(denial(request.queue, &denied)),
        Err(error) => {
            Err(Failure::new(Exit::Software, format!("the answer cannot be read ({error}): is it of another version?")))
        }
    }
}

/// One line there, one line back, and what followed it.
fn exchange(stream: &mut UnixStream, request: Request) -> io::Result<(Vec<u8>, Vec<u8>)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    // One that says no may have closed its end before it reads.
    let _ = stream.write_all(&line);
    let mut answer = Vec::new();
    let mut piece = vec![0; PIECE];
    while answer.len() < ANSWER_MAX {
        let length = stream.read(&mut piece)?;
        answer.extend_from_slice(piece.get(..length).unwrap_or_default());
        if let Some(end) = answer.iter().position(|byte| *byte == b'\n') {
            let rest = answer.split_off(end + 1);
            answer.pop();
            return Ok((answer, rest));
        }
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

fn denial(queue: u16, Denied { code, reason, queues }: &Denied) -> Failure {
    let there: Vec<String> = queues.iter().map(u16::to_string).collect();
    match code {
        Denial::NoQueue if there.is_empty() => Failure::new(Exit::NoInput, format!("there is no event queue {queue}: {reason}")),
        Denial::NoQueue => Failure::new(Exit::NoInput, format!("there is no event queue {queue}, only {}", there.join(", "))),
        Denial::Forbidden => Failure::new(
            Exit::Permission,
            format!("not allowed to read event queue {queue} ({reason}): add yourself to its users or groups, or try sudo"),
        ),
        Denial::Busy => Failure::new(Exit::Unavailable, reason.clone()),
        Denial::BadRequest => Failure::new(Exit::Software, format!("{reason}: is the daemon of another version?")),
    }
}

/// Frames to the reader, as they come.
fn copy(stream: &mut UnixStream, first: Vec<u8>, is_terminal: bool, out: &mut impl Sink) -> Result<(), Failure> {
    let mut piece = first;
    loop {
        if is_terminal {
            make_harmless(&mut piece);
        }
        out.write_all(&piece)?;
        out.flush()?;
        piece.resize(PIECE, 0);
        let length = match wait(stream.as_fd(), out.as_fd(), PollTimeout::NONE)? {
            Ready::Reader => return Ok(()),
            Ready::Time => 0,
            Ready::Frames => match receive(stream, &mut piece)? {
                0 => return Err(ended()),
                length => length,
            },
        };
        piece.truncate(length);
    }
}

fn receive(stream: &mut UnixStream, piece: &mut [u8]) -> Result<usize, Failure> {
    stream.read(piece).map_err(|error| Failure::new(Exit::Unavailable, format!("cthelperd's broker is gone: {error}")))
}

fn ended() -> Failure {
    Failure::new(Exit::Unavailable, "cthelperd ended the stream: it ends, reads a new configuration, or this reader was too slow")
}

/// What is there to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    /// Frames came, or the stream ended.
    Frames,
    /// Nobody reads what we write any more.
    Reader,
    /// The time is over, or a signal came.
    Time,
}

fn wait(stream: BorrowedFd<'_>, out: BorrowedFd<'_>, timeout: PollTimeout) -> Result<Ready, Failure> {
    // Nothing asked of `out`: an error is told all the same, which is how a pipe says that its reader is gone.
    let mut both = [PollFd::new(stream, PollFlags::POLLIN), PollFd::new(out, PollFlags::empty())];
    match poll(&mut both, timeout) {
        Ok(0) | Err(Errno::EINTR) => return Ok(Ready::Time),
        Ok(_) => {}
        Err(errno) => return Err(Failure::new(Exit::Software, format!("cannot wait: {}", errno.desc()))),
    }
    let [stream, out] = both.map(|one| one.any().unwrap_or(true));
    Ok(if out {
        Ready::Reader
    } else if stream {
        Ready::Frames
    } else {
        Ready::Time
    })
}

/// Only names come from elsewhere, and all are of printable ASCII; what is not could move a cursor.
fn make_harmless(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| !byte.is_ascii_graphic() && !b" \t\n".contains(byte)) {
        *byte = b'?';
    }
}

#[cfg(test)]
mod tests;
