//! The launcher's role: confine this process, say what was enforced, become the worker.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use cthelper_policy::confine::{self, Launch};
use cthelper_proto::ipc::{Ask, encode};
use nix::sys::socket::{MsgFlags, SockType, getsockopt, send, sockopt};

use crate::warden::trace_me;

/// First argument of a launcher.
pub const ROLE: &str = "launch-worker";

/// Runs the role if the process was started for it; returns the exit code of a failure, `None` if this is another process.
/// On success it does not return: the process is the worker then.
pub fn run_if_launcher() -> Option<u8> {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if args.first()? != ROLE {
        return None;
    }
    let reason = match args.get(1..) {
        Some([uid, gid, worker, helper]) => {
            let number = |text: &std::ffi::OsString| text.to_str().and_then(|text| text.parse::<u32>().ok());
            match (number(uid), number(gid)) {
                (Some(uid), Some(gid)) if has_channels() => become_worker(uid, gid, Path::new(worker), helper),
                (Some(_), Some(_)) => NOT_FOR_HANDS.to_owned(),
                _ => "uid and gid must be numbers".to_owned(),
            }
        }
        _ => NOT_FOR_HANDS.to_owned(),
    };
    eprintln!("launcher: {reason}");
    Some(70)
}

const NOT_FOR_HANDS: &str = "this role is the warden's to start";

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
