//! Coverage as a page of text.

use super::About;
use crate::cli::text::{Table, sanitize, terminal_width};
use crate::evaluation::Coverage;

/// The whole page.
pub fn render(coverage: &Coverage, about: &About) -> String {
    let runs = about.runs.len();
    let mut lines = vec![format!(
        "{} chains of {runs} {}",
        coverage.chains,
        if runs == 1 { "run" } else { "runs" }
    )];
    if !about.order.is_empty() {
        lines.push(String::new());
        lines.extend(principles(coverage, about));
    }
    lines.push(String::new());
    lines.extend(matrix(coverage, about));
    lines.push(String::new());
    lines.extend(findings(coverage, about));
    lines.join("\n") + "\n"
}

fn principles(coverage: &Coverage, about: &About) -> Vec<String> {
    let mut table = Table::new(&[
        "PRINCIPLE",
        ">ASKED",
        ">FIRED",
        ">REVISED",
        ">RECHECKED",
        ">STILL FIRED",
        ">RETRIGGERED",
        ">MEAN P",
        ">QUOTES VERIFIED",
    ]);
    for (id, p) in about
        .order
        .iter()
        .filter_map(|id| Some((id, coverage.principles.get(id)?)))
    {
        let quotes = match p.quotes {
            0 => "-".to_owned(),
            all => format!("{} of {all}", p.quotes_verified),
        };
        table.row(vec![
            id.clone(),
            p.asked.to_string(),
            p.fired.to_string(),
            p.revised.to_string(),
            p.rechecked.to_string(),
            p.still_fired.to_string(),
            p.retriggered.to_string(),
            p.mean_probability
                .map_or_else(|| "-".to_owned(), |mean| format!("{mean:.2}")),
            quotes,
        ]);
    }
    table.lines(terminal_width())
}

/// Principles are numbered in the columns, whose names would be too wide.
fn matrix(coverage: &Coverage, about: &About) -> Vec<String> {
    let ids = about.in_matrix(coverage);
    if ids.is_empty() {
        return vec![
            "Mending one principle was never followed by asking about another that had been settled; runs with".to_owned(),
            "--select all and two rounds or more, or with --recheck, would show conflicts.".to_owned(),
        ];
    }
    let numbers: Vec<String> = (1..=ids.len()).map(|n| format!(">{n}")).collect();
    let titles = ["MENDED, THEN FIRED OF ASKED"]
        .into_iter()
        .chain(numbers.iter().map(String::as_str));
    let mut table = Table::new(&titles.collect::<Vec<_>>());
    for (mended, number) in ids.iter().zip(1..) {
        let mut row = vec![format!("{number} {mended}")];
        row.extend(ids.iter().map(|asked| {
            let cell = coverage.retrigger(mended, asked);
            match cell.asked {
                0 => "·".to_owned(),
                asked => format!("{}/{asked}", cell.fired),
            }
        }));
        table.row(row);
    }
    table.lines(terminal_width())
}

fn findings(coverage: &Coverage, about: &About) -> Vec<String> {
    let found = &about.findings;
    let asked = |id: &String| {
        let asked = coverage.principles.get(id).map_or(0, |p| p.asked);
        format!("{} ({asked})", sanitize(id))
    };
    let list = |ids: &[String]| ids.iter().map(asked).collect::<Vec<_>>().join(", ");
    let mut lines = Vec::new();
    let mut line = |name: &str, text: String| {
        if !text.is_empty() {
            lines.push(format!("{name:<16}{text}"));
        }
    };
    line(
        "never asked",
        found
            .never_asked
            .iter()
            .map(|id| sanitize(id).into_owned())
            .collect::<Vec<_>>()
            .join(", "),
    );
    line("never fired", list(&found.never_fired));
    line("always fired", list(&found.always_fired));
    let pairs = found.always_together.iter();
    let pairs: Vec<_> = pairs
        .map(|(a, b)| format!("{} with {}", sanitize(a), sanitize(b)))
        .collect();
    line("always together", pairs.join(", "));
    if lines.is_empty() {
        lines.push(about.nothing_stands_out().to_owned());
    }
    lines
}
