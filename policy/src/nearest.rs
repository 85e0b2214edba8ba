//! Which known word a misspelt one was probably meant to be.

/// The nearest, if it is near enough to be meant.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known.into_iter().min_by_key(|word| distance(unknown, word)).filter(|word| is_near(unknown, word))
}

fn is_near(unknown: &str, known: &str) -> bool {
    distance(unknown, known) <= 1 + unknown.chars().count() / 4
}

/// Insertions, deletions and replacements of characters, and swaps of neighbours (optimal string alignment).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    let mut last_row = row.clone();
    let mut last = None;
    for (i, a) in one.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let replaced = cell(&row, j) + usize::from(a != *b);
            let mut best = replaced.min(cell(&row, j + 1) + 1).min(cell(&next, j) + 1);
            if let Some(before) = j.checked_sub(1).filter(|before| last == Some(*b) && other.get(*before) == Some(&a)) {
                best = best.min(cell(&last_row, before) + 1);
            }
            next.push(best);
        }
        last_row = std::mem::replace(&mut row, next);
        last = Some(a);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (one, other, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("loose", "lose", 1),
            ("kitten", "sitting", 3),
            ("ä", "a", 1),
            ("tpc", "tcp", 1),
            ("abcd", "badc", 2),
        ] {
            assert_eq!(distance(one, other), edits, "{one} {other}");
        }
    }
}
