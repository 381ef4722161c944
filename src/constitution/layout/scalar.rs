//! How a text is written: plain, in quotes, or as a block.
//!
//! A text that is written plainly stays so. Blocks stay blocks; texts that are longer than a line become
//! folded blocks, and texts of several lines literal ones.

use saphyr_parser::ScalarStyle;

use super::WIDTH;

/// A written text.
pub(super) enum Scalar {
    /// On the line of its key.
    Inline(String),
    /// An indicator on the line of its key, and the lines below it.
    Block(&'static str, Vec<String>),
}

/// A text in a block mapping or list. `room` is what is left on the line, `indent` that of a block's lines.
pub(super) fn scalar(text: &str, style: ScalarStyle, room: usize, indent: usize) -> Scalar {
    if style == ScalarStyle::Plain && !text.contains('\n') && !is_text(text) {
        return Scalar::Inline(match was_other(text) {
            true => double(text),
            false => text.to_owned(),
        });
    }
    let width = WIDTH.saturating_sub(indent).max(20);
    let block = |folded: bool| {
        let indicator = match (folded, text.ends_with('\n')) {
            (true, false) => ">-",
            (true, true) => ">",
            (false, false) => "|-",
            (false, true) => "|",
        };
        let body = text.strip_suffix('\n').unwrap_or(text);
        let lines = if folded {
            fold(body, width)
        } else {
            body.split('\n').map(str::to_owned).collect()
        };
        Scalar::Block(indicator, lines)
    };
    let was_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
    let (literal, foldable) = (can_be_literal(text), can_be_folded(text));
    if was_block || text.contains('\n') {
        return match style {
            ScalarStyle::Folded | ScalarStyle::Plain if foldable => block(true),
            _ if literal => block(false),
            // In the quotes that the same text would keep.
            _ => Scalar::Inline(inline(text, ScalarStyle::DoubleQuoted, false)),
        };
    }
    let inline = inline(text, style, false);
    let quoted_code = style != ScalarStyle::Plain && text.contains('\\');
    if inline.chars().count() > room && foldable && !quoted_code && fold(text, width).len() > 1 {
        return block(true);
    }
    Scalar::Inline(inline)
}

/// A text between brackets.
pub(super) fn flow_scalar(text: &str, style: ScalarStyle) -> String {
    let misread = was_other(text) || (text.contains('?') && is_text(text));
    if style == ScalarStyle::Plain && !text.contains('\n') {
        return match misread {
            true => inline(text, ScalarStyle::DoubleQuoted, true),
            false => text.to_owned(),
        };
    }
    inline(text, style, true)
}

fn inline(text: &str, style: ScalarStyle, flow: bool) -> String {
    let plain = match style {
        ScalarStyle::Plain => !text.contains('\n'),
        // Patterns are easier to read in quotes.
        _ => is_plain(text, flow) && is_text(text) && !text.contains('\\'),
    };
    if plain {
        return text.to_owned();
    }
    let wants_single = text.contains(['\\', '"']);
    let single = text.chars().all(|c| is_printable(c) && c != '\n');
    let few_quotes = style == ScalarStyle::SingleQuoted || !text.contains('\'');
    if single && wants_single && few_quotes {
        return format!("'{}'", text.replace('\'', "''"));
    }
    double(text)
}

/// Whether a text without quotes stands for itself, and not for a number or the like.
fn is_text(text: &str) -> bool {
    !was_other(text)
        && !matches!(text, "y" | "Y" | "n" | "N" | "null" | "~")
        && matches!(serde_yaml::from_str(text), Ok(serde_yaml::Value::String(read)) if read == text)
}

/// Whether a text without quotes was a boolean, a number or a time in YAML 1.1, which many programs read.
fn was_other(text: &str) -> bool {
    // Its `y` and `n` hardly any program took for booleans.
    const WORDS: [&str; 4] = ["yes", "no", "on", "off"];
    let part = |c: char| c.is_ascii_digit() || ":_.+-".contains(c);
    let number = text.starts_with(|c: char| c.is_ascii_digit() || "+-".contains(c))
        && text.contains([':', '_'])
        && text.chars().all(part);
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word)) || number || is_time(text)
}

/// Whether a text begins with a date and goes on, if at all, with a time.
fn is_time(text: &str) -> bool {
    let Some((date, rest)) = text.split_at_checked(10) else {
        return false;
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let date: Vec<&str> = date.split('-').collect();
    matches!(date[..], [y, m, d] if y.len() == 4 && m.len() == 2 && [y, m, d].map(digits) == [true; 3])
        && rest
            .chars()
            .all(|c| c.is_ascii_digit() || ":.+- TtZz".contains(c))
}

/// Whether a text may stand without quotes.
fn is_plain(text: &str, flow: bool) -> bool {
    let first = |c: char| c.is_alphanumeric() || matches!(c, '(' | '.' | '/' | '“' | '$');
    let inside =
        |c: char| is_printable(c) && c != '\n' && c != '\t' && !(c.is_whitespace() && c != ' ');
    let brackets = text.contains([',', '[', ']', '{', '}']);
    text.starts_with(first)
        && text.chars().all(inside)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        // Some readers of YAML take a `?` in brackets for a key, and a `-` before a comma for an item.
        && !(flow && (brackets || text.contains([':', '?']) || text.ends_with(" -")))
        && text != "..."
}

/// A text in double quotes, whatever is in it.
pub(in crate::constitution) fn double(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) <= 0xff => out.push_str(&format!("\\x{:02X}", u32::from(c))),
            c => out.push_str(&format!("\\u{:04X}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// What may stand in a file as it is; line breaks other than `\n`, and controls, may not.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | '\t' | ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}')
        || matches!(c, '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..)
}

fn can_be_literal(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let plain_line = |line: &str| !line.starts_with('\t') && line.trim_end() == line;
    !body.starts_with([' ', '\n'])
        && !body.is_empty()
        && !body.ends_with('\n')
        && text.chars().all(is_printable)
        && body.split('\n').all(plain_line)
}

fn can_be_folded(text: &str) -> bool {
    let indented = |line: &str| line.starts_with(char::is_whitespace);
    can_be_literal(text) && !text.split('\n').any(indented)
}

/// The lines of a folded block: lines are wrapped at single spaces, and where the text has a line break
/// there is a blank line.
fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (index, paragraph) in text.split('\n').enumerate() {
        if index > 0 {
            lines.push(String::new());
        }
        if paragraph.is_empty() {
            continue;
        }
        let mut line = String::new();
        let mut used = 0;
        for word in words(paragraph) {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
        }
        lines.push(line);
    }
    lines
}

/// The pieces of a line between single spaces.
fn words(line: &str) -> Vec<&str> {
    let bytes = line.as_bytes();
    let space = |at: usize| bytes.get(at).is_some_and(|b| *b == b' ');
    let mut words = Vec::new();
    let mut start = 0;
    for (at, _) in line.match_indices(' ') {
        let before = line[..at].chars().next_back();
        let after = line[at + 1..].chars().next();
        let white = |c: Option<char>| c.is_none_or(char::is_whitespace);
        if at > start && !space(at + 1) && !white(before) && !white(after) {
            words.push(&line[start..at]);
            start = at + 1;
        }
    }
    words.push(&line[start..]);
    words
}
