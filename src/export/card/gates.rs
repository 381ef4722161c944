//! What the gates decided and measured, in a card.

use std::fmt::Write as _;

use serde_json::Value;

use super::{cell, line};
use crate::quality::gates::{Figures, Refusals, Spread};

/// Wordings that are listed.
const WORDINGS: usize = 10;

/// The section.
pub(super) fn write(out: &mut String, figures: &Figures) {
    let _ = writeln!(
        out,
        "## Gates\n\nOf {} chains that were looked at, {} give a text to learn from and {} a pair. A chain may be left \
         out by several gates.\n",
        figures.chains, figures.kept, figures.pairs
    );
    let open = |threshold: &Value| *threshold != Value::Bool(false);
    let (used, unused): (Vec<_>, Vec<_>) =
        figures.gates.iter().partition(|gate| open(&gate.threshold));
    if !used.is_empty() {
        out.push_str("| gate | threshold | left out | pair left out | pair changed |\n|---|---|---:|---:|---:|\n");
        for gate in &used {
            let threshold = match &gate.threshold {
                Value::Bool(_) => "on".to_owned(),
                Value::String(text) => cell(text),
                other => cell(&other.to_string()),
            };
            let _ = writeln!(
                out,
                "| {} | {threshold} | {} | {} | {} |",
                gate.gate, gate.dropped, gate.pairs, gate.changed
            );
        }
        out.push('\n');
    }
    if !unused.is_empty() {
        let names: Vec<_> = unused.iter().map(|gate| gate.gate).collect();
        let _ = writeln!(out, "Not used: {}.\n", names.join(", "));
    }
    if let Some(tokenizer) = &figures.tokenizer {
        let _ = writeln!(
            out,
            "Tokens were counted under the template and tokenizer of {}.\n",
            cell(tokenizer)
        );
    }
    if let Some(refusals) = &figures.refusals {
        refused(out, "by their wording", refusals);
    }
    if let Some(refusals) = &figures.refusals_asked {
        refused(out, "as a model sees them", refusals);
    }
    wordings(out, figures);
    contrast(out, figures);
    for note in &figures.notes {
        let _ = writeln!(out, "Note: {}.\n", line(note).trim_end_matches('.'));
    }
}

fn refused(out: &mut String, how: &str, refusals: &Refusals) {
    let _ = writeln!(
        out,
        "Refusals of {} benign prompts, {how}: {:.1} % of drafts, {:.1} % of final texts ({:+.1} points, p = {:.3}).\n",
        refusals.prompts,
        100.0 * refusals.drafts.share,
        100.0 * refusals.finals.share,
        100.0 * refusals.increase,
        refusals.p_value
    );
}

fn wordings(out: &mut String, figures: &Figures) {
    if figures.wordings.is_empty() {
        return;
    }
    out.push_str(
        "Wording that revisions repeat and drafts do not, which a model that learns from them picks up:\n\n\
         | words | final texts | drafts | left out |\n|---|---:|---:|---:|\n",
    );
    for wording in figures.wordings.iter().take(WORDINGS) {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            cell(&wording.words),
            wording.chosen,
            wording.drafts,
            wording.dropped
        );
    }
    let more = figures.wordings.len().saturating_sub(WORDINGS);
    if more > 0 {
        let _ = writeln!(out, "\nand {more} more.");
    }
    out.push('\n');
}

fn contrast(out: &mut String, figures: &Figures) {
    let Some(contrast) = &figures.contrast else {
        return;
    };
    out.push_str("| pairs | lower quarter | median | upper quarter |\n|---|---:|---:|---:|\n");
    let mut row = |name: &str, spread: &Spread| {
        let _ = writeln!(
            out,
            "| {name} | {:.2} | {:.2} | {:.2} |",
            spread.low, spread.median, spread.high
        );
    };
    row("share of words that differ", &contrast.edit_distance);
    row("length, chosen over rejected", &contrast.length_ratio);
    if let Some(margin) = &contrast.margin {
        row("margin of the judge", margin);
    }
    let _ = writeln!(
        out,
        "\nA judge looked at {} of {} pairs.\n",
        contrast.judged, contrast.pairs
    );
}
