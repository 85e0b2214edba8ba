use nix::errno::Errno;

use super::*;
use crate::registry::fake::Fake;

/// Policies as the kernel keeps them, but for the states that were not named.
impl Policies for &mut Fake {
    fn policies(&mut self) -> Result<Vec<Timeouts>, Errno> {
        Ok(self.timeouts.clone())
    }

    fn policy(&mut self, name: &str) -> Result<Vec<Timeouts>, Errno> {
        let found: Vec<_> = self.timeouts.iter().filter(|policy| policy.name.as_deref() == Some(name)).cloned().collect();
        if found.is_empty() { Err(Errno::ENOENT) } else { Ok(found) }
    }

    fn defaults(&mut self, l3: u16, l4: u8) -> Result<Vec<Timeouts>, Errno> {
        Ok(vec![Timeouts { name: None, l3, l4, seconds: vec![(1, 30), (2, 120)] }])
    }

    fn add_policy(&mut self, timeouts: &Timeouts) -> Result<(), Errno> {
        self.timeouts.push(timeouts.clone());
        Ok(())
    }

    fn set_defaults(&mut self, timeouts: &Timeouts) -> Result<(), Errno> {
        self.add_policy(timeouts)
    }

    fn delete_policy(&mut self, name: &str) -> Result<(), Errno> {
        self.policy(name)?;
        self.timeouts.retain(|policy| policy.name.as_deref() != Some(name));
        Ok(())
    }

    fn flush_policies(&mut self) -> Result<(), Errno> {
        self.timeouts.clear();
        Ok(())
    }
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn refused(verb: Verb, line: &str) -> String {
    parse(verb, &words(line)).unwrap_err()
}

#[test]
fn states_are_named_in_any_case_and_the_last_word_counts() {
    let expected = Timeouts { name: Some("x".to_owned()), l3: 10, l4: 6, seconds: vec![(1, 5), (3, 7)] };
    let line = "x inet6 tcp Established 6 SYN_SENT 5 established 7";
    assert_eq!(parse(Verb::Add, &words(line)), Ok(Command::Add(expected)));
}

#[test]
fn numbers_are_what_atoi_makes_of_them() {
    for (word, value) in [
        ("100", 100),
        ("010", 10),
        ("0x10", 0),
        (" 12s", 12),
        ("+12", 12),
        ("", 0),
        ("abc", 0),
        ("-1", u32::MAX),
        ("99999999999", 1_215_752_191),
        ("99999999999999999999999", u32::MAX),
        ("-99999999999999999999999", 0),
    ] {
        assert_eq!(number(word), value, "{word}");
    }
}

#[test]
fn wrong_parameters_are_refused_in_the_words_of_nfct() {
    for (verb, line, said) in [
        (Verb::List, "x", "too many arguments"),
        (Verb::Flush, "x", "too many arguments"),
        (Verb::Get, "", "missing timeout policy name"),
        (Verb::Delete, "x y", "too many arguments"),
        (Verb::Add, "x inet", "missing parameters\nsyntax: nfct add timeout name family protocol state1 timeout1 ..."),
        (Verb::Add, "x inet9 tcp established 5", "unknown layer 3 protocol"),
        (Verb::Add, "x inet 6 established 5", "unknown layer 4 protocol"),
        (Verb::Add, "x inet tcp established", "missing value for this timeout"),
        (Verb::Add, "x inet tcp bogus 5", "Wrong state name: `bogus' for protocol `tcp'"),
        (Verb::Add, "x inet generic established 5", "Wrong state name: `established' for protocol `generic'"),
        (Verb::DefaultSet, "inet tcp", "missing parameters\nsyntax: nfct default-set timeout family protocol state1 timeout1..."),
        (Verb::DefaultSet, "inet udp replied 5 x", "missing value for this timeout"),
        (Verb::DefaultGet, "inet", "missing parameters\nsyntax: nfct default-get timeout family protocol"),
    ] {
        assert_eq!(refused(verb, line), said, "{line}");
    }
}

#[test]
fn a_name_is_cut_to_what_the_kernel_keeps() {
    assert_eq!(cut("averyveryverylongnameofthirtytwo1"), "averyveryverylongnameofthirtytw");
    assert_eq!(cut("äääääääääääääääää"), "äääääääääääääää\\xc3");
    assert_eq!(cut("\\xff234567890123456789012345678901xx"), "\\xff234567890123456789012345678901");
    assert_eq!(cut(""), "");
}

#[test]
fn the_listing_is_that_of_nfct_to_the_byte() {
    let mut kernel = Fake::default();
    let mut out = Vec::new();
    for (verb, line) in
        [(Verb::Add, "foo inet udp unreplied 10 replied 20"), (Verb::List, ""), (Verb::DefaultGet, "inet6 udp more")]
    {
        obey(&mut &mut kernel, &parse(verb, &words(line)).unwrap(), &mut out).unwrap_or_else(|Said(text)| panic!("{text}"));
    }
    let policy =
        ".foo = {\n\t.l3proto = 2,\n\t.l4proto = 17,\n\t.policy = {\n\t\t.UNREPLIED = 10,\n\t\t.REPLIED = 20,\n\t},\n};\n";
    let defaults = "\t.l3proto = 10,\n\t.l4proto = 17,\n\t.policy = {\n\t\t.UNREPLIED = 30,\n\t\t.REPLIED = 120,\n\t},\n};\n";
    assert_eq!(String::from_utf8(out).unwrap(), format!("{policy}{defaults}"));
}

#[test]
fn what_is_not_there_is_the_kernels_word() {
    let mut kernel = Fake::default();
    for verb in [Verb::Get, Verb::Delete] {
        let command = parse(verb, &words("nope")).unwrap();
        let Err(Said(text)) = obey(&mut &mut kernel, &command, &mut Vec::new()) else { panic!("found") };
        assert_eq!(text, "netlink error: No such file or directory");
    }
}

#[test]
fn what_is_listed_can_be_deleted_whatever_its_bytes() {
    let odd = cthelper_proto::netlink::name::shown(b"a\xff\x1b[2J").into_owned();
    let mut kernel = Fake::default();
    let mut out = Vec::new();
    for (verb, line) in [(Verb::Add, format!("{odd} inet udp replied 20")), (Verb::List, String::new()), (Verb::Delete, odd)] {
        obey(&mut &mut kernel, &parse(verb, &words(&line)).unwrap(), &mut out).unwrap_or_else(|Said(text)| panic!("{text}"));
    }
    assert!(out.starts_with(b".a\\xff\\x1b[2J = {\n"), "{}", String::from_utf8_lossy(&out));
    assert!(kernel.timeouts.is_empty());
}
