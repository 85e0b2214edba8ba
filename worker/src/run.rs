//! The worker process: greet, confine, serve, end.
//!
//! | exit | means |
//! |---|---|
//! | 0 | drained, or the supervisor is gone |
//! | 64 | wrong arguments or unknown helper |
//! | 70 | the supervisor broke the protocol |
//! | 71 | the operating system said no |
//! | 77 | it could not confine itself |
//! | 101 | the helper panicked; the oldest ticket without a verdict was in hand |

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use cthelper_policy::confine::seal_worker;
use cthelper_proto::ipc::{Answer, Ask, PacketHeader, ToWorker, VERSION};
use cthelper_proto::manifest::Listing;
use signal_hook::low_level::exit;

use crate::channel::{Asks, Broken, Inbox, Link};
use crate::helper::{About, Helper};
use crate::log;
use crate::serve::Server;

/// Why the worker ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All is answered.
    Drained,
    /// Bad arguments.
    Usage(String),
    /// A channel failed, in whatever way.
    Channel(Broken),
    /// The confinement could not be put on.
    Confine(String),
}

impl From<Broken> for Ended {
    fn from(broken: Broken) -> Self {
        Self::Channel(broken)
    }
}

impl Ended {
    /// The exit code, and a word for the log unless all is well.
    fn code(&self) -> (u8, Option<String>) {
        match self {
            Self::Drained | Self::Channel(Broken::Closed) => (0, None),
            Self::Usage(what) => (64, Some(what.clone())),
            Self::Channel(broken @ Broken::Fault(..)) => (71, Some(broken.to_string())),
            Self::Channel(broken) => (70, Some(broken.to_string())),
            Self::Confine(what) => (77, Some(what.clone())),
        }
    }
}

/// Exit code of a panic: Rust's own.
const PANICKED: u8 = 101;

/// The whole life of a worker named by its only argument; `find` knows the helpers. With `--list` before the name it only tells of the helper.
///
/// It ends by the bare system call: std's own end would take down its handlers' stack first, which the filter has no calls for.
pub fn main(find: impl Fn(&str) -> Option<Box<dyn Helper>>) -> ! {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let [flag, name] = &words[..]
        && flag == "--list"
    {
        let found: Vec<_> = name.to_str().and_then(&find).into_iter().collect();
        std::process::exit(if found.is_empty() { 64 } else { i32::from(list(&found) != ExitCode::SUCCESS) });
    }
    log::panics_in_one_line();
    let code = catch_unwind(AssertUnwindSafe(|| whole_life(find))).unwrap_or(PANICKED);
    exit(i32::from(code))
}

/// Tells of these helpers, as JSON on standard output; the exit code.
pub fn list(helpers: &[Box<dyn Helper>]) -> ExitCode {
    let listing = |helper: &dyn Helper| {
        let About { rewrites, attacks } = helper.about();
        let attacks = attacks.iter().map(|attack| (*attack).to_owned()).collect();
        Listing { manifest: helper.manifest().clone(), rewrites, attacks }
    };
    let listings: Vec<Listing> = helpers.iter().map(|helper| listing(&**helper)).collect();
    let written = serde_json::to_string(&listings).map_err(Into::into).and_then(|text| writeln!(std::io::stdout(), "{text}"));
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn whole_life(find: impl Fn(&str) -> Option<Box<dyn Helper>>) -> u8 {
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    let ended = helper_of(std::env::args_os().skip(1), find)
        .map_or_else(|ended| ended, |helper| live(helper, stdin.as_fd(), stdout.as_fd()));
    let (code, words) = ended.code();
    if let Some(words) = words {
        log::line(&format!("cthelper-worker: {words}"));
    }
    code
}

fn helper_of(
    mut args: impl Iterator<Item = std::ffi::OsString>,
    find: impl Fn(&str) -> Option<Box<dyn Helper>>,
) -> Result<Box<dyn Helper>, Ended> {
    let (Some(name), None) = (args.next(), args.next()) else {
        return Err(Ended::Usage("usage: cthelper-worker NAME".into()));
    };
    let name = name.to_string_lossy();
    find(&name).ok_or_else(|| Ended::Usage(format!("unknown helper: {name}")))
}

/// Greets, confines itself, and serves until the end.
fn live(helper: Box<dyn Helper>, packets: BorrowedFd<'_>, asks: BorrowedFd<'_>) -> Ended {
    match greet(helper, packets, asks) {
        Ok((mut server, mut inbox, mut link)) => match serve(&mut server, &mut inbox, &mut link) {
            Ok(never) => match never {},
            Err(ended) => ended,
        },
        Err(ended) => ended,
    }
}

type Ready<'fd> = (Server, Inbox<'fd>, Link<'fd>);

/// Hello, Welcome, confinement, Ready, Go. All memory that serving surely needs is there before the confinement.
fn greet<'fd>(helper: Box<dyn Helper>, packets: BorrowedFd<'fd>, asks: BorrowedFd<'fd>) -> Result<Ready<'fd>, Ended> {
    let mut asks = Asks::new(asks);
    let Answer::Welcome(settings) = asks.ask(&Ask::Hello(VERSION, helper.manifest().clone()))? else {
        return Err(Broken::OutOfTurn("answer to Hello").into());
    };
    let server = Server::new(helper, settings);
    let inbox = Inbox::new(packets);
    let confined = seal_worker().map_err(|error| Ended::Confine(error.to_string()))?;
    let Answer::Go = asks.ask(&Ask::Ready(confined))? else {
        return Err(Broken::OutOfTurn("answer to Ready").into());
    };
    Ok((server, inbox, Link::new(packets, asks)))
}

/// Receive, read, answer; for ever.
fn serve(server: &mut Server, inbox: &mut Inbox<'_>, link: &mut Link<'_>) -> Result<std::convert::Infallible, Ended> {
    loop {
        inbox.receive()?;
        for message in inbox.messages() {
            match message? {
                (ToWorker::Packet(header), payload) => packet(server, link, &header, payload)?,
                (ToWorker::FlowClosed(flow), []) => server.closed(flow),
                (ToWorker::Drain, []) => {
                    link.flush()?;
                    return Err(Ended::Drained);
                }
                (ToWorker::FlowClosed(_) | ToWorker::Drain, _) => return Err(Broken::OutOfTurn("payload").into()),
            }
        }
        link.flush()?;
    }
}

/// Reads one packet. A panic ends the process, after the verdicts of the packets before it have gone out.
fn packet(server: &mut Server, link: &mut Link<'_>, header: &PacketHeader, payload: &[u8]) -> Result<(), Broken> {
    let Ok(verdict) = catch_unwind(AssertUnwindSafe(|| server.packet(header, payload, link))) else {
        let _ = link.flush();
        exit(i32::from(PANICKED));
    };
    link.check()?;
    link.verdict(verdict)
}
