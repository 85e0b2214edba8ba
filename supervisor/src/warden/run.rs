//! The warden's life: listen to the supervisor until it seals, confine itself, then serve the lanes until the supervisor is gone.
//!
//! It waits in one place, for: orders of lanes, ends of children, the supervisor's end. It reads no stranger's bytes, and what a lane
//! may say is two words.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Stdio};

use cthelper_policy::confine::{self, ConfineError};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::children::{Children, Name};
use super::protocol::{Instruction, News, Order, Sealed};
use crate::seqpacket::{DESCRIPTORS, Heard, hear, say, wait_for};
use crate::spawn::{Recipe, RoleRecipe};
use crate::stderr::tell;
use crate::{broker, keeper};

/// First argument of a warden.
pub const ROLE: &str = "warden";

/// Children one lane may have at a time: its worker, its spares, and those that are just ending.
const CHILDREN: usize = 16;

/// Runs the role if the process was started for it; returns its exit code, `None` if this is another process.
pub fn run_if_warden() -> Option<u8> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != ROLE || args.next().is_some() {
        return None;
    }
    match run(std::io::stdin().as_fd()) {
        Ok(()) => Some(0),
        Err(reason) => {
            tell(format_args!("cthelperd: warden: {reason}"));
            Some(71)
        }
    }
}

fn run(boot: BorrowedFd<'_>) -> Result<(), String> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| format!("set the parent-death signal: {error}"))?;
    let Some(posts) = hired(boot).map_err(|error| format!("hear what to make: {error}"))? else { return Ok(()) };
    let ends = children_signal().map_err(|error| format!("listen for ends of workers: {error}"))?;
    confine(&posts).map_err(|error| error.to_string())?;
    say(boot, &Sealed, &[]).map_err(|error| format!("say that it serves: {error}"))?;
    let mut warden = Warden { posts, children: Children::default() };
    let served = warden.serve(boot, &ends).map_err(|error| format!("serve: {error}"));
    warden.children.kill_those(|_| true);
    served
}

/// From here on only what these posts were told of can be executed.
fn confine(posts: &[Desk]) -> Result<(), ConfineError> {
    let (mut programs, mut folders) = (Vec::new(), Vec::new());
    for desk in posts {
        match &desk.trade {
            Trade::Workers(recipe) => {
                programs.push(recipe.launcher.as_path());
                folders.extend(recipe.worker.parent());
            }
            Trade::Keepers(recipe) | Trade::Brokers(recipe) => programs.push(recipe.program.as_path()),
        }
    }
    confine::warden(&programs, &folders).map(drop)
}

/// The posts the supervisor tells of until it seals; `None` if it is gone before.
fn hired(boot: BorrowedFd<'_>) -> io::Result<Option<Vec<Desk>>> {
    let mut posts = Vec::new();
    loop {
        match wait_for::<Instruction>(boot)? {
            Heard::Message(Instruction::Seal, _) => return Ok(Some(posts)),
            Heard::Message(Instruction::Post(recipe), mut beside) => {
                let channel = beside.pop().ok_or(io::ErrorKind::InvalidData)?;
                posts.push(Desk::new(Trade::Workers(recipe), channel));
            }
            Heard::Message(Instruction::Keeper(recipe), mut beside) => {
                let channel = beside.pop().ok_or(io::ErrorKind::InvalidData)?;
                posts.push(Desk::new(Trade::Keepers(recipe), channel));
            }
            Heard::Message(Instruction::Broker(recipe), mut beside) => {
                let channel = beside.pop().ok_or(io::ErrorKind::InvalidData)?;
                posts.push(Desk::new(Trade::Brokers(recipe), channel));
            }
            Heard::Nothing => {}
            Heard::Hangup => return Ok(None),
        }
    }
}

/// A descriptor that is readable when a child has ended. The signal is blocked in this process alone: std unblocks it in children.
fn children_signal() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}

/// What is made at a post.
enum Trade {
    /// Workers of a lane; they end with it.
    Workers(Recipe),
    /// Keepers; they last.
    Keepers(RoleRecipe),
    /// Brokers; they end with us.
    Brokers(RoleRecipe),
}

impl Trade {
    /// Starts one, with the descriptors that came beside the order.
    fn start(&self, beside: Vec<OwnedFd>) -> Result<Child, String> {
        let mut command = match self {
            Self::Workers(recipe) => {
                let [packets, asks, log] = exactly::<DESCRIPTORS>(beside)?;
                let mut command = recipe.command();
                command.stdin(Stdio::from(packets)).stdout(Stdio::from(asks)).stderr(Stdio::from(log));
                command
            }
            Self::Keepers(recipe) => {
                let [listener] = exactly(beside)?;
                let mut command = recipe.command(keeper::run::ROLE);
                // It outlives whoever reads its words.
                command.stdin(Stdio::from(listener)).stdout(Stdio::null()).stderr(Stdio::null());
                command
            }
            Self::Brokers(recipe) => {
                let [link, log] = exactly(beside)?;
                let mut command = recipe.command(broker::run::ROLE);
                command.stdin(Stdio::from(link)).stdout(Stdio::null()).stderr(Stdio::from(log));
                command
            }
        };
        command.spawn().map_err(|error| error.to_string())
    }
}

fn exactly<const N: usize>(beside: Vec<OwnedFd>) -> Result<[OwnedFd; N], String> {
    <[OwnedFd; N]>::try_from(beside).map_err(|beside| format!("{N} descriptors are needed, {} came", beside.len()))
}

/// The warden's end of a post.
struct Desk {
    trade: Trade,
    /// `None` when the lane is over.
    channel: Option<OwnedFd>,
    /// News for which the channel has had no room.
    unsaid: VecDeque<News>,
}

impl Desk {
    fn new(trade: Trade, channel: OwnedFd) -> Self {
        Self { trade, channel: Some(channel), unsaid: VecDeque::new() }
    }

    fn tell(&mut self, news: News) {
        self.unsaid.push_back(news);
        self.catch_up();
    }

    fn catch_up(&mut self) {
        let Some(channel) = &self.channel else { return self.unsaid.clear() };
        while let Some(news) = self.unsaid.front() {
            match say(channel, news, &[]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => drop(self.unsaid.pop_front()),
            }
        }
    }
}

struct Warden {
    posts: Vec<Desk>,
    children: Children,
}

impl Warden {
    /// Until the supervisor hangs up.
    fn serve(&mut self, boot: BorrowedFd<'_>, ends: &SignalFd) -> io::Result<()> {
        loop {
            let stirred = self.wait(boot, ends)?;
            if stirred.supervisor_gone {
                return Ok(());
            }
            while let Ok(Some(_)) = ends.read_signal() {}
            self.attend_children();
            for post in stirred.posts {
                self.obey(post);
            }
        }
    }

    /// Children that stand still go on, and those that ended are told of.
    fn attend_children(&mut self) {
        while let Some((Name { post, generation }, end)) = self.children.next_end() {
            if let Some(desk) = self.posts.get_mut(post) {
                desk.tell(News::Ended { generation, end });
            }
        }
    }

    fn wait(&self, boot: BorrowedFd<'_>, ends: &SignalFd) -> io::Result<Stirred> {
        let mut fds = vec![PollFd::new(boot, PollFlags::POLLIN), PollFd::new(ends.as_fd(), PollFlags::POLLIN)];
        let open = || self.posts.iter().enumerate().filter_map(|(at, desk)| Some((at, desk, desk.channel.as_ref()?)));
        fds.extend(open().map(|(_, desk, channel)| {
            let sending = if desk.unsaid.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
            PollFd::new(channel.as_fd(), PollFlags::POLLIN | sending)
        }));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let stirs = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        let posts = open().zip(fds.iter().skip(2)).filter(|(_, fd)| stirs(fd)).map(|((at, ..), _)| at).collect();
        // Whatever comes on the boot channel now is its end: nothing is taken there after the seal.
        Ok(Stirred { supervisor_gone: fds.first().is_some_and(stirs), posts })
    }

    /// Carries out what a lane has ordered; a lane that hangs up, or cannot be understood, loses its workers.
    fn obey(&mut self, post: usize) {
        let Some(desk) = self.posts.get_mut(post) else { return };
        desk.catch_up();
        loop {
            let Some(channel) = self.posts.get(post).and_then(|desk| desk.channel.as_ref()) else { return };
            match hear::<Order>(channel) {
                Ok(Heard::Message(Order::Spawn { generation }, beside)) => self.spawn(Name { post, generation }, beside),
                Ok(Heard::Message(Order::Kill { generation }, _)) => self.children.kill(Name { post, generation }),
                Ok(Heard::Nothing) => return,
                Ok(Heard::Hangup) | Err(_) => {
                    self.children.kill_those(|name| name.post == post);
                    if let Some(desk) = self.posts.get_mut(post) {
                        desk.channel = None;
                        desk.unsaid.clear();
                    }
                }
            }
        }
    }

    fn spawn(&mut self, name: Name, beside: Vec<OwnedFd>) {
        let (post, generation) = (name.post, name.generation);
        let full = self.children.of_post(post) >= CHILDREN;
        let Some(desk) = self.posts.get_mut(post) else { return };
        let started =
            if full { Err(format!("{CHILDREN} processes of this post have not ended")) } else { desk.trade.start(beside) };
        match started {
            Ok(child) => {
                self.children.born(child.id(), name, matches!(desk.trade, Trade::Keepers(_)));
                desk.tell(News::Spawned { generation, pid: child.id() });
            }
            Err(reason) => desk.tell(News::Failed { generation, reason }),
        }
    }
}

struct Stirred {
    supervisor_gone: bool,
    posts: Vec<usize>,
}
