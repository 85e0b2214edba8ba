//! Brings the supervisor up. The order has reasons:
//!
//! 1. the host's lock — the kernel's registry is global to the machine, two supervisors would undo each other's work
//! 2. the runtime folder, `control.sock`, and what the broker will listen on — while we may still create them, and before anything serves
//! 3. what an earlier life left is looked through: a queue whose socket somebody kept waits for its lane, or is wound up if no lane will
//!    come; other helpers of the configuration are disabled, because nobody is at their queues, and new connections of theirs are not
//!    confirmed until somebody is
//! 4. the warden is started, told what it may make, and sealed; it starts a keeper, if none lives
//! 5. capabilities down — before there is a thread that could keep the old ones
//! 6. audit log; signals, so that from here on SIGTERM is an orderly stop; lanes: each starts a worker, has it verified, binds and
//!    configures its queue, and only then registers and enables the helper, because an enabled helper whose queue nobody holds leaves
//!    new connections unconfirmed
//! 7. ready

use std::fmt;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use cthelper_policy::config::Config;
use cthelper_policy::profiles::{SUPERVISOR, WARDEN};
use cthelper_policy::{confine, verify};
use cthelper_proto::ctl::Evidence;
use cthelper_proto::events::Event;
use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use tokio::sync::mpsc;

use crate::audit::{Audit, Places, absolute};
use crate::broker::board::Board;
use crate::broker::link::Link;
use crate::broker::office::{Equipment, Office};
use crate::broker::setting::Names;
use crate::configuration::Source;
use crate::control::{self, Governor, Kept, Over};
use crate::keeper::custody::Custody;
use crate::keeper::estate::dissolve;
use crate::keeper::ledger::{Ledger, Refused, estate};
use crate::kernel::Fault;
use crate::kernel::netfilter::chains::Chains;
use crate::kernel::netfilter::socket::Nfnl;
use crate::kernel::netfilter::{Netfilter, registry};
use crate::lane::{Ended, Handle, Lane, Setup};
use crate::quarantine::Quarantine;
use crate::spawn::{Identity, Recipe, RoleRecipe, worker_binary};
use crate::warden::{Hiring, Post};

/// What `cthelperd run` was given.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration, read and checked.
    pub config: Config,
    /// Where it is read again.
    pub source: Source,
    /// Holds `control.sock`.
    pub runtime_dir: PathBuf,
    /// Where audit events go.
    pub audit: Places,
    /// Packets in hand of dead workers go here, if anywhere.
    pub quarantine_dir: Option<PathBuf>,
}

/// Why the supervisor does not run, sorted by who can do something about it.
#[derive(Debug)]
pub enum Failure {
    /// A privilege is missing.
    Permission(String),
    /// The kernel lacks what is needed: as long as it does, no start succeeds.
    Kernel(String),
    /// Another daemon stands in the way, or a worker does not start.
    Unavailable(String),
    /// The machine failed.
    System(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Permission(reason) | Self::Kernel(reason) | Self::Unavailable(reason) | Self::System(reason) => {
                f.write_str(reason)
            }
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault.errno {
            Errno::EPERM | Errno::EACCES => Self::Permission(fault.to_string()),
            _ if fault.lacking => Self::Kernel(fault.to_string()),
            _ => Self::Unavailable(fault.to_string()),
        }
    }
}

fn system(doing: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Failure {
    move |error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => Failure::Permission(format!("{doing}: {error}")),
        _ => Failure::System(format!("{doing}: {error}")),
    }
}

/// Runs until stopped; `Ok` after an orderly stop.
pub fn run(options: &Options) -> Result<(), Failure> {
    let ledger = lock(&options.runtime_dir)?;
    folder(&options.runtime_dir, 0o755)?;
    let socket =
        control::bind(&options.runtime_dir).map_err(system(format!("bind {}/control.sock", options.runtime_dir.display())))?;
    let equipment = equipment(options)?;
    if let Some(dir) = &options.quarantine_dir {
        let _ = folder(dir, 0o700); // where it cannot be had, the quarantine says so, and serving goes on
    }
    // Sockets made from here on are their owner's alone.
    let _ = umask(umask(Mode::all()) | Mode::from_bits_truncate(0o027));
    let identity = Identity::find(&options.config.daemon.user, &options.config.daemon.group)
        .map_err(|bad| Failure::Unavailable(bad.to_string()))?;
    let custody = Arc::new(Custody::open(ledger, &options.runtime_dir));
    custody.wind_up(options.config.helpers.values().filter(|config| config.enabled).map(|config| &config.name));
    disarm(options.config.helpers.keys().filter(|helper| !custody.has(helper)));
    let mut hiring = Hiring::start(Path::new("/proc/self/exe")).map_err(system("start the warden"))?;
    let mut setups = Vec::new();
    for config in options.config.helpers.values().filter(|config| config.enabled) {
        let worker = worker_binary(config.worker.as_deref()).map_err(Failure::Unavailable)?;
        let uid = options.config.uid_of(&config.name);
        let identity =
            identity.with_uid(uid, &options.config.daemon.user).map_err(|bad| Failure::Unavailable(bad.to_string()))?;
        let post =
            hiring.post(&Recipe::new(&config.argument(), worker, identity)).map_err(system("tell the warden what to make"))?;
        setups.push((Setup { config: config.clone(), identity }, post));
    }
    let keepers = hiring.keeper(&RoleRecipe::new(identity)).map_err(system("tell the warden of keepers"))?;
    let brokers_uid = options.config.brokers_uid();
    let brokers_identity =
        identity.with_uid(brokers_uid, &options.config.daemon.user).map_err(|bad| Failure::Unavailable(bad.to_string()))?;
    let brokers = hiring.broker(&RoleRecipe::new(brokers_identity)).map_err(system("tell the warden of brokers"))?;
    let warden = hiring.seal().map_err(system("seal the warden"))?;
    custody.employ(keepers, identity);
    confine_oneself(options, warden.pid())?;
    let (audit, writer) = Audit::open(&options.audit).map_err(system("begin the audit"))?;
    let (link, board) = (Link::default(), Board::new(options.config.queues.clone()));
    let office = Office::new(brokers, brokers_identity, equipment, link.clone(), board.clone(), audit.clone());
    let served = serve(setups, socket, &custody, &audit, Brokerage { office, board, link }, options);
    custody.close();
    for socket in ["control.sock", "events.sock"] {
        let _ = fs::remove_file(options.runtime_dir.join(socket));
    }
    audit.write(Event::Stopped);
    drop(audit);
    writer.finish();
    served
}

/// Gives up what is not needed from here on, and looks whether it is gone: here, and in the warden.
fn confine_oneself(options: &Options, warden: u32) -> Result<(), Failure> {
    let notify = std::env::var_os("NOTIFY_SOCKET").map(PathBuf::from);
    let places = confine::Places {
        runtime: Some(&options.runtime_dir),
        audit_log: options.audit.log.as_deref(),
        quarantine: options.quarantine_dir.as_deref(),
        configuration: options.source.path(),
        notify: notify.as_deref().filter(|socket| socket.is_absolute()),
    };
    let landlock = confine::supervisor(&places).map_err(|error| Failure::Permission(format!("give up privileges: {error}")))?;
    for (process, profile) in [("self".to_owned(), &SUPERVISOR), (warden.to_string(), &WARDEN)] {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let judged = verify::verify_role(&status, profile);
        judged.map_err(|deviation| Failure::Permission(format!("the {} is not confined: {deviation}", profile.role)))?;
    }
    tracing::info!(%landlock, "confined");
    Ok(())
}

fn serve(
    setups: Vec<(Setup, Post)>,
    socket: std::os::unix::net::UnixListener,
    custody: &Arc<Custody>,
    audit: &Audit,
    brokerage: Brokerage,
    options: &Options,
) -> Result<(), Failure> {
    let Brokerage { office, board, link } = brokerage;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system("start the control side"))?;
    let signals = runtime.block_on(async { control::Signals::listen() }).map_err(system("listen for signals"))?;
    let watched = custody.clone();
    runtime.spawn(watched.watch());
    let (over, ends) = mpsc::unbounded_channel();
    let mut lanes: Vec<Running> = Vec::new();
    let quarantine = Quarantine::new(options.quarantine_dir.clone());
    let chains = Arc::new(Chains::default());
    for (setup, post) in setups {
        let tools = Tools {
            custody: custody.clone(),
            chains: chains.clone(),
            audit: audit.clone(),
            quarantine: quarantine.clone(),
            link: link.clone(),
        };
        match Running::start(setup, post, tools, over.clone()) {
            Ok(lane) => lanes.push(lane),
            Err(failure) => {
                lanes.into_iter().for_each(Running::stop);
                return Err(failure);
            }
        }
    }
    drop(over);
    audit.write(Event::Started { version: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id() });
    let kept = Kept { audit: audit.clone(), places: evidence(options), broker: board };
    let handles = lanes.iter().map(|lane| lane.handle.clone()).collect();
    let governor = Governor::new(handles, options.source.clone(), options.config.clone(), kept);
    runtime.spawn(office.keep(governor.clone()));
    let ends =
        runtime.block_on(control::serve(socket, signals, governor, custody, ends)).map_err(system("serve control.sock"))?;
    for lane in lanes {
        let _ = lane.thread.join();
    }
    match ends.into_iter().find_map(|over| failure(&over.helper, &over.ended)) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// What the broker will be handed; bound here, because later nobody can.
fn equipment(options: &Options) -> Result<Equipment, Failure> {
    let dir = &options.runtime_dir;
    let events = control::bind_events(dir).map_err(system(format!("bind {}/events.sock", dir.display())))?;
    let listen = |address| {
        let listener = std::net::TcpListener::bind(address).and_then(|bound| bound.set_nonblocking(true).map(|()| bound));
        listener.map_err(system(format!("listen on {address} for metrics (under systemd that takes the drop-in metrics.conf)")))
    };
    let metrics = options.config.metrics.listen.map(listen).transpose()?;
    let (names, unknown) = Names::look_up(options.config.queues.values());
    for reader in unknown {
        tracing::warn!("{reader}: such a reader cannot read");
    }
    Ok(Equipment { events: events.into(), metrics: metrics.map(Into::into), names, settings: options.config.events })
}

/// Where evidence is kept, for whoever asks from another folder.
fn evidence(options: &Options) -> Evidence {
    Evidence {
        audit_log: options.audit.log.as_deref().map(absolute),
        quarantine_dir: options.quarantine_dir.as_deref().map(absolute),
    }
}

/// What the control side has of the broker.
struct Brokerage {
    office: Office,
    board: Board,
    link: Link,
}

/// What every lane is given.
struct Tools {
    custody: Arc<Custody>,
    chains: Arc<Chains>,
    audit: Audit,
    quarantine: Quarantine,
    link: Link,
}

/// A lane on its thread.
struct Running {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Running {
    /// Starts a lane and waits until it serves, or has failed to. What a lane holds never leaves its thread.
    fn start(setup: Setup, post: Post, tools: Tools, over: mpsc::UnboundedSender<Over>) -> Result<Self, Failure> {
        let (custody, chains) = (tools.custody.clone(), tools.chains.clone());
        let helper = setup.config.name.clone();
        let (report, first) = std::sync::mpsc::channel();
        let thread = Builder::new().name(format!("lane-{helper}")).spawn(move || {
            let lane = || run_lane(setup, post, tools, |handle| drop(report.send(Ok(handle))));
            let ended = catch_unwind(AssertUnwindSafe(lane)).unwrap_or_else(|_| {
                let _ = Nfnl::open().map(|mut socket| registry::disarm(&mut socket, &helper));
                Ended::Fault(Fault::new("a bug: the lane panicked", Errno::ENOTRECOVERABLE))
            });
            chains.retire(&helper);
            custody.retire(&helper);
            if let Some(failure) = failure(&helper, &ended) {
                tracing::error!(%helper, %failure, "the lane is over");
                let _ = report.send(Err(failure));
            }
            let _ = over.send(Over { helper, ended });
        });
        let thread = thread.map_err(system("start a lane"))?;
        match first.recv() {
            Ok(Ok(handle)) => Ok(Self { handle, thread }),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::System("a lane ended without a word".to_owned())),
        }
    }

    /// Ends a lane that serves, when another could not start.
    fn stop(self) {
        self.handle.order(crate::lane::Command::Stop);
        let _ = self.thread.join();
    }
}

/// What there is to do where no helper is to be served: what an earlier life left is wound up.
pub fn stand_down<'a>(helpers: impl IntoIterator<Item = &'a String>) {
    let life = estate();
    if let Ok(mut socket) = Nfnl::open() {
        for served in &life.queues {
            let _ = registry::disarm(&mut socket, &served.helper);
        }
    }
    dissolve(&life);
    disarm(helpers);
}

/// Disables what an earlier life left enabled and nobody kept, unless another program serves it. Best effort: where it fails, so does the start of the
/// lane, which says why.
fn disarm<'a>(helpers: impl IntoIterator<Item = &'a String>) {
    let Ok(mut socket) = Nfnl::open() else { return };
    for helper in helpers {
        if registry::refuse_if_served(&mut socket, helper, None).is_ok() {
            let _ = registry::disarm(&mut socket, helper);
        }
    }
}

fn run_lane(setup: Setup, post: Post, tools: Tools, mut on_start: impl FnMut(Handle)) -> Ended {
    let Tools { custody, chains, audit, quarantine, link } = tools;
    let kernel = match Netfilter::open(&setup.config, custody, chains, audit.clone()) {
        Ok(kernel) => kernel,
        Err(fault) => return Ended::Fault(fault),
    };
    match Lane::new(kernel, setup, post, audit, quarantine) {
        Ok((lane, handle)) => lane.with_link(link).run(|manifest| {
            tracing::info!(helper = %manifest.name, "serving");
            on_start(handle.clone());
        }),
        Err(errno) => Ended::Fault(Fault::new("make an eventfd", errno)),
    }
}

fn failure(helper: &str, ended: &Ended) -> Option<Failure> {
    match ended {
        Ended::Orderly => None,
        Ended::NotStarted(reason) => Some(Failure::Unavailable(format!("helper {helper}: {reason}"))),
        Ended::Fault(fault) => Some(Failure::from(Fault { doing: format!("helper {helper}: {}", fault.doing), ..fault.clone() })),
    }
}

/// Takes the host's lock, or names who has it.
fn lock(runtime_dir: &Path) -> Result<Ledger, Failure> {
    Ledger::open(runtime_dir).map_err(|refused| match refused {
        Refused::File(error) => system(format!("open {}", Ledger::PATH))(error),
        Refused::Taken(life) => Failure::Unavailable(format!(
            "another cthelperd serves this host (pid {}, runtime folder {}); the kernel's registry of helpers has room for one",
            life.pid,
            life.runtime_dir.display().to_string().escape_debug()
        )),
    })
}

fn folder(path: &Path, mode: u32) -> Result<(), Failure> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(mode).create(path).map_err(system(format!("create {}", path.display())))
}
