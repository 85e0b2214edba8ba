//! The real office and a real confined broker, without helpers.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use cthelper_policy::config::{Config, Daemon};
use cthelper_proto::ctl::{BrokerState, Evidence};
use cthelper_proto::events_sock::SOCKET;
use cthelper_supervisor::audit::Audit;
use cthelper_supervisor::broker::board::Board;
use cthelper_supervisor::broker::link::Link;
use cthelper_supervisor::broker::office::{Equipment, Office};
use cthelper_supervisor::broker::setting::Names;
use cthelper_supervisor::configuration::Source;
use cthelper_supervisor::control::{Governor, Kept};
use cthelper_supervisor::spawn::{Identity, RoleRecipe};
use cthelper_supervisor::warden::{Hiring, Warden};
use cthelper_tests::binaries::{binary, scratch};
use cthelper_tests::eventually;
use cthelper_tests::tally::Tally;

pub(super) struct Broker {
    folder: PathBuf,
    pub(super) pid: u32,
    end: tokio::sync::oneshot::Sender<()>,
    office: JoinHandle<()>,
    _warden: Warden,
}

impl Broker {
    /// With these event queues.
    pub(super) fn start(queues: &str) -> Self {
        let identity = Identity::find(Daemon::USER, Daemon::USER).unwrap();
        let mut hiring = Hiring::start(&binary("cthelperd")).unwrap();
        let post = hiring.broker(&RoleRecipe { program: binary("cthelperd"), identity }).unwrap();
        let warden = hiring.seal().unwrap();
        let folder = scratch("bench-events");
        let events = UnixListener::bind(folder.join(SOCKET)).unwrap();
        events.set_nonblocking(true).unwrap();
        let config = Config::parse(&format!("[helper.ftp]\n{queues}"), "bench").unwrap();
        let equipment = Equipment { events: events.into(), metrics: None, names: Names::default(), settings: config.events };
        let (audit, _records) = Audit::channel();
        let board = Board::new(config.queues.clone());
        let kept = Kept { audit: audit.clone(), places: Evidence::default(), broker: board.clone() };
        let governor = Governor::new(Vec::new(), Source::default(), config, kept);
        let office = Office::new(post, identity, equipment, Link::default(), board.clone(), audit);
        let (end, over) = tokio::sync::oneshot::channel();
        let office = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.spawn(office.keep(governor));
            let _ = runtime.block_on(over);
        });
        let serving = eventually("a broker", || Some(board.read()).filter(|broker| broker.state == BrokerState::Serving));
        Self { folder, pid: serving.pid, end, office, _warden: warden }
    }

    pub(super) fn end(self) {
        let _ = self.end.send(());
        self.office.join().unwrap();
    }

    /// Where its socket is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn ask(&self, request: &str) -> UnixStream {
        let mut stream = UnixStream::connect(self.folder.join(SOCKET)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    pub(super) fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        self.ask("{\"metrics\":{}}\n").read_to_string(&mut text).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}\n{text}"));
        line.trim().parse().unwrap()
    }

    /// Waits until it has so many subscribers.
    pub(super) fn has_subscribers(&self, wanted: u64) {
        eventually("all subscribers", || (self.metric("cthelperd_broker_subscribers ") == wanted).then_some(()));
    }

    /// Readers of a queue, each on a thread of its own.
    pub(super) fn readers(&self, queue: u16, count: u64) -> Readers {
        let over = Arc::new(AtomicBool::new(false));
        let readers = (0..count).map(|_| {
            let stream = self.ask(&format!("{{\"queue\":{queue},\"format\":\"text\"}}\n"));
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let (tally, over) = (Arc::new(Mutex::new(Tally::default())), over.clone());
            let thread = std::thread::spawn({
                let tally = tally.clone();
                move || read(stream, &tally, &over)
            });
            (thread, tally)
        });
        let readers = readers.collect();
        self.has_subscribers(count);
        Readers { over, readers }
    }
}

fn read(mut stream: UnixStream, tally: &Mutex<Tally>, over: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    while !over.load(Ordering::Relaxed) {
        if let Ok(length) = stream.read(&mut buffer) {
            tally.lock().unwrap().take(&buffer[..length]);
        }
    }
}

pub(super) struct Readers {
    over: Arc<AtomicBool>,
    readers: Vec<(JoinHandle<()>, Arc<Mutex<Tally>>)>,
}

impl Readers {
    /// What all of them got so far.
    pub(super) fn tally(&self) -> Tally {
        self.readers.iter().fold(Tally::default(), |sum, (_, tally)| sum.and(&tally.lock().unwrap()))
    }

    pub(super) fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for (thread, _) in self.readers {
            thread.join().unwrap();
        }
    }
}
