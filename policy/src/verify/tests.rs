//! Texts of `/proc/PID/status` as Linux 6.18 wrote them.

use super::*;

/// A sealed worker.
const WORKER: &str = "\
Name:\tcthelper-worker
Umask:\t0077
State:\tS (sleeping)
Tgid:\t18563
Ngid:\t0
Pid:\t18563
PPid:\t18502
TracerPid:\t0
Uid:\t64321\t64321\t64321\t64321
Gid:\t64321\t64321\t64321\t64321
FDSize:\t256
Groups:\t 
NStgid:\t18563
NSpid:\t18563
NSpgid:\t18563
NSsid:\t18563
Kthread:\t0
VmPeak:\t    3356 kB
VmSize:\t    3356 kB
VmLck:\t       0 kB
VmPin:\t       0 kB
VmHWM:\t    2148 kB
VmRSS:\t    2148 kB
RssAnon:\t     160 kB
RssFile:\t    1988 kB
RssShmem:\t       0 kB
VmData:\t     240 kB
VmStk:\t     132 kB
VmExe:\t     476 kB
VmLib:\t    1620 kB
VmPTE:\t      44 kB
VmSwap:\t       0 kB
HugetlbPages:\t       0 kB
CoreDumping:\t0
THP_enabled:\t1
untag_mask:\t0xffffffffffffffff
Threads:\t1
SigQ:\t0/96365
SigPnd:\t0000000000000000
ShdPnd:\t0000000000000000
SigBlk:\t0000000000000000
SigIgn:\t0000000000001000
SigCgt:\t0000000000000440
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t0000000000000000
CapAmb:\t0000000000000000
NoNewPrivs:\t1
Seccomp:\t2
Seccomp_filters:\t2
Speculation_Store_Bypass:\tthread vulnerable
SpeculationIndirectBranch:\tconditional enabled
Cpus_allowed:\t3
Cpus_allowed_list:\t0-1
Mems_allowed:\t00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000000,00000001
Mems_allowed_list:\t0
voluntary_ctxt_switches:\t1
nonvoluntary_ctxt_switches:\t2
";

fn strict() -> Expected {
    Expected::strict(64321, 64321, 18502)
}

/// The worker's text with one line changed.
fn with(field: &str, text: &str) -> String {
    let line =
        |line: &str| if line.starts_with(&format!("{field}:")) { format!("{field}:\t{text}\n") } else { format!("{line}\n") };
    let changed: String = WORKER.lines().map(line).collect();
    assert_ne!(changed, WORKER, "{field} is not in the text");
    changed
}

fn without(field: &str) -> String {
    let start = format!("{field}:");
    WORKER.split_inclusive('\n').filter(|line| !line.starts_with(&start)).collect()
}

#[test]
fn sealed_worker_is_verified() {
    assert_eq!(verify(WORKER, &strict()), Ok(Verified { uid: 64321, gid: 64321, seccomp_filters: 2, witnessed: false }));
    let three = verify(&with("Seccomp_filters", "3"), &strict());
    assert_eq!(three.map(|seen| seen.seccomp_filters), Ok(3), "a container's own filter may lie beneath");
}

#[test]
fn each_field_that_deviates_is_named() {
    let deviations = [
        ("Uid", "64321\t64321\t0\t64321"),
        ("Uid", "0\t0\t0\t0"),
        ("Uid", "64321\t64321\t64321"),
        ("Uid", "64321\t64321\t64321\t64321\t64321"),
        ("Uid", "-1\t-1\t-1\t-1"),
        ("Gid", "64321\t0\t64321\t64321"),
        ("Gid", "64322\t64322\t64322\t64322"),
        ("Groups", "64321 "),
        ("Groups", "0"),
        ("CapInh", "0000000000001000"),
        ("CapPrm", "000001ffffffffff"),
        ("CapEff", "0000000000200000"),
        ("CapBnd", "8000000000000000"),
        ("CapAmb", "0000000000000001"),
        ("CapAmb", ""),
        ("CapEff", "none"),
        ("NoNewPrivs", "0"),
        ("Seccomp", "0"),
        ("Seccomp", "1"),
        ("Seccomp", "3"),
        ("Seccomp_filters", "1"),
        ("Seccomp_filters", "-2"),
        ("Seccomp_filters", "two"),
        ("Threads", "2"),
        ("PPid", "1"),
    ];
    for (field, text) in deviations {
        let deviation = verify(&with(field, text), &strict()).unwrap_err();
        assert_eq!((deviation.field, deviation.found.as_str()), (field, text.trim()));
    }
}

#[test]
fn missing_field_is_a_deviation() {
    let fields =
        ["Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Threads", "PPid"];
    for field in fields.into_iter().chain(["Seccomp_filters"]) {
        let deviation = verify(&without(field), &strict()).unwrap_err();
        assert_eq!((deviation.field, deviation.found.as_str()), (field, ""));
    }
    assert_eq!(verify("", &strict()).unwrap_err().field, "Uid");
}

#[test]
fn a_worker_is_witnessed_if_its_parent_traces_it() {
    for (tracer, witnessed) in [("18502", true), ("0", false), ("18503", false)] {
        let seen = if tracer == "0" { verify(WORKER, &strict()) } else { verify(&with("TracerPid", tracer), &strict()) };
        assert_eq!(seen.map(|seen| seen.witnessed), Ok(witnessed), "{tracer}");
    }
}

#[test]
fn root_is_refused_even_when_it_is_expected() {
    let text = with("Uid", "0\t0\t0\t0");
    let deviation = verify(&text, &Expected { uid: 0, ..strict() }).unwrap_err();
    assert_eq!(deviation.to_string(), "Uid: found 0\t0\t0\t0, wanted anything but 0");
}

#[test]
fn ordinary_users_worker_may_keep_groups_and_bounding_set_and_nothing_else() {
    let lax = Expected::unprivileged(64321, 64321, 18502);
    for (field, text) in [("Groups", "4 27 64321 "), ("CapBnd", "000001ffffffffff")] {
        assert!(verify(&with(field, text), &lax).is_ok(), "{field}");
        assert!(verify(&with(field, text), &strict()).is_err(), "{field}");
    }
    for (field, text) in [("CapPrm", "0000000000001000"), ("NoNewPrivs", "0"), ("Seccomp_filters", "1")] {
        assert_eq!(verify(&with(field, text), &lax).unwrap_err().field, field);
    }
}

#[test]
fn process_name_cannot_pose_as_a_field() {
    // proc escapes a newline in a name, so a name stays on its line.
    let posing =
        WORKER.replacen("cthelper-worker", "x\\nSeccomp:\t2", 1).replacen("Seccomp:\t2\nSeccomp_f", "Seccomp:\t0\nSeccomp_f", 1);
    assert_eq!(verify(&posing, &strict()).unwrap_err().field, "Seccomp");
}

#[test]
fn deviation_reads_as_one_line() {
    let deviation = verify(&with("CapEff", "0000000000001000"), &strict()).unwrap_err();
    assert_eq!(deviation.to_string(), "CapEff: found 0000000000001000, wanted no capability");
    let missing = verify(&without("Seccomp_filters"), &strict()).unwrap_err();
    assert_eq!(missing.to_string(), "Seccomp_filters: found nothing, wanted at least 2");
    let long = verify(&with("Groups", &"7 ".repeat(500)), &strict()).unwrap_err();
    assert_eq!(long.found.len(), 64);
}

#[test]
fn a_network_with_an_interface_is_somebodys() {
    let head = "Inter-|   Receive  |  Transmit\n face |bytes    packets|bytes    packets\n";
    let with = |lines: &str| network_is_empty(&format!("{head}{lines}"));
    assert_eq!(with("    lo:       0       0    0\n"), Ok(()));
    assert_eq!(with(""), Ok(()));
    let deviation = with("    lo:       0       0    0\n  eth0: 1201 7 0\n").unwrap_err();
    assert_eq!(deviation.to_string(), "net/dev: found eth0, wanted no interface but lo");
}

#[test]
fn filters_of_the_parent_count_for_nothing() {
    let alone = Expected::strict(990, 990, 77);
    assert_eq!(alone.beneath("Name:\tcthelperd\nSeccomp_filters:\t2\n").filters_min, 4);
    assert_eq!(alone.beneath("").filters_min, 2);
}

#[test]
fn a_role_holds_its_profiles_capabilities_and_no_other() {
    let status = |caps: &str, filters: u32| {
        format!(
            "CapInh:\t0000000000000000\nCapPrm:\t{caps}\nCapEff:\t{caps}\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n\
             Seccomp:\t2\nSeccomp_filters:\t{filters}\n"
        )
    };
    let judged = |caps: &str, filters: u32| verify_role(&status(caps, filters), &crate::profiles::SUPERVISOR);
    assert_eq!(judged("0000000000001000", 2), Ok(()));
    assert_eq!(judged("0000000000000000", 2), Ok(()), "not everywhere is root root");
    assert_eq!(judged("0000000000201000", 2).unwrap_err().field, "CapPrm");
    assert_eq!(judged("0000000000001000", 1).unwrap_err().field, "Seccomp_filters");
}
