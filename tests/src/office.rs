//! The real office and a real confined broker, without helpers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cthelper_policy::config::{Config, Daemon};
use cthelper_proto::ctl::{BrokerState, BrokerStatus, Evidence};
use cthelper_proto::events_sock::SOCKET;
use cthelper_supervisor::audit::{Audit, Records};
use cthelper_supervisor::broker::board::Board;
use cthelper_supervisor::broker::link::Link;
use cthelper_supervisor::broker::office::{Equipment, Office};
use cthelper_supervisor::broker::setting::Names;
use cthelper_supervisor::configuration::Source;
use cthelper_supervisor::control::{Governor, Kept};
use cthelper_supervisor::spawn::{Identity, RoleRecipe};
use cthelper_supervisor::warden::{Hiring, Warden};

use crate::binaries::{binary, scratch};
use crate::eventually;

/// An office with a broker, and no helper.
pub struct Served {
    office: std::thread::JoinHandle<()>,
    end: tokio::sync::oneshot::Sender<()>,
    /// Where lanes leave their news for it.
    pub link: Link,
    /// What the office and the control side know of it.
    pub board: Board,
    /// The audit log.
    pub records: Records,
    /// Where it listens.
    pub socket: PathBuf,
    /// Where it listens for HTTP.
    pub port: std::net::SocketAddr,
    _warden: Warden,
}

impl Served {
    /// `warden` is a program that becomes one.
    pub fn by(warden: &Path, config: &str) -> Self {
        Self::of(warden, &binary("cthelperd"), config)
    }

    /// With brokers of this program.
    pub fn of(warden: &Path, broker: &Path, config: &str) -> Self {
        let config = Config::parse(&format!("[helper.ftp]\n{config}"), "test").unwrap();
        let identity = Identity::find(Daemon::USER, Daemon::USER).unwrap();
        let mut hiring = Hiring::start(warden).unwrap();
        let post = hiring.broker(&RoleRecipe { program: broker.to_owned(), identity }).unwrap();
        let warden = hiring.seal().unwrap();
        let socket = scratch("broker").join(SOCKET);
        let events = UnixListener::bind(&socket).unwrap();
        let metrics = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = metrics.local_addr().unwrap();
        for nonblocking in [events.set_nonblocking(true), metrics.set_nonblocking(true)] {
            nonblocking.unwrap();
        }
        let equipment =
            Equipment { events: events.into(), metrics: Some(metrics.into()), names: Names::default(), settings: config.events };
        let (audit, records) = Audit::channel();
        let link = Link::default();
        let board = Board::new(config.queues.clone());
        let kept = Kept { audit: audit.clone(), places: Evidence::default(), broker: board.clone() };
        let governor = Governor::new(Vec::new(), Source::default(), Config::default(), kept);
        let office = Office::new(post, identity, equipment, link.clone(), board.clone(), audit);
        let (end, over) = tokio::sync::oneshot::channel();
        let office = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.spawn(office.keep(governor));
            let _ = runtime.block_on(over);
        });
        let served = Self { office, end, link, board, records, socket, port: address, _warden: warden };
        served.broker();
        served
    }

    /// Without event queues.
    pub fn start() -> Self {
        Self::by(&binary("cthelperd"), "")
    }

    /// The broker that serves.
    pub fn broker(&self) -> BrokerStatus {
        eventually("a broker that serves", || Some(self.board.read()).filter(|broker| broker.state == BrokerState::Serving))
    }

    /// Another client.
    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// What it answers to these bytes, until it closes.
    pub fn says(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(request); // it may have heard enough before the end
        rest(&mut stream)
    }

    /// A subscriber that has its answer.
    pub fn subscribed(&self, request: &str) -> BufReader<UnixStream> {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut answer = String::new();
        reader.read_line(&mut answer).unwrap();
        assert!(answer.starts_with("{\"ok\""), "{answer}");
        reader
    }

    /// The page of metrics.
    pub fn metrics(&self) -> String {
        self.says(b"{\"metrics\":{}}\n")
    }

    /// One of them.
    pub fn figure(&self, name: &str) -> u64 {
        let text = self.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}\n{text}"));
        line.trim().parse().unwrap()
    }

    /// Ends the office, and with it the broker.
    pub fn end(self) {
        self.end.send(()).unwrap();
        self.office.join().unwrap();
    }
}

/// All that comes until the other end closes.
pub fn rest(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}
