//! What this binary does when it is started as somebody else.

use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use cthelper_policy::confine;
use nix::sys::socket::{MsgFlags, recv, send};
use signal_hook::low_level::exit;

/// Starts the role that the arguments name; `None` = they name none, so this is the test itself.
pub(crate) fn dispatch(args: &[&str]) -> Option<ExitCode> {
    match args {
        ["role", "supervisor", rest @ ..] => Some(supervisor(rest)),
        ["role", "launcher", uid, gid, action] => Some(launcher(uid.parse().ok()?, gid.parse().ok()?, action)),
        ["role", "worker", action] => Some(worker(action)),
        _ => None,
    }
}

/// A supervisor, which says its status on stdout; or a warden, if there is something to launch.
fn supervisor(rest: &[&str]) -> ExitCode {
    let [uid, gid, action] = rest else {
        confine::supervisor(&confine::Places::default()).unwrap();
        print!("{}", std::fs::read_to_string("/proc/self/status").unwrap());
        return ExitCode::SUCCESS;
    };
    let exe = std::env::current_exe().unwrap();
    confine::warden(&[&exe], &[exe.parent().unwrap()]).unwrap();
    let status = Command::new(exe).args(["role", "launcher", uid, gid, action]).status().unwrap();
    ExitCode::from(u8::try_from(status.code().unwrap_or(99)).unwrap())
}

fn launcher(uid: u32, gid: u32, action: &str) -> ExitCode {
    let exe = PathBuf::from(std::env::args_os().next().unwrap());
    let caged = match confine::launch(&confine::Launch { uid, gid, worker: &exe }) {
        Ok(caged) => caged,
        Err(error) => {
            say(&format!("failed: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let launched = caged.launched;
    say(&format!("Launched: landlock {}, own {}, w^x {}", launched.landlock, launched.own, launched.write_xor_execute));
    let error = Command::new(&caged.program).args(["role", "worker", action]).env_clear().exec();
    say(&format!("failed: {error}"));
    ExitCode::FAILURE
}

fn worker(action: &str) -> ExitCode {
    if let Some(early) = action.strip_prefix("early-") {
        act(early);
        return ExitCode::SUCCESS;
    }
    let start = Instant::now();
    let confined = confine::seal_worker().unwrap();
    say(&format!("{confined:?} in {} us", start.elapsed().as_micros()));
    let mut order = [0; 16];
    let _ = recv(0, &mut order, MsgFlags::empty());
    act(action);
    exit(0)
}

/// One record on the ask channel.
fn say(text: &str) {
    let _ = send(1, text.as_bytes(), MsgFlags::MSG_NOSIGNAL);
}

/// What a worker might try. Whatever returns is said.
fn act(action: &str) {
    let outcome = match action {
        "idle" => "idle".into(),
        "wait" => wait(),
        "work" => work(),
        "abort" => std::process::abort(),
        "overflow" => format!("{}", deep(0)),
        "hoard" => format!("{}", std::hint::black_box(vec![1_u8; 100 << 20]).len()),
        "open" => format!("{:?}", std::fs::read("/etc/passwd").map_err(|error| error.kind())),
        "proc" => format!("{:?}", std::fs::read("/proc/self/status").map_err(|error| error.kind())),
        "exec" => format!("{:?}", Command::new("/bin/true").exec().kind()),
        "spawn" => format!("{:?}", Command::new("/bin/true").status().is_ok()),
        "thread" => format!("{:?}", std::thread::Builder::new().spawn(|| ()).is_ok()),
        "socket" => format!("{:?}", std::net::UdpSocket::bind("127.0.0.1:0").is_ok()),
        "unix" => format!("{:?}", std::os::unix::net::UnixStream::connect("/run/nobody").is_ok()),
        "kill" => format!("{:?}", nix::sys::signal::kill(nix::unistd::getppid(), nix::sys::signal::Signal::SIGTERM)),
        "dumpable" => format!("{:?}", nix::sys::prctl::set_dumpable(true)),
        "setuid" => format!("{:?}", nix::unistd::setuid(0.into())),
        "seccomp-off" => format!("{:?}", confine::seal_worker().is_ok()),
        "write" => format!("{:?}", nix::unistd::write(std::io::stdout(), b"not a record")),
        "sleep" => format!("{:?}", std::thread::sleep(std::time::Duration::from_millis(1))),
        other => format!("unknown action {other}"),
    };
    say(&outcome);
}

/// All that an honest worker does.
fn work() -> String {
    let mut map: HashMap<u32, String> = HashMap::new();
    for n in 0..50_000 {
        map.insert(n, format!("line {n}"));
    }
    let grown: Vec<u8> = (0..4 << 20).map(|n: u32| n.to_le_bytes()[0]).collect();
    let mut grown = grown.into_boxed_slice().into_vec();
    grown.extend_from_within(..);
    drop(map);
    eprintln!("a log line");
    let sent = [b"one", b"two"].map(|record| send(1, record, MsgFlags::empty())).into_iter().flatten().count();
    format!("worked on {} bytes, {sent} records", grown.len())
}

#[expect(unconditional_recursion, reason = "the stack is to overflow")]
fn deep(n: u64) -> u64 {
    let room = [n; 512];
    std::hint::black_box(&room);
    deep(n + 1) + room[7]
}

/// Says that it is there and waits for an order.
fn wait() -> String {
    say("here");
    let mut order = [0; 16];
    format!("{:?}", recv(0, &mut order, MsgFlags::empty()))
}
