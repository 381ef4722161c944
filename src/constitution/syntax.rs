//! What is said of a text that is no YAML: where it is at fault, and what helps.
//!
//! Two readers take part. The tree's comes first, and `serde_yaml` is stricter in a few places: with tabs, and
//! with line separators, at which it begins a new line.

use std::path::Path;

use super::comments::lines;
use super::error::{Code, Problem, Span};

/// What the tree's reader says, and what helps.
const REMEDIES: &[(&str, &str)] = &[
    (
        "unknown anchor",
        "put a text that begins with `*` in quotes; an alias (`*name`) needs its anchor (`&name`) before it",
    ),
    (
        "unexpected character",
        "put a text that begins with this character in quotes",
    ),
    (
        "mapping values are not allowed",
        "put the text in quotes if a `: ` in it is part of it; if none is, check indentation and quotes here and on \
         the line before",
    ),
    (
        "mapping keys are not allowed",
        "put a text that begins with `? ` in quotes",
    ),
    (
        "block sequence entries are not allowed",
        "put a text that begins with `- ` in quotes; a list begins on the line below its key",
    ),
    (
        "plain scalar cannot start with '-'",
        "put a text between brackets that has a `-` before a comma or a bracket in quotes",
    ),
    (
        "trailing content after",
        "put the text in quotes as a whole, and write a quote inside as `\\\"` or `''`",
    ),
    (
        "did not find expected key",
        "check indentation, quotes and brackets here and on the line before; a text that begins with a quote or a \
         bracket must stand in quotes as a whole",
    ),
    (
        "in quoted scalar",
        "close the quotes; a text that goes on behind a quote must stand in quotes as a whole",
    ),
    (
        "while scanning a block scalar",
        "begin the text on the line below the `|` or `>`, or put all of it in quotes",
    ),
    (
        "while scanning an anchor or alias",
        "put a text that begins with `&` or `*` in quotes",
    ),
    ("byte order mark", "remove the invisible character U+FEFF"),
    (
        "unknown escape character",
        "put the text in single quotes, where a backslash is a backslash",
    ),
    (
        "invalid Unicode character escape",
        "write the character itself, or its number with eight digits (`\\U0001F600`)",
    ),
];

/// Whether a character may stand in a file as it is.
fn is_allowed(c: char) -> bool {
    let controls = matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    controls || matches!(c, ' '..='~' | '\u{a0}'..='\u{fffd}' | '\u{10000}'..)
}

/// Line breaks of YAML 1.1 that are none in YAML 1.2.
const SEPARATORS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// What the tree's reader stumbled over.
pub(super) fn syntax(file: &Path, text: &str, error: &saphyr_parser::ScanError) -> Problem {
    let (line, column) = (error.marker().line(), error.marker().col() + 1);
    let mut at = Some(on_text(text, line, column));
    let remedy = if error.info().contains("tab") {
        at = tab(text, line).or(at);
        "indent with spaces, not with tabs"
    } else if near(text, line, "\t") {
        "replace tabs outside of quotes by spaces; if there are none, check the quotes and brackets"
    } else if near(text, line, ":\u{a0}") || near(text, line, "-\u{a0}") {
        "replace the no-break space (U+00A0) behind `:` or `-` by a plain one"
    } else {
        let said = error.info();
        let known = REMEDIES.iter().find(|(words, _)| said.contains(words));
        known.map_or(
            "check indentation, quotes and brackets here and on the line before",
            |(_, remedy)| *remedy,
        )
    };
    let message = format!("this is not YAML: {}", error.info());
    Problem::new(Code::Syntax, file, at, message, remedy)
}

/// What is left to the deserialiser: where it reads YAML more strictly than the tree does.
pub(super) fn unread(file: &Path, text: &str, error: &serde_yaml::Error) -> Problem {
    // The deserialiser does not tell the place of these.
    let control = text.char_indices().find(|(_, c)| !is_allowed(*c));
    if let Some((at, control)) = control
        && error.to_string().contains("control character")
    {
        let number = u32::from(control);
        let message =
            format!("this cannot be read: a control character (U+{number:04X}) stands here");
        let escape = match number {
            0..=0xff => format!("\\x{number:02X}"),
            _ => format!("\\u{number:04X}"),
        };
        let remedy = format!("remove it, or write it as `{escape}` in double quotes");
        let at = Some(end_of(&text[..at]));
        return Problem::new(Code::Syntax, file, at, message, remedy);
    }
    let index = error.location().map(|at| at.index().min(text.len()));
    let before = index.and_then(|index| text.get(..index));
    if let Some(before) = before
        && let Some((at, separator)) = separator(before)
    {
        let message = format!(
            "the line separator U+{:04X} ends a line for some readers of YAML, and the value with it",
            u32::from(separator)
        );
        let remedy = format!(
            "remove it, or write it as `\\u{:04X}` in double quotes",
            u32::from(separator)
        );
        let at = Some(end_of(&before[..at]));
        return Problem::new(Code::Syntax, file, at, message, remedy);
    }
    let rest = index.and_then(|index| text.get(index..));
    let remedy = match rest.is_some_and(|rest| rest.starts_with('\t')) {
        true => "remove the tab, or write spaces in its place",
        false => "put the value in quotes",
    };
    let message = format!("this cannot be read: {error}");
    Problem::new(Code::Syntax, file, before.map(end_of), message, remedy)
}

/// The last line separator of a text, where it stands on the last line.
fn separator(before: &str) -> Option<(usize, char)> {
    let found = before.char_indices().rev();
    let mut last_line = found.take_while(|(_, c)| !matches!(c, '\n' | '\r'));
    last_line.find(|(_, c)| SEPARATORS.contains(c))
}

/// The place behind a text.
fn end_of(before: &str) -> Span {
    let lines = lines(before);
    let column = lines.last().map_or(0, |line| line.chars().count()) + 1;
    Span::point(lines.len(), column)
}

/// A place, or the end of the text before it where it is on a line without text, as the end of the file is.
pub(super) fn on_text(text: &str, line: usize, column: usize) -> Span {
    let lines = lines(text);
    let is_blank = |line: &str| line.trim().is_empty();
    let index = line.saturating_sub(1);
    if lines.get(index).is_some_and(|line| !is_blank(line)) {
        return Span::point(line, column);
    }
    let before = &lines[..index.min(lines.len())];
    match before.iter().rposition(|line| !is_blank(line)) {
        Some(index) => Span::point(index + 1, before[index].trim_end().chars().count() + 1),
        None => Span::point(line, column),
    }
}

/// Whether something stands on a line or on the one before, where the parser may have stumbled over it.
fn near(text: &str, line: usize, what: &str) -> bool {
    let lines = lines(text);
    let mut near = lines.iter().skip(line.saturating_sub(2)).take(2);
    near.any(|line| line.contains(what))
}

/// A NUL byte ends the text for the parser, so it is looked for first.
pub(super) fn nul(file: &Path, before: &str) -> Problem {
    let at = Some(end_of(before));
    let message = "this is not YAML: the text has a NUL byte";
    let remedy = "remove it, and check that this is a text file";
    Problem::new(Code::Syntax, file, at, message, remedy)
}

/// The first tab that indents a line, from the line on where the parser noticed one.
fn tab(text: &str, from: usize) -> Option<Span> {
    let lines = lines(text);
    let mut lines = lines.iter().enumerate().skip(from.saturating_sub(1));
    lines.find_map(|(index, line)| {
        let indent = line.len() - line.trim_start_matches(' ').len();
        line[indent..]
            .starts_with('\t')
            .then(|| Span::point(index + 1, indent + 1))
    })
}
