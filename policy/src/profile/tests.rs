use crate::profiles::{ALL, LAUNCHER, WORKER};
use crate::syscall::{ARCHES, number};

#[test]
fn every_line_has_a_reason_that_fits_on_it() {
    for profile in ALL {
        let calls = profile.all_syscalls().map(|call| call.reason);
        let files = profile.files.into_iter().flatten().map(|file| file.reason);
        let caps = profile.caps.iter().map(|keep| keep.reason);
        let limits = profile.limits.iter().map(|limit| limit.reason);
        let absent = profile.absent.iter().map(|absent| absent.reason);
        for reason in calls.chain(absent).chain(files).chain(caps).chain(limits) {
            assert!((6..=90).contains(&reason.len()), "{}: {reason:?}", profile.role);
        }
    }
}

#[test]
fn dangerous_calls_are_in_no_table() {
    let never = [
        "socket",
        "socketpair",
        "connect",
        "bind",
        "listen",
        "accept",
        "accept4",
        "ptrace",
        "process_vm_readv",
        "clone",
        "clone3",
        "fork",
        "vfork",
        "mount",
        "bpf",
        "setuid",
        "setgid",
        "setresuid",
        "setresgid",
        "setgroups",
        "capset",
        "unshare",
        "setns",
        "kill",
        "tkill",
        "ioctl",
        "keyctl",
        "io_uring_setup",
        "userfaultfd",
        "perf_event_open",
        "open_by_handle_at",
        "memfd_create",
    ];
    for profile in [&LAUNCHER, &WORKER] {
        let found = profile.all_syscalls().find(|call| never.contains(&call.name));
        assert!(found.is_none(), "{}: {found:?}", profile.role);
    }
}

#[test]
fn a_serving_worker_has_four_calls() {
    let names: Vec<_> = WORKER.all_syscalls().map(|call| call.name).collect();
    assert_eq!(names, ["recvfrom", "sendto", "write", "exit_group"]);
    assert!(WORKER.all_syscalls().all(|call| !call.elsewhere));
}

#[test]
fn every_name_is_a_call_and_a_line_that_some_architecture_lacks_says_so() {
    for profile in ALL {
        for call in profile.all_syscalls() {
            let on = ARCHES.map(|arch| number(call.name, arch).is_some());
            assert!(on.contains(&true), "{}: {}", profile.role, call.name);
            assert!(call.elsewhere || !on.contains(&false), "{}: {}", profile.role, call.name);
        }
    }
}

#[test]
fn tables_print_one_line_each() {
    let text = WORKER.to_string();
    assert!(text.starts_with("role worker\nsystem calls (any other kills the process):\n"));
    assert!(text.contains("\n  recvfrom                                     receive packets and answers\n"), "{text}");
    assert!(text.contains("\n  write if arg0 == 2                           log lines on stderr\n"), "{text}");
    assert!(text.contains("\nfiles: none\nnamespaces of its own:\n  network  "), "{text}");
    assert!(text.contains("\ncapabilities: none\nlimits:\n  RLIMIT_NOFILE 8 "), "{text}");
    let text = LAUNCHER.to_string();
    assert!(
        text.contains("\n  access                                       the loader looks for ld.so.preload (not on every"),
        "{text}"
    );
    assert!(text.contains("\n  <worker's binary>                            read, execute: "), "{text}");
    assert!(text.contains("\n  and those of role worker\n"), "{text}");
}
