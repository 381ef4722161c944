//! A comparison as text: pairs in two columns, then the figures.

use std::iter::once;

use anstyle::{AnsiColor, Style};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::{LeftOut, settings};
use crate::chain::StepKind;
use crate::cli::text::{Table, excerpt, pad, plural, sanitize, terminal_width};
use crate::evaluation::{Comparison, Counts, Pair, Side, Split, Totals};
use crate::store::RunDetail;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const DIFFERENT: Style = AnsiColor::Yellow.on_default();

/// The width where there is no terminal.
const WIDTH: usize = 100;
/// Lines of a final text that are shown.
const LINES: usize = 8;

/// What is compared.
pub fn header(first: &RunDetail, second: &RunDetail) -> String {
    let name = |label: &str, run: &RunDetail| {
        let row = &run.row;
        let about = format!(
            "{} {}, {}, pack {}",
            row.constitution, row.constitution_version, row.model, row.pack
        );
        format!(
            "{BOLD}{label}{BOLD:#}  {}  {}\n",
            row.run_id,
            sanitize(&about)
        )
    };
    let mut page = name("A", first) + &name("B", second);
    for (setting, a, b) in settings(first, second) {
        let line = format!("{setting}: {a} in A, {b} in B");
        page.push_str(&format!("   {DIM}{}{DIM:#}\n", excerpt(&line, WIDTH)));
    }
    page.push('\n');
    page
}

/// One pair, A at the left and B at the right.
pub fn pair(pair: &Pair, full: bool) -> String {
    let (style, mark) = match pair.differs() {
        true => (DIFFERENT, "differs"),
        false => (DIM, "same"),
    };
    let title = format!("{}, sample {}", pair.prompt_id, pair.sample);
    let mut page = format!(
        "{BOLD}{}{BOLD:#}  {style}{mark}{style:#}  {}\n",
        sanitize(&title),
        excerpt(&pair.prompt, 60)
    );
    let column = (terminal_width().unwrap_or(WIDTH).saturating_sub(5) / 2).max(16);
    let a = side(&pair.first, column, full);
    let b = side(&pair.second, column, full);
    for n in 0..a.len().max(b.len()) {
        let cell = |lines: &[String]| lines.get(n).cloned().unwrap_or_default();
        let line = format!("  {} │ {}", pad(&cell(&a), column), cell(&b));
        page.push_str(line.trim_end());
        page.push('\n');
    }
    page.push('\n');
    page
}

/// One chain as lines of a column.
fn side(side: &Side, column: usize, full: bool) -> Vec<String> {
    let state = format!(
        "{}, {}, {} tokens",
        side.stop_reason.map_or("running", |stop| stop.as_str()),
        if side.revised {
            "revised"
        } else {
            "not revised"
        },
        side.tokens
    );
    let verdicts = side.asked.iter().map(|asked| {
        let word = match (asked.kind, asked.violated) {
            (StepKind::Recheck, true) => "again ",
            (StepKind::Recheck, false) => "mended ",
            (_, true) => "VIOLATED ",
            (_, false) => "ok ",
        };
        let p = asked
            .probability
            .map_or_else(String::new, |p| format!("{p:.2} "));
        excerpt(&format!("{word}{p}{}", asked.principle), column)
    });
    let mut text = wrap(&side.last, column);
    if !full && text.len() > LINES {
        text.truncate(LINES);
        text.push("…".to_owned());
    }
    let empty = || once(String::new());
    once(excerpt(&state, column))
        .chain(verdicts)
        .chain(empty())
        .chain(text)
        .collect()
}

/// The text in lines at most `width` columns wide, broken between words where that is possible.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let clean = sanitize(text.trim()).replace('\t', " ");
    clean
        .lines()
        .flat_map(|line| wrap_line(line, width))
        .collect()
}

fn wrap_line(line: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for piece in line.split_word_bounds() {
        if used + piece.width() > width && used > 0 {
            lines.push(String::new());
            used = 0;
            if piece.trim().is_empty() {
                continue;
            }
        }
        // A word longer than a line is broken anywhere.
        for cluster in piece.graphemes(true) {
            if used + cluster.width() > width && used > 0 {
                lines.push(String::new());
                used = 0;
            }
            if let Some(last) = lines.last_mut() {
                last.push_str(cluster);
                used += cluster.width();
            }
        }
    }
    lines
}

/// The figures over all pairs.
pub fn figures(comparison: &Comparison, left_out: &LeftOut) -> String {
    let c = &comparison.counts;
    let mut lines = vec![format!(
        "{BOLD}{}{BOLD:#}: {} differ; drafts equal in {}, final texts in {}",
        plural(c.pairs, "pair"),
        c.different,
        c.same_drafts,
        c.same_finals
    )];
    if left_out.unmatched > 0 {
        lines.push(format!(
            "  left out by --where: {}",
            plural(left_out.unmatched, "pair")
        ));
    }
    if left_out.first + left_out.second > 0 {
        lines.push(format!(
            "  left out: {} chains of A, {} of B (failed, unfinished, or without a counterpart)",
            left_out.first, left_out.second
        ));
    }
    if c.pairs == 0 && left_out.unmatched == 0 {
        lines.push("  no prompt and sample has a finished chain in both runs".to_owned());
    }
    if c.pairs > 0 {
        lines.push(String::new());
        lines.extend(splits(c));
        lines.push(String::new());
        lines.extend(totals(comparison));
    }
    lines.join("\n") + "\n"
}

fn splits(c: &Counts) -> Vec<String> {
    let mut table = Table::new(&[
        "",
        ">PAIRS",
        ">BOTH",
        ">ONLY A",
        ">ONLY B",
        ">NEITHER",
        ">P (MCNEMAR)",
    ]);
    let mut row = |name: &str, split: &Split| {
        table.row(vec![
            name.to_owned(),
            split.pairs().to_string(),
            split.both.to_string(),
            split.only_first.to_string(),
            split.only_second.to_string(),
            split.neither.to_string(),
            format!("{:.3}", split.p_value),
        ]);
    };
    row("any principle fired", &c.fired);
    row("revised", &c.revised);
    for (principle, split) in &c.principles {
        row(principle, split);
    }
    table.lines(terminal_width())
}

fn totals(comparison: &Comparison) -> Vec<String> {
    let pairs = comparison.counts.pairs as f64;
    let mut table = Table::new(&["A PAIR, ON AVERAGE", ">A", ">B"]);
    let mut row = |name: &str, read: fn(&Totals) -> u64| {
        let mean = |totals: &Totals| format!("{:.1}", read(totals) as f64 / pairs);
        table.row(vec![
            name.to_owned(),
            mean(&comparison.first),
            mean(&comparison.second),
        ]);
    };
    row("verdicts of critiques", |t| t.critiques);
    row("characters of the draft", |t| t.draft_chars);
    row("characters of the final text", |t| t.final_chars);
    row("prompt tokens", |t| t.prompt_tokens);
    row("of them from the KV cache", |t| t.cached_tokens);
    row("tokens written, draft included", |t| t.tokens);
    table.lines(terminal_width())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_between_words_and_long_words_are_broken() {
        assert_eq!(wrap("one two three", 8), ["one two ", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("漢字漢字", 5), ["漢字", "漢字"]);
        assert_eq!(wrap("a\n\nb", 5), ["a", "", "b"]);
        assert_eq!(wrap("\x1b[2J", 9), ["␛[2J"]);
        assert!(wrap("", 5).is_empty());
        for line in wrap(&"some words and more ".repeat(20), 17) {
            assert!(line.width() <= 17, "{line:?}");
        }
    }
}
