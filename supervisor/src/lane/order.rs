//! The operator's orders to a lane, and the handle the control side gives them through.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use cthelper_policy::config::HelperConfig;
use cthelper_proto::ctl::{ClassLimits, HelperStatus, LaneState, LeftAlone, WorkerStatus};
use cthelper_proto::events::Event;
use cthelper_proto::manifest::Class;
use cthelper_proto::types::{FlowId, Tuple};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::oneshot;

use super::Lane;
use super::mourn::Cause;
use super::session::Phase;
use crate::kernel::{Fault, Kernel};

/// What the operator wants of a lane; each is answered.
#[derive(Debug)]
pub enum Command {
    /// How are you?
    Status(oneshot::Sender<HelperStatus>),
    /// Another worker, please; closes an open circuit.
    Restart(oneshot::Sender<Result<(), String>>),
    /// Let the kernel send packets again, and have everything of the helper as it should be.
    Enable(oneshot::Sender<Result<(), String>>),
    /// Let packets pass without the helper.
    Disable(oneshot::Sender<Result<(), String>>),
    /// Serve by these settings from now on.
    Reconfigure(Box<HelperConfig>, oneshot::Sender<Result<(), String>>),
    /// These connections have ended, says the broker.
    Closed(Vec<(FlowId, Tuple)>),
    /// Disable in the kernel, answer what is queued, end.
    Stop,
    /// Answer what has been taken from the queue and end; the rest waits for a successor. The helper stays as it is.
    HandOver,
}

/// The control side's end of a lane.
#[derive(Clone, Debug)]
pub struct Handle {
    /// The helper's name.
    pub name: String,
    orders: Sender<Command>,
    wake: Arc<EventFd>,
}

impl Handle {
    pub(crate) fn new(name: &str) -> Result<(Self, Receiver<Command>, Arc<EventFd>), Errno> {
        let (orders, receiver) = channel();
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        Ok((Self { name: name.to_owned(), orders, wake: wake.clone() }, receiver, wake))
    }

    /// Gives an order; `false` when the lane is over.
    pub fn order(&self, command: Command) -> bool {
        self.orders.send(command).is_ok() && self.wake.write(1).is_ok()
    }
}

impl<K: Kernel> Lane<K> {
    /// Does what has been ordered since the last turn.
    pub(super) fn obey(&mut self) {
        let _ = nix::unistd::read(self.wake.as_fd(), &mut [0; 8]); // level back to zero; empty is fine
        while let Ok(command) = self.orders.try_recv() {
            match command {
                Command::Status(answer) => drop(answer.send(self.status())),
                Command::Restart(answer) => {
                    let done = self.restart_worker();
                    drop(answer.send(done.map_err(|fault| fault.to_string())));
                }
                Command::Enable(answer) => {
                    let done = self.restore().and_then(|()| self.enable());
                    drop(answer.send(done.map_err(|fault| fault.to_string())));
                }
                Command::Disable(answer) => {
                    let done = self.set_enabled(false);
                    if done.is_ok() {
                        self.state = LaneState::Disabled;
                    }
                    drop(answer.send(done.map_err(|fault| fault.to_string())));
                }
                Command::Reconfigure(config, answer) => drop(answer.send(self.reconfigure(&config))),
                Command::Closed(ended) => self.forget(&ended),
                Command::Stop => self.stop(),
                // Where there is no queue yet, there is nothing to leave to anybody.
                Command::HandOver if !self.started => self.stop(),
                Command::HandOver => {
                    self.stopping = true;
                    self.drained = true;
                }
            }
        }
    }

    fn restart_worker(&mut self) -> Result<(), Fault> {
        self.renew_all();
        self.serving_ended(Cause::Replaced);
        self.restart.reset();
        self.not_before = Instant::now();
        self.enable()
    }

    /// The kernel sends packets again, and a worker is there or on its way. Closes an open circuit; nothing to do for a lane that is up.
    fn enable(&mut self) -> Result<(), Fault> {
        if self.stopping {
            return Err(Fault::new("enable a helper that is being stopped", Errno::ESHUTDOWN));
        }
        let is_up = self.enabled && self.state != LaneState::Tripped;
        if is_up || !self.started {
            return Ok(());
        }
        self.restart.reset();
        self.probing = false;
        self.set_enabled(true)?;
        if self.state == LaneState::Tripped {
            self.audit.write(Event::CircuitClosed { helper: self.setup.name().to_owned() });
        }
        if self.is_serving() {
            self.state = LaneState::Serving;
            return Ok(());
        }
        self.state = LaneState::Restarting;
        self.down_since = Instant::now();
        self.not_before = self.not_before.min(self.down_since);
        Ok(())
    }

    /// The kernel gets all that it should have of the helper, for another program may have changed it.
    fn restore(&mut self) -> Result<(), Fault> {
        match self.served.as_ref().filter(|_| self.started) {
            Some(manifest) => self.kernel.update(manifest, self.enabled, self.setup.config.queue_length),
            None => Ok(()),
        }
    }

    /// Disable first, so that the kernel sends no more; then what is queued is served; then the lane is over.
    fn stop(&mut self) {
        self.stopping = true;
        if self.started {
            if let Err(fault) = self.set_enabled(false) {
                tracing::warn!(helper = %self.setup.name(), %fault, "the helper could not be disabled; new connections will not be confirmed");
            }
        } else {
            self.drained = true;
        }
    }

    fn status(&self) -> HelperStatus {
        let count = |name: &dyn std::fmt::Display, n: u64| (name.to_string(), n);
        let manifest = self.served.as_ref();
        HelperStatus {
            name: self.setup.name().to_owned(),
            l4: self.l4s,
            families: manifest.map_or_else(Vec::new, |manifest| manifest.families.to_vec()),
            ports: manifest.map_or_else(Vec::new, |manifest| manifest.ports.to_vec()),
            queue: self.kernel.queue(),
            state: self.state,
            on_down: self.setup.config.restart.on_down.to_string(),
            classes: manifest.map_or_else(Vec::new, |manifest| manifest.classes.iter().map(limits).collect()),
            packets: self.counters.packets,
            verdicts: self.counters.verdicts,
            expectations: self.counters.expectations,
            refused: self.counters.refused.iter().map(|(rule, n)| count(&rule.name(), *n)).collect(),
            malformed: self.counters.malformed.clone(),
            trouble: self
                .counters
                .trouble
                .iter()
                .map(|(k, n)| (*k, *n))
                .chain(self.kernel.trouble())
                .chain(self.audit.trouble())
                .chain(self.quarantine.trouble())
                .map(|(k, n)| count(&k, n))
                .collect(),
            restarts: self.counters.restarts,
            workers: self.crew.iter().filter(|session| session.is_verified()).map(|session| self.worker(session)).collect(),
            left_alone: self.blame.left_alone(Instant::now()).into_iter().map(left_alone).collect(),
        }
    }

    fn worker(&self, session: &super::session::Session) -> WorkerStatus {
        WorkerStatus {
            pid: session.pid.unwrap_or_default(),
            uid: self.setup.identity.uid,
            generation: session.generation,
            spare: session.phase == Phase::Spare,
            landlock: session.landlock.to_string(),
            namespaces: session.own.to_string(),
            write_xor_execute: session.write_xor_execute,
        }
    }
}

fn limits(class: &Class) -> ClassLimits {
    ClassLimits { name: class.name.to_string(), expect_max: class.expect_max, timeout_secs: class.timeout_secs }
}

/// The last second counts as one.
fn left_alone((flow, time): (FlowId, Duration)) -> LeftAlone {
    LeftAlone { id: flow.0, for_secs: time.as_secs() + u64::from(time.subsec_nanos() > 0) }
}
