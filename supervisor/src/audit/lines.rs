//! Whole lines on a disk that may be full: what could only be written in part is finished before anything else is.

use std::io::{self, Write};

/// Appends lines to a file.
#[derive(Debug)]
pub(super) struct Lines<W> {
    out: W,
    /// A line of which only a part is written, and how much of it is.
    begun: Vec<u8>,
    written: usize,
}

impl<W: Write> Lines<W> {
    /// To the end of `out`; `torn` = that is inside a line, which an earlier life could not finish.
    pub(super) fn new(out: W, torn: bool) -> Self {
        let begun = if torn { b"\n".to_vec() } else { Vec::new() };
        Self { out, begun, written: 0 }
    }

    /// Writes a line. After an error none of it is there, or its rest will be before the next line is begun.
    ///
    /// # Errors
    /// The line is not there, and never will be.
    pub(super) fn append(&mut self, line: &str) -> io::Result<()> {
        self.finish()?;
        self.begun = [line.as_bytes(), b"\n"].concat();
        match self.finish() {
            Err(error) if self.written == 0 => {
                self.begun.clear();
                Err(error)
            }
            // Its rest is owed to the file: it will be there.
            _ => Ok(()),
        }
    }

    /// Writes the rest of a line that was begun.
    fn finish(&mut self) -> io::Result<()> {
        while let Some(rest @ [_, ..]) = self.begun.get(self.written..) {
            match self.out.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.begun.clear();
        self.written = 0;
        Ok(())
    }

    /// Whether the last line waits for its rest.
    pub(super) fn owes(&self) -> bool {
        self.written > 0
    }

    /// Where the lines go.
    pub(super) fn out(&self) -> &W {
        &self.out
    }

    /// The line that was begun and could not be finished, whole; it belongs into the next file.
    pub(super) fn unfinished(self) -> Option<String> {
        let line = String::from_utf8(self.begun).ok()?;
        Some(line.trim_end().to_owned()).filter(|line| !line.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A disk with room for so many bytes.
    #[derive(Debug, Default)]
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.bytes.extend(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_cut_is_finished_before_the_next() {
        let mut lines = Lines::new(Disk { room: 6, ..Disk::default() }, false);
        assert!(lines.append("one").is_ok());
        assert!(lines.append("two").is_ok(), "its rest is owed");
        assert!(lines.append("three").is_err());
        lines.out.room = 100;
        assert!(lines.append("four").is_ok());
        assert_eq!(lines.out.bytes, b"one\ntwo\nfour\n");
    }

    #[test]
    fn after_a_line_torn_by_an_earlier_life_a_fresh_one_begins() {
        let mut lines = Lines::new(Disk::default(), true);
        assert!(lines.append("lost").is_err());
        lines.out.room = 100;
        assert!(lines.append("one").is_ok());
        assert_eq!(lines.out.bytes, b"\none\n");
    }

    #[test]
    fn a_line_that_was_begun_goes_whole_into_the_next_file() {
        let mut lines = Lines::new(Disk { room: 5, ..Disk::default() }, false);
        assert!(lines.append("one").is_ok() && lines.append("two").is_ok());
        assert_eq!(lines.unfinished().as_deref(), Some("two"));
        assert_eq!(Lines::new(Disk::default(), true).unfinished(), None);
    }

    proptest! {
        /// However the disk fills and empties: whole lines, in order, exactly those that were said to be written.
        #[test]
        fn what_is_said_to_be_written_is(steps in prop::collection::vec((0_usize..12, "[a-z]{0,9}"), 0..60)) {
            let mut lines = Lines::new(Disk::default(), false);
            let mut wanted = String::new();
            for (room, line) in steps {
                lines.out.room = room;
                if lines.append(&line).is_ok() {
                    wanted += &line;
                    wanted.push('\n');
                }
            }
            lines.out.room = 1000;
            prop_assert!(lines.append("end").is_ok());
            prop_assert_eq!(String::from_utf8(lines.out.bytes).unwrap(), wanted + "end\n");
        }
    }
}
