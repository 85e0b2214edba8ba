//! The launcher's role: confine this process, say what was enforced, become the worker.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use cthelper_policy::confine::{self, Launch};
use cthelper_proto::ipc::{Ask, encode};
use nix::sys::socket::{MsgFlags, SockType, getsockopt, send, sockopt};

use super::role::{Called, NOT_FOR_HANDS, called};
use crate::stderr::tell;
use crate::warden::trace_me;

/// First argument of a launcher.
pub const ROLE: &str = "launch-worker";

/// Runs the role if the process was started for it; returns the exit code of a failure, `None` if this is another process.
/// On success it does not return: the process is the worker then.
pub fn run_if_launcher() -> Option<u8> {
    let reason = match called(ROLE)? {
        Ok(Called { uid, gid, more: [worker, helper] }) if has_channels() => become_worker(uid, gid, Path::new(&worker), &helper),
        Ok(_) => NOT_FOR_HANDS.to_owned(),
        Err(wrong) => wrong.to_owned(),
    };
    tell(format_args!("launcher: {reason}"));
    Some(70)
}

/// Whether fd 0 and 1 are what the warden gives a launcher. Any other parent would not know that it has to trace it, and wait for ever.
fn has_channels() -> bool {
    let is_channel = |fd: BorrowedFd<'_>| getsockopt(&fd, sockopt::SockType) == Ok(SockType::SeqPacket);
    is_channel(std::io::stdin().as_fd()) && is_channel(std::io::stdout().as_fd())
}

/// The reason why it did not work.
fn become_worker(uid: u32, gid: u32, worker: &Path, helper: &std::ffi::OsStr) -> String {
    if uid == 0 || gid == 0 {
        return "a worker never runs as root".to_owned(); // before it stops for a tracer that is not there
    }
    let _ = trace_me(); // where it is refused, the worker's status says so
    let caged = match confine::launch(&Launch { uid, gid, worker }) {
        Ok(caged) => caged,
        Err(error) => return format!("confinement: {error}"),
    };
    let record = match encode(&Ask::Launched(caged.launched)) {
        Ok(record) => record,
        Err(error) => return format!("report: {error}"),
    };
    if let Err(error) = send(std::io::stdout().as_raw_fd(), &record, MsgFlags::MSG_NOSIGNAL) {
        return format!("report: {error}");
    }
    let error = Command::new(&caged.program).arg0(worker).arg(helper).env_clear().exec();
    format!("exec {}: {error}", worker.display())
}
