//! Output through the person's pager, where it is longer than the screen.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use unicode_width::UnicodeWidthStr;

use super::stdout;

/// Output that is printed as it is while it fits the screen, and handed to `$PAGER` (`less` where none is
/// set) once it does not.
pub struct Pager {
    to: To,
    /// Whether text may hold escape sequences.
    colour: bool,
}

enum To {
    /// What has been written so far, and how many columns and lines there are.
    Screen {
        text: Vec<u8>,
        columns: usize,
        lines: usize,
    },
    Plain,
    Pager(Child),
}

impl Pager {
    /// Output to stdout; through a pager where stdout is a terminal and `wanted` is set.
    pub fn new(wanted: bool) -> Self {
        let colour = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
        let size = terminal_size::terminal_size_of(io::stdout());
        let to = match size {
            Some((columns, lines)) if wanted && io::stdout().is_terminal() => To::Screen {
                text: Vec::new(),
                columns: usize::from(columns.0).max(1),
                lines: usize::from(lines.0),
            },
            _ => To::Plain,
        };
        Self { to, colour }
    }

    /// Whether text may hold escape sequences.
    pub fn colour(&self) -> bool {
        self.colour
    }

    /// Prints what is still held back, and waits for the person to leave the pager.
    pub fn finish(mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.to, To::Plain) {
            To::Screen { text, .. } => {
                let mut out = stdout::raw();
                out.write_all(&text)?;
                out.flush()
            }
            To::Plain => stdout::raw().flush(),
            To::Pager(child) => leave(child),
        }
    }
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to {
            To::Screen {
                text,
                columns,
                lines,
            } => {
                text.extend_from_slice(bytes);
                if height(text, *columns) >= *lines {
                    let text = std::mem::take(text);
                    self.to = start().map_or(To::Plain, To::Pager);
                    self.write_all(&text)?;
                }
                Ok(bytes.len())
            }
            To::Plain => stdout::raw().write(bytes),
            To::Pager(child) => match child.stdin.as_mut() {
                Some(stdin) => stdin.write(bytes),
                None => Err(io::ErrorKind::BrokenPipe.into()),
            },
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            To::Plain => stdout::raw().flush(),
            To::Screen { .. } | To::Pager(_) => Ok(()),
        }
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        // After an error too the terminal belongs to the pager until the person leaves it.
        if let To::Pager(child) = std::mem::replace(&mut self.to, To::Plain) {
            let _ = leave(child);
        }
    }
}

fn leave(mut child: Child) -> io::Result<()> {
    drop(child.stdin.take());
    child.wait().map(drop)
}

/// Lines that a text takes on a screen, at least.
fn height(text: &[u8], columns: usize) -> usize {
    let lines = text.split(|byte| *byte == b'\n');
    let rows = lines.map(|line| {
        let plain = anstream::adapter::strip_bytes(line).into_vec();
        let wide = String::from_utf8_lossy(&plain).width();
        wide.div_ceil(columns).max(1)
    });
    rows.sum::<usize>().saturating_sub(1)
}

/// The pager, waiting for text; `None` where there is none, or the person wants none.
fn start() -> Option<Child> {
    let pager = match std::env::var("PAGER") {
        Ok(pager) if pager.trim().is_empty() || pager.trim() == "cat" => return None,
        Ok(pager) => pager,
        Err(_) => "less".to_owned(),
    };
    // As a shell would, since people write options there.
    let mut command = Command::new("sh");
    command.args(["-c", &pager]).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        // Colours as they are; nothing is left to page where the text fits after all.
        command.env("LESS", "FRX");
    }
    found(&pager).then(|| command.spawn().ok()).flatten()
}

/// Whether the pager's program is there: a shell would say so only after it was given the text.
fn found(pager: &str) -> bool {
    let Some(program) = pager.split_whitespace().next() else {
        return false;
    };
    // Only a shell knows what these come to.
    if program.contains(['$', '"', '\'', '=', '~', '\\', '`']) {
        return true;
    }
    if program.contains('/') {
        return Path::new(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_take_several_rows_and_colours_none() {
        assert_eq!(height(b"a\nb\n", 80), 2);
        assert_eq!(height(b"\x1b[1mabcd\x1b[0m\n", 4), 1);
        assert_eq!(height("é".repeat(9).as_bytes(), 4), 2);
        assert_eq!(height(b"123456789\n", 4), 3);
        assert_eq!(height("漢字漢\n".as_bytes(), 4), 2);
    }

    #[test]
    fn programs_are_looked_for_on_the_path() {
        assert!(found("sh -c x"));
        assert!(!found("no-such-pager-anywhere -R"));
        assert!(found("/bin/sh -c x") && found("~/pager") && found("LESS=R less"));
        // Its text would be lost.
        assert!(!found("/no/such/pager -R"));
        assert!(!found(" "));
    }
}
