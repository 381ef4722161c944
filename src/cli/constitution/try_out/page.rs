//! A try as text.

use std::io;

use anstyle::{AnsiColor, Style};

use crate::chain::{Flag, Step, StepKind};
use crate::cli::diff;
use crate::cli::text::sanitize;
use crate::engine::memory::Outcome;
use crate::verdict::Verdict;

/// What was written and decided, step by step.
pub fn render(outcome: &Outcome) -> String {
    let bold = Style::new().bold();
    let colour = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
    let mut page = String::new();
    let mut current = "";
    for step in &outcome.steps {
        let name = step.kind.as_str();
        let flags: Vec<_> = step.flags.iter().copied().map(Flag::as_str).collect();
        let flags = if flags.is_empty() {
            String::new()
        } else {
            format!("  (flags: {})", flags.join(", "))
        };
        page.push_str(&format!("{bold}{name}{bold:#}{flags}\n"));
        match (step.kind, &step.verdict) {
            (StepKind::Draft, _) => indent(&mut page, &step.output),
            (StepKind::Revision, _) => {
                let changed = diff::painted(&diff::words(current, &step.output), colour);
                for line in changed.trim_end().lines() {
                    page.push_str(&format!("    {line}\n"));
                }
                if !step.adopted {
                    page.push_str("    not adopted\n");
                }
            }
            (_, Some(verdict)) => page.push_str(&decision(verdict)),
            (_, None) => page.push_str("    no verdict\n"),
        }
        if is_text(step) && step.adopted {
            current = &step.output;
        }
    }
    if let Some(end) = &outcome.end
        && let Some(error) = &end.error
    {
        page.push_str(&format!("failed: {}\n", sanitize(error)));
    }
    page.push('\n');
    page
}

fn is_text(step: &Step) -> bool {
    matches!(step.kind, StepKind::Draft | StepKind::Revision)
}

fn decision(verdict: &Verdict) -> String {
    let (style, word) = match verdict.violated {
        true => (AnsiColor::Red.on_default(), "violated"),
        false => (AnsiColor::Green.on_default(), "ok"),
    };
    let p = verdict
        .probability
        .map_or_else(String::new, |p| format!(", P {p:.3}"));
    let severity = verdict.severity.map_or("", |s| s.as_str());
    let severity = match severity {
        "" => String::new(),
        severity => format!(", {severity}"),
    };
    let by = verdict.source.as_str();
    let mut page = format!("    {style}{word}{style:#}{p}{severity}, by {by}\n");
    if let Some(quote) = &verdict.quote {
        let found = match verdict.quote_verified {
            true => "",
            false => "  (not in the response)",
        };
        indent(&mut page, &format!("quote: “{}”{found}", quote.trim()));
    }
    if !verdict.critique.is_empty() {
        indent(&mut page, &verdict.critique);
    }
    page
}

fn indent(page: &mut String, text: &str) {
    for line in sanitize(text.trim_end()).lines() {
        page.push_str(&format!("    {line}\n"));
    }
}
