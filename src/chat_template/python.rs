//! Python's ideas of strings and JSON, where they differ from Rust's.

use std::fmt::Write;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

fn pattern(text: &str) -> Regex {
    // Constant patterns; a test compiles them.
    Regex::new(text).expect("valid pattern")
}

/// Whether Python's `str.isspace` holds: Rust's white space and four separators of ASCII.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// What to strip: white space, or the given characters.
pub(super) fn in_set(chars: Option<&str>, c: char) -> bool {
    chars.map_or_else(|| is_space(c), |chars| chars.contains(c))
}

/// `str.splitlines`.
pub(super) fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_break = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_break) {
        let width = if rest[at..].starts_with("\r\n") {
            2
        } else {
            rest[at..].chars().next().map_or(1, char::len_utf8)
        };
        lines.push(&rest[..if keep_ends { at + width } else { at }]);
        rest = &rest[at + width..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// `str.split` without a separator.
pub(super) fn split_space(text: &str, max: Option<usize>) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        if max.is_some_and(|max| parts.len() == max) {
            parts.push(rest.trim_end_matches(is_space));
            break;
        }
        let end = rest.find(is_space).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = rest[end..].trim_start_matches(is_space);
    }
    parts
}

/// `str.title`: a capital wherever a letter does not follow a letter.
pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_letter = false;
    for c in text.chars() {
        match after_letter {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
        after_letter = c.is_alphabetic();
    }
    out
}

/// `str.istitle`: capitals stand where a letter does not follow a letter, and nowhere else.
pub(super) fn is_title(text: &str) -> bool {
    let (mut after_letter, mut any) = (false, false);
    for c in text.chars() {
        // What has a small letter and is no capital, such as `ǅ`, is a letter for titles.
        let capital = c.is_uppercase() || c.to_lowercase().ne(std::iter::once(c));
        let letter = capital || c.is_lowercase();
        if letter && capital == after_letter {
            return false;
        }
        after_letter = letter;
        any |= letter;
    }
    any
}

/// `str.isdecimal`.
pub(super) fn is_decimal(text: &str) -> bool {
    static DECIMAL: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\p{Nd}+$"));
    DECIMAL.is_match(text)
}

/// `str.isprintable`: no control or other character without a form, and no white space but the blank.
pub(super) fn is_printable(text: &str) -> bool {
    static OTHERS: LazyLock<Regex> = LazyLock::new(|| pattern(r"[\p{C}\p{Z}&&[^ ]]"));
    !OTHERS.is_match(text)
}

/// `str.isidentifier`.
pub(super) fn is_identifier(text: &str) -> bool {
    static IDENTIFIER: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"^[\p{XID_Start}_]\p{XID_Continue}*$"));
    IDENTIFIER.is_match(text)
}

/// How often jinja2's `wordcount` finds `\w+`, which holds no combining marks in Python.
pub(super) fn count_words(text: &str) -> usize {
    static WORD: LazyLock<Regex> = LazyLock::new(|| pattern(r"[\p{L}\p{N}_]+"));
    WORD.find_iter(text).count()
}

/// `str.center`: of an odd padding, the larger half is on the left where the width is odd, else on the
/// right.
pub(super) fn center(text: &str, width: usize, fill: char) -> String {
    let missing = width.saturating_sub(text.chars().count());
    let left = missing / 2 + (missing & width & 1);
    let padding = |count| String::from(fill).repeat(count);
    format!("{}{text}{}", padding(left), padding(missing - left))
}

/// `str.expandtabs`. Without a size, tabs are left out.
pub(super) fn expand_tabs(text: &str, size: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' if size > 0 => {
                let spaces = size - column % size;
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            '\t' => {}
            '\n' | '\r' => {
                out.push(c);
                column = 0;
            }
            c => {
                out.push(c);
                column += 1;
            }
        }
    }
    out
}

/// How `json.dumps` lays out its text.
pub(super) struct JsonStyle {
    /// Written once per depth; `None` for everything on one line.
    pub(super) indent: Option<String>,
    /// Between items.
    pub(super) item_separator: String,
    /// Between a key and its value.
    pub(super) key_separator: String,
    /// Keys in order.
    pub(super) sort_keys: bool,
    /// Everything beyond ASCII written as escapes.
    pub(super) ensure_ascii: bool,
}

/// `json.dumps`.
pub(super) fn dump(value: &Value, style: &JsonStyle) -> String {
    let mut out = String::new();
    write_value(&mut out, value, style, 0);
    out
}

fn write_value(out: &mut String, value: &Value, style: &JsonStyle, depth: usize) {
    match value {
        Value::String(text) => write_string(out, text, style.ensure_ascii),
        Value::Array(items) if items.is_empty() => out.push_str("[]"),
        Value::Object(map) if map.is_empty() => out.push_str("{}"),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(out, style, index, depth + 1);
                write_value(out, item, style, depth + 1);
            }
            new_line(out, style, depth);
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            if style.sort_keys {
                entries.sort_by_key(|(key, _)| *key);
            }
            out.push('{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                separate(out, style, index, depth + 1);
                write_string(out, key, style.ensure_ascii);
                out.push_str(&style.key_separator);
                write_value(out, item, style, depth + 1);
            }
            new_line(out, style, depth);
            out.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

fn separate(out: &mut String, style: &JsonStyle, index: usize, depth: usize) {
    if index > 0 {
        out.push_str(&style.item_separator);
    }
    new_line(out, style, depth);
}

fn new_line(out: &mut String, style: &JsonStyle, depth: usize) {
    if let Some(indent) = &style.indent {
        out.push('\n');
        for _ in 0..depth {
            out.push_str(indent);
        }
    }
}

fn write_string(out: &mut String, text: &str, ensure_ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || (ensure_ascii && c > '~') => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The text that a string literal of a template stands for; unknown escapes stay as they are.
pub(super) fn unescape(literal: &str) -> String {
    let mut out = String::new();
    let mut chars = literal.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('u') => {
                let digits: String = chars.clone().take(4).collect();
                match u32::from_str_radix(&digits, 16)
                    .ok()
                    .and_then(char::from_u32)
                {
                    Some(c) if digits.len() == 4 => {
                        out.push(c);
                        chars.nth(3);
                    }
                    _ => out.push_str("\\u"),
                }
            }
            Some(c @ ('\\' | '\'' | '"')) => out.push(c),
            Some(c) => {
                out.push('\\');
                out.push(c);
            }
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_words_split_as_in_python() {
        assert_eq!(split_lines("a\r\nb\x0bc\n\n", false), ["a", "b", "c", ""]);
        assert_eq!(split_lines("a\r\nb", true), ["a\r\n", "b"]);
        assert_eq!(split_space("  a \t b  c ", None), ["a", "b", "c"]);
        assert_eq!(split_space("  a \t b  c ", Some(1)), ["a", "b  c"]);
        assert!(split_space(" \n", None).is_empty());
    }

    #[test]
    fn escapes_of_literals_are_undone() {
        assert_eq!(unescape(r"a\n\'\u2581\d\\"), "a\n'\u{2581}\\d\\");
        assert_eq!(unescape(r"\u12"), r"\u12");
    }
}
