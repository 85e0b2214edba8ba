//! The operator's side: `control.sock`, signals, the service manager. Runs on a small async runtime, apart from the lanes.

use std::path::Path;
use std::time::Duration;

use cthelper_proto::ctl::{Evidence, HelperStatus, Reply, Request, Status};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::audit::Audit;
use crate::lane::{Command, Ended, Handle};

mod socket;

/// A lane that does not answer within this time is reported as such; a lane's turn takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// A lane is over.
pub struct Over {
    /// Whose.
    pub helper: String,
    /// Why.
    pub ended: Ended,
}

/// What the operator's side has of the evidence.
#[derive(Clone)]
pub struct Kept {
    /// To be reopened after it was rotated.
    pub audit: Audit,
    /// To be told.
    pub places: Evidence,
}

/// The signals we obey; caught from the moment this exists.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    /// Needs the runtime.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }
}

/// Serves the operator until a signal ends it or every lane is over; tells the lanes to stop and waits for them.
pub async fn serve(
    socket: std::os::unix::net::UnixListener,
    mut signals: Signals,
    lanes: Vec<Handle>,
    kept: Kept,
    mut over: mpsc::UnboundedReceiver<Over>,
) -> std::io::Result<Vec<Over>> {
    let listener = socket::listen(socket, lanes.clone(), kept.places)?;
    let mut running = lanes.len();
    let mut ends = Vec::new();
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
    while running > 0 {
        tokio::select! {
            _ = signals.terminate.recv() => stop(&lanes),
            _ = signals.interrupt.recv() => stop(&lanes),
            _ = signals.reload.recv() => {
                kept.audit.reopen();
                tracing::info!("the audit log is begun anew; a changed configuration takes a restart, and connections go on");
            }
            Some(end) = over.recv() => {
                running -= 1;
                ends.push(end);
            }
        }
    }
    listener.abort();
    Ok(ends)
}

fn stop(lanes: &[Handle]) {
    let _ = sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status("draining")]);
    tracing::info!("draining");
    for lane in lanes {
        lane.order(Command::Stop);
    }
}

/// Carries out one request.
async fn answer(lanes: &[Handle], places: &Evidence, request: Request) -> Reply {
    match request {
        Request::Evidence => Reply::Evidence(places.clone()),
        Request::Status => Reply::Status(status(lanes).await),
        Request::Restart { helper } => order(lanes, &helper, Command::Restart).await,
        Request::Enable { helper } => order(lanes, &helper, Command::Enable).await,
        Request::Disable { helper } => order(lanes, &helper, Command::Disable).await,
    }
}

async fn status(lanes: &[Handle]) -> Status {
    let mut helpers: Vec<HelperStatus> = Vec::new();
    for lane in lanes {
        if let Some(status) = ask(lane, Command::Status).await {
            helpers.push(status);
        } else {
            tracing::warn!(helper = %lane.name, "the lane is over and has no status");
        }
    }
    helpers.sort_by(|a, b| a.name.cmp(&b.name));
    Status { helpers }
}

async fn order(lanes: &[Handle], helper: &str, command: impl FnOnce(oneshot::Sender<Result<(), String>>) -> Command) -> Reply {
    let Some(lane) = lanes.iter().find(|lane| lane.name == helper) else {
        let known: Vec<&str> = lanes.iter().map(|lane| lane.name.as_str()).collect();
        return Reply::Failed { reason: format!("no helper {:?} is served; served: {}", helper, known.join(", ")) };
    };
    match ask(lane, command).await {
        Some(Ok(())) => Reply::Done,
        Some(Err(reason)) => Reply::Failed { reason },
        None => Reply::Failed { reason: format!("helper {helper} does not answer; see the log") },
    }
}

async fn ask<T>(lane: &Handle, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    if !lane.order(command(answer)) {
        return None;
    }
    tokio::time::timeout(PATIENCE, answered).await.ok()?.ok()
}

/// Binds `control.sock` in the runtime folder, for root alone; a socket left over by an earlier life is replaced.
pub fn bind(runtime_dir: &Path) -> std::io::Result<std::os::unix::net::UnixListener> {
    socket::bind(&runtime_dir.join("control.sock"))
}
