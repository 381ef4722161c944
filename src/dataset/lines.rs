//! Bytes to lines, never holding more of a line than the limit.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::path::{Path, PathBuf};

use super::{DatasetError, ReadOptions};

/// A text file past its byte order mark.
pub(super) type TextFile = BufReader<Chain<Cursor<Vec<u8>>, File>>;

/// Reads past a UTF-8 byte order mark, and refuses UTF-16.
pub(super) fn text_file(path: &Path, mut file: File) -> Result<TextFile, DatasetError> {
    let mut head = Vec::with_capacity(3);
    (&mut file)
        .take(3)
        .read_to_end(&mut head)
        .map_err(|source| DatasetError::Open {
            path: path.to_owned(),
            source,
        })?;
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return Err(DatasetError::Unusable {
            path: path.to_owned(),
            reason: "is UTF-16; save it as UTF-8".to_owned(),
        });
    }
    if head == [0xef, 0xbb, 0xbf] {
        head.clear();
    }
    Ok(BufReader::with_capacity(
        1 << 16,
        Cursor::new(head).chain(file),
    ))
}

/// What is said of a line that holds a carriage return, as all but the last line of a file do whose lines end
/// with nothing else.
pub(super) const BARE_RETURN: &str =
    "a carriage return (\\r) stands within the line; end lines with \\n or \\r\\n";

/// One line without its end, or the reason why it cannot be used.
pub(super) struct Line {
    /// From 1.
    pub number: u64,
    /// The text.
    pub content: Result<String, String>,
}

/// The lines of a reader. `\n` ends a line, and carriage returns before it, or before the end, belong to it.
pub(super) struct Lines<R> {
    input: R,
    limit: usize,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// Lines of at most `limit` bytes.
    pub fn new(input: R, limit: usize) -> Self {
        Self {
            input,
            limit,
            number: 0,
        }
    }

    /// The number of the line that was read last.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The next line; `None` at the end.
    pub fn next(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let mut length = 0_u64;
        self.number += 1;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() && length == 0 {
                return Ok(None);
            }
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let take = end.map_or(chunk.len(), |end| end + 1);
            let done = end.is_some() || chunk.is_empty();
            // Two more than the limit, so that the line's end does not count towards it.
            let room = (self.limit + 2).saturating_sub(bytes.len());
            bytes.extend_from_slice(&chunk[..take.min(room)]);
            length += take as u64;
            self.input.consume(take);
            if done {
                break;
            }
        }
        Ok(Some(Line {
            number: self.number,
            content: self.check(bytes, length),
        }))
    }

    fn check(&self, mut bytes: Vec<u8>, length: u64) -> Result<String, String> {
        let whole = length == bytes.len() as u64;
        if whole {
            bytes.pop_if(|byte| *byte == b'\n');
            while bytes.pop_if(|byte| *byte == b'\r').is_some() {}
        }
        if !whole || bytes.len() > self.limit {
            return Err(format!(
                "the line has {length} bytes and {} are allowed; split or shorten it",
                self.limit
            ));
        }
        if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
            return Err(format!(
                "NUL byte at byte {}; remove it, or save the file as UTF-8",
                at + 1
            ));
        }
        String::from_utf8(bytes).map_err(|error| {
            format!(
                "bad UTF-8 at byte {}; save the file as UTF-8",
                error.utf8_error().valid_up_to() + 1
            )
        })
    }
}

/// The lines of a text file; an error of reading names its place.
pub(super) struct FileLines {
    path: PathBuf,
    lines: Lines<TextFile>,
}

impl FileLines {
    /// The lines of a file that was opened.
    pub fn new(path: &Path, file: File, options: &ReadOptions) -> Result<Self, DatasetError> {
        Ok(Self {
            path: path.to_owned(),
            lines: Lines::new(text_file(path, file)?, options.max_line_bytes),
        })
    }
}

impl Iterator for FileLines {
    type Item = Result<Line, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.lines.next().transpose().map(|line| {
            line.map_err(|source| DatasetError::Read {
                path: self.path.clone(),
                line: self.lines.number(),
                source,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], limit: usize) -> Vec<(u64, Result<String, String>)> {
        // A buffer of two bytes puts every boundary between chunks to the test.
        let mut lines = Lines::new(BufReader::with_capacity(2, bytes), limit);
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push((line.number, line.content));
        }
        all
    }

    #[test]
    fn both_line_ends_and_a_last_line_without_one() {
        let text = |number, line: &str| (number, Ok(line.to_owned()));
        assert_eq!(
            lines(b"one\r\ntwo\n\nfour", 10),
            [text(1, "one"), text(2, "two"), text(3, ""), text(4, "four")]
        );
        assert_eq!(lines(b"one\n", 10), [text(1, "one")]);
        assert_eq!(lines(b"one\r\r\n\r", 10), [text(1, "one"), text(2, "")]);
        assert_eq!(lines(b"one\rtwo\r", 10), [text(1, "one\rtwo")]);
        assert_eq!(lines(b"", 10), []);
    }

    #[test]
    fn a_line_at_the_limit_is_read_and_one_beyond_it_is_passed_over() {
        let all = lines(b"12345\r\n123456\n123456789\nok\n", 5);
        assert_eq!(all[0].1, Ok("12345".to_owned()));
        assert!(all[1].1.as_ref().unwrap_err().contains("7 bytes"));
        assert!(all[2].1.as_ref().unwrap_err().contains("10 bytes"));
        assert_eq!(all[3], (4, Ok("ok".to_owned())));
    }

    #[test]
    fn nul_and_bad_utf8_are_named_with_their_place() {
        let all = lines(b"a\0b\nab\xff\n", 10);
        assert!(all[0].1.as_ref().unwrap_err().contains("byte 2"));
        assert!(all[1].1.as_ref().unwrap_err().contains("byte 3"));
    }
}
