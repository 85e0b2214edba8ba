//! What a worker under a stranger's control would try next. Each attempt ends it by SIGSYS; the connection goes on.

use cthelper_proto::events::Event;
use cthelper_supervisor::lane::Ended;
use cthelper_tests::control::{Control, Net};
use cthelper_tests::fake_kernel::How;
use cthelper_tests::stage::Play;

const ATTEMPTS: &[&str] = &[
    "open",
    "create",
    "list",
    "memory-of-parent",
    "inet-connect",
    "inet-bind",
    "unix-connect",
    "netlink",
    "fork",
    "exec",
    "thread",
    "ptrace",
    "kill",
    "setuid",
    "setgroups",
    "user-namespace",
    "mount",
    "chroot",
    "executable-memory",
    "dumpable",
    "outlive",
    "memfd",
    "duplicate",
    "send-descriptor",
    "more-memory",
    "sleep",
];

#[test]
fn each_attempt_to_break_out_ends_in_sigsys() {
    let stage = Play::imposter("honest").bears(1000).start();
    let mut calm = Control::over(Net::Plain4, 0);
    for (n, attempt) in (1..).zip(ATTEMPTS) {
        let mut flow = Control::over(Net::Plain4, n);
        assert_eq!(stage.kernel.carries(flow.client(format!("DO {attempt}"))).how, How::Accepted, "{attempt}");
        let crash = stage.audits(attempt, |event| match event {
            Event::WorkerCrashed(crash) if crash.log.contains(&format!("tries {attempt}")) => Some(crash.clone()),
            _ => None,
        });
        assert_eq!((crash.cause.as_str(), crash.in_flight), ("signal SIGSYS", 1), "{attempt}: {}", crash.log);
        assert_eq!(crash.log, format!("tries {attempt}"), "nothing came of it");
        assert!(!stage.kernel.carries(calm.client("hello")).is_as_it_came(), "{attempt}: the next worker serves");
    }
    assert!(!std::path::Path::new("/tmp/cthelper-escape").exists());
    assert!(matches!(stage.stop(), Ended::Orderly));
}
