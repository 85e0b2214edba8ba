//! The broker's role: confine this process, say so, take the sockets, serve.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use cthelper_policy::config::QueueConfig;
use cthelper_policy::confine;
use nix::sys::prctl;
use nix::sys::socket::{SockType, getsockopt, sockopt};
use signal_hook::low_level::exit;

use super::hub::{Hub, Sockets};
use super::protocol::{FromBroker, Kind, ToBroker};
use crate::evidence::text::one_line;
use crate::seqpacket::{Heard, say, wait_for};
use crate::spawn::role::{Called, NOT_FOR_HANDS, called};
use crate::stderr::tell;
use crate::warden::trace_me;

/// First argument of a broker; uid and gid follow.
pub const ROLE: &str = "broker";
/// Longest last word, bytes.
const LAST_WORD: usize = 512;

/// Runs the role if the process was started for it; returns the exit code of a start that failed, `None` if this is another process.
pub fn run_if_broker() -> Option<u8> {
    let Called { uid, gid, more: [] } = match called(ROLE)? {
        Ok(called) => called,
        Err(wrong) => return Some(refuse(wrong)),
    };
    if getsockopt(&io::stdin(), sockopt::SockType) != Ok(SockType::SeqPacket) {
        return Some(refuse(NOT_FOR_HANDS));
    }
    let _ = prctl::set_name(c"cthelper-broker"); // or it would be called `exe`, after the path it was started by
    if uid == 0 || gid == 0 {
        return Some(refuse("it never runs as root")); // before it stops for a tracer that is not there
    }
    let _ = trace_me(); // where it is refused, its end has no cause but its signal
    let (landlock, own) = match confine::broker(uid, gid) {
        Ok(confined) => confined,
        Err(error) => return Some(refuse(&format!("confinement: {error}"))),
    };
    std::panic::set_hook(Box::new(|info| last_word(&info.to_string())));
    let link = io::stdin();
    let served = std::panic::catch_unwind(|| serve(&link, &FromBroker::Ready { landlock, own }));
    // From here on no call of std's end: the filter has none for it.
    exit(match served {
        Ok(Ok(())) => 0,
        Ok(Err(error)) => {
            last_word(&error.to_string());
            71
        }
        Err(_) => 101,
    })
}

fn refuse(reason: &str) -> u8 {
    tell(format_args!("broker: {reason}"));
    64
}

/// One bounded line on stderr, which the supervisor reads.
fn last_word(word: &str) {
    let line = format!("{}\n", one_line(word, LAST_WORD));
    let _ = nix::unistd::write(io::stderr(), line.as_bytes());
}

fn serve(link: &impl AsFd, ready: &FromBroker) -> io::Result<()> {
    say(link, ready, &[])?;
    match equipped(link)? {
        Some((sockets, queues)) => Hub::new(link.as_fd(), sockets, queues)?.run(),
        None => Ok(()),
    }
}

/// The sockets and queues that it is given until `Go`; `None` if the supervisor hangs up before.
fn equipped(link: &impl AsFd) -> io::Result<Option<(Sockets, Vec<QueueConfig>)>> {
    let (mut sockets, mut queues) = (Sockets::default(), Vec::new());
    loop {
        match wait_for::<ToBroker>(link)? {
            Heard::Message(ToBroker::Go, _) => return Ok(Some((sockets, queues))),
            Heard::Message(ToBroker::Socket(kind), mut beside) => {
                let socket: OwnedFd = beside.pop().filter(|_| beside.is_empty()).ok_or(io::ErrorKind::InvalidData)?;
                match kind {
                    Kind::Events => sockets.events = Some(socket),
                    Kind::Metrics => sockets.metrics = Some(socket),
                    Kind::Feed => sockets.feed = Some(socket),
                    Kind::Dump => sockets.dump = Some(socket),
                }
            }
            Heard::Message(ToBroker::Queue(setting), _) => queues.extend(setting.into_config()),
            Heard::Message(..) | Heard::Nothing => {}
            Heard::Hangup => return Ok(None),
        }
    }
}
