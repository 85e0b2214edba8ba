//! Where in the file a byte of a string's value stands: quotation marks and escapes are not part of the value.

/// The offset in `literal`, a TOML string as it is written, of the byte `at` of its value.
///
/// Source: TOML 1.0, "String".
pub(super) fn offset(literal: &str, at: usize) -> usize {
    let multiline = ["\"\"\"", "'''"].into_iter().any(|quotes| literal.starts_with(quotes));
    let is_basic = literal.starts_with('"');
    let mut offset = if multiline { 3 } else { 1 };
    if multiline {
        // A newline right behind the quotation marks is not part of the value.
        let rest = literal.get(offset..).unwrap_or_default();
        offset += if rest.starts_with("\r\n") { 2 } else { usize::from(rest.starts_with('\n')) };
    }
    let mut value = 0;
    while let Some(rest) = literal.get(offset..).filter(|_| value < at) {
        let (written, valued) = piece(rest, is_basic);
        if written == 0 {
            break;
        }
        offset += written;
        value += valued;
    }
    // What an escaped newline swallows comes before the byte, not behind it.
    let swallowed = literal.get(offset..).filter(|_| is_basic).map(|rest| piece(rest, true)).filter(|(_, valued)| *valued == 0);
    offset + swallowed.map_or(0, |(written, _)| written)
}

/// Bytes written, and bytes of value, of the first character.
fn piece(rest: &str, is_basic: bool) -> (usize, usize) {
    let length = |rest: &str| rest.chars().next().map_or(0, char::len_utf8);
    let Some(escape) = rest.strip_prefix('\\').filter(|_| is_basic) else { return (length(rest), length(rest)) };
    let code = |digits: usize| {
        let code = escape.get(1..=digits).and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
        (digits + 2, code.map_or(1, char::len_utf8))
    };
    match escape.chars().next() {
        Some('x') => code(2),
        Some('u') => code(4),
        Some('U') => code(8),
        Some(char) if char.is_whitespace() => (1 + escape.len() - escape.trim_start().len(), 0),
        _ => (1 + length(escape), 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands in the literal where byte `at` of its value is.
    fn found(literal: &str, at: usize) -> &str {
        literal.get(offset(literal, at)..).unwrap()
    }

    #[test]
    fn quotation_marks_are_not_part_of_the_value() {
        for literal in ["\"abXc\"", "'abXc'", "'''abXc'''", "\"\"\"\nabXc\"\"\"", "'''\r\nabXc'''"] {
            assert!(found(literal, 2).starts_with("Xc"), "{literal}");
        }
    }

    #[test]
    fn an_escape_is_one_character() {
        for (literal, at) in [
            ("\"\\tX\"", 1),
            ("\"a\\\"X\"", 2),
            ("\"\\u00fcX\"", 2),
            ("\"\\U0001F600X\"", 4),
            ("'\\tX'", 2),
            ("\"üX\"", 2),
            ("\"\"\"a \\\n    X\"\"\"", 2),
        ] {
            assert!(found(literal, at).starts_with('X'), "{literal}: {}", found(literal, at));
        }
    }

    #[test]
    fn beyond_the_value_is_its_end() {
        assert_eq!(offset("\"ab\"", 99), 4);
        assert_eq!(offset("", 5), 1);
    }
}
