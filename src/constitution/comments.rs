//! The comments of a YAML text, which the parser leaves out.

use saphyr_parser::{Event, Parser, ScalarStyle};

/// A comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Comment {
    /// Where it begins, counted in characters.
    pub index: usize,
    /// Its line, from 1.
    pub line: usize,
    /// The column of its `#`, from 1.
    pub column: usize,
    /// The text from the `#` to the end of the line, without white space at the end.
    pub text: String,
    /// Whether nothing but white space stands before it on its line.
    pub own_line: bool,
}

/// The comments of a text, in order. Where the text is not YAML, those before the fault are right.
pub(super) fn comments(text: &str) -> Vec<Comment> {
    let source: Vec<char> = text.chars().collect();
    let mut spans = Vec::new();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        if let Event::Scalar(value, style, anchor, _) = event {
            let (start, end) = (span.start.index(), span.end.index());
            let start = scalar_start(&source, style, start, anchor > 0);
            let end = if value.is_empty() { start } else { end };
            spans.push((start, scalar_end(&source, style, start, end)));
        }
    }
    outside(text, &spans)
}

/// Where the text of a scalar starts. The parser counts an anchor before a scalar to it, and with it the
/// line of a block's indicator, where a comment may stand.
pub(super) fn scalar_start(
    source: &[char],
    style: ScalarStyle,
    start: usize,
    has_anchor: bool,
) -> usize {
    if !has_anchor {
        return start;
    }
    let after = after_anchor(source, start);
    let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
    let rest = source.get(after..).unwrap_or_default();
    match rest.iter().position(|c| is_break(*c)) {
        Some(line) if is_block => after + line,
        _ => after,
    }
}

/// Where the value begins that has an anchor at a place: behind it, white space and comments.
pub(super) fn after_anchor(source: &[char], start: usize) -> usize {
    let mut at = start;
    let skip = |at: &mut usize, wanted: &dyn Fn(char) -> bool| {
        while source.get(*at).is_some_and(|c| wanted(*c)) {
            *at += 1;
        }
    };
    skip(&mut at, &|c| !c.is_whitespace());
    skip(&mut at, &char::is_whitespace);
    while source.get(at) == Some(&'#') {
        skip(&mut at, &|c| !is_break(c));
        skip(&mut at, &char::is_whitespace);
    }
    at
}

/// Where a scalar ends. The parser counts white space and a comment behind a text in quotes to it.
pub(super) fn scalar_end(source: &[char], style: ScalarStyle, start: usize, end: usize) -> usize {
    let end = end.min(source.len());
    let inside = source.get(start + 1..end).unwrap_or_default();
    let mut chars = inside.iter().enumerate().peekable();
    while let Some((at, c)) = chars.next() {
        match (style, c) {
            (ScalarStyle::DoubleQuoted, '\\') => {
                chars.next();
            }
            (ScalarStyle::DoubleQuoted, '"') => return start + at + 2,
            (ScalarStyle::SingleQuoted, '\'') => {
                if chars.next_if(|(_, next)| **next == '\'').is_none() {
                    return start + at + 2;
                }
            }
            (ScalarStyle::DoubleQuoted | ScalarStyle::SingleQuoted, _) => {}
            _ => break,
        }
    }
    end
}

/// The comments of a text whose scalars lie at these places, in order.
pub(super) fn outside(text: &str, scalars: &[(usize, usize)]) -> Vec<Comment> {
    let mut scalars = scalars.iter().peekable();
    let mut found: Vec<Comment> = Vec::new();
    let mut inside = false;
    let (mut line, mut column, mut blank, mut before) = (1, 1, true, '\n');
    for (index, c) in text.chars().enumerate() {
        if is_break(c) {
            // A carriage return and the line feed after it are one break.
            if c == '\n' && before == '\r' {
                line -= 1;
            }
            (line, column, blank, inside) = (line + 1, 1, true, false);
            before = c;
            continue;
        }
        while scalars.next_if(|(_, end)| *end <= index).is_some() {}
        let in_scalar = scalars.peek().is_some_and(|(start, _)| *start <= index);
        if let Some(comment) = found.last_mut().filter(|_| inside) {
            comment.text.push(c);
        } else if c == '#' && !in_scalar && (is_break(before) || matches!(before, ' ' | '\t')) {
            inside = true;
            found.push(Comment {
                index,
                line,
                column,
                text: "#".to_owned(),
                own_line: blank,
            });
        }
        blank &= c.is_whitespace();
        column += 1;
        before = c;
    }
    for comment in &mut found {
        comment.text.truncate(comment.text.trim_end().len());
    }
    found
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r')
}

/// Where each line of a text begins, in characters from 0. A carriage return and the line feed after it are
/// one break.
pub(super) fn line_starts(source: &[char]) -> Vec<usize> {
    let mut starts = vec![0];
    for (index, c) in source.iter().enumerate() {
        let goes_on = *c == '\r' && source.get(index + 1) == Some(&'\n');
        if is_break(*c) && !goes_on {
            starts.push(index + 1);
        }
    }
    starts
}

/// The lines of a text without their line ends, as the parser counts them.
pub fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_break) {
        lines.push(&rest[..at]);
        let wide = if rest[at..].starts_with("\r\n") { 2 } else { 1 };
        rest = &rest[at + wide..];
    }
    lines.push(rest);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_told_from_text() {
        let text = "# head\r\na: 'x # y' # one \r\nb: |  # two\r\n  # no comment\r\n\r\n  z\r\n  # tail\r\n # three\r\nc: a#b#c \"#\rd: [1, # four\r\n 2]";
        let found = comments(text);
        let texts: Vec<_> = found.iter().map(|c| c.text.as_str()).collect();
        assert_eq!(texts, ["# head", "# one", "# two", "# three", "# four"]);
        let places: Vec<_> = found.iter().map(|c| (c.line, c.column)).collect();
        assert_eq!(places, [(1, 1), (2, 12), (3, 7), (8, 2), (10, 8)]);
        let own: Vec<_> = found.iter().map(|c| c.own_line).collect();
        assert_eq!(own, [true, false, false, true, false]);
        assert_eq!(lines(text).len(), 11);
        let source: Vec<char> = text.chars().collect();
        let starts = line_starts(&source).into_iter();
        let starts: Vec<char> = starts.map(|start| source[start]).collect();
        assert_eq!(
            starts,
            ['#', 'a', 'b', ' ', '\r', ' ', ' ', ' ', 'c', 'd', ' ']
        );
        assert_eq!(lines("a\rb\r\n"), ["a", "b", ""]);
    }
}
