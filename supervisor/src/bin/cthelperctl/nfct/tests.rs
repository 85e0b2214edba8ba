//! Whole calls against a registry that behaves as the kernel's.

use cthelper_proto::netlink::cthelper::{DISABLED, Policy};

use super::*;
use crate::registry::fake::{Fake, helper};

fn three() -> Fake {
    Fake { helpers: vec![helper("rpc", 2, 6), helper("rpc", 2, 17), helper("rpc", 10, 6)], ..Fake::default() }
}

/// Exit status, stdout and stderr of one call.
fn call(kernel: &mut Fake, line: &str) -> (u8, String, String) {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = run("nfct", &words, || Ok(kernel), &mut Streams { out: &mut out, err: &mut err });
    (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// stderr of a call that must fail and print nothing.
fn refusal(kernel: &mut Fake, line: &str) -> String {
    let (status, out, err) = call(kernel, line);
    assert_eq!((status, out.as_str()), (1, ""), "{line}: {err}");
    err.replace(env!("CARGO_PKG_VERSION"), "V")
}

fn succeeds(kernel: &mut Fake, line: &str) -> String {
    let (status, out, err) = call(kernel, line);
    assert_eq!((status, err.as_str()), (0, ""), "{line}");
    out
}

#[test]
fn list_prints_one_block_per_helper_in_the_kernels_order() {
    let mut kernel = three();
    let out = succeeds(&mut kernel, "helper list");
    assert_eq!(out, kernel.helpers.iter().map(listing::block).collect::<String>());
    assert!(out.starts_with("{\n\t.name = rpc,\n\t.queuenum = 7,\n\t.l3protonum = 2,\n\t.l4protonum = 6,\n"));
    assert_eq!(succeeds(&mut Fake::default(), "l h"), "");
}

#[test]
fn add_registers_the_builtin_definition() {
    let mut kernel = Fake::default();
    assert_eq!(succeeds(&mut kernel, "helper add ftp inet6 tcp"), "");
    let [ftp] = &kernel.helpers[..] else { panic!("{:?}", kernel.helpers) };
    assert_eq!((ftp.name.as_str(), ftp.family, ftp.l4, ftp.queue, ftp.state_len, ftp.status), ("ftp", 10, 6, 0, 24, DISABLED));
}

#[test]
fn add_of_an_unknown_helper_is_refused() {
    for line in ["add helper sip inet udp", "add helper ftp inet udp"] {
        assert_eq!(refusal(&mut Fake::default(), line), "nfct vV: that helper is not supported\n");
    }
}

#[test]
fn add_of_a_name_the_kernel_has_taken_names_the_module() {
    for (errno, words) in [(Errno::EBUSY, "Device or resource busy"), (Errno::EEXIST, "File exists")] {
        let mut kernel = Fake { broken: Some(errno), ..Fake::default() };
        let said = format!("nfct vV: netlink error: {words}\nMaybe unload nf_conntrack_tftp.ko first?\n");
        assert_eq!(refusal(&mut kernel, "add helper tftp inet udp"), said);
    }
}

#[test]
fn add_leaves_what_is_served_as_it_is() {
    let class = |name: &str, expect_max| Policy { name: name.to_owned(), expect_max, timeout_secs: 60 };
    let ftp = Helper { classes: vec![class("control", 8), class("data", 8)], state_len: 32, ..helper("ftp", 2, 6) };
    let mut kernel = Fake { helpers: vec![ftp.clone(), helper("sip", 10, 17)], ..Fake::default() };
    for line in ["add helper ftp inet tcp", "helper add sip inet6 udp"] {
        assert_eq!(succeeds(&mut kernel, line), "", "{line}");
    }
    assert_eq!(kernel.helpers, [ftp, helper("sip", 10, 17)]);
    assert_eq!(refusal(&mut kernel, "add helper sip inet udp"), "nfct vV: that helper is not supported\n");
    succeeds(&mut kernel, "add helper ftp inet6 tcp");
    assert_eq!(kernel.helpers.len(), 3, "another family is another helper");
}

#[test]
fn add_leaves_limits_alone_and_says_when_classes_differ() {
    let limits = |name: &str, expect_max| Helper {
        classes: vec![Policy { name: name.to_owned(), expect_max, timeout_secs: 60 }],
        status: DISABLED,
        ..helper("ftp", 2, 6)
    };
    let mut kernel = Fake { helpers: vec![limits("ftp", 8)], ..Fake::default() };
    succeeds(&mut kernel, "add helper ftp inet tcp");
    assert_eq!(kernel.helpers, [limits("ftp", 8)]);
    let mut other = Fake { helpers: vec![limits("data", 8)], ..Fake::default() };
    let said = "nfct vV: netlink error: Device or resource busy\nMaybe 'nfct delete helper ftp' first? Its classes differ.\n";
    assert_eq!(refusal(&mut other, "add helper ftp inet tcp"), said);
}

#[test]
fn get_prints_the_first_match_or_says_that_there_is_none() {
    let mut kernel = three();
    assert_eq!(succeeds(&mut kernel, "get helper rpc"), listing::block(&kernel.helpers[0]));
    assert_eq!(succeeds(&mut kernel, "get helper rpc inet udp"), listing::block(&kernel.helpers[1]));
    assert_eq!(succeeds(&mut kernel, "get helper rpc inet6"), listing::block(&kernel.helpers[2]));
    for line in ["get helper ftp", "get helper ftp inet", "get helper ftp inet tcp"] {
        assert_eq!(refusal(&mut kernel, line), "nfct vV: netlink error: No such file or directory\n", "{line}");
    }
}

#[test]
fn delete_removes_all_that_match_and_nothing_else() {
    for (line, left) in [("delete helper rpc", 0), ("del helper rpc inet", 1), ("helper del rpc inet tcp", 2)] {
        let mut kernel = three();
        succeeds(&mut kernel, line);
        assert_eq!(kernel.helpers.len(), left, "{line}");
    }
    let mut kernel = three();
    assert_eq!(refusal(&mut kernel, "del helper ftp"), "nfct vV: netlink error: No such file or directory\n");
    assert_eq!(kernel.helpers.len(), 3);
}

#[test]
fn flush_empties_the_registry() {
    let mut kernel = three();
    succeeds(&mut kernel, "flush helper");
    assert!(kernel.helpers.is_empty());
}

#[test]
fn disable_takes_any_registered_helper() {
    let mut kernel = Fake { helpers: vec![helper("mine", 2, 17)], ..Fake::default() };
    succeeds(&mut kernel, "disable helper mine inet udp");
    assert_eq!(kernel.helpers[0].status, DISABLED);
    assert_eq!(refusal(&mut kernel, "disable helper other inet udp"), "nfct vV: that helper is not supported\n");
    assert_eq!(refusal(&mut kernel, "disable helper ftp inet tcp"), "nfct vV: netlink error: Invalid argument\n");
}

#[test]
fn wrong_words_are_answered_as_nfct_answers_them() {
    let usage = "Usage: nfct command subsystem [parameters]...\n";
    let kernel = &mut Fake::default();
    assert_eq!(refusal(kernel, ""), usage);
    assert_eq!(refusal(kernel, "list"), usage);
    assert_eq!(refusal(kernel, "help x"), format!("nfct vV: Unknown command: help\n{usage}"));
    assert_eq!(refusal(kernel, "foo bar"), format!("nfct vV: Unknown subsystem: foo\n{usage}"));
    let missing = "nfct vV: missing parameters\nsyntax: nfct add helper name family protocol\n";
    assert_eq!(refusal(kernel, "add helper ftp"), missing);
    let none = "nfct vV: Unknown command: def\nnfct vV: Missing command\nnfct helper list|add|delete|disable|get|flush [parameters...]\n";
    assert_eq!(refusal(kernel, "helper def"), none);
    let timeouts =
        "nfct vV: Missing command\nnfct <list|add|delete|get|default-set|default-get|flush> timeout [<parameters>, ...]\n";
    assert_eq!(refusal(kernel, "timeout disable x"), timeouts);
}

#[test]
fn version_needs_no_kernel() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let words = ["version".to_owned(), "list".to_owned()];
    let open = || -> Result<&mut Fake, Errno> { panic!("opened") };
    assert_eq!(run("nfct", &words, open, &mut Streams { out: &mut out, err: &mut err }), 0);
    assert!(out.starts_with(b"nfct v"));
}

#[test]
fn a_kernel_that_cannot_be_reached_or_refuses_is_reported() {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let words = ["list".to_owned(), "helper".to_owned()];
    let open = || -> Result<&mut Fake, Errno> { Err(Errno::EPROTONOSUPPORT) };
    assert_eq!(run("nfct", &words, open, &mut Streams { out: &mut out, err: &mut err }), 1);
    let said = format!("{PREFIX}cannot open netlink: Protocol not supported\n");
    assert_eq!(String::from_utf8(err).unwrap(), said);
    let mut kernel = Fake { broken: Some(Errno::EPERM), ..Fake::default() };
    assert_eq!(refusal(&mut kernel, "list helper"), "nfct vV: netlink error: Operation not permitted\n");
}
