use cthelper_policy::config::Config;

use super::*;

fn ok(text: &str) -> (String, Vec<String>) {
    let imported = import(text, "c.conf").unwrap_or_else(|wrong| panic!("{}", wrong.line("c.conf")));
    Config::parse(&imported.toml, "result").unwrap_or_else(|error| panic!("{error}\n{}", imported.toml));
    (imported.toml, imported.remarks.iter().map(|remark| remark.line("c.conf")).collect())
}

fn refused(text: &str) -> String {
    import(text, "c.conf").unwrap_err().line("c.conf")
}

const BOTH: &str = "\
# helpers of the border router
General { LogFile /var/log/a{b.log
          UNIX { Path /run/c.ctl } }
Helper {
    Setup yes            # since 1.4.7
    Type ftp inet tcp {
        QueueNum 10
        QueueLen 10240
        Policy ftp { ExpectMax 8 ExpectTimeout 300 }
    }
    Type ftp inet6 tcp {
        QueueNum 10
        QueueLen 10240
        Policy ftp { ExpectMax 8 ExpectTimeout 300 }
    }
    Type tftp inet udp { QueueNum 12 QueueLen 1024 Policy tftp { ExpectMax 1 ExpectTimeout 300 } }
}
";

#[test]
fn a_file_becomes_one_table_per_helper() {
    let (toml, remarks) = ok(BOTH);
    let expected = "\
# Imported from c.conf by cthelperctl import.

[helper.ftp]
queue = 10
queue_length = 10240
families = [\"inet\", \"inet6\"]

[helper.ftp.classes.ftp]
expect_max = 8
expect_timeout = \"300s\"

[helper.tftp]
queue = 12
queue_length = 1024
families = [\"inet\"]

[helper.tftp.classes.tftp]
expect_max = 1
expect_timeout = \"300s\"
";
    assert_eq!(toml, expected);
    assert_eq!(remarks, ["c.conf:2:1: `General` is not about helpers: not imported"]);
}

#[test]
fn what_differs_is_said_at_its_place() {
    for (text, said) in [
        ("Helper { Setup no Type ftp inet tcp { QueueNum 1 QueueLen 1 } }", ":1:10: `Setup no`: cthelperd registers"),
        ("Helper { Type ftp inet tcp { QueueLen 1 } }", ":1:10: ftp: no QueueNum, which is queue 0 in conntrackd"),
        ("Helper { Type ftp inet tcp { QueueNum 1 QueueLen 0 } }", ":1:10: ftp: no QueueLen, which is 1024 packets"),
        (
            "Helper {\nType ftp inet tcp { QueueNum 1 QueueLen 9 }\nType ftp inet6 tcp { QueueNum 2 } }",
            ":3:22: ftp: one queue serves every family and protocol: 1, not also 2",
        ),
        (
            "Helper { Type ftp inet tcp { QueueNum 1 QueueLen 9 }\nType tns inet tcp { QueueNum 1 QueueLen 9 } }",
            ":2:21: tns: queue 1 belongs to another helper",
        ),
        ("Helper { Type ftp inet tcp { QueueNum 1 QueueLen 70000 } }", ":1:41: ftp: QueueLen 70000 becomes 65536"),
        (
            "Helper { Type rpc inet udp { QueueNum 1 QueueLen 9 } }",
            ":1:10: a table has no protocol: cthelperd serves all that rpc speaks",
        ),
        ("Helper { Type mine inet udp { QueueNum 1 QueueLen 9 } }", ":1:10: mine is no helper of conntrackd's"),
        ("Helper { Type dhcpv6 inet udp { QueueNum 1 QueueLen 9 } }", ":1:10: dhcpv6: nobody speaks it over IPv4"),
        (
            "Helper { Type ftp inet tcp { QueueNum 1 QueueLen 9 Policy ftp { ExpectMax 3 } } }",
            ":1:52: policy `ftp`: conntrackd would let expectations live 0 s",
        ),
        (
            "Helper { Type ftp inet tcp { QueueNum 1 QueueLen 9 Policy ftp { ExpectMax 0 ExpectTimeout 5 } } }",
            ":1:52: policy `ftp`: conntrackd would ask for 0 expectations",
        ),
        (
            "Helper { Type ftp inet tcp { QueueNum 1 QueueLen 9 Policy ftp { ExpectMax 300 ExpectTimeout 100000 } } }",
            ":1:52: policy `ftp`: ExpectTimeout 100000 becomes 86400, a day",
        ),
        ("Helper { QueueNum 7 Type ftp inet tcp { QueueLen 9 } }", ":1:10: `QueueNum` outside of a `Type`"),
    ] {
        let (_, remarks) = ok(text);
        assert!(remarks.iter().any(|remark| remark.contains(&format!("c.conf{said}"))), "{text}: {remarks:#?}");
    }
}

#[test]
fn of_two_settings_the_one_counts_that_counts_for_conntrackd() {
    let (toml, _) = ok("Helper { QueueNum 3 Type ftp inet tcp { QueueNum 4 QueueNum 5 QueueLen 9 } }");
    assert!(toml.contains("queue = 3\n"), "{toml}");
    let (toml, _) = ok("Helper { Type ftp inet tcp { Policy ftp { ExpectMax 1 ExpectMax 2 ExpectTimeout 3 } } }");
    assert!(toml.contains("expect_max = 2\n"), "{toml}");
    let two = "Helper { Type ftp inet tcp { Policy ftp { ExpectMax 1 ExpectTimeout 3 } }\n\
               Type ftp inet6 tcp { Policy ftp { ExpectMax 2 ExpectTimeout 3 } } }";
    let (toml, remarks) = ok(two);
    assert!(toml.contains("expect_max = 2\n"), "{toml}");
    assert!(remarks.contains(&"c.conf:1:30: policy `ftp` is overruled by the one in line 2".to_owned()), "{remarks:?}");
}

#[test]
fn a_name_with_a_dot_is_quoted() {
    let (toml, _) = ok("Helper { Type my.own inet udp { Policy a.b { ExpectMax 1 ExpectTimeout 3 } } }");
    assert!(toml.contains("[helper.\"my.own\"]\n") && toml.contains("[helper.\"my.own\".classes.\"a.b\"]\n"), "{toml}");
}

#[test]
fn what_conntrackd_refuses_is_refused_with_its_place() {
    for (text, said) in [
        ("", ":1:1: no helper to import"),
        ("General { }\nHelper { }", ":2:1: no helper to import"),
        ("helper { }", ":1:1: `helper` is not known as a block; did you mean `Helper`?"),
        ("Weird { }", ":1:1: `Weird` is not known as a block; known here: General, Sync, Stats, Helper"),
        ("Helper {\n  Typ ftp inet tcp { } }", ":2:3: `Typ` is not known in `Helper`; did you mean `Type`?"),
        ("Helper { Type ftp inet5 tcp { } }", ":1:19: `inet5` where `inet` or `inet6` was expected"),
        ("Helper { Type ftp inet sctp { } }", ":1:24: `sctp` where `tcp` or `udp` was expected"),
        ("Helper { Type ftp inet udp { } }", ":1:24: conntrackd has no helper ftp for udp"),
        ("Helper { Type ftp inet { } }", ":1:24: `{` where `tcp` or `udp` was expected"),
        ("Helper { Type ftp inet tcp QueueNum 1 }", ":1:28: `QueueNum` where `{` was expected"),
        ("Helper { Type ftp inet tcp { QueueNum x } }", ":1:39: `x` where QueueNum: a number was expected"),
        ("Helper { Type ftp inet tcp { QueueNum 65536 } }", ":1:39: QueueNum: a number from 0 to 65535, not 65536"),
        ("Helper { Type ftp inet tcp { QueueLen -1 } }", ":1:39: `-` where QueueLen: a number was expected"),
        (
            "Helper { Type ftp inet tcp { QueueLength 1 } }",
            ":1:30: `QueueLength` is not known in `Type`; did you mean `QueueLen`?",
        ),
        ("Helper { Type ftp inet tcp { Policy ftp { } } }", ":1:30: the policy `ftp` is empty"),
        ("Helper { Type ftp inet tcp { Policy sip { ExpectMax 1 } } }", ":1:30: the helper ftp has no policy `sip`"),
        ("Helper { Type ftp inet tcp { Policy ftp { Max 1 } } }", ":1:43: `Max` is not known in `Policy`"),
        ("Helper { Type ftp inet tcp {\n", ":2:1: the file ends where `}` was expected"),
        ("Helper { Setup maybe }", ":1:16: `maybe` where `yes` or `no` was expected"),
        ("Sync { Mode FTFW {", ":1:19: the file ends where `}` was expected"),
        ("Helper } ", ":1:8: `}` where `{` was expected"),
    ] {
        let words = refused(text);
        assert!(words.starts_with(&format!("c.conf{said}")), "{text}: {words}");
    }
}

#[test]
fn any_bytes_are_read_or_refused() {
    proptest::proptest!(|(text in "([A-Za-z]{1,8}|Helper|Type|ftp|inet|tcp|QueueNum|Policy|ExpectMax|[{}#/ \\n]|[0-9]{1,12}|\\PC){0,40}")| {
        if let Ok(imported) = import(&text, "c.conf") {
            Config::parse(&imported.toml, "result").unwrap();
        }
    });
}
