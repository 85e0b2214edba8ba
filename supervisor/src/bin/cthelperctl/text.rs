//! Text from others, made safe for a terminal; and columns.

use std::fmt::Write as _;

use anstyle::Style;

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
    styled(rows, |_, _| Style::new())
}

/// As [`columns`], each cell in the style for its row and column, both from 0.
pub fn styled(rows: &[Vec<String>], style: impl Fn(usize, usize) -> Style) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut out = String::new();
    for (at, row) in rows.iter().enumerate() {
        // The last cell with something in it is not padded.
        let last = row.iter().rposition(|cell| !cell.is_empty()).unwrap_or(0);
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate().take(last + 1) {
            let (style, width) = (style(at, column), if column == last { 0 } else { width });
            let gap = if column == last { "" } else { "  " };
            let _ = write!(out, "{style}{cell:<width$}{style:#}{gap}");
        }
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

    #[test]
    fn a_style_changes_no_width() {
        let rows = [vec!["A".to_owned(), "B".to_owned()], vec!["long".to_owned(), "x".to_owned()]];
        let bold = styled(&rows, |row, _| if row == 0 { Style::new().bold() } else { Style::new() });
        assert_eq!(bold, "\u{1b}[1mA   \u{1b}[0m  \u{1b}[1mB\u{1b}[0m\nlong  x\n");
    }
}
