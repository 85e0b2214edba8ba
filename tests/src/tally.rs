//! What a reader of an event queue got, in format `text`: events, and what it was told of others that were lost.

/// Counts lines that come in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events that arrived.
    pub arrived: u64,
    /// Events that it was told it lost.
    pub told: u64,
    /// Times it was told that the kernel dropped events.
    pub gaps: u64,
    /// The beginning of a line whose end has not come.
    open: Vec<u8>,
}

impl Tally {
    /// The next piece of the stream.
    pub fn take(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = (&rest[..end], &rest[end + 1..]);
            if self.open.is_empty() {
                self.line(line);
            } else {
                let mut whole = std::mem::take(&mut self.open);
                whole.extend_from_slice(line);
                self.line(&whole);
            }
            rest = behind;
        }
        self.open.extend_from_slice(rest);
    }

    fn line(&mut self, line: &[u8]) {
        match line {
            [b'#', ..] => self.notice(std::str::from_utf8(line).unwrap()),
            [b'{', ..] => {} // the answer to the request
            _ => self.arrived += 1,
        }
    }

    fn notice(&mut self, line: &str) {
        if let Some(lost) = line.strip_prefix("# lost ") {
            self.told += lost.parse::<u64>().unwrap();
        }
        self.gaps += u64::from(line == "# gap");
    }

    /// Of this reader and of another.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let (arrived, told) = (self.arrived + other.arrived, self.told + other.told);
        Self { arrived, told, gaps: self.gaps + other.gaps, open: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_wherever_a_piece_ends() {
        let stream =
            b"{\"ok\":{\"queue\":1}}\n    [NEW] udp      17 30 src=127.0.0.1\n# lost 12\n# gap\n    [NEW] x\n# lost 3\n  [NEW";
        for at in 0..stream.len() {
            let mut tally = Tally::default();
            tally.take(&stream[..at]);
            tally.take(&stream[at..]);
            assert_eq!((tally.arrived, tally.told, tally.gaps), (2, 15, 1));
            let both = tally.and(&tally);
            assert_eq!((both.arrived, both.told, both.gaps), (4, 30, 2));
        }
    }
}
