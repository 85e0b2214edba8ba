//! The supervisor's end while it boots: starts the warden, tells it what it may make, and seals that.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::post::Post;
use super::protocol::{Instruction, Sealed};
use super::run::ROLE;
use crate::seqpacket::{Heard, pair, say, wait_for};
use crate::spawn::{Recipe, RoleRecipe};

/// How long the warden may take to confine itself, and to be gone when it is no longer wanted. Emulated machines need 0.3 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// A warden that is still being told what it may make.
#[derive(Debug)]
pub struct Hiring {
    child: Child,
    boot: OwnedFd,
}

/// A warden at work. It ends, and all its workers with it, when this is dropped.
#[derive(Debug)]
pub struct Warden {
    child: Child,
    boot: Option<OwnedFd>,
}

impl Hiring {
    /// Starts the warden: `program` with that role. It lives at most as long as the thread that calls this.
    pub fn start(program: &Path) -> io::Result<Self> {
        let (boot, theirs) = pair()?;
        let mut command = Command::new(program);
        command.arg(ROLE).env_clear().current_dir("/").stdin(Stdio::from(theirs)).stdout(Stdio::null());
        Ok(Self { child: command.spawn()?, boot })
    }

    /// A place where workers of this recipe can be ordered.
    pub fn post(&mut self, recipe: &Recipe) -> io::Result<Post> {
        let (ours, theirs) = pair()?;
        say(&self.boot, &Instruction::Post(recipe.clone()), &[theirs.as_fd()])?;
        Ok(Post::new(ours, self.child.id()))
    }

    /// A place where keepers can be ordered.
    pub fn keeper(&mut self, recipe: &RoleRecipe) -> io::Result<Post> {
        let (ours, theirs) = pair()?;
        say(&self.boot, &Instruction::Keeper(recipe.clone()), &[theirs.as_fd()])?;
        Ok(Post::new(ours, self.child.id()))
    }

    /// A place where brokers can be ordered.
    pub fn broker(&mut self, recipe: &RoleRecipe) -> io::Result<Post> {
        let (ours, theirs) = pair()?;
        say(&self.boot, &Instruction::Broker(recipe.clone()), &[theirs.as_fd()])?;
        Ok(Post::new(ours, self.child.id()))
    }

    /// From here on it takes no recipes; it has confined itself when this returns.
    pub fn seal(self) -> io::Result<Warden> {
        let mut warden = Warden { child: self.child, boot: Some(self.boot) };
        warden.sealed()?;
        Ok(warden)
    }
}

impl Warden {
    fn sealed(&mut self) -> io::Result<()> {
        let Some(boot) = &self.boot else { return Ok(()) };
        say(boot, &Instruction::Seal, &[])?;
        let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
        let ready = poll(&mut [PollFd::new(boot.as_fd(), PollFlags::POLLIN)], patience)?;
        match (ready, ready > 0) {
            (_, true) => match wait_for::<Sealed>(boot)? {
                Heard::Message(Sealed, _) => Ok(()),
                _ => Err(io::Error::other("it ended before it served; its words are above")),
            },
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Its process id: the parent of every worker.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Warden {
    fn drop(&mut self) {
        self.boot = None; // its sign to end
        let until = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
