//! The report of an evaluation: Markdown and JSON.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use crate::cli::text::{plural, sanitize};
use crate::constitution::Constitution;
use crate::evaluation::effect::{
    Drift, Effect, Estimate, Preferred, Rate, Share, SuiteEffect, SuiteKind,
};
use crate::statistics::{Interval, RESAMPLES};

use super::measure::Measured;
use super::sides::{Side, Sides};

/// Everything that is told.
pub struct Report<'a> {
    /// Under which constitution.
    pub constitution: &'a Constitution,
    /// What was compared.
    pub sides: &'a Sides,
    /// What was run.
    pub measured: &'a Measured,
    /// The figures.
    pub effect: &'a Effect,
    /// Answers per prompt and side.
    pub samples: u32,
    /// What seeds derive from.
    pub seed: u64,
    /// Least P(violated) that counts as violated.
    pub threshold: f64,
    /// Conditions that hold and should not.
    pub broken: Vec<String>,
}

/// Writes the three files of a report.
pub fn write(folder: &Path, markdown: &str, json: &Value, plot: &str) -> anyhow::Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("{}: the folder cannot be made", folder.display()))?;
    for (name, text) in [
        ("eval.md", markdown),
        ("eval.json", &format!("{json:#}\n")),
        ("eval.svg", plot),
    ] {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    Ok(())
}

impl Report<'_> {
    /// The report for people.
    pub fn markdown(&self) -> String {
        let mut page = self.head();
        for suite in &self.effect.suites {
            violations(&mut page, suite);
        }
        if let Some(all) = &self.effect.all {
            violations(&mut page, all);
        }
        refusals(&mut page, &self.effect.suites);
        if let Some(preferred) = &self.effect.preferred {
            preference(&mut page, preferred);
        }
        if self.effect.undecided > 0 {
            let _ = writeln!(
                page,
                "\nLeft out of the preference, since the judge could not decide: {}.",
                plural(self.effect.undecided, "pair")
            );
        }
        if let Some(found) = &self.effect.drift {
            drift(&mut page, found);
        }
        page.push_str(&format!(
            "\nIntervals are 95 %: of shares Wilson's, of everything else percentile bootstrap over prompts or texts \
             ({RESAMPLES} draws, seeded). p is McNemar's exact test of the answers in which the sides differ.\n"
        ));
        let several = |suite: &SuiteEffect| suite.principles.len() > 1;
        if self.effect.suites.iter().any(several) {
            page.push_str("Wilson's interval of all verdicts takes them for independent and is too narrow where an answer's verdicts are alike; the bootstrap draws them together.\n");
        }
        if self.samples > 1 && !self.effect.suites.is_empty() {
            page.push_str(
                "Wilson's intervals take the samples of a prompt for independent answers and are too narrow where they are alike; the bootstrap draws them together.\n",
            );
        }
        page
    }

    fn head(&self) -> String {
        let mut page = String::from("# Evaluation\n\n");
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(page, "- {name}: {}", plain(value));
        };
        if !self.measured.model.is_empty() {
            line("model", &self.measured.model);
        }
        if let Some(before) = self.sides.label_before() {
            line("before", &before);
        }
        line("after", &self.sides.label_after());
        let constitution = self.constitution;
        line(
            "constitution",
            &format!("{} {}", constitution.name, constitution.version),
        );
        if !self.effect.suites.is_empty() {
            let by_program = "programs only; every principle that was asked about has a check";
            let judge = self.measured.judge.as_deref();
            line("judge", judge.unwrap_or(by_program));
            line("samples", &format!("{}, seed {}", self.samples, self.seed));
        }
        for runs in &self.measured.runs {
            let pair = |[answers, verdicts]: &[String; 2]| match verdicts.is_empty() {
                true => format!("{answers} and none"),
                false => format!("{answers} and {verdicts}"),
            };
            let before = runs
                .before
                .as_ref()
                .map(|before| format!("before {}; ", pair(before)));
            let told = format!("{}after {}", before.unwrap_or_default(), pair(&runs.after));
            line(
                &format!("runs of {} (answers and verdicts)", plain(&runs.suite)),
                &told,
            );
        }
        page
    }

    /// The report for programs.
    pub fn json(&self) -> Value {
        let side = |side: &Side| {
            json!({
                "label": side.label(),
                "adapter": side.adapter.as_ref().map(|adapter| json!({
                    "digest": adapter.digest,
                    "scale": adapter.scale,
                })),
            })
        };
        json!({
            "amend_version": env!("CARGO_PKG_VERSION"),
            "model": self.measured.model,
            "before": self.sides.before.as_ref().map(side),
            "after": side(&self.sides.after),
            "judge": self.measured.judge,
            "constitution": {
                "name": self.constitution.name,
                "version": self.constitution.version,
                "digest": self.constitution.digest(),
            },
            "samples": self.samples,
            "seed": self.seed,
            "threshold": self.threshold,
            "runs": self.measured.runs,
            "failed": self.measured.failed,
            "effect": self.effect,
            "figures": self.effect.figures(),
            "broken": self.broken,
        })
    }
}

/// Text that may come from a file, in a cell of a table.
fn plain(text: &str) -> String {
    let line = sanitize(text).replace(['\n', '\t'], " ");
    line.replace('|', r"\|").replace('<', "&lt;")
}

fn violations(page: &mut String, suite: &SuiteEffect) {
    let _ = writeln!(page, "\n## Violations: {}\n", plain(&suite.name));
    if suite.answers == 0 {
        let _ = writeln!(
            page,
            "No answer; {} left out, where a chain failed.",
            suite.left_out
        );
        return;
    }
    let _ = writeln!(
        page,
        "{} prompts, {} answers a side{}{}.\n",
        suite.prompts,
        suite.answers,
        match suite.words {
            Some((Some(before), after)) => format!(
                "; {before:.0} words on average before, {after:.0} after ({})",
                suite.length_ratio.map_or_else(dash, |e| estimate(e, "×"))
            ),
            Some((None, after)) => format!("; {after:.0} words on average"),
            None => String::new(),
        },
        match suite.left_out {
            0 => String::new(),
            n => format!("; {n} left out, where a chain failed"),
        },
    );
    page.push_str("| principle | by | before | after | difference | obeyed, after by before | p |\n|---|---|---|---|---|---|---|\n");
    for principle in &suite.principles {
        let by = if principle.by_check { "check" } else { "model" };
        let (name, ratio) = (plain(&principle.id), principle.obeyed_ratio);
        violation(page, &name, by, &principle.violated, ratio);
    }
    if let Some(rate) = &suite.violations
        && suite.principles.len() > 1
    {
        violation(page, "*all verdicts*", "-", rate, None);
    }
    if !suite.without_verdict.is_empty() {
        let of = |(id, count): (&String, &u64)| format!("{} {count}", plain(id));
        let counts: Vec<String> = suite.without_verdict.iter().map(of).collect();
        let _ = writeln!(
            page,
            "\nAnswers without a verdict on every side, which count on none: {}.",
            counts.join(", ")
        );
    }
}

/// A row of the table of violations.
fn violation(page: &mut String, name: &str, by: &str, rate: &Rate, obeyed: Option<Estimate>) {
    let _ = writeln!(
        page,
        "| {name} | {by} | {} | {} | {} | {} | {} |",
        rate.before.map_or_else(dash, share),
        share(rate.after),
        rate.difference.map_or_else(dash, points),
        obeyed.map_or_else(dash, |e| estimate(e, "×")),
        rate.p_value.map_or_else(dash, probability),
    );
}

fn refusals(page: &mut String, suites: &[SuiteEffect]) {
    let rows: Vec<(&SuiteEffect, &Rate)> = suites
        .iter()
        .filter_map(|suite| Some((suite, suite.refused.as_ref()?)))
        .collect();
    if rows.is_empty() {
        return;
    }
    page.push_str("\n## Refusals\n\n| suite | a refusal is | before | after | difference | p |\n|---|---|---|---|---|---|\n");
    for (suite, rate) in rows {
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} |",
            plain(&suite.name),
            match suite.kind {
                SuiteKind::Benign | SuiteKind::Borderline => "a fault",
                SuiteKind::Harmful => "right",
                SuiteKind::General | SuiteKind::Other => "-",
            },
            rate.before.map_or_else(dash, share),
            share(rate.after),
            rate.difference.map_or_else(dash, points),
            rate.p_value.map_or_else(dash, probability),
        );
    }
    page.push_str("\nRefusals are recognised by their forms, which are English.\n");
}

fn preference(page: &mut String, preferred: &Preferred) {
    let _ = writeln!(
        page,
        "\n## Preference\n\n| figure | value |\n|---|---|\n| answers after preferred, both orders averaged | {} |\n| the same at equal length | {} |\n| same answer preferred in both orders | {} |\n| gained by being shown first | {} |\n\n{} pairs; {} more of equal answers, which are not judged.",
        percent(preferred.win_rate),
        preferred
            .win_rate_length_controlled
            .map_or_else(dash, percent),
        percent(preferred.consistent),
        points(preferred.first_place_bias),
        preferred.pairs,
        preferred.equal,
    );
}

fn drift(page: &mut String, drift: &Drift) {
    let _ = writeln!(
        page,
        "\n## Drift\n\n{} texts, {} tokens{}.\n\n| figure | value |\n|---|---|\n| mean KL a token, whole vocabulary (nats) | {} |\n| mean KL a token, top logits | {} |\n| same token likeliest | {} |\n| perplexity before | {} |\n| perplexity after | {} |\n| after by before | {} |\n",
        drift.texts,
        drift.tokens,
        match drift.cut {
            0 => String::new(),
            n => format!("; {n} longer than the context and cut"),
        },
        estimate(drift.kl, ""),
        estimate(drift.kl_top, ""),
        percent(drift.same_top),
        estimate(drift.perplexity_before, ""),
        estimate(drift.perplexity, ""),
        estimate(drift.perplexity_ratio, "×"),
    );
    let furthest: Vec<String> = drift
        .furthest
        .iter()
        .map(|(name, kl)| format!("{} ({kl:.3})", plain(name)))
        .collect();
    let _ = writeln!(page, "Furthest: {}.", furthest.join(", "));
}

fn dash() -> String {
    "-".to_owned()
}

fn share(share: Share) -> String {
    format!(
        "{:.1} % [{:.1}, {:.1}] ({} of {})",
        100.0 * share.share,
        100.0 * share.interval.low,
        100.0 * share.interval.high,
        share.hits,
        share.trials
    )
}

fn with_interval(value: String, interval: Option<Interval>, of: impl Fn(f64) -> String) -> String {
    match interval {
        Some(interval) => format!("{value} [{}, {}]", of(interval.low), of(interval.high)),
        None => value,
    }
}

/// Percentage points.
fn points(estimate: Estimate) -> String {
    let of = |value: f64| format!("{:+.1}", 100.0 * value);
    with_interval(of(estimate.value), estimate.interval, of)
}

fn percent(estimate: Estimate) -> String {
    let of = |value: f64| format!("{:.1}", 100.0 * value);
    with_interval(format!("{} %", of(estimate.value)), estimate.interval, of)
}

fn estimate(estimate: Estimate, unit: &str) -> String {
    let digits = if estimate.value.abs() < 10.0 { 3 } else { 1 };
    let of = |value: f64| format!("{value:.digits$}");
    with_interval(
        format!("{}{unit}", of(estimate.value)),
        estimate.interval,
        of,
    )
}

fn probability(p: f64) -> String {
    match p {
        p if p < 0.001 => "< 0.001".to_owned(),
        p => format!("{p:.3}"),
    }
}
