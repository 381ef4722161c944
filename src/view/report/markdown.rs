//! A report as Markdown, for a pull request: counts, principles, and a few chains with what was changed.
//!
//! Texts are shown as they are. Nothing in them is Markdown or HTML, and nothing in them calls a person or
//! refers to another issue where the report is posted.

use std::fmt::Write;
use std::ops::ControlFlow;

use crate::chain::StepKind;
use crate::diff::{self, Change, Piece};
use crate::store::{
    ChainDetail, Depth, NameCount, PrincipleStats, RunRow, RunStats, Store, StoreError,
};

use super::{MARKS, Scope};

/// The most characters of a text that are shown.
const TEXT: usize = 2_000;
/// The most characters of a prompt in a heading.
const HEADING: usize = 80;
/// The most bytes of two texts that are compared word by word.
const DIFF: usize = 64 * 1024;

/// The report, with at most `examples` chains shown whole.
pub fn markdown(store: &Store, scope: &Scope, examples: usize) -> Result<String, StoreError> {
    let runs = store.runs()?;
    let stats = store.run_stats(scope.filter, scope.run)?;
    let principles = store.principle_stats(scope.filter, scope.run)?;
    let mut page = String::new();
    let chains: u64 = stats.iter().map(|run| run.chains).sum();
    // Writing to a string cannot fail.
    let _ = writeln!(page, "{}{} -->\n", MARKS[1], env!("CARGO_PKG_VERSION"));
    let _ = writeln!(page, "# {}\n", line(scope.title));
    let _ = match scope.filter.is_all() {
        true => writeln!(page, "{}.\n", count(chains, "chain")),
        false => writeln!(
            page,
            "{} {} the filter {}\n",
            count(chains, "chain"),
            if chains == 1 { "matches" } else { "match" },
            line(scope.filter.source())
        ),
    };
    run_table(&mut page, &runs, &stats);
    principle_table(&mut page, &principles);
    let chosen = choose(store, scope, examples)?;
    if !chosen.is_empty() {
        let revised: u64 = stats.iter().map(|run| run.revised).sum();
        let _ = writeln!(
            page,
            "## Revisions\n\n{} of {}.\n",
            chosen.len(),
            count(revised, "revised chain")
        );
        for chain in &chosen {
            example(&mut page, chain);
        }
    }
    Ok(page)
}

fn run_table(page: &mut String, runs: &[RunRow], stats: &[RunStats]) {
    if stats.is_empty() {
        return;
    }
    page.push_str(
        "| run | constitution | model | pack | chains | failed | revised | words changed | regressed |\n\
         |---|---|---|---|--:|--:|--:|--:|--:|\n",
    );
    for run in stats {
        let Some(row) = runs.iter().find(|row| row.run_id == run.run_id) else {
            continue;
        };
        let failed = run.statuses.iter().find(|status| status.name == "failed");
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            line(&run.run_id),
            line(&format!(
                "{} {}",
                row.constitution, row.constitution_version
            )),
            line(&row.model),
            line(&row.pack),
            run.chains,
            failed.map_or(0, |status| status.count),
            with_share(run.revised, run.chains),
            run.mean_changed.map_or_else(|| "–".to_owned(), percent),
            run.regressed,
        );
    }
    page.push('\n');
    for run in stats {
        let about = [("stopped", &run.stop_reasons), ("flags", &run.flags)];
        let about = about.iter().filter(|(_, counts)| !counts.is_empty());
        let about: Vec<_> = about
            .map(|(name, counts)| format!("{name}: {}", names(counts)))
            .collect();
        if !about.is_empty() {
            let _ = writeln!(page, "{}: {}\n", line(&run.run_id), about.join("; "));
        }
    }
}

fn principle_table(page: &mut String, principles: &[PrincipleStats]) {
    if principles.is_empty() {
        return;
    }
    page.push_str(
        "## Principles\n\n\
         | principle | asked | violated | revised | mean P(violated) | unverified quotes | rechecked | regressed |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for principle in principles {
        let mean = principle.mean_probability;
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            line(&principle.principle_id),
            principle.asked,
            with_share(principle.violated, principle.asked),
            principle.revised,
            mean.map_or_else(|| "–".to_owned(), |mean| format!("{mean:.2}")),
            principle.unverified_quotes,
            principle.rechecked,
            principle.regressed,
        );
    }
    page.push('\n');
}

/// A few revised chains: first those that show a principle which none before them shows.
fn choose(store: &Store, scope: &Scope, examples: usize) -> Result<Vec<ChainDetail>, StoreError> {
    let (mut telling, mut others) = (Vec::new(), Vec::new());
    let mut shown: Vec<String> = Vec::new();
    if examples == 0 {
        return Ok(telling);
    }
    let _ = store.for_each_whole_chain(scope.filter, scope.run, Depth::Texts, |chain| {
        if !chain.row.revised {
            return ControlFlow::Continue(());
        }
        let is_new = |id: &&String| !shown.contains(id);
        let fresh: Vec<_> = chain.row.violated.iter().filter(is_new).cloned().collect();
        if !fresh.is_empty() {
            shown.extend(fresh);
            telling.push(chain);
        } else if others.len() < examples {
            others.push(chain);
        }
        match telling.len() >= examples {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    telling.extend(others);
    telling.truncate(examples);
    telling.sort_by(|a, b| {
        (&a.row.run_id, a.row.position, a.row.sample).cmp(&(
            &b.row.run_id,
            b.row.position,
            b.row.sample,
        ))
    });
    Ok(telling)
}

fn example(page: &mut String, chain: &ChainDetail) {
    let row = &chain.row;
    let _ = writeln!(
        page,
        "<details><summary>{} ({})</summary>\n\n> {}\n",
        html_line(&clip(&row.prompt, HEADING)),
        html_line(&row.chain_id),
        block(&clip(&row.prompt, TEXT)),
    );
    let (Some(draft), Some(last)) = (&row.draft, &row.last) else {
        page.push_str("</details>\n\n");
        return;
    };
    let changed = row.changed.map_or_else(String::new, |share| {
        format!(", {} of the words changed", percent(share))
    });
    let _ = match diff::words_within(draft, last, DIFF) {
        Some(pieces) => writeln!(
            page,
            "**Draft → final**{changed}\n\n> {}\n",
            marked(&pieces)
        ),
        None => writeln!(
            page,
            "**Final**{changed}; too much differs to be compared word by word\n\n> {}\n",
            block(&clip(last, TEXT))
        ),
    };
    for step in &chain.steps {
        let Some(verdict) = &step.verdict else {
            continue;
        };
        if !verdict.violated || !matches!(step.kind, StepKind::Critique | StepKind::Recheck) {
            continue;
        }
        let what = match step.kind {
            StepKind::Recheck => "violated again by the final text",
            _ => "violated",
        };
        let probability = verdict
            .probability
            .map_or_else(String::new, |p| format!(", P {p:.2}"));
        let critique = line(&clip(&verdict.critique, TEXT));
        let id = step.principle_id.as_deref().unwrap_or_default();
        let _ = writeln!(page, "- **{}** {what}{probability}: {critique}", line(id));
    }
    page.push_str("\n</details>\n\n");
}

/// A diff, cut where it grows too long.
fn marked(pieces: &[Piece]) -> String {
    let (mut text, mut left) = (String::new(), TEXT);
    for piece in pieces {
        let shown: String = piece.text.chars().take(left).collect();
        left -= shown.chars().count();
        let shown = block(&shown);
        let _ = match piece.change {
            Change::Same => write!(text, "{shown}"),
            Change::Removed => write!(text, "<del>{shown}</del>"),
            Change::Added => write!(text, "<ins>{shown}</ins>"),
        };
        if left == 0 {
            text.push('…');
            break;
        }
    }
    text
}

fn clip(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A text on one line, as literal text.
fn line(text: &str) -> String {
    literal(&on_one_line(text))
}

/// The same inside a block of HTML, where nothing is Markdown and a backslash would be seen.
fn html_line(text: &str) -> String {
    escaped(&on_one_line(text), false)
}

fn on_one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ")
}

/// A text of any number of lines, as literal text in one paragraph.
fn block(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(indented).collect();
    lines.join("<br>")
}

fn indented(line: &str) -> String {
    let rest = line.trim_start_matches([' ', '\t']);
    let width: usize = line[..line.len() - rest.len()]
        .chars()
        .map(|c| if c == '\t' { 4 } else { 1 })
        .sum();
    // One space may stand between two pieces of a diff.
    let space = match width {
        1 => " ".to_owned(),
        width => "&nbsp;".repeat(width.min(40)),
    };
    space + &literal(rest)
}

/// Text in which nothing is markup. What would call somebody, refer to an issue or become a link is broken
/// by an empty comment, which no reader sees.
fn literal(text: &str) -> String {
    escaped(text, true)
}

/// The same; what only Markdown takes for markup is escaped where the text stands in Markdown.
fn escaped(text: &str, markdown: bool) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut before = None;
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '@' => out.push_str("@<!-- -->"),
            '#' => {
                out.push_str(if markdown { "\\#" } else { "#" });
                out.push_str("<!-- -->");
            }
            '-' if ends_with_gh(&out) => out.push_str("-<!-- -->"),
            '/' if before == Some(':') => out.push_str("<!-- -->/"),
            '.' if out.ends_with("www") || out.ends_with("WWW") => out.push_str("<!-- -->."),
            // What begins a list, a heading or a rule, and what marks text within a line.
            '.' | ')' if markdown && out.chars().all(|c| c.is_ascii_digit()) => {
                out.push('\\');
                out.push(c);
            }
            '-' | '+' | '=' | ':' if markdown && out.is_empty() => {
                out.push('\\');
                out.push(c);
            }
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' | '!' if markdown => {
                out.push('\\');
                out.push(c);
            }
            '\t' => out.push(' '),
            '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            '\r' => {}
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
        before = Some(c);
    }
    out
}

/// Whether a text ends with the word `GH`: with a dash and a number behind it, that refers to an issue.
fn ends_with_gh(text: &str) -> bool {
    let Some((before, end)) = text.as_bytes().split_last_chunk::<2>() else {
        return false;
    };
    end.eq_ignore_ascii_case(b"gh") && !before.last().is_some_and(u8::is_ascii_alphanumeric)
}

fn names(counts: &[NameCount]) -> String {
    let counts: Vec<_> = counts
        .iter()
        .map(|found| format!("{} {}", line(&found.name), found.count))
        .collect();
    counts.join(", ")
}

fn count(number: u64, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        number => format!("{number} {thing}s"),
    }
}

fn with_share(part: u64, whole: u64) -> String {
    match whole {
        0 => part.to_string(),
        whole => format!("{part} ({})", percent(part as f64 / whole as f64)),
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_no_markup() {
        for (text, expected) in [
            ("a *b* _c_ `d`", r"a \*b\* \_c\_ \`d\`"),
            ("</details><img src=x>", "&lt;/details&gt;&lt;img src=x&gt;"),
            ("# head", r"\#<!-- --> head"),
            ("1. one", r"1\. one"),
            ("- item", r"\- item"),
            ("| cell |", r"\| cell \|"),
            ("[a](b)", r"\[a\](b)"),
            ("@team see #12", r"@<!-- -->team see \#<!-- -->12"),
            ("http://a.b www.c.d", "http:<!-- -->//a.b www<!-- -->.c.d"),
            (
                "GH-12, (gh-7) high-level",
                "GH-<!-- -->12, (gh-<!-- -->7) high-level",
            ),
            ("a\u{202e}b\0\u{2028}c", "a\u{fffd}b\u{fffd}\u{fffd}c"),
        ] {
            assert_eq!(literal(text), expected);
        }
    }

    #[test]
    fn nothing_is_escaped_for_markdown_in_a_block_of_html() {
        for (text, expected) in [
            ("- *a* _b_ `c`\n| [d] |", "- *a* _b_ `c` | [d] |"),
            ("</summary> & <b>", "&lt;/summary&gt; &amp; &lt;b&gt;"),
            (
                "#12, GH-12 and @team",
                "#<!-- -->12, GH-<!-- -->12 and @<!-- -->team",
            ),
        ] {
            assert_eq!(html_line(text), expected);
        }
    }

    #[test]
    fn a_block_is_one_paragraph() {
        assert_eq!(
            block("a\n\n    b\r\n"),
            "a<br><br>&nbsp;&nbsp;&nbsp;&nbsp;b<br>"
        );
    }

    #[test]
    fn a_diff_is_cut() {
        let long = "word ".repeat(1_000);
        let text = marked(&diff::words("a", &long));
        assert!(text.starts_with("<del>a</del><ins>word word"), "{text}");
        assert!(text.ends_with("</ins>…"), "{text}");
        assert!(text.len() < 2_100);
    }
}
