//! Exit codes, and how an error becomes one.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use super::text::sanitize;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    Done,
    /// The command failed.
    Failed,
    /// Wrong usage, or an invalid input file.
    Usage,
    /// Done, but some chains failed.
    SomeFailed,
    /// A check did not hold.
    CheckFailed,
    /// Interrupted by the person.
    Interrupted,
}

impl Exit {
    /// The code that the process exits with.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::SomeFailed => 3,
            Exit::CheckFailed => 4,
            Exit::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// Marks an error as one of usage or input: exit code 2.
#[derive(Debug)]
pub struct UsageError(pub anyhow::Error);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&causes(&self.0))
    }
}

impl std::error::Error for UsageError {}

/// Ends a command that has nothing more to do, from wherever it stands.
#[derive(Debug)]
pub struct Finished;

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("done")
    }
}

impl std::error::Error for Finished {}

/// Turns an error into one of usage or input.
pub fn usage(error: impl Into<anyhow::Error>) -> anyhow::Error {
    anyhow::Error::new(UsageError(error.into()))
}

/// Prints a line to stderr. Where stderr cannot be written there is nobody to tell.
pub fn say(line: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

/// An error with its causes, leaving out those that it names itself.
fn causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Prints an error to stderr and gives its exit code. A reader that closed our stdout is no error.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let broken_pipe = error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    });
    if broken_pipe || error.is::<Finished>() {
        return Exit::Done.into();
    }
    let bold = anstyle::Style::new()
        .bold()
        .fg_color(Some(anstyle::AnsiColor::Red.into()));
    // Names from files and arguments stand in it, and must not drive the terminal.
    say(&format!(
        "{bold}error:{bold:#} {}",
        sanitize(&causes(error))
    ));
    let usage = error.chain().any(|cause| cause.is::<UsageError>());
    if usage {
        Exit::Usage.into()
    } else {
        Exit::Failed.into()
    }
}
