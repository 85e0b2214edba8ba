//! A mistake in the configuration, and where it is.

use std::fmt;
use std::ops::Range;

use crate::nearest::nearest;

/// One mistake; shown as `file:line:column: reason`, which editors can jump to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file's name, or the argument's.
    pub file: String,
    /// Line and column from 1, the column in characters; absent when the mistake is something missing.
    pub at: Option<(usize, usize)>,
    /// One line of text.
    pub reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.reason),
            None => write!(f, "{}: {}", self.file, self.reason),
        }
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// A mistake that no place in the file shows.
    pub(super) fn somewhere(file: &str, reason: impl Into<String>) -> Self {
        Self { file: file.into(), at: None, reason: reason.into() }
    }

    /// A mistake at these bytes of `text`.
    pub(super) fn at(file: &str, text: &str, span: Range<usize>, reason: impl Into<String>) -> Self {
        Self { file: file.into(), at: Some(position(text, span.start)), reason: reason.into() }
    }

    /// What the parser found.
    pub(super) fn from_toml(file: &str, text: &str, error: &toml::de::Error) -> Self {
        let reason = reword(error.message());
        error.span().map_or_else(|| Self::somewhere(file, reason.clone()), |span| Self::at(file, text, span, reason.clone()))
    }
}

/// Line and column of a byte, from 1.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before.get(line_start..).unwrap_or_default().chars().count() + 1)
}

/// Keys that had another place once, and where they are now.
const MOVED: [(&str, &str); 1] = [("deadline", "[helper.NAME.restart]")];

/// Keys that somebody may look for, and what does it instead.
const INSTEAD: [(&str, &str); 1] = [(
    "sink",
    "the unit cthelperd-events@N writes event queue N to the journal or a file: groups = [\"cthelperd-events\"] here, then systemctl enable \
     --now cthelperd-events@N",
)];

/// serde's list of all words becomes the one that was probably meant.
fn reword(message: &str) -> String {
    let line = message.lines().collect::<Vec<_>>().join(": ");
    let (what, rest) = match (line.strip_prefix("unknown field `"), line.strip_prefix("unknown variant `")) {
        (Some(rest), _) => ("key", rest),
        (_, Some(rest)) => ("value", rest),
        (None, None) => return line,
    };
    let unknown = rest.split('`').next().unwrap_or_default();
    if let Some((_, place)) = MOVED.iter().find(|(key, _)| what == "key" && *key == unknown) {
        return format!("`{unknown}` now belongs in {place}");
    }
    if let Some((_, instead)) = INSTEAD.iter().find(|(key, _)| what == "key" && *key == unknown) {
        return format!("there is no key `{unknown}`; {instead}");
    }
    let known: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
    match nearest(unknown, known.iter().copied()) {
        Some(meant) => format!("unknown {what} `{unknown}`; did you mean `{meant}`?"),
        None => format!("unknown {what} `{unknown}`; known here: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_from_one_and_in_characters() {
        let text = "a\nüb\n";
        assert_eq!(position(text, 0), (1, 1));
        assert_eq!(position(text, 2), (2, 1));
        assert_eq!(position(text, 4), (2, 2));
        assert_eq!(position(text, 6), (3, 1));
        assert_eq!(position(text, 999), (3, 1));
    }

    #[test]
    fn a_key_nothing_is_near_to_gets_the_list() {
        assert_eq!(reword("unknown field `zzzzzz`, expected `user` or `group`"), "unknown key `zzzzzz`; known here: user, group");
        assert_eq!(reword("unknown field `usr`, expected `user` or `group`"), "unknown key `usr`; did you mean `user`?");
    }
}
