//! Words of a conntrackd.conf, cut as its scanner cuts them: the longest match wins.

use super::Place;

/// One word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A letter, then letters, digits, `.`, `-`, `_`; keywords too.
    Word(&'a str),
    /// Digits.
    Number(&'a str),
    /// `/` and what follows it, up to a blank, a quotation mark or the line's end: braces and `#` too.
    Path(&'a str),
    /// `{`
    Open,
    /// `}`
    Close,
    /// Any other character: of addresses and signed numbers, which helpers do not have.
    Other(char),
}

impl Token<'_> {
    /// As a complaint names it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Word(text) | Self::Number(text) | Self::Path(text) => format!("`{text}`"),
            Self::Open => "`{`".to_owned(),
            Self::Close => "`}`".to_owned(),
            Self::Other(c) => format!("`{c}`"),
        }
    }
}

/// The words of `text`, each with its place.
pub(super) struct Lexer<'a> {
    rest: &'a str,
    at: Place,
}

impl<'a> Lexer<'a> {
    /// From the beginning.
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text, at: Place { line: 1, column: 1 } }
    }

    /// Where the next word is looked for; after the last one, the end of the text.
    pub(super) fn place(&self) -> Place {
        self.at
    }

    /// Takes the longest beginning whose characters are all wanted.
    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        for c in taken.chars() {
            self.at = if c == '\n' {
                Place { line: self.at.line + 1, column: 1 }
            } else {
                Place { column: self.at.column + 1, ..self.at }
            };
        }
        self.rest = rest;
        taken
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
            if !self.rest.starts_with('#') {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = (Place, Token<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_blanks_and_comments();
        let at = self.at;
        let token = match self.rest.chars().next()? {
            c if c.is_ascii_alphabetic() => Token::Word(self.take_while(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))),
            c if c.is_ascii_digit() => Token::Number(self.take_while(|c| c.is_ascii_digit())),
            '/' => Token::Path(self.take_while(|c| !matches!(c, '"' | '\n' | ' '))),
            c => {
                let width = c.len_utf8();
                self.rest = self.rest.get(width..).unwrap_or_default();
                self.at.column += 1;
                match c {
                    '{' => Token::Open,
                    '}' => Token::Close,
                    other => Token::Other(other),
                }
            }
        };
        Some((at, token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_as_conntrackd_cuts_them() {
        let text = "Type ftp-2.x{ # } comment\n\tPath /run/a{b#c}\n 10é}";
        let place = |line, column| Place { line, column };
        let expected = [
            (place(1, 1), Token::Word("Type")),
            (place(1, 6), Token::Word("ftp-2.x")),
            (place(1, 13), Token::Open),
            (place(2, 2), Token::Word("Path")),
            (place(2, 7), Token::Path("/run/a{b#c}")),
            (place(3, 2), Token::Number("10")),
            (place(3, 4), Token::Other('é')),
            (place(3, 5), Token::Close),
        ];
        assert_eq!(Lexer::new(text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_end_has_a_place_too() {
        let mut lexer = Lexer::new("a\n# b");
        assert_eq!(lexer.by_ref().count(), 1);
        assert_eq!(lexer.place(), Place { line: 2, column: 4 });
    }
}
