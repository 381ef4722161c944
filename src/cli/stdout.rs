//! Standard output, whose errors say that it is what could not be written.

use std::fmt;
use std::io::{self, Write};

use anstream::AutoStream;
use serde_json::Value;
use thiserror::Error;

/// Why stdout was not written. The kind of the error around it stays what it was, since a reader that
/// closed a pipe is no error.
#[derive(Debug, Error)]
#[error("cannot write to stdout: {0}")]
struct Unwritten(io::Error);

/// Says of an error that it was stdout's.
pub fn unwritten(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Unwritten(error))
}

/// Stdout, for as long as it is held.
pub struct Stdout<W>(W);

/// For people: styles are left out where they cannot be shown.
pub fn styled() -> Stdout<AutoStream<io::StdoutLock<'static>>> {
    Stdout(anstream::stdout().lock())
}

/// The one or the other: a text of JSON may hold what would be taken for a style.
pub fn as_asked(json: bool) -> Stdout<AutoStream<io::StdoutLock<'static>>> {
    match json {
        true => Stdout(AutoStream::always_ansi(io::stdout().lock())),
        false => styled(),
    }
}

/// For programs: bytes as they are.
pub fn raw() -> Stdout<io::StdoutLock<'static>> {
    Stdout(io::stdout().lock())
}

impl<W: Write> Write for Stdout<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(unwritten)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).map_err(unwritten)
    }

    fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        self.0.write_fmt(text).map_err(unwritten)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(unwritten)
    }
}

/// Writes a line for a program.
pub fn line(line: &Value) -> io::Result<()> {
    raw().write_all(format!("{line}\n").as_bytes())
}

/// What was written, where printing is not what a command is for: a reader that went away takes nothing
/// from what it did, or found.
pub fn or_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Whether stdout still takes what is said while work goes on, which does not stop where it does not. After
/// the first failure nothing more is tried: it would stand behind half a line.
#[derive(Debug, Default)]
pub struct Printed {
    closed: bool,
    error: Option<io::Error>,
}

impl Printed {
    /// Writes, unless that has failed before.
    pub fn note(&mut self, write: impl FnOnce() -> io::Result<()>) {
        if self.is_lost() {
            return;
        }
        match write() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.closed = true,
            Err(error) => self.error = Some(error),
        }
    }

    /// Whether something that was said reached nobody.
    pub fn is_lost(&self) -> bool {
        self.closed || self.error.is_some()
    }

    /// The error, where there was one. A reader that went away is none.
    pub fn finish(self) -> io::Result<()> {
        self.error.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes, and then fails.
    struct Full(usize, io::ErrorKind);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(self.1.into());
            }
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_error_says_what_could_not_be_written_and_keeps_its_kind() {
        let mut out = Stdout(Full(3, io::ErrorKind::StorageFull));
        let error = writeln!(out, "a line of {} words", 5).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(
            error.to_string().starts_with("cannot write to stdout: "),
            "{error}"
        );
        let mut out = Stdout(Full(0, io::ErrorKind::BrokenPipe));
        let closed = out.write_all(b"a");
        assert_eq!(
            closed.as_ref().unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
        assert!(or_closed(closed).is_ok());
    }

    #[test]
    fn nothing_is_tried_after_a_failure_and_a_closed_pipe_is_no_error() {
        let mut printed = Printed::default();
        printed.note(|| Err(io::ErrorKind::BrokenPipe.into()));
        printed.note(|| panic!("the pipe is closed"));
        assert!(printed.is_lost());
        assert!(printed.finish().is_ok());
        let mut printed = Printed::default();
        printed.note(|| Ok(()));
        assert!(!printed.is_lost());
        printed.note(|| Err(io::ErrorKind::StorageFull.into()));
        printed.note(|| panic!("the disk is full"));
        assert!(printed.is_lost());
        assert!(printed.finish().is_err());
    }
}
