//! Comments that silence warnings: `# amend: allow C050`.
//!
//! On a line of its own the comment is about the next line, after something else about its own line; each
//! with the lines below it that are indented further. Before everything else it is about the whole file.
//! What follows the codes is a reason, for readers.

use std::path::Path;

use crate::constitution::comments::{Comment, comments, lines};
use crate::constitution::error::{Code, Level, Problem, Span, did_you_mean, excerpt};

/// A comment that silences warnings of one kind.
struct Allow {
    code: Code,
    /// The first and the last line that it is about.
    lines: (usize, usize),
    span: Span,
    used: bool,
}

/// Takes out the warnings that the text allows, and adds one for each comment that allows nothing.
pub(super) fn apply(file: &Path, text: &str, has_errors: bool, warnings: &mut Vec<Problem>) {
    const MARK: &str = "amend:";
    if !text.contains(MARK) {
        return;
    }
    let lines = lines(text);
    let mut allows = Vec::new();
    let mut useless = Vec::new();
    for comment in comments(text) {
        let words = comment.text.trim_start_matches('#').trim_start();
        if let Some(words) = words.strip_prefix(MARK) {
            let scope = scope(&comment, &lines);
            read(words, &comment, scope, &mut allows, |message, remedy| {
                useless.push((span(&comment), message, remedy));
            });
        }
    }
    warnings.retain(|warning| {
        let line = warning.span.map_or(1, |span| span.line);
        let mut kept = true;
        for allow in &mut allows {
            if allow.code == warning.code && (allow.lines.0..=allow.lines.1).contains(&line) {
                allow.used = true;
                kept = false;
            }
        }
        kept
    });
    // A file with errors is not looked at in full, so what is unused may have its use.
    for allow in allows.iter().filter(|allow| !allow.used && !has_errors) {
        let number = allow.code.number();
        let message = format!("nothing here is {number} ({})", allow.code.as_str());
        let remedy = "remove it, or move it to the line that it is about".to_owned();
        useless.push((allow.span, message, remedy));
    }
    for (span, message, remedy) in useless {
        let code = Code::UselessAllow;
        warnings.push(Problem::new(code, file, Some(span), message, remedy));
    }
}

fn span(comment: &Comment) -> Span {
    Span {
        line: comment.line,
        column: comment.column,
        end_line: comment.line,
        end_column: comment.column + comment.text.chars().count(),
    }
}

/// Reads what stands after the mark.
fn read(
    words: &str,
    comment: &Comment,
    lines: (usize, usize),
    allows: &mut Vec<Allow>,
    mut useless: impl FnMut(String, String),
) {
    let known = "write `# amend: allow CODE`, with the code of a warning such as C050";
    let Some(codes) = words.trim_start().strip_prefix("allow") else {
        let word = words.split_whitespace().next().unwrap_or_default();
        let message = format!("`{}` is not known here", excerpt(word));
        return useless(message, known.to_owned());
    };
    let separator = |c: char| c.is_whitespace() || c == ',';
    let mut found = 0;
    for word in codes.split(separator).filter(|word| !word.is_empty()) {
        match Code::parse(word.trim_end_matches([':', '.', ';', ')'])) {
            Some(code) if code.level() == Level::Error => {
                let message = format!("{} is an error, and cannot be allowed", code.number());
                useless(message, "mend it".to_owned());
            }
            Some(code) => allows.push(Allow {
                code,
                lines,
                span: span(comment),
                used: false,
            }),
            None if found == 0 || looks_like_code(word) => {
                let names = Code::all().flat_map(|code| [code.as_str(), code.number()]);
                let guess = did_you_mean(word, names);
                let message = format!("there is no code `{}`{guess}", excerpt(word));
                useless(message, known.to_owned());
            }
            // The reason begins.
            None => break,
        }
        found += 1;
    }
    if found == 0 {
        useless("no code is named".to_owned(), known.to_owned());
    }
}

fn looks_like_code(word: &str) -> bool {
    let digits = word.strip_prefix(['C', 'c']).unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a line holds more than a comment.
fn is_content(line: &str) -> bool {
    let text = line.trim();
    !text.is_empty() && !text.starts_with('#')
}

/// The lines that a comment is about.
fn scope(comment: &Comment, lines: &[&str]) -> (usize, usize) {
    let last = lines.len();
    if !lines
        .iter()
        .take(comment.line - 1)
        .any(|line| is_content(line))
        && comment.own_line
    {
        return (1, last);
    }
    let mut first = comment.line;
    if comment.own_line {
        let next = lines
            .iter()
            .skip(comment.line)
            .position(|line| is_content(line));
        first = next.map_or(last, |next| comment.line + 1 + next);
    }
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let own = lines.get(first - 1).map_or(0, |line| indent(line));
    let deeper = |line: &&str| !is_content(line) || indent(line) > own;
    let below = lines.iter().skip(first).take_while(|line| deeper(line));
    (first, first + below.count())
}
