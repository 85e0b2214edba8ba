//! The blocks of a conntrackd.conf; of `Helper` everything, of the others that they are there.
//!
//! conntrackd collects what it reads on a stack and empties it when a `Type` ends: what stands before a `Type`, outside of it, belongs to
//! the `Type` that ends next, and of a setting that is made twice the first one counts.

use cthelper_policy::nearest::nearest;
use cthelper_proto::types::{Family, L4};

use super::lex::{Lexer, Token};
use super::{Place, Remark, known};

/// `Type NAME FAMILY PROTOCOL { ... }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instance {
    /// Where `Type` stands.
    pub(super) at: Place,
    /// Name of the helper.
    pub(super) name: String,
    /// Layer 3.
    pub(super) family: Family,
    /// Layer 4.
    pub l4: L4,
    /// `QueueNum`.
    pub(super) queue: Option<(Place, u32)>,
    /// `QueueLen`.
    pub(super) length: Option<(Place, u32)>,
    /// `Policy`, the first of each name.
    pub(super) policies: Vec<Policy>,
}

/// `Policy NAME { ... }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    /// Where `Policy` stands.
    pub(super) at: Place,
    /// Its name.
    pub(super) name: String,
    /// `ExpectMax`.
    pub(super) max: Option<u32>,
    /// `ExpectTimeout`, seconds.
    pub(super) timeout: Option<u32>,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// In the order in which they end.
    pub(super) instances: Vec<Instance>,
    /// What is not imported.
    pub(super) remarks: Vec<Remark>,
    /// Where the first `Helper` stands.
    pub(super) helper_block: Option<Place>,
}

/// Top-level blocks that are conntrackd's other work.
const OTHERS: [&str; 3] = ["General", "Sync", "Stats"];
const HELPER: [&str; 2] = ["Setup", "Type"];
const TYPE: [&str; 3] = ["QueueNum", "QueueLen", "Policy"];
const POLICY: [&str; 2] = ["ExpectMax", "ExpectTimeout"];
/// Most characters of a policy's name (`CTD_HELPER_NAME_LEN`).
const POLICY_NAME_MAX: usize = 16;

/// A setting that waits for the end of its `Type`.
enum Setting {
    Queue(Place, u32),
    Length(Place, u32),
    Policy(Policy),
}

struct Parser<'a> {
    words: std::iter::Peekable<Lexer<'a>>,
    end: Place,
    pending: Vec<Setting>,
    read: Read,
}

/// Reads a whole file.
pub(super) fn file(text: &str) -> Result<Read, Remark> {
    let mut lexer = Lexer::new(text);
    lexer.by_ref().for_each(drop);
    let end = lexer.place();
    let mut parser = Parser { words: Lexer::new(text).peekable(), end, pending: Vec::new(), read: Read::default() };
    while let Some((at, token)) = parser.words.next() {
        parser.block(at, &token)?;
    }
    Ok(parser.read)
}

impl<'a> Parser<'a> {
    fn next(&mut self, wanted: &str) -> Result<(Place, Token<'a>), Remark> {
        self.words.next().ok_or_else(|| Remark::new(self.end, format!("the file ends where {wanted} was expected")))
    }

    fn open(&mut self) -> Result<(), Remark> {
        match self.next("`{`")? {
            (_, Token::Open) => Ok(()),
            (at, other) => Err(Remark::new(at, format!("{} where `{{` was expected", other.shown()))),
        }
    }

    fn word(&mut self, wanted: &str) -> Result<(Place, &'a str), Remark> {
        match self.next(wanted)? {
            (at, Token::Word(word)) => Ok((at, word)),
            (at, other) => Err(Remark::new(at, format!("{} where {wanted} was expected", other.shown()))),
        }
    }

    fn number(&mut self, of: &str, max: u32) -> Result<(Place, u32), Remark> {
        let wanted = format!("{of}: a number");
        match self.next(&wanted)? {
            (at, Token::Number(digits)) => match digits.parse().ok().filter(|number| *number <= max) {
                Some(number) => Ok((at, number)),
                None => Err(Remark::new(at, format!("{of}: a number from 0 to {max}, not {digits}"))),
            },
            (at, other) => Err(Remark::new(at, format!("{} where {wanted} was expected", other.shown()))),
        }
    }

    /// One block of the top level.
    fn block(&mut self, at: Place, token: &Token<'_>) -> Result<(), Remark> {
        match token {
            Token::Word("Helper") => {
                self.read.helper_block.get_or_insert(at);
                self.open()?;
                self.helper()
            }
            Token::Word(name) if OTHERS.contains(name) => {
                self.open()?;
                self.skip()?;
                self.read.remarks.push(Remark::new(at, format!("`{name}` is not about helpers: not imported")));
                Ok(())
            }
            other => Err(unknown(at, other, "as a block", OTHERS.into_iter().chain(["Helper"]))),
        }
    }

    /// To the brace that closes a block that is not read.
    fn skip(&mut self) -> Result<(), Remark> {
        let mut depth = 1_u32;
        while depth > 0 {
            match self.next("`}`")?.1 {
                Token::Open => depth = depth.saturating_add(1),
                Token::Close => depth -= 1,
                _ => {}
            }
        }
        Ok(())
    }

    /// Inside `Helper { ... }`.
    fn helper(&mut self) -> Result<(), Remark> {
        loop {
            match self.next("`}`")? {
                (_, Token::Close) => return Ok(()),
                (at, Token::Word("Setup")) => self.setup(at)?,
                (at, Token::Word("Type")) => self.instance(at)?,
                (at, Token::Word(word)) if TYPE.contains(&word) => {
                    let words =
                        format!("`{word}` outside of a `Type`: it belongs to the one that ends next, as conntrackd reads it");
                    self.read.remarks.push(Remark::new(at, words));
                    self.setting(at, word)?;
                }
                (at, other) => return Err(unknown(at, &other, "in `Helper`", HELPER)),
            }
        }
    }

    fn setup(&mut self, at: Place) -> Result<(), Remark> {
        let (word_at, word) = self.word("`yes` or `no`")?;
        let no = match word.to_ascii_lowercase().as_str() {
            "yes" | "on" => false,
            "no" | "off" => true,
            _ => return Err(Remark::new(word_at, format!("`{word}` where `yes` or `no` was expected"))),
        };
        if no {
            let words =
                "`Setup no`: cthelperd registers its helpers itself all the same; take `nfct add helper` out of your scripts";
            self.read.remarks.push(Remark::new(at, words));
        }
        Ok(())
    }

    /// From behind `Type` to its closing brace.
    fn instance(&mut self, at: Place) -> Result<(), Remark> {
        let (name_at, name) = self.word("the name of a helper")?;
        let (family_at, family) = self.word("`inet` or `inet6`")?;
        let (l4_at, l4) = self.word("`tcp` or `udp`")?;
        let family = Family::ALL
            .into_iter()
            .find(|known| known.name() == family)
            .ok_or_else(|| Remark::new(family_at, format!("`{family}` where `inet` or `inet6` was expected")))?;
        let l4 = [L4::Tcp, L4::Udp]
            .into_iter()
            .find(|known| known.name() == l4)
            .ok_or_else(|| Remark::new(l4_at, format!("`{l4}` where `tcp` or `udp` was expected")))?;
        if known::protocols(name).is_some_and(|protocols| !protocols.contains(&l4)) {
            return Err(Remark::new(l4_at, format!("conntrackd has no helper {name} for {l4}")));
        }
        if name.len() > 15 {
            return Err(Remark::new(name_at, format!("`{name}`: a helper's name has 15 characters at most")));
        }
        self.open()?;
        self.settings()?;
        let mut instance = Instance { at, name: name.to_owned(), family, l4, queue: None, length: None, policies: Vec::new() };
        for setting in std::mem::take(&mut self.pending) {
            keep(&mut instance, setting)?;
        }
        self.read.instances.push(instance);
        Ok(())
    }

    /// Inside `Type ... { ... }`.
    fn settings(&mut self) -> Result<(), Remark> {
        loop {
            match self.next("`}`")? {
                (_, Token::Close) => return Ok(()),
                (at, Token::Word("Type")) => {
                    let words = "`Type` inside a `Type`: conntrackd takes it for one beside it";
                    self.read.remarks.push(Remark::new(at, words));
                    self.instance(at)?;
                }
                (at, Token::Word(word)) if TYPE.contains(&word) => self.setting(at, word)?,
                (at, other) => return Err(unknown(at, &other, "in `Type`", TYPE)),
            }
        }
    }

    fn setting(&mut self, at: Place, word: &str) -> Result<(), Remark> {
        let setting = match word {
            "QueueNum" => Setting::Queue(at, self.number("QueueNum", u16::MAX.into())?.1),
            "QueueLen" => Setting::Length(at, self.number("QueueLen", i32::MAX.cast_unsigned())?.1),
            _ => Setting::Policy(self.policy(at)?),
        };
        self.pending.push(setting);
        Ok(())
    }

    /// From behind `Policy` to its closing brace. Here the last of two settings counts.
    fn policy(&mut self, at: Place) -> Result<Policy, Remark> {
        let (name_at, name) = self.word("the name of a policy")?;
        if name.len() > POLICY_NAME_MAX {
            return Err(Remark::new(name_at, format!("`{name}`: a policy's name has {POLICY_NAME_MAX} characters at most")));
        }
        self.open()?;
        let mut policy = Policy { at, name: name.to_owned(), max: None, timeout: None };
        loop {
            match self.next("`}`")? {
                (_, Token::Close) => break,
                (_, Token::Word("ExpectMax")) => policy.max = Some(self.number("ExpectMax", i32::MAX.cast_unsigned())?.1),
                (_, Token::Word("ExpectTimeout")) => {
                    policy.timeout = Some(self.number("ExpectTimeout", i32::MAX.cast_unsigned())?.1);
                }
                (at, other) => return Err(unknown(at, &other, "in `Policy`", POLICY)),
            }
        }
        if policy.max.is_none() && policy.timeout.is_none() {
            return Err(Remark::new(at, format!("the policy `{name}` is empty: conntrackd refuses that")));
        }
        Ok(policy)
    }
}

/// Gives a setting to its `Type`; the first of each kind counts.
fn keep(instance: &mut Instance, setting: Setting) -> Result<(), Remark> {
    match setting {
        Setting::Queue(at, number) => {
            instance.queue.get_or_insert((at, number));
        }
        Setting::Length(at, number) => {
            instance.length.get_or_insert((at, number));
        }
        Setting::Policy(policy) => {
            if known::protocols(&instance.name).is_some() && policy.name != instance.name {
                let words = format!("the helper {0} has no policy `{1}`; its only one is `{0}`", instance.name, policy.name);
                return Err(Remark::new(policy.at, words));
            }
            if instance.policies.iter().all(|other| other.name != policy.name) {
                instance.policies.push(policy);
            }
        }
    }
    Ok(())
}

/// A word that has no meaning here, and one that has.
fn unknown<'a>(at: Place, token: &Token<'_>, place: &str, known: impl IntoIterator<Item = &'a str>) -> Remark {
    let known: Vec<&str> = known.into_iter().collect();
    let meant = match token {
        Token::Word(word) => nearest(word, known.iter().copied()),
        _ => None,
    };
    let hint = meant.map_or_else(|| format!("known here: {}", known.join(", ")), |word| format!("did you mean `{word}`?"));
    Remark::new(at, format!("{} is not known {place}; {hint}", token.shown()))
}
