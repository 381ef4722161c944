//! Findings for people, in the manner of a compiler.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthChar;

use super::{Findings, Shown, place};
use crate::cli::text::sanitize;
use crate::constitution::{Problem, Span};

const BAD: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default().bold();
const BOLD: Style = Style::new().bold();
const FRAME: Style = AnsiColor::Blue.on_default().bold();

/// How many columns of a line are shown.
const WIDTH: usize = 100;

/// All findings and their counts. Colour is stripped by the stream where it cannot be shown.
pub fn report(findings: &Findings) -> String {
    let mut out = String::new();
    for (shown, problem) in &findings.found {
        finding(&mut out, *shown, problem, findings.line(problem));
        out.push('\n');
    }
    summary(&mut out, findings);
    out
}

fn finding(out: &mut String, shown: Shown, problem: &Problem, line: &str) {
    let style = match shown {
        Shown::Error | Shown::Denied => BAD,
        Shown::Warning => WARN,
    };
    let at = place(problem);
    let (level, number) = (shown.as_str(), problem.code.number());
    let message = sanitize(&problem.message);
    let file = problem.file.display().to_string();
    let file = sanitize(&file);
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{style}{level}[{number}]{style:#}{BOLD}: {message}{BOLD:#}"
    );
    let gutter = at.line.to_string().len();
    let _ = writeln!(
        out,
        "{:gutter$}{FRAME}-->{FRAME:#} {file}:{}:{}",
        "", at.line, at.column
    );
    if problem.span.is_some() && !line.trim().is_empty() {
        let (shown, offset, width) = window(line, at);
        let bar = format!("{FRAME}|{FRAME:#}");
        let marks = "^".repeat(width);
        let _ = writeln!(out, "{:gutter$} {bar}", "");
        let _ = writeln!(out, "{FRAME}{}{FRAME:#} {bar} {shown}", at.line);
        let _ = writeln!(
            out,
            "{:gutter$} {bar} {:offset$}{style}{marks}{style:#}",
            "", ""
        );
    }
    let remedy = sanitize(&problem.remedy);
    let _ = writeln!(out, "{:gutter$} {FRAME}={FRAME:#} help: {remedy}", "");
}

/// The part of a line that is shown, and where in it the marks stand: their first column and how many.
fn window(line: &str, at: Span) -> (String, usize, usize) {
    let end = if at.end_line > at.line {
        usize::MAX
    } else {
        at.end_column
    };
    let (start, end) = (at.column - 1, end.saturating_sub(1));
    let trimmed = line.trim_end().chars().count();
    // What stands far to the right is shown without what is before it.
    let skip = if start > WIDTH * 3 / 4 {
        start - WIDTH / 4
    } else {
        0
    };
    let mut shown = String::new();
    let (mut offset, mut marked, mut used) = (0, 0, 0);
    if skip > 0 {
        shown.push('…');
        (offset, used) = (1, 1);
    }
    for (index, c) in line.chars().enumerate().skip(skip) {
        let c = if c == '\t' { ' ' } else { c };
        let width = c.width().unwrap_or(1);
        if used + width > WIDTH {
            shown.push('…');
            break;
        }
        shown.push_str(&sanitize(c.encode_utf8(&mut [0; 4])));
        used += width;
        if index < start {
            offset += width;
        } else if index < end && index < trimmed {
            marked += width;
        }
    }
    (shown.trim_end().to_owned(), offset, marked.max(1))
}

fn summary(out: &mut String, findings: &Findings) {
    let count = |n: usize, what: &str| match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    };
    let files = count(findings.files, "file");
    let denied = findings.count(Shown::Denied);
    let errors = findings.count(Shown::Error);
    let warnings = findings.count(Shown::Warning);
    let mut parts = Vec::new();
    for (n, what) in [
        (errors, "error"),
        (denied, "denied warning"),
        (warnings, "warning"),
    ] {
        if n > 0 {
            parts.push(count(n, what));
        }
    }
    if parts.is_empty() {
        parts.push("nothing found".to_owned());
    }
    let _ = writeln!(out, "{} in {files}", parts.join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(line: &str, column: usize, end_column: usize) -> String {
        let span = Span {
            line: 1,
            column,
            end_line: 1,
            end_column,
        };
        let (shown, offset, width) = window(line, span);
        format!("{shown}\n{:offset$}{}", "", "^".repeat(width))
    }

    #[test]
    fn marks_stand_under_the_words() {
        assert_eq!(marked("ab: cd ", 5, 7), "ab: cd\n    ^^");
        assert_eq!(marked("漢字: x", 1, 3), "漢字: x\n^^^^");
        assert_eq!(marked("\tx\u{1b}", 2, 2), " x␛\n ^");
        let long = format!("{}x{}", "a".repeat(500), "b".repeat(500));
        let shown = marked(&long, 501, 502);
        let mark = shown.lines().nth(1).unwrap().find('^').unwrap();
        assert_eq!(shown.chars().nth(mark), Some('x'));
        assert!(shown.lines().next().unwrap().chars().count() <= WIDTH + 1);
    }
}
