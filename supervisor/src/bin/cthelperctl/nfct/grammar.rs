//! The words of `nfct`: `nfct <command> <subsystem> [parameters]`, or the older `nfct <subsystem> <command> [parameters]`.
//!
//! Every prefix of a word stands for it, and where several match, the first in table order is meant: scripts rely on
//! `nfct helper del rpc`. The messages are those of nfct 1.4.7, compared with the program itself.

use cthelper_proto::netlink::cthelper::Helper;
use cthelper_proto::types::{Family, L4};

use super::timeout;

/// Commands in the order in which prefixes are tried.
const COMMANDS: [(&str, Verb); 8] = [
    ("list", Verb::List),
    ("add", Verb::Add),
    ("delete", Verb::Delete),
    ("get", Verb::Get),
    ("flush", Verb::Flush),
    ("disable", Verb::Disable),
    ("default-set", Verb::DefaultSet),
    ("default-get", Verb::DefaultGet),
];

/// Subsystems in the order in which prefixes are tried. `help` can never be reached: `helper` matches first, as in nfct.
const SUBSYSTEMS: [(&str, Subsystem); 3] =
    [("timeout", Subsystem::Timeout), ("helper", Subsystem::Helper), ("version", Subsystem::Version)];

/// A command, whatever it is applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `list`
    List,
    /// `add`
    Add,
    /// `delete`
    Delete,
    /// `get`
    Get,
    /// `flush`
    Flush,
    /// `disable`
    Disable,
    /// `default-set`
    DefaultSet,
    /// `default-get`
    DefaultGet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subsystem {
    Timeout,
    Helper,
    Version,
}

/// One helper object, named in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Layer 3.
    pub family: Family,
    /// Layer 4.
    pub l4: L4,
}

impl Key {
    /// Whether it names this one.
    pub fn is_of(&self, helper: &Helper) -> bool {
        helper.name == self.name && helper.family == u16::from(self.family.number()) && helper.l4 == self.l4.number()
    }
}

/// The helper objects meant by `get` and `delete`: what is `None` matches any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    /// Their name.
    pub name: String,
    /// Layer 3.
    pub family: Option<Family>,
    /// Layer 4; never without `family`.
    pub l4: Option<L4>,
}

/// What nfct is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `list helper`
    List,
    /// `add helper NAME FAMILY PROTOCOL`
    Add(Key),
    /// `get helper NAME [FAMILY [PROTOCOL]]`
    Get(Which),
    /// `delete helper NAME [FAMILY [PROTOCOL]]`
    Delete(Which),
    /// `flush helper`
    Flush,
    /// `disable helper NAME FAMILY PROTOCOL`
    Disable(Key),
    /// `version`, with any command.
    Version,
    /// Anything about timeout policies.
    Timeout(timeout::Command),
}

/// What is wrong with the words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Fewer than two words.
    TooFew,
    /// Neither order makes sense of the first two words: message, then the usage line.
    Word(String),
    /// A command that the helper subsystem does not have.
    NotForHelpers(String),
    /// A command that the timeout subsystem does not have.
    NotForTimeouts,
    /// Wrong parameters: the message.
    Parameters(String),
}

/// The first entry of `table` that begins with `word`.
fn look_up<T: Copy>(table: &[(&str, T)], word: &str) -> Option<T> {
    table.iter().find(|(full, _)| full.starts_with(word)).map(|&(_, value)| value)
}

/// Reads the words after the program's name.
pub fn parse(words: &[String]) -> Result<Command, Wrong> {
    let [first, second, parameters @ ..] = words else { return Err(Wrong::TooFew) };
    let (verb, subsystem) = order(first, second)?;
    match subsystem {
        Subsystem::Version => Ok(Command::Version),
        Subsystem::Timeout if verb == Verb::Disable => Err(Wrong::NotForTimeouts),
        Subsystem::Timeout => timeout::parse(verb, parameters).map(Command::Timeout).map_err(Wrong::Parameters),
        Subsystem::Helper if matches!(verb, Verb::DefaultSet | Verb::DefaultGet) => Err(Wrong::NotForHelpers(second.clone())),
        Subsystem::Helper => helper(verb, parameters).map_err(Wrong::Parameters),
    }
}

/// Which of the first two words is the command. Complaints name the first, whichever is wrong, as nfct does.
fn order(first: &str, second: &str) -> Result<(Verb, Subsystem), Wrong> {
    let (verb, subsystem) = match look_up(&COMMANDS, first) {
        Some(verb) => (Some(verb), look_up(&SUBSYSTEMS, second)),
        None => (look_up(&COMMANDS, second), look_up(&SUBSYSTEMS, first)),
    };
    let subsystem = subsystem.ok_or_else(|| Wrong::Word(format!("Unknown subsystem: {first}")))?;
    let verb = verb.ok_or_else(|| Wrong::Word(format!("Unknown command: {first}")))?;
    Ok((verb, subsystem))
}

/// Reads what follows `nfct VERB helper`.
fn helper(verb: Verb, parameters: &[String]) -> Result<Command, String> {
    match verb {
        Verb::List => none(parameters).map(|()| Command::List),
        Verb::Flush => none(parameters).map(|()| Command::Flush),
        Verb::Get => which(parameters).map(Command::Get),
        Verb::Delete => which(parameters).map(Command::Delete),
        Verb::Add => key("add", parameters).map(Command::Add),
        Verb::Disable => key("disable", parameters).map(Command::Disable),
        Verb::DefaultSet | Verb::DefaultGet => Err("no defaults for helpers".to_owned()),
    }
}

/// No more words.
pub fn none(parameters: &[String]) -> Result<(), String> {
    if parameters.is_empty() { Ok(()) } else { Err("too many arguments".to_owned()) }
}

/// `NAME FAMILY PROTOCOL`; words after them are ignored, as nfct does.
fn key(verb: &str, parameters: &[String]) -> Result<Key, String> {
    let [name, family, protocol, ..] = parameters else {
        return Err(format!("missing parameters\nsyntax: nfct {verb} helper name family protocol"));
    };
    Ok(Key { name: name.clone(), family: layer3(family)?, l4: layer4(protocol)? })
}

/// `NAME [FAMILY [PROTOCOL]]` and nothing more.
fn which(parameters: &[String]) -> Result<Which, String> {
    let (name, family, protocol) = match parameters {
        [] => return Err("missing helper policy name".to_owned()),
        [name] => (name, None, None),
        [name, family] => (name, Some(family), None),
        [name, family, protocol] => (name, Some(family), Some(protocol)),
        _ => return Err("too many arguments".to_owned()),
    };
    let family = family.map(|word| layer3(word)).transpose()?;
    let l4 = protocol.map(|word| layer4(word)).transpose()?;
    Ok(Which { name: name.clone(), family, l4 })
}

/// `inet` or `inet6`, in full.
pub fn layer3(word: &str) -> Result<Family, String> {
    Family::ALL.into_iter().find(|family| family.name() == word).ok_or_else(|| "unknown layer 3 protocol".to_owned())
}

/// `tcp` or `udp`, in full.
fn layer4(word: &str) -> Result<L4, String> {
    [L4::Tcp, L4::Udp].into_iter().find(|l4| l4.name() == word).ok_or_else(|| "unsupported layer 4 protocol".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, Wrong> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    fn bad(words: &str) -> Wrong {
        Wrong::Parameters(words.to_owned())
    }

    #[test]
    fn every_prefix_of_every_command_stands_for_the_first_that_matches() {
        for (word, meant) in [("list", "list"), ("add", "add"), ("get", "get"), ("flush", "flush"), ("delete", "delete")] {
            for end in 0..=word.len() {
                // Nothing at all is a prefix of everything, so it means `list`; `d` and `de` mean `delete`.
                let expected = if end == 0 { Verb::List } else { look_up(&COMMANDS, meant).unwrap() };
                assert_eq!(look_up(&COMMANDS, &word[..end]), Some(expected), "{}", &word[..end]);
            }
        }
        for (word, expected) in
            [("di", Verb::Disable), ("disable", Verb::Disable), ("def", Verb::DefaultSet), ("de", Verb::Delete)]
        {
            assert_eq!(look_up(&COMMANDS, word), Some(expected), "{word}");
        }
        for word in ["lists", "List", "x", "deletes", "dx"] {
            assert_eq!(look_up(&COMMANDS, word), None, "{word}");
        }
    }

    #[test]
    fn every_prefix_of_every_subsystem_stands_for_the_first_that_matches() {
        for word in ["t", "ti", "timeout", ""] {
            assert_eq!(look_up(&SUBSYSTEMS, word), Some(Subsystem::Timeout), "{word}");
        }
        for word in ["h", "he", "hel", "help", "helpe", "helper"] {
            assert_eq!(look_up(&SUBSYSTEMS, word), Some(Subsystem::Helper), "{word}");
        }
        for word in ["v", "version"] {
            assert_eq!(look_up(&SUBSYSTEMS, word), Some(Subsystem::Version), "{word}");
        }
        assert_eq!(look_up(&SUBSYSTEMS, "helpers"), None);
    }

    #[test]
    fn both_word_orders_mean_the_same() {
        let rpc = Which { name: "rpc".to_owned(), family: None, l4: None };
        for line in ["delete helper rpc", "del helper rpc", "helper delete rpc", "helper del rpc", "d h rpc", "h d rpc"] {
            assert_eq!(read(line), Ok(Command::Delete(rpc.clone())), "{line}");
        }
        for line in ["list helper", "helper list", "l h", "h l", "list help"] {
            assert_eq!(read(line), Ok(Command::List), "{line}");
        }
        let ftp6 = Key { name: "ftp".to_owned(), family: Family::Inet6, l4: L4::Tcp };
        for line in ["add helper ftp inet6 tcp", "helper add ftp inet6 tcp", "a h ftp inet6 tcp more words"] {
            assert_eq!(read(line), Ok(Command::Add(ftp6.clone())), "{line}");
        }
        for line in ["disable helper ftp inet6 tcp", "helper di ftp inet6 tcp"] {
            assert_eq!(read(line), Ok(Command::Disable(ftp6.clone())), "{line}");
        }
    }

    #[test]
    fn version_needs_a_command_and_ignores_the_rest() {
        for line in ["version list", "list version", "v l x y"] {
            assert_eq!(read(line), Ok(Command::Version), "{line}");
        }
        for line in ["timeout list", "l t", "list timeout"] {
            assert_eq!(read(line), Ok(Command::Timeout(timeout::Command::List)), "{line}");
        }
        assert_eq!(read("timeout disable"), Err(Wrong::NotForTimeouts));
    }

    #[test]
    fn family_and_protocol_narrow_get_and_delete() {
        let all = Which { name: "x".to_owned(), family: Some(Family::Inet), l4: Some(L4::Udp) };
        assert_eq!(read("get helper x inet udp"), Ok(Command::Get(all.clone())));
        assert_eq!(read("delete helper x inet udp"), Ok(Command::Delete(all.clone())));
        assert_eq!(read("get helper x inet"), Ok(Command::Get(Which { l4: None, ..all })));
    }

    #[test]
    fn unknown_words_are_refused_in_the_words_of_nfct() {
        let word = |text: &str| Err(Wrong::Word(text.to_owned()));
        assert_eq!(parse(&[]), Err(Wrong::TooFew));
        assert_eq!(read("list"), Err(Wrong::TooFew));
        assert_eq!(read("foo bar"), word("Unknown subsystem: foo"));
        assert_eq!(read("list foo"), word("Unknown subsystem: list"));
        assert_eq!(read("foo list"), word("Unknown subsystem: foo"));
        assert_eq!(read("lists helper"), word("Unknown subsystem: lists"));
        assert_eq!(read("help x"), word("Unknown command: help"));
        assert_eq!(read("helper foo"), word("Unknown command: helper"));
        assert_eq!(read("helper default-set"), Err(Wrong::NotForHelpers("default-set".to_owned())));
        assert_eq!(read("def h"), Err(Wrong::NotForHelpers("h".to_owned())));
    }

    #[test]
    fn wrong_parameters_are_refused_in_the_words_of_nfct() {
        for (line, words) in [
            ("list helper x", "too many arguments"),
            ("flush helper x", "too many arguments"),
            ("get helper", "missing helper policy name"),
            ("delete helper", "missing helper policy name"),
            ("get helper ftp inet tcp x", "too many arguments"),
            ("delete helper ftp inet tcp x", "too many arguments"),
            ("get helper ftp ine", "unknown layer 3 protocol"),
            ("delete helper x bad", "unknown layer 3 protocol"),
            ("get helper ftp inet icmp", "unsupported layer 4 protocol"),
            ("add helper ftp inex tcp", "unknown layer 3 protocol"),
            ("add helper ftp inet sctp", "unsupported layer 4 protocol"),
            ("disable helper rpc inet foo", "unsupported layer 4 protocol"),
            ("add helper ftp inet", "missing parameters\nsyntax: nfct add helper name family protocol"),
            ("add helper", "missing parameters\nsyntax: nfct add helper name family protocol"),
            ("disable helper ftp", "missing parameters\nsyntax: nfct disable helper name family protocol"),
        ] {
            assert_eq!(read(line), Err(bad(words)), "{line}");
        }
    }
}
