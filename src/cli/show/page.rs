//! A chain as a page of text.

use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;

use anstyle::{AnsiColor, Style};

use crate::chain::StepKind;
use crate::cli::diff::{self, Piece};
use crate::cli::text::sanitize;
use crate::generation::Message;
use crate::store::{CallDetail, ChainDetail, ChainRow, Label, RunDetail, StepDetail};
use crate::verdict::Verdict;

const HEADING: Style = AnsiColor::Yellow.on_default();
const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const BAD: Style = AnsiColor::Red.on_default();
const GOOD: Style = AnsiColor::Green.on_default();
const WARN: Style = AnsiColor::Yellow.on_default();

/// More than this many bytes that differ are not compared word by word.
const DIFF_LIMIT: usize = 256 * 1024;

/// Renders the chain, or one of its steps, with escape sequences when `colour` is set.
pub fn render(chain: &ChainDetail, run: &RunDetail, step: Option<u32>, colour: bool) -> String {
    sections(chain, run, step, colour).concat()
}

/// The same in its parts: what the chain is, its prompt, and its steps, the last with what people say.
pub fn sections(
    chain: &ChainDetail,
    run: &RunDetail,
    step: Option<u32>,
    colour: bool,
) -> Vec<String> {
    let mut page = Page {
        out: String::new(),
        colour,
    };
    page.header(chain, run);
    let mut sections = vec![page.take()];
    page.prompt(&chain.prompt_messages);
    sections.push(page.take());
    let texts = Texts::of(&chain.steps);
    for item in &chain.steps {
        if step.is_none_or(|step| item.ordinal == step) {
            page.step(item, run, &texts);
            sections.push(page.take());
        }
    }
    if step.is_none() {
        page.edit(&chain.row);
        sections.push(page.take());
    }
    sections
}

/// Which text each step is about, and where it is quoted.
struct Texts<'a> {
    /// By step: the response that stood when the step began.
    before: HashMap<u32, &'a str>,
    /// By the step that wrote a response: the places that critiques quote from it.
    quoted: HashMap<u32, Vec<Range<usize>>>,
}

impl<'a> Texts<'a> {
    fn of(steps: &'a [StepDetail]) -> Self {
        let mut texts = Self {
            before: HashMap::new(),
            quoted: HashMap::new(),
        };
        let mut current: Option<&StepDetail> = None;
        for step in steps {
            if let Some(current) = current {
                texts.before.insert(step.ordinal, &current.output);
                let quote = step.verdict.as_ref().and_then(|v| v.quote.as_deref());
                if let Some(place) = quote.and_then(|quote| diff::find(quote, &current.output)) {
                    texts.quoted.entry(current.ordinal).or_default().push(place);
                }
            }
            let writes = matches!(step.kind, StepKind::Draft | StepKind::Revision);
            if writes && step.adopted {
                current = Some(step);
            }
        }
        texts
    }
}

struct Page {
    out: String,
    colour: bool,
}

impl Page {
    /// What was written since the last time.
    fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    /// Text that this program chose, in a style.
    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    fn line(&mut self, indent: usize, text: &str) {
        // A blank line has no indent.
        let indent = if text.is_empty() { 0 } else { indent };
        // Writing to a string cannot fail.
        let _ = writeln!(self.out, "{:indent$}{text}", "");
    }

    /// A text of a model or a person, each of its lines indented.
    fn text(&mut self, indent: usize, text: &str, style: Style) {
        for line in sanitize(text.trim_end()).lines() {
            let line = self.paint(style, line);
            self.line(indent, &line);
        }
    }

    fn field(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.out, "{name:<11}{value}");
    }

    fn header(&mut self, chain: &ChainDetail, run: &RunDetail) {
        let row = &chain.row;
        let title = self.paint(HEADING, &format!("chain {}", row.chain_id));
        self.line(0, &title);
        let about = format!(
            "{}  ({} {}, {})",
            row.run_id, run.row.constitution, run.row.constitution_version, run.row.model
        );
        self.field("Run:", &sanitize(&about));
        let prompt = format!("{}, sample {}", row.prompt_id, row.sample);
        self.field("Prompt:", &sanitize(&prompt));
        let rounds = match row.rounds {
            1 => "1 round".to_owned(),
            rounds => format!("{rounds} rounds"),
        };
        let end = match row.stop_reason {
            Some(stop) => {
                let revised = if row.revised {
                    "revised"
                } else {
                    "not revised"
                };
                format!("{}, {rounds}, {revised}", stop.as_str())
            }
            None => "still running".to_owned(),
        };
        self.field("Stopped:", &end);
        if row.revised
            && let (Some(changed), Some(ratio)) = (row.changed, row.length_ratio)
        {
            let changed = format!("{:.0} % of words, length × {ratio:.2}", changed * 100.0);
            self.field("Changed:", &changed);
        }
        if !row.regressed.is_empty() {
            let regressed = self.paint(BAD, &row.regressed.join(", "));
            self.field("Regressed:", &regressed);
        }
        if let Some(label) = row.label {
            let style = if label == Label::Reject { BAD } else { GOOD };
            let label = self.paint(style, label.as_str());
            self.field("Label:", &label);
        }
        if let Some(note) = &row.note {
            self.field("Note:", &sanitize(&diff_line(note)));
        }
        if let Some(error) = &row.error {
            let error = self.paint(BAD, &sanitize(error));
            self.field("Error:", &error);
        }
        self.line(0, "");
    }

    fn prompt(&mut self, messages: &[Message]) {
        for message in messages {
            if messages.len() > 1 {
                let role = self.paint(DIM, &format!("{}:", message.role.as_str()));
                self.line(2, &role);
            }
            self.text(4, &message.content, Style::new());
        }
    }

    fn step(&mut self, step: &StepDetail, run: &RunDetail, texts: &Texts) {
        self.line(0, "");
        let title = self.step_title(step, run);
        self.line(0, &title);
        let before = texts.before.get(&step.ordinal).copied();
        let quoted = texts.quoted.get(&step.ordinal);
        let quoted = quoted.map_or(&[][..], Vec::as_slice);
        match (step.kind, before) {
            (StepKind::Critique | StepKind::Recheck, _) => self.critique(step),
            (StepKind::Revision, Some(before)) => self.diff(before, &step.output, quoted),
            (StepKind::Draft | StepKind::Revision, _) => {
                self.pieces(diff::mark(diff::unchanged(&step.output), quoted));
            }
        }
        if !step.flags.is_empty() {
            let flags: Vec<_> = step.flags.iter().map(|flag| flag.as_str()).collect();
            let flags = self.paint(WARN, &format!("flags: {}", flags.join(", ")));
            self.line(4, &flags);
        }
        for call in &step.calls {
            let numbers = self.paint(DIM, &numbers(call));
            self.line(4, &numbers);
        }
    }

    fn step_title(&self, step: &StepDetail, run: &RunDetail) -> String {
        let mut title = format!("step {}  {}", step.ordinal, step.kind.as_str());
        if step.round > 0 {
            let _ = write!(title, ", round {}", step.round);
        }
        let mut title = self.paint(BOLD, &title);
        if let Some(id) = &step.principle_id {
            let principle = run.constitution.principle(id);
            let name = principle.map_or(String::new(), |p| format!(" ({})", p.title));
            let _ = write!(title, ", {}", sanitize(&format!("{id}{name}")));
        }
        let writes = matches!(step.kind, StepKind::Draft | StepKind::Revision);
        if writes && !step.adopted {
            let _ = write!(title, ", {}", self.paint(BAD, "not adopted"));
        }
        title
    }

    fn critique(&mut self, step: &StepDetail) {
        let Some(verdict) = &step.verdict else {
            self.text(4, &step.output, Style::new());
            return;
        };
        let decision = self.decision(step.kind, verdict, step.agreed);
        self.line(4, &decision);
        if let Some(quote) = &verdict.quote {
            let found = if verdict.quote_verified {
                String::new()
            } else {
                self.paint(BAD, "  (not in the response)")
            };
            let quote = self.paint(BOLD, &sanitize(&diff_line(quote)));
            self.line(4, &format!("quote: “{quote}”{found}"));
        }
        let prose = if verdict.critique.is_empty() {
            &step.output
        } else {
            &verdict.critique
        };
        self.text(4, prose, Style::new());
    }

    fn decision(&self, kind: StepKind, verdict: &Verdict, agreed: Option<bool>) -> String {
        let word = match (kind, verdict.violated) {
            (StepKind::Recheck, true) => self.paint(BAD, "regression: violated again"),
            (_, true) => self.paint(BAD, "violated"),
            (_, false) => self.paint(GOOD, "ok"),
        };
        let mut details = vec![word];
        if let Some(probability) = verdict.probability {
            details.push(format!("P {probability:.2}"));
        }
        if let Some(severity) = verdict.severity {
            details.push(severity.as_str().to_owned());
        }
        details.push(format!("by {}", verdict.source.as_str()));
        match agreed {
            Some(true) => details.push(self.paint(GOOD, "a person agrees")),
            Some(false) => details.push(self.paint(BAD, "a person disagrees")),
            None => {}
        }
        details.join(", ")
    }

    /// What a person made of the final text.
    fn edit(&mut self, row: &ChainRow) {
        let Some(chosen) = &row.chosen else { return };
        self.line(0, "");
        let title = self.paint(BOLD, "edited by a person");
        self.line(0, &title);
        self.diff(row.last.as_deref().unwrap_or_default(), chosen, &[]);
    }

    /// A text against the one that it replaces.
    fn diff(&mut self, before: &str, after: &str, quoted: &[Range<usize>]) {
        let pieces = diff::words_within(before, after, DIFF_LIMIT);
        if pieces.is_none() {
            let note = self.paint(DIM, "(too much differs to compare word by word)");
            self.line(4, &note);
        }
        let pieces = pieces.unwrap_or_else(|| diff::unchanged(after));
        self.pieces(diff::mark(pieces, quoted));
    }

    /// A text with what changed in it.
    fn pieces(&mut self, pieces: Vec<Piece>) {
        let body = diff::painted(&pieces, self.colour);
        for line in body.trim_end().split('\n') {
            self.line(4, line);
        }
    }
}

/// A text on one line.
fn diff_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a call cost, on one line.
fn numbers(call: &CallDetail) -> String {
    let usage = &call.usage;
    let mut line = format!(
        "{} prompt tokens ({} cached), {} written, {:.0} ms, {}",
        usage.prompt_tokens,
        usage.cached_tokens,
        usage.completion_tokens,
        usage.duration_ms,
        call.finish.as_str()
    );
    if let Some(seed) = call.seed {
        let _ = write!(line, ", seed {seed}");
    }
    if let Some(thinking) = &call.thinking {
        let _ = write!(line, ", {} characters of thought", thinking.chars().count());
    }
    if call.reused {
        line.push_str(", from the store");
    }
    format!("({line})")
}

#[cfg(test)]
mod tests;
