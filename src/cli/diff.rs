//! Word diffs on a terminal.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::text::sanitize;
pub use crate::diff::{Change, Piece, find, mark, unchanged, words, words_within};

/// Pieces as text: removed, added and marked words in colour, or in `[-…-]`, `{+…+}` and `[*…*]`.
pub fn painted(pieces: &[Piece], colour: bool) -> String {
    let mut body = String::new();
    for piece in pieces {
        let text = sanitize(&piece.text);
        if !colour {
            // Writing to a string cannot fail.
            let _ = match piece.change {
                Change::Same if piece.marked => write!(body, "[*{text}*]"),
                Change::Same => write!(body, "{text}"),
                Change::Removed => write!(body, "[-{text}-]"),
                Change::Added => write!(body, "{{+{text}+}}"),
            };
            continue;
        }
        let style = match piece.change {
            Change::Same => Style::new(),
            Change::Removed => AnsiColor::Red.on_default().strikethrough(),
            Change::Added => AnsiColor::Green.on_default(),
        };
        let style = if piece.marked {
            style.underline().bold()
        } else {
            style
        };
        // Line by line, so that no style runs over an indent.
        let lines: Vec<_> = text
            .split('\n')
            .map(|line| match line {
                "" => String::new(),
                line => format!("{style}{line}{style:#}"),
            })
            .collect();
        body.push_str(&lines.join("\n"));
    }
    body
}
