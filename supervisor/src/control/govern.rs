//! What the operator can have done: to one lane, or to all of them by a new configuration.

use std::sync::Arc;
use std::time::Duration;

use cthelper_policy::config::Config;
use cthelper_policy::config::reload::{differences, late_readers, live_part_of_all};
use cthelper_proto::ctl::{Evidence, HelperStatus, Reply, Request, Status};
use cthelper_proto::types::FlowId;
use tokio::sync::{Mutex, oneshot};

use crate::audit::Audit;
use crate::broker::board::{Board, Queues};
use crate::broker::protocol::Closed;
use crate::configuration::Source;
use crate::lane::{Command, HINTS, Handle};

/// A lane that does not answer within this time is reported as such; a lane's turn takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the operator's side has of the evidence, and of the broker.
#[derive(Clone)]
pub struct Kept {
    /// To be begun anew after it was rotated.
    pub audit: Audit,
    /// To be told.
    pub places: Evidence,
    /// How the broker is.
    pub broker: Board,
}

/// Gives orders to lanes. Cheap to clone; a reload waits for the one before it.
#[derive(Clone)]
pub struct Governor {
    lanes: Arc<[Handle]>,
    source: Arc<Source>,
    /// What is in force.
    config: Arc<Mutex<Config>>,
    /// Event queues at the start, when their readers' names were looked up.
    first: Arc<Queues>,
    kept: Kept,
}

impl Governor {
    /// Governs these lanes, which serve by `config`; it is read from `source` again when asked for.
    pub fn new(lanes: Vec<Handle>, source: Source, config: Config, kept: Kept) -> Self {
        let first = Arc::new(config.queues.clone());
        Self { lanes: lanes.into(), source: Arc::new(source), config: Arc::new(Mutex::new(config)), first, kept }
    }

    /// How many lanes there are.
    pub(super) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Tells every lane to stop.
    pub(super) fn stop(&self) {
        for lane in self.lanes.iter() {
            lane.order(Command::Stop);
        }
    }

    /// Tells every lane to leave its queue to a successor.
    pub(super) fn hand_over(&self) {
        for lane in self.lanes.iter() {
            lane.order(Command::HandOver);
        }
    }

    /// Has the audit log begun anew, for its file may have been renamed.
    pub(super) fn reopen(&self) {
        self.kept.audit.reopen();
    }

    /// Carries out one request.
    pub(super) async fn answer(&self, request: Request) -> Reply {
        match request {
            Request::Evidence => Reply::Evidence(self.kept.places.clone()),
            Request::Status => Reply::Status(self.status().await),
            Request::Restart { helper } => self.order(&helper, Command::Restart).await,
            Request::Enable { helper } => self.order(&helper, Command::Enable).await,
            Request::Disable { helper } => self.order(&helper, Command::Disable).await,
            Request::Reload => self.reload().await,
        }
    }

    /// Reads the configuration again. One that is wrong changes nothing; otherwise each lane applies what can be applied while it
    /// serves, and what cannot is said.
    pub(super) async fn reload(&self) -> Reply {
        let mut config = self.config.lock().await;
        let new = match self.source.read() {
            Ok(new) => new,
            Err(error) => {
                tracing::error!(%error, "reload: the configuration is wrong; nothing has changed");
                return Reply::Failed { reason: error.to_string() };
            }
        };
        let changes = differences(&config, &new);
        for (name, helper) in &mut config.helpers {
            let wanted =
                new.helpers.get(name).filter(|_| changes.helpers.get(name).is_some_and(|changes| !changes.live.is_empty()));
            let (Some(lane), Some(wanted)) = (self.lanes.iter().find(|lane| lane.name == *name), wanted) else { continue };
            match ask(lane, |answer| Command::Reconfigure(Box::new(wanted.clone()), answer)).await {
                Some(Ok(())) => *helper = cthelper_policy::config::reload::live_part(helper, wanted),
                Some(Err(reason)) => return Reply::Failed { reason: format!("helper {name}: {reason}") },
                None => return Reply::Failed { reason: format!("helper {name} does not answer; see the log") },
            }
        }
        *config = live_part_of_all(&config, &new);
        self.kept.broker.set_queues(&config.queues);
        let applied = changes.applied();
        let waiting: Vec<String> = changes.waiting().into_iter().chain(late_readers(&self.first, &new.queues)).collect();
        tracing::info!(applied = applied.join(", "), waiting = waiting.join(", "), "configuration read again");
        Reply::Reloaded { applied, waiting }
    }

    /// Every lane's status, and the broker's; of a lane that does not answer in time there is none.
    pub(crate) async fn status(&self) -> Status {
        let mut helpers: Vec<HelperStatus> = Vec::new();
        for lane in self.lanes.iter() {
            if let Some(status) = ask(lane, Command::Status).await {
                helpers.push(status);
            } else {
                tracing::warn!(helper = %lane.name, "the lane is over and has no status");
            }
        }
        helpers.sort_by(|a, b| a.name.cmp(&b.name));
        Status { helpers, version: env!("CARGO_PKG_VERSION").to_owned(), broker: self.kept.broker.read() }
    }

    /// Hands hints of ended connections to the lanes concerned.
    pub(crate) fn closed(&self, closed: &[Closed]) {
        for lane in self.lanes.iter() {
            let of_lane = closed.iter().filter(|one| one.helper == lane.name).map(|one| (FlowId(one.id), one.orig));
            let ended: Vec<_> = of_lane.take(HINTS).collect();
            if !ended.is_empty() {
                lane.order(Command::Closed(ended));
            }
        }
    }

    /// A lane that lives and does not answer within this time. One that is over is none: that is told otherwise.
    pub(super) async fn silent(&self, patience: Duration) -> Option<&str> {
        for lane in self.lanes.iter() {
            let (answer, answered) = oneshot::channel();
            if lane.order(Command::Status(answer)) && tokio::time::timeout(patience, answered).await.is_err() {
                return Some(&lane.name);
            }
        }
        None
    }

    async fn order(&self, helper: &str, command: impl FnOnce(oneshot::Sender<Result<(), String>>) -> Command) -> Reply {
        let Some(lane) = self.lanes.iter().find(|lane| lane.name == helper) else {
            let known: Vec<&str> = self.lanes.iter().map(|lane| lane.name.as_str()).collect();
            return Reply::Failed { reason: format!("no helper {:?} is served; served: {}", helper, known.join(", ")) };
        };
        match ask(lane, command).await {
            Some(Ok(())) => Reply::Done,
            Some(Err(reason)) => Reply::Failed { reason },
            None => Reply::Failed { reason: format!("helper {helper} does not answer; see the log") },
        }
    }
}

async fn ask<T>(lane: &Handle, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
    let (answer, answered) = oneshot::channel();
    if !lane.order(command(answer)) {
        return None;
    }
    tokio::time::timeout(PATIENCE, answered).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Places;

    fn governor(lanes: Vec<Handle>) -> Governor {
        let (audit, _) = Audit::open(&Places { log: None, journal: None }).unwrap();
        let places = Evidence { audit_log: None, quarantine_dir: None };
        Governor::new(lanes, Source::default(), Config::default(), Kept { audit, places, broker: Board::default() })
    }

    #[tokio::test]
    async fn a_lane_that_stands_still_is_silent_and_one_that_is_over_is_not() {
        let (over, orders, _) = Handle::new("over").unwrap();
        drop(orders);
        let (ends, orders, _) = Handle::new("ends").unwrap();
        let ending = std::thread::spawn(move || drop(orders.recv()));
        assert_eq!(governor(vec![over.clone(), ends]).silent(Duration::from_secs(60)).await, None);
        ending.join().unwrap();
        let (still, _orders, _) = Handle::new("still").unwrap();
        assert_eq!(governor(vec![over, still]).silent(Duration::from_millis(1)).await, Some("still"));
    }

    #[tokio::test]
    async fn the_operator_is_told_where_evidence_is_and_can_have_the_log_begun_anew() {
        let folder = std::env::temp_dir().join(format!("cthelperd-govern-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("audit.jsonl");
        let (audit, writer) = Audit::open(&Places { log: Some(path.clone()), journal: None }).unwrap();
        let places = Evidence { audit_log: Some(path.clone()), quarantine_dir: None };
        let governor = Governor::new(
            Vec::new(),
            Source::default(),
            Config::default(),
            Kept { audit, places: places.clone(), broker: Board::default() },
        );
        assert_eq!(governor.answer(Request::Evidence).await, Reply::Evidence(places));
        std::fs::rename(&path, folder.join("audit.jsonl.1")).unwrap();
        governor.reopen();
        drop(governor);
        writer.finish();
        assert!(path.exists());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
