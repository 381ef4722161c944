//! The dataset card: `README.md` as the Hub reads it, front matter first.

mod front;
mod gates;
mod licenses;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;

use crate::constitution::{Constitution, detect_language};
use crate::quality::gates::Figures;
use crate::store::{PrincipleStats, RunDetail};

use super::columns::Column;
use super::lesson::{Draws, Lesson};
use super::manifest::{Manifest, RunEntry};
use super::{DROPPED_FILE, ExportOptions, manifest};

pub use licenses::is_license;

/// The card's file name.
pub(super) const FILE: &str = "README.md";

/// Answers whose language is looked at.
const LOOKED_AT: u64 = 500;

/// What the card says that the store does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CardOptions {
    /// The dataset's licence, as the Hub names it, such as `cc-by-4.0`, or one that the Hub does not list.
    pub license: Option<String>,
    /// Its title.
    pub title: Option<String>,
}

/// Everything that goes into a card.
pub(super) struct Facts<'a> {
    pub manifest: &'a Manifest,
    pub options: &'a ExportOptions,
    pub columns: &'a [Column],
    pub runs: &'a [Arc<RunDetail>],
    pub principles: &'a [PrincipleStats],
    pub languages: &'a Languages,
    pub gates: &'a Figures,
}

/// The languages of the first answers.
#[derive(Debug, Default)]
pub(super) struct Languages {
    looked_at: u64,
    found: BTreeMap<&'static str, u64>,
}

impl Languages {
    /// Looks at what a lesson teaches.
    pub fn look(&mut self, lesson: &Lesson) {
        if self.looked_at >= LOOKED_AT {
            return;
        }
        self.looked_at += 1;
        let answers = lesson.answers();
        let text = answers.first().map(String::as_str);
        let text = text.or_else(|| {
            lesson
                .prompt()
                .last()
                .map(|message| message.content.as_str())
        });
        if let Some(language) = text.and_then(detect_language) {
            *self.found.entry(language).or_default() += 1;
        }
    }

    /// Those that at least one answer in twenty is in.
    fn names(&self) -> Vec<&'static str> {
        let told: u64 = self.found.values().sum();
        let often = |(_, count): &(&&str, &u64)| **count * 20 >= told;
        self.found
            .iter()
            .filter(often)
            .map(|(name, _)| *name)
            .collect()
    }
}

/// The text of the card.
pub(super) fn card(facts: &Facts<'_>) -> String {
    let mut out = String::new();
    front::write(&mut out, facts);
    let title = title(facts);
    let _ = writeln!(out, "# {}\n", cell(&title));
    about(&mut out, facts);
    rows(&mut out, facts);
    method(&mut out, facts);
    principles(&mut out, facts);
    gates::write(&mut out, facts.gates);
    left_out(&mut out, facts.manifest);
    limits(&mut out, facts);
    license(&mut out, facts);
    constitutions(&mut out, facts);
    out
}

fn title(facts: &Facts<'_>) -> String {
    if let Some(title) = &facts.options.card.title {
        return title.clone();
    }
    let what = match facts.options.format.draws() {
        Draws::Answers => "revised responses",
        Draws::Pairs => "preference pairs",
        Draws::Unpaired => "judged responses",
        Draws::Prompts => "prompts",
        Draws::Steps => "judged sentences",
        Draws::Revisions => "critiques and revisions",
        Draws::Critiques => "critiques",
    };
    let name = facts
        .runs
        .first()
        .map_or("a constitution", |run| &run.row.constitution);
    format!("{name}: {what}")
}

fn about(out: &mut String, facts: &Facts<'_>) {
    let manifest = facts.manifest;
    let _ = writeln!(
        out,
        "{} rows from {} chains, in the format `{}`, written by amend {}. A chain is a model's draft of a response to \
         a prompt, its critiques under written principles, and its revisions.\n",
        manifest.rows, manifest.chains, manifest.format, manifest.amend_version
    );
    out.push_str("| run | constitution | model | prompt pack | seed |\n|---|---|---|---|---|\n");
    for run in &manifest.runs {
        let RunEntry {
            run_id,
            constitution,
            constitution_version,
            model,
            pack,
            seed,
            ..
        } = run;
        let _ = writeln!(
            out,
            "| {} | {} {} | {} | {} | {seed} |",
            cell(run_id),
            cell(constitution),
            cell(constitution_version),
            cell(model),
            cell(pack)
        );
    }
    let _ = writeln!(
        out,
        "\nDigests of constitutions, models, packs and prompt files are in `{}`. The rows of one prompt are all in \
         one split.\n",
        manifest::FILE
    );
}

fn rows(out: &mut String, facts: &Facts<'_>) {
    let manifest = facts.manifest;
    out.push_str("## Rows\n\n| split | rows | files |\n|---|---:|---:|\n");
    for split in &manifest.splits {
        let _ = writeln!(
            out,
            "| {} | {} | {} |",
            split.name,
            split.rows,
            split.files.len()
        );
    }
    out.push_str("\n| column | holds |\n|---|---|\n");
    for column in facts.columns {
        let _ = writeln!(
            out,
            "| `{}` | {} |",
            column.name,
            column.kind.shown(facts.options.kind)
        );
    }
    out.push('\n');
    if let Some(division) = &manifest.division {
        let _ = writeln!(
            out,
            "Prompts were divided by `{}` with the seed {}: {} groups of prompts that are alike, each on one side.\n",
            division.splits, division.seed, division.groups
        );
    }
    if let Some(replay) = &manifest.replay {
        let _ = writeln!(
            out,
            "{} rows are general data out of {} ({}), mixed in against forgetting.\n",
            replay.rows,
            code(&replay.file),
            replay.b3
        );
    }
}

fn method(out: &mut String, facts: &Facts<'_>) {
    out.push_str(
        "## Method\n\nThe model drafts a response. In each round it is asked whether the response violates a principle; a \
         violation is followed by a revision that answers the critique. This follows the supervised stage of Bai et \
         al., *Constitutional AI: Harmlessness from AI Feedback* (arXiv 2212.08073).\n\n",
    );
    let _ = writeln!(
        out,
        "{}\n",
        drawn(facts.options.format.draws(), facts.manifest.all_rounds)
    );
    for run in facts.runs {
        let mut settings: Vec<String> = Vec::new();
        for (name, value) in run.config.as_object().into_iter().flatten() {
            if !value.is_object() && !value.is_array() {
                settings.push(format!("{} {}", cell(name), cell(&value.to_string())));
            }
        }
        if !settings.is_empty() {
            let _ = writeln!(
                out,
                "Run {}: {}.\n",
                cell(&run.row.run_id),
                settings.join(", ")
            );
        }
    }
}

fn drawn(draws: Draws, all_rounds: bool) -> &'static str {
    match (draws, all_rounds) {
        (Draws::Answers, false) => {
            "A row is a prompt and the last text of its chain; where nothing was revised that is the draft."
        }
        (Draws::Answers, true) => {
            "A row is a prompt and one of the revisions of its chain, those of all rounds; where nothing was revised it is the draft."
        }
        (Draws::Pairs, _) => {
            "A row prefers one text of a chain to another: unless a judge or a person said otherwise, the last text to the draft."
        }
        (Draws::Unpaired, _) => {
            "A row is one text of a chain and whether it is good: the preferred one of a pair is, the other is not. A draft that every verdict found clean is good, and one that was found at fault and not revised is not."
        }
        (Draws::Prompts, _) => "A row is a prompt, once.",
        (Draws::Steps, _) => {
            "A row is a response that critiques judged, sentence by sentence. A sentence stands (true) unless a critique quotes it as violating a principle. Responses whose critique quotes nothing that can be found are left out."
        }
        (Draws::Revisions, _) => {
            "A row is one adopted revision with the text that it revises and the critique that it answers. `critic_prompt` and `revision_prompt` are the principle's own words."
        }
        (Draws::Critiques, _) => {
            "A row is the request for a critique, as the model saw it, and its reply. Replies without a verdict, and those whose quote is not in the response, are left out."
        }
    }
}

fn principles(out: &mut String, facts: &Facts<'_>) {
    out.push_str(
        "## Principles\n\n| principle | asked | violated | revised | mean P | unverified quotes | rechecked | regressed |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for stats in facts.principles {
        let mean = stats
            .mean_probability
            .map_or("–".to_owned(), |p| format!("{p:.2}"));
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {mean} | {} | {} | {} |",
            cell(&stats.principle_id),
            stats.asked,
            stats.violated,
            stats.revised,
            stats.unverified_quotes,
            stats.rechecked,
            stats.regressed
        );
    }
    out.push_str("\nThese are figures of all chains that were asked for, those without a row among them.\n\n");
}

fn left_out(out: &mut String, manifest: &Manifest) {
    out.push_str("## What was left out\n\n");
    if manifest.dropped.is_empty() {
        out.push_str("Nothing.\n\n");
    } else {
        out.push_str("| reason | texts |\n|---|---:|\n");
        for (reason, texts) in &manifest.dropped {
            let _ = writeln!(out, "| {} | {texts} |", cell(reason));
        }
        let _ = writeln!(out, "\n`{DROPPED_FILE}` names every one.\n");
    }
    if !manifest.flags.is_empty() {
        out.push_str("Rows that are there although their text shows a failure mode:\n\n| flag | rows |\n|---|---:|\n");
        for (flag, rows) in &manifest.flags {
            let _ = writeln!(out, "| {} | {rows} |", cell(flag));
        }
        out.push('\n');
    }
}

fn limits(out: &mut String, facts: &Facts<'_>) {
    out.push_str(
        "## Known limits\n\n\
         - Everything but the prompts was written by a model. It may be false, and prompts and drafts may be harmful: \
         that is what the method starts from.\n\
         - The same model drafted, criticised and revised. P(violated) is its own and is not calibrated.\n",
    );
    if facts.options.format.prefers() {
        out.push_str(
            "- Where no judge and no person compared two texts, the later one is preferred because it is the later \
             one.\n",
        );
    }
    out.push_str(
        "- Flags come from simple patterns, in English where words matter.\n\
         - Models that are trained on revisions can pick up their habits, such as the same closing words everywhere. \
         Mix in general data.\n\n",
    );
}

fn license(out: &mut String, facts: &Facts<'_>) {
    out.push_str("## Licence\n\n");
    match &facts.options.card.license {
        Some(license) => {
            let _ = writeln!(out, "The dataset: {license}.");
        }
        None => out.push_str("Nobody has said under which licence this dataset is given out.\n"),
    }
    let mut named: Vec<(&str, &str)> = Vec::new();
    for run in facts.runs {
        let Constitution { name, license, .. } = &run.constitution;
        if !license.is_empty() && !named.contains(&(name, license)) {
            named.push((name, license));
        }
    }
    for (name, license) in named {
        let _ = writeln!(out, "The constitution {}: {}.", cell(name), cell(license));
    }
    out.push_str("The licence of the model may bind what is done with its outputs; see there.\n\n");
}

fn constitutions(out: &mut String, facts: &Facts<'_>) {
    out.push_str("## The constitution in full\n\n");
    let mut seen: Vec<&str> = Vec::new();
    for run in facts.runs {
        if seen.contains(&run.row.constitution_digest.as_str()) {
            continue;
        }
        seen.push(&run.row.constitution_digest);
        let text = as_file(&run.constitution);
        // Longer than any fence in the text.
        let fence = "`".repeat(ticks(&text).max(2) + 1);
        let _ = writeln!(
            out,
            "`{}`\n\n{fence}yaml\n{}\n{fence}\n",
            run.row.constitution_digest,
            text.trim_end()
        );
    }
    while out.ends_with("\n\n") {
        out.pop();
    }
}

/// A constitution as a file that can be used: what has no value is left out.
fn as_file(constitution: &Constitution) -> String {
    // Plain data with string keys always serialises.
    let mut value = serde_json::to_value(constitution).unwrap_or_default();
    without_nulls(&mut value);
    serde_yaml::to_string(&value).unwrap_or_default()
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// A text on one line.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Backticks that stand together at most.
fn ticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// A text as code on one line, where a backslash is one.
fn code(text: &str) -> String {
    let text = line(text);
    match ticks(&text) {
        0 => format!("`{text}`"),
        longest => {
            let fence = "`".repeat(longest + 1);
            format!("{fence} {text} {fence}")
        }
    }
}

/// A text that is safe in a table: on one line, and nothing in it is markup.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for c in line(text).chars() {
        match c {
            '|' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '\\' | '#' | '~' | '&' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;
    use crate::constitution::{SHIPPED, load, resolve};

    #[test]
    fn a_constitution_can_be_taken_out_of_a_card() {
        for shipped in SHIPPED {
            let whole = load(shipped.name).unwrap().resolved;
            let text = as_file(&whole.constitution);
            let mut none = |_: &Path| -> io::Result<String> { Err(io::ErrorKind::NotFound.into()) };
            let back = resolve(Path::new("card.yaml"), &text, &mut none).unwrap();
            assert_eq!(back.digest, whole.digest, "{}", shipped.name);
        }
    }

    #[test]
    fn texts_cannot_leave_their_cell() {
        assert_eq!(cell("a | b\n<img>"), "a \\| b \\<img\\>");
        assert_eq!(cell("~~a~~ &lt;"), "\\~\\~a\\~\\~ \\&lt;");
    }

    #[test]
    fn a_name_in_code_is_as_it_is() {
        assert_eq!(code("my_data [1].jsonl"), "`my_data [1].jsonl`");
        assert_eq!(code("a`b``c"), "``` a`b``c ```");
    }
}
