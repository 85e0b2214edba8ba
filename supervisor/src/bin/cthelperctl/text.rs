//! Text from others, made safe for a terminal; and columns.

/// `text` with everything that is not a letter, a digit, ASCII punctuation or a blank written as an escape, so that a helper's
/// name cannot move the cursor or start a line.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric() {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out
}

/// Rows as left-justified columns two blanks apart, without trailing blanks; the first row is the heading.
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        out.push_str(line.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bytes_are_escaped_and_letters_stay() {
        assert_eq!(printable("ftp\x1b[2J\n\u{202e}é"), "ftp\\u{1b}[2J\\n\\u{202e}é");
        assert_eq!(printable("a b-c_d.e"), "a b-c_d.e");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["A".to_owned(), "B".to_owned()], vec!["long".to_owned(), String::new()]];
        assert_eq!(columns(&rows), "A     B\nlong\n");
        assert_eq!(columns(&[]), "");
    }
}
