//! Two texts side by side.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Between the columns.
const GAP: &str = " │ ";
/// The narrowest column.
const NARROWEST: usize = 16;

/// The sections of two pages side by side, each pair beginning on a line of its own, within `width` columns.
pub fn side_by_side(left: &[String], right: &[String], width: usize) -> String {
    let column = (width.saturating_sub(GAP.len() - 2) / 2).max(NARROWEST);
    let mut out = String::new();
    for index in 0..left.len().max(right.len()) {
        let lines = |sections: &[String]| -> Vec<String> {
            let section = sections.get(index).map_or("", String::as_str);
            section
                .lines()
                .flat_map(|line| wrap(line, column))
                .collect()
        };
        let (left, right) = (lines(left), lines(right));
        for row in 0..left.len().max(right.len()) {
            let cell = |lines: &[String]| lines.get(row).cloned().unwrap_or_default();
            let (left, right) = (cell(&left), cell(&right));
            let room = " ".repeat(column.saturating_sub(columns(&left)));
            let line = format!("{left}{room}{GAP}{right}");
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    out
}

/// The columns that a line takes, escape sequences aside.
fn columns(line: &str) -> usize {
    anstream::adapter::strip_str(line).to_string().width()
}

/// Breaks a line at spaces, and a word that is longer than the column wherever it ends. A style goes on in
/// the next line, and never into what stands beside.
fn wrap(line: &str, width: usize) -> Vec<String> {
    let indent = line.len() - line.trim_start_matches(' ').len();
    let indent = " ".repeat(indent.min(width / 2));
    let mut wrapped = Wrapped {
        lines: Vec::new(),
        line: String::new(),
        used: 0,
        style: String::new(),
        indent,
        width,
    };
    for token in tokens(line) {
        wrapped.push(token);
    }
    wrapped.end();
    wrapped.lines
}

struct Wrapped {
    lines: Vec<String>,
    line: String,
    used: usize,
    /// The escape sequences that are in force.
    style: String,
    indent: String,
    width: usize,
}

impl Wrapped {
    fn push(&mut self, token: &str) {
        if token.starts_with('\x1b') {
            match token {
                "\x1b[0m" => self.style.clear(),
                _ => self.style.push_str(token),
            }
            self.line.push_str(token);
            return;
        }
        let blank = token.chars().all(char::is_whitespace);
        let wide = token.width();
        if self.used + wide > self.width && self.used > self.indent.len() {
            self.turn();
            if blank {
                return;
            }
        }
        if self.used + wide <= self.width {
            self.add(token, wide);
            return;
        }
        for cluster in token.graphemes(true) {
            if self.used + cluster.width() > self.width && self.used > self.indent.len() {
                self.turn();
            }
            self.add(cluster, cluster.width());
        }
    }

    fn add(&mut self, text: &str, wide: usize) {
        self.line.push_str(&text.replace('\t', " "));
        self.used += wide;
    }

    fn turn(&mut self) {
        self.end();
        self.line = format!("{}{}", self.indent, self.style);
        self.used = self.indent.len();
    }

    fn end(&mut self) {
        if !self.style.is_empty() {
            self.line.push_str("\x1b[0m");
        }
        self.lines.push(std::mem::take(&mut self.line));
    }
}

/// Words, spaces and escape sequences.
fn tokens(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let kind = |c: char| (c == '\x1b', c.is_whitespace());
        let end = if first == '\x1b' {
            rest.find('m').map_or(rest.len(), |end| end + 1)
        } else {
            rest.find(|c| kind(c) != kind(first)).unwrap_or(rest.len())
        };
        let (token, after) = rest.split_at(end);
        found.push(token);
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_break_at_spaces_and_keep_their_indent() {
        let lines = wrap("    some words that go on", 14);
        assert_eq!(lines, ["    some words", "    that go on"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("", 4), [""]);
    }

    #[test]
    fn a_style_ends_with_its_line_and_goes_on_in_the_next() {
        let lines = wrap("\x1b[1mbold words\x1b[0m end", 6);
        assert_eq!(
            lines,
            ["\x1b[1mbold \x1b[0m", "\x1b[1mwords\x1b[0m ", "end"]
        );
    }

    #[test]
    fn sections_begin_together() {
        let left = ["a\n".to_owned(), "b\n".to_owned()];
        let right = ["c\nd\n".to_owned()];
        let width = 2 * NARROWEST + 3;
        let text = side_by_side(&left, &right, width);
        let space = " ".repeat(NARROWEST - 1);
        let blank = " ".repeat(NARROWEST);
        assert_eq!(text, format!("a{space} │ c\n{blank} │ d\nb{space} │\n"));
    }

    proptest! {
        #[test]
        fn no_line_is_too_wide_and_no_word_is_lost(text in "[ a漢é🎉]{0,80}", width in 4usize..30) {
            let lines = wrap(&text, width);
            prop_assert!(lines.iter().all(|line| columns(line) <= width), "{lines:?}");
            let squeeze = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(squeeze(&lines.concat()), squeeze(&text));
        }
    }
}
