//! Text to filter. A mistake is reported with its place and the word that was probably meant.

use std::fmt;
use std::net::IpAddr;

use cthelper_proto::netlink::entry::{Labels, ProtoInfo};
use cthelper_proto::netlink::report::{Kind, Kinds};
use cthelper_proto::types::Family;

use super::eval::{network, width};
use super::words::{self, FIELDS, FLAGS, Field, PROTOCOLS};
use super::{Expr, MAX_DEPTH, MAX_LENGTH, MAX_VALUES, Mark, Net, Span, Test, print};
use crate::nearest::nearest;

/// A mistake in a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// Where it is: bytes from the start of the text.
    pub at: usize,
    /// The same in characters, from 1.
    pub column: usize,
    /// What is wrong, and what may have been meant.
    pub reason: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.column, self.reason)
    }
}

impl std::error::Error for FilterError {}

/// A mistake at these bytes.
type Mistake = (usize, String);

/// An expression in normal form.
struct Written<'a>(&'a Expr);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print::expr(f, self.0)
    }
}

pub(super) fn parse(text: &str) -> Result<Option<Expr>, FilterError> {
    let read = || {
        if text.len() > MAX_LENGTH {
            return Err((MAX_LENGTH, format!("too long: at most {MAX_LENGTH} bytes")));
        }
        let mut parser = Parser { rest: Lexer { text, at: 0 }, depth: 0 };
        if parser.peek()?.is_none() {
            return Ok(None);
        }
        let expr = parser.any()?;
        match parser.next()? {
            None => match Written(&expr).to_string().len() {
                // As the broker is told it.
                length if length > MAX_LENGTH => {
                    Err((0, format!("too long: {length} bytes when written out in full, at most {MAX_LENGTH}")))
                }
                _ => Ok(Some(expr)),
            },
            Some(Token { at, kind: Kinded::Close }) => Err((at, "`)` without its `(`".into())),
            Some(token) => Err((token.at, format!("`{token}`: expected `and`, `or` or the end{}", joining_hint(&token)))),
        }
    };
    read().map_err(|(at, reason)| {
        let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let column = text.get(..at).map_or(0, |before| before.chars().count()) + 1;
        FilterError { at, column, reason }
    })
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kinded<'a> {
    Word(&'a str),
    Open,
    Close,
    Comma,
    And,
    Or,
    Not,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token<'a> {
    at: usize,
    kind: Kinded<'a>,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kinded::Word(word) => write!(f, "{}", word.escape_debug()),
            Kinded::Open => f.write_str("("),
            Kinded::Close => f.write_str(")"),
            Kinded::Comma => f.write_str(","),
            Kinded::And => f.write_str("and"),
            Kinded::Or => f.write_str("or"),
            Kinded::Not => f.write_str("not"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Result<Option<Token<'a>>, Mistake> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let trimmed = rest.trim_start();
        let at = self.at + rest.len() - trimmed.len();
        let Some(first) = trimmed.chars().next() else { return Ok(None) };
        let (kind, length) = match first {
            '(' => (Kinded::Open, 1),
            ')' => (Kinded::Close, 1),
            ',' => (Kinded::Comma, 1),
            '!' => (Kinded::Not, 1),
            '&' | '|' => {
                let (doubled, kind) = if first == '&' { ("&&", Kinded::And) } else { ("||", Kinded::Or) };
                if !trimmed.starts_with(doubled) {
                    return Err((at, format!("`{first}`; did you mean `{doubled}`?")));
                }
                (kind, 2)
            }
            _ => {
                let ends = |char: char| char.is_whitespace() || "(),!&|".contains(char);
                let word = trimmed.split(ends).next().unwrap_or_default();
                let kind = match word {
                    "and" => Kinded::And,
                    "or" => Kinded::Or,
                    "not" => Kinded::Not,
                    word => Kinded::Word(word),
                };
                (kind, word.len())
            }
        };
        self.at = at + length;
        Ok(Some(Token { at, kind }))
    }
}

struct Parser<'a> {
    rest: Lexer<'a>,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Result<Option<Token<'a>>, Mistake> {
        self.rest.clone().next()
    }

    fn next(&mut self) -> Result<Option<Token<'a>>, Mistake> {
        self.rest.next()
    }

    /// Takes the next token if it is this one.
    fn takes(&mut self, kind: Kinded<'_>) -> Result<bool, Mistake> {
        let is_next = self.peek()?.is_some_and(|token| token.kind == kind);
        if is_next {
            self.next()?;
        }
        Ok(is_next)
    }

    fn end(&self) -> usize {
        self.rest.text.trim_end().len()
    }

    fn any(&mut self) -> Result<Expr, Mistake> {
        let mut parts = vec![self.all()?];
        while self.takes(Kinded::Or)? {
            parts.push(self.all()?);
        }
        Ok(joined(parts, Expr::Or, |part| match part {
            Expr::Or(parts) => Ok(parts),
            other => Err(other),
        }))
    }

    fn all(&mut self) -> Result<Expr, Mistake> {
        let mut parts = vec![self.one()?];
        while self.takes(Kinded::And)? {
            parts.push(self.one()?);
        }
        Ok(joined(parts, Expr::And, |part| match part {
            Expr::And(parts) => Ok(parts),
            other => Err(other),
        }))
    }

    fn one(&mut self) -> Result<Expr, Mistake> {
        let Some(token) = self.next()? else {
            return Err((self.end(), "the expression ends where a test is expected, such as `proto tcp`".into()));
        };
        match token.kind {
            Kinded::Not => self.deeper(token.at, |parser| parser.one().map(|part| Expr::Not(Box::new(part)))),
            Kinded::Open => {
                let inside = self.deeper(token.at, Self::any)?;
                match self.next()? {
                    Some(Token { kind: Kinded::Close, .. }) => Ok(inside),
                    Some(other) => Err((other.at, format!("`{other}`: expected `and`, `or` or `)`{}", joining_hint(&other)))),
                    None => Err((token.at, "`(` without its `)`".into())),
                }
            }
            Kinded::Word(word) => self.test(word, token.at).map(Expr::Is),
            _ => Err((token.at, format!("`{token}` where a test is expected, such as `proto tcp`"))),
        }
    }

    fn deeper(&mut self, at: usize, inside: impl FnOnce(&mut Self) -> Result<Expr, Mistake>) -> Result<Expr, Mistake> {
        if self.depth == MAX_DEPTH {
            return Err((at, format!("nested too deep: at most {MAX_DEPTH}")));
        }
        self.depth += 1;
        let expr = inside(self);
        self.depth -= 1;
        expr
    }

    fn test(&mut self, word: &str, at: usize) -> Result<Test, Mistake> {
        if let Some(flag) = words::value(&FLAGS, word) {
            return Ok(Test::Flag(flag));
        }
        let Some(field) = words::value(&FIELDS, word) else { return Err((at, unknown_test(word))) };
        Ok(match field {
            Field::Event => Test::Event(self.values(word, event)?.into_iter().collect::<Kinds>()),
            Field::Family => Test::Family(self.values(word, family)?),
            Field::Proto => Test::Proto(self.values(word, proto)?),
            Field::State => Test::State(self.values(word, state)?),
            Field::Addr(place) => Test::Addr(place, self.values(word, net)?),
            Field::Port(place) => Test::Port(place, self.values(word, |text| span(text, "port"))?),
            Field::Zone(zone) => Test::Zone(zone, self.values(word, |text| span(text, "zone"))?),
            Field::Mark => Test::Mark(self.values(word, str::parse)?),
            Field::Label => Test::Label(self.values(word, label)?),
            Field::Helper => Test::Helper(self.values(word, helper)?),
        })
    }

    /// A value, and more behind commas.
    fn values<T>(&mut self, field: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Mistake> {
        let mut values = Vec::new();
        loop {
            match self.next()? {
                Some(Token { at, .. }) if values.len() == MAX_VALUES => {
                    return Err((at, format!("{field}: at most {MAX_VALUES} values")));
                }
                Some(Token { at, kind: Kinded::Word(word) }) => values.push(read(word).map_err(|reason| (at, reason))?),
                Some(token) => return Err((token.at, format!("`{token}` where a value of `{field}` is expected"))),
                None => return Err((self.end(), format!("`{field}` needs a value"))),
            }
            if !self.takes(Kinded::Comma)? {
                return Ok(values);
            }
        }
    }
}

/// Several parts as one expression, those of the same kind taken apart.
fn joined(parts: Vec<Expr>, join: fn(Vec<Expr>) -> Expr, apart: fn(Expr) -> Result<Vec<Expr>, Expr>) -> Expr {
    let mut flat: Vec<Expr> = parts.into_iter().flat_map(|part| apart(part).unwrap_or_else(|other| vec![other])).collect();
    match flat.pop() {
        Some(only) if flat.is_empty() => only,
        last => {
            flat.extend(last);
            join(flat)
        }
    }
}

/// Values that stand where another test would do, and what they should stand behind.
fn field_of(word: &str) -> Option<&'static str> {
    let upper = word.to_ascii_uppercase();
    if Kind::from_name(word).is_some() {
        Some("event")
    } else if words::value(&PROTOCOLS, word).is_some() {
        Some("proto")
    } else if ProtoInfo::state_names().any(|name| name == upper) {
        Some("state")
    } else if family(word).is_ok() {
        Some("family")
    } else if net(word).is_ok() {
        Some("addr")
    } else {
        None
    }
}

fn unknown_test(word: &str) -> String {
    let shown = word.escape_debug();
    match (field_of(word), nearest(word, words::beginnings())) {
        (Some(field), _) => format!("`{shown}` is a value; did you mean `{field} {shown}`?"),
        (None, Some(meant)) => format!("unknown word `{shown}`; did you mean `{meant}`?"),
        (None, None) => format!("unknown word `{shown}`; known here: {}", words::beginnings().collect::<Vec<_>>().join(" ")),
    }
}

/// Where two tests stand side by side, or `and` is misspelt.
fn joining_hint(token: &Token<'_>) -> String {
    match token.kind {
        Kinded::Word(word) if words::beginnings().any(|known| known == word) => format!("; did you mean `and {word}`?"),
        Kinded::Word(word) => nearest(word, ["and", "or"]).map_or(String::new(), |meant| format!("; did you mean `{meant}`?")),
        Kinded::Not | Kinded::Open => "; did you mean `and` before it?".into(),
        _ => String::new(),
    }
}

/// A complaint about a value, with the nearest that is known, or all of them.
fn unknown(what: &str, text: &str, known: &[&str]) -> String {
    let shown = text.escape_debug();
    match nearest(&text.to_lowercase(), known.iter().copied()) {
        Some(meant) => format!("unknown {what} `{shown}`; did you mean `{meant}`?"),
        None => format!("unknown {what} `{shown}`; known: {}", known.join(" ")),
    }
}

fn event(text: &str) -> Result<Kind, String> {
    Kind::from_name(text).ok_or_else(|| unknown("event", text, &Kind::ALL.map(Kind::name)))
}

fn family(text: &str) -> Result<Family, String> {
    match text {
        "inet" | "ipv4" => Ok(Family::Inet),
        "inet6" | "ipv6" => Ok(Family::Inet6),
        _ => Err(unknown("family", text, &["inet", "inet6"])),
    }
}

fn proto(text: &str) -> Result<u8, String> {
    let known: Vec<&str> = PROTOCOLS.iter().map(|(word, _)| *word).collect();
    words::value(&PROTOCOLS, text)
        .or_else(|| text.parse().ok())
        .ok_or_else(|| format!("{}, or a number up to 255", unknown("protocol", text, &known)))
}

fn state(text: &str) -> Result<&'static str, String> {
    let upper = text.to_ascii_uppercase();
    ProtoInfo::state_names().find(|name| *name == upper).ok_or_else(|| {
        if let Some(kind) = Kind::from_name(text) {
            return format!("`{kind}` is an event; did you mean `event {kind}`?");
        }
        let known: Vec<String> = ProtoInfo::state_names().map(str::to_lowercase).collect();
        unknown("state", text, &known.iter().map(String::as_str).collect::<Vec<_>>())
    })
}

fn net(text: &str) -> Result<Net, String> {
    let bad = || format!("`{}`: an address, a prefix such as 10.0.0.0/8, or a range first-last", text.escape_debug());
    let addr = |text: &str| text.parse::<IpAddr>().map_err(|_| bad());
    if let Some((base, length)) = text.split_once('/') {
        let base = addr(base)?;
        let length = number(length).and_then(|length| u8::try_from(length).ok()).filter(|length| *length <= width(base));
        let length = length.ok_or_else(|| format!("`{}`: a prefix length is 0 to {}", text.escape_debug(), width(base)))?;
        return match network(base, length) {
            network if network == base => Ok(Net::Prefix(base, length)),
            network => Err(format!("`{text}` has bits set beyond its length; did you mean `{network}/{length}`?")),
        };
    }
    match text.split_once('-') {
        None => addr(text).map(|addr| Net::Prefix(addr, width(addr))),
        Some((first, last)) => {
            let (first, last) = (addr(first)?, addr(last)?);
            if first.is_ipv4() == last.is_ipv4() && first <= last {
                Ok(Net::Range(first, last))
            } else {
                Err(format!("`{text}`: a range has two addresses of one family, the first not above the last"))
            }
        }
    }
}

fn span(text: &str, what: &str) -> Result<Span, String> {
    let shown = text.escape_debug();
    let one = |text: &str| {
        let number = number(text).and_then(|number| u16::try_from(number).ok());
        number.ok_or_else(|| format!("`{shown}`: a {what} is a number up to 65535, or a range first-last"))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (one(first)?, one(last)?);
    if first <= last { Ok(Span(first, last)) } else { Err(format!("`{shown}`: the first is above the last")) }
}

fn label(text: &str) -> Result<u8, String> {
    let label = number(text).and_then(|number| u8::try_from(number).ok()).filter(|label| *label < Labels::MAX);
    label.ok_or_else(|| format!("`{}`: a label is a number from 0 to {}", text.escape_debug(), Labels::MAX - 1))
}

/// As long as the kernel's registry takes (`NF_CT_HELPER_NAME_LEN`, 16 with the final NUL).
fn helper(text: &str) -> Result<String, String> {
    let fits = text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(text.into()) } else { Err(format!("`{}`: a helper's name has 1 to 15 characters", text.escape_debug())) }
}

/// Decimal digits and nothing else; Rust would take a `+`.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

impl std::str::FromStr for Mark {
    type Err = String;

    /// `value` or `value/mask`, decimal or hexadecimal.
    fn from_str(text: &str) -> Result<Self, String> {
        let shown = text.escape_debug();
        let one = |text: &str| {
            let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
                Some(digits) => u32::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+')),
                None => number(text),
            };
            number.ok_or_else(|| format!("`{shown}`: a mark is 32 bits, such as 7, 0x10 or 0x10/0xff"))
        };
        let (value, mask) = text.split_once('/').map_or((one(text), Ok(u32::MAX)), |(value, mask)| (one(value), one(mask)));
        let (value, mask) = (value?, mask?);
        if value & !mask == 0 {
            Ok(Self::new(value, mask))
        } else {
            Err(format!("`{shown}` has bits set outside its mask, and would never be"))
        }
    }
}
