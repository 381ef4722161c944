//! What `amend gate` prints.

use std::io::{self, Write};

use anstyle::Style;
use serde_json::Value;

use crate::cli::text::{Table, plural, sanitize, terminal_width};
use crate::quality::gates::{
    ContrastFigures, Figures, Gating, Refusals, Share, Spread, WordingKind,
};

/// Wordings that are listed; `--json` has all.
const MOST_WORDINGS: usize = 20;

/// Prints the figures as one line of JSON.
pub fn print_json(out: &mut impl Write, object: &Value) -> io::Result<()> {
    writeln!(out, "{object}")
}

/// Prints the figures for people.
pub fn print(out: &mut impl Write, gating: &Gating) -> io::Result<()> {
    let figures = &gating.figures;
    print_kept(out, figures)?;
    writeln!(out)?;
    print_gates(out, figures)?;
    if let Some(refusals) = &figures.refusals {
        writeln!(out)?;
        print_refusals(out, refusals, "by their form")?;
    }
    if let Some(refusals) = &figures.refusals_asked {
        print_refusals(out, refusals, "as the model that was asked sees them")?;
    }
    if !figures.wordings.is_empty() {
        writeln!(out)?;
        print_wordings(out, figures)?;
    }
    if let Some(contrast) = &figures.contrast {
        writeln!(out)?;
        print_contrast(out, contrast)?;
    }
    for note in &figures.notes {
        writeln!(out, "note: {note}")?;
    }
    Ok(())
}

fn print_kept(out: &mut impl Write, figures: &Figures) -> io::Result<()> {
    let bold = Style::new().bold();
    writeln!(
        out,
        "{bold}{}{bold:#}: {} kept, {} kept",
        plural(figures.chains, "chain"),
        plural(figures.kept, "text"),
        plural(figures.pairs, "pair")
    )?;
    for (reason, count) in &figures.without {
        writeln!(out, "  {count} without a text to learn from ({reason})")?;
    }
    Ok(())
}

fn print_gates(out: &mut impl Write, figures: &Figures) -> io::Result<()> {
    let mut table = Table::new(&["GATE", "THRESHOLD", ">TEXTS", ">PAIRS ONLY", ">CHANGED"]);
    let number = |count: u64| {
        if count == 0 {
            "-".to_owned()
        } else {
            count.to_string()
        }
    };
    for gate in &figures.gates {
        table.row(vec![
            gate.gate.to_owned(),
            threshold(&gate.threshold),
            number(gate.dropped),
            number(gate.pairs),
            number(gate.changed),
        ]);
    }
    for line in table.lines(terminal_width()) {
        writeln!(out, "{line}")?;
    }
    if let Some(tokenizer) = &figures.tokenizer {
        writeln!(out, "tokens by {}", sanitize(tokenizer))?;
    }
    Ok(())
}

fn threshold(value: &Value) -> String {
    match value {
        Value::Bool(true) => "on".to_owned(),
        Value::Bool(false) => "off".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let numbers = values.iter().all(Value::is_number);
            let parts: Vec<_> = values.iter().map(threshold).collect();
            parts.join(if numbers { "-" } else { "," })
        }
        other => other.to_string(),
    }
}

fn print_refusals(out: &mut impl Write, refusals: &Refusals, how: &str) -> io::Result<()> {
    let one = |share: &Share| {
        let interval = share.interval.map_or_else(String::new, |interval| {
            format!(
                " (95 %: {:.1} to {:.1})",
                100.0 * interval.low,
                100.0 * interval.high
            )
        });
        format!("{} = {:.1} %{interval}", share.count, 100.0 * share.share)
    };
    writeln!(
        out,
        "refusals of {}, {how}",
        plural(refusals.prompts, "benign prompt")
    )?;
    writeln!(out, "  drafts       {}", one(&refusals.drafts))?;
    writeln!(out, "  final texts  {}", one(&refusals.finals))?;
    writeln!(
        out,
        "  increase     {:+.1} points (p = {:.3} by McNemar's test)",
        100.0 * refusals.increase,
        refusals.p_value
    )
}

fn print_wordings(out: &mut impl Write, figures: &Figures) -> io::Result<()> {
    let rows = figures.wordings.first().map_or(0, |wording| wording.rows);
    writeln!(
        out,
        "wording that revisions repeat, in {}",
        plural(u64::from(rows), "row")
    )?;
    let mut table = Table::new(&[
        "  WHERE", ">CHOSEN", ">DRAFTS", ">Z", ">DROPPED", "WORDS", "EXAMPLE",
    ]);
    for wording in figures.wordings.iter().take(MOST_WORDINGS) {
        let kind = match wording.kind {
            WordingKind::Opening => "opening",
            WordingKind::Closing => "closing",
            WordingKind::Phrase => "phrase",
            WordingKind::Emoji => "emoji",
        };
        table.row(vec![
            format!("  {kind}"),
            wording.chosen.to_string(),
            wording.drafts.to_string(),
            format!("{:.1}", wording.z),
            wording.dropped.to_string(),
            wording.words.clone(),
            wording.example.clone(),
        ]);
    }
    for line in table.lines(terminal_width()) {
        writeln!(out, "{line}")?;
    }
    match figures.wordings.len().saturating_sub(MOST_WORDINGS) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more, with --json"),
    }
}

fn print_contrast(out: &mut impl Write, contrast: &ContrastFigures) -> io::Result<()> {
    writeln!(out, "{}, by quarters", plural(contrast.pairs, "pair"))?;
    let mut line = |name: &str, spread: &Spread| {
        writeln!(
            out,
            "  {name:<14} {:.2}  {:.2}  {:.2}",
            spread.low, spread.median, spread.high
        )
    };
    line("edit distance", &contrast.edit_distance)?;
    line("length ratio", &contrast.length_ratio)?;
    if let Some(margin) = &contrast.margin {
        line("margin", margin)?;
    }
    Ok(())
}
