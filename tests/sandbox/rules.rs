//! Every line of every filter is there because something honest needs it. `policy/src/confine/filter/tests.rs` shows, for every
//! architecture, that the filters allow the tables' lines and nothing else; here, that each line is used.
//!
//! A worker that somebody else traces is not served with, so this test stands in the supervisor's place.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cthelper_policy::config::Daemon;
use cthelper_policy::profiles::{LAUNCHER, SUPERVISOR, WARDEN, WORKER};
use cthelper_proto::ipc::{
    Answer, Ask, FromWorker, PacketHeader, Rule, Segment, Settings, Ticket, ToWorker, Verdict, append, decode, encode,
};
use cthelper_proto::types::State;
use cthelper_supervisor::spawn::launcher::ROLE;
use cthelper_supervisor::spawn::{Identity, Recipe};
use cthelper_supervisor::warden::{Hiring, News};
use cthelper_tests::binaries::binary;
use cthelper_tests::calls::{Call, Trace, filtered, idle, parsed, unused};
use cthelper_tests::control::{Control, Net};
use cthelper_tests::eventually;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::unistd::geteuid;

/// A traced launcher that becomes a worker, and our ends of its channels.
struct Traced {
    trace: Trace,
    child: Child,
    packets: OwnedFd,
    asks: OwnedFd,
}

impl Traced {
    /// Greeted and sealed.
    fn serving(worker: &Path, helper: &str) -> Self {
        let pair = || socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let ((packets, stdin), (asks, stdout)) = (pair(), pair());
        let identity = Identity::find(Daemon::USER, Daemon::USER).unwrap();
        let trace = Trace::new();
        let mut command = Command::new(trace.cthelperd("all"));
        command.args([ROLE, &identity.uid.to_string(), &identity.gid.to_string()]).arg(worker).arg(helper);
        let child = command.stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(Stdio::piped()).spawn().unwrap();
        drop(command);
        let traced = Self { trace, child, packets, asks };
        assert!(matches!(traced.asked(), Ask::Launched(_)));
        assert!(matches!(traced.asked(), Ask::Hello(..)));
        traced.answer(&Answer::Welcome(Settings::default()));
        assert!(matches!(traced.asked(), Ask::Ready(_)));
        traced.answer(&Answer::Go);
        traced
    }

    fn asked(&self) -> Ask {
        decode(&heard(&self.asks)).unwrap().0
    }

    fn answer(&self, answer: &Answer) {
        say(&self.asks, &encode(answer).unwrap());
    }

    fn packet(&self, control: &mut Control, payload: &str) {
        let packet = control.client(payload);
        let tcp = Some(Segment { seq: 1, last: false });
        let header =
            PacketHeader { ticket: Ticket(1), flow: packet.flow, info: packet.info, state: Some(State::zeroed(24)), tcp };
        let mut record = Vec::new();
        append(&ToWorker::Packet(header), packet.payload(), &mut record).unwrap();
        say(&self.packets, &record);
    }

    fn verdict(&self) -> Verdict {
        let (FromWorker::Verdict(verdict), _) = decode(&heard(&self.packets)).unwrap();
        verdict
    }

    /// What it said on stderr, and what it did.
    fn ended(mut self) -> (String, Vec<Call>) {
        self.child.wait().unwrap();
        let mut words = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        let calls = self.trace.calls().remove(&self.child.id()).unwrap();
        (words, calls)
    }
}

fn say(fd: &OwnedFd, record: &[u8]) {
    assert_eq!(send(fd.as_raw_fd(), record, MsgFlags::MSG_NOSIGNAL), Ok(record.len()));
}

fn heard(fd: &OwnedFd) -> Vec<u8> {
    let mut record = vec![0; 1 << 17];
    let length = recv(fd.as_raw_fd(), &mut record, MsgFlags::empty()).unwrap();
    record.truncate(length);
    record
}

/// The shipped worker serves, and says on its log why it ends.
fn honest_work() -> Vec<Call> {
    let worker = Traced::serving(&binary("cthelper-worker"), "ftp");
    let mut control = Control::over(Net::Plain4, 1);
    for _ in 0..20 {
        worker.packet(&mut control, "PORT 10,0,1,2,7,208\r\n");
        assert!(matches!(worker.asked(), Ask::Expect(..)));
        worker.answer(&Answer::Refused(Rule::Rate));
        assert_eq!(worker.verdict().ticket, Ticket(1));
    }
    say(&worker.packets, &[9, 0, 1]);
    let (words, calls) = worker.ended();
    assert!(words.starts_with("cthelper-worker: bad record from the supervisor"), "{words}");
    calls
}

#[test]
fn each_line_of_launcher_and_worker_is_used_by_honest_work() {
    if !geteuid().is_root() {
        return println!("skipped: tracing across identities needs root");
    }
    let calls = honest_work();
    let [_, launching, serving] = filtered(&calls)[..] else { panic!("two filters") };
    println!("{} calls under the launcher's filter, {} under the worker's; not needed here:", launching.len(), serving.len());
    for line in idle(&LAUNCHER, launching) {
        println!("  {line}");
    }
    assert_eq!(unused(&WORKER, serving), [""; 0]);
    assert_eq!(unused(&LAUNCHER, launching), [""; 0]);
}

/// A warden that makes a worker and ends it, once that is sealed; its calls under its filter, and those of its child
/// unless it was traced `alone`.
fn wardens_work(traced: &str) -> Vec<Call> {
    let trace = Trace::new();
    let identity = Identity::find(Daemon::USER, Daemon::USER).unwrap();
    let mut recipe = Recipe::new("ftp", binary("cthelper-worker"), identity);
    recipe.launcher = binary("cthelperd");
    let mut hiring = Hiring::start(&trace.cthelperd(traced)).unwrap();
    let post = hiring.post(&recipe).unwrap();
    let warden = hiring.seal().unwrap();
    let news = || eventually("news of the warden", || post.news().unwrap());
    let channels = post.spawn(1).unwrap();
    let News::Spawned { pid, .. } = news() else { panic!("no worker") };
    let asked = |ask: fn(&Ask) -> bool| {
        eventually("the worker to ask", || {
            let mut record = [0; 4096];
            let length = recv(channels.asks.as_raw_fd(), &mut record, MsgFlags::empty()).ok()?;
            Some(ask(&decode(&record[..length]).unwrap().0))
        })
    };
    assert!(asked(|ask| matches!(ask, Ask::Launched(_))));
    assert!(asked(|ask| matches!(ask, Ask::Hello(..))));
    say(&channels.asks, &encode(&Answer::Welcome(Settings::default())).unwrap());
    assert!(asked(|ask| matches!(ask, Ask::Ready(_))));
    post.kill(1).unwrap();
    assert!(matches!(news(), News::Ended { .. }));
    let own = warden.pid();
    drop((post, warden));
    let mut calls = trace.calls();
    let own = calls.remove(&own).unwrap();
    let [.., serving] = filtered(&own)[..] else { panic!("the warden has filters") };
    [serving, &calls.remove(&pid).unwrap_or_default()].concat()
}

#[test]
fn each_line_of_the_warden_is_used_by_it_or_its_launchers() {
    if !geteuid().is_root() {
        return println!("skipped: tracing across identities needs root");
    }
    // Whoever is traced cannot be traced by the warden: once with the child, once without.
    let calls = [wardens_work("all"), wardens_work("alone")].concat();
    println!("{} calls of the warden and its child; not needed here:", calls.len());
    for line in idle(&WARDEN, &calls) {
        println!("  {line}");
    }
    assert_eq!(unused(&WARDEN, &calls), [""; 0]);
}

#[test]
#[ignore = "the VM rung runs it (own-filter.sh), on a trace of a supervisor that serves netfilter: CTHELPERD_CALLS"]
fn each_line_of_the_supervisor_is_used() {
    let trace = std::env::var("CTHELPERD_CALLS").expect("the path of a trace");
    let calls = parsed(&std::fs::read_to_string(trace).unwrap());
    assert_eq!(calls.len(), 1, "it was traced alone");
    let calls: Vec<Call> = calls.into_values().flatten().collect();
    let [.., serving] = filtered(&calls)[..] else { panic!("the supervisor has a filter") };
    println!("{} calls of the supervisor; not needed here:", serving.len());
    for line in idle(&SUPERVISOR, serving) {
        println!("  {line}");
    }
    assert_eq!(unused(&SUPERVISOR, serving), [""; 0]);
}
