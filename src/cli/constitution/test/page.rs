//! A report as a page of text.

use anstyle::{AnsiColor, Style};

use super::{Calls, Shown};
use crate::cli::text::{Table, excerpt, sanitize, terminal_width};
use crate::constitution::{Expect, Status};
use crate::evaluation::{Overall, PrincipleReport, TestResult};
use crate::statistics::Separation;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const BAD: Style = AnsiColor::Red.on_default();
const GOOD: Style = AnsiColor::Green.on_default();
const WARN: Style = AnsiColor::Yellow.on_default();

/// Columns of a test's prompt and of its response.
const PROMPT_COLUMNS: usize = 28;
const RESPONSE_COLUMNS: usize = 44;

/// The report with escape sequences, which the stream leaves out where they are not wanted.
pub fn render(shown: &Shown<'_>, only: Option<&[String]>) -> String {
    let mut page = Page(String::new());
    if only.is_none() {
        page.header(shown);
    }
    let chosen = |p: &&PrincipleReport| only.is_none_or(|ids| ids.contains(&p.id));
    let principles: Vec<_> = shown.report.principles.iter().filter(chosen).collect();
    for principle in &principles {
        page.principle(principle);
    }
    page.table(&principles);
    page.line("");
    page.overall(shown);
    page.0
}

struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(text.trim_end());
        self.0.push('\n');
    }

    fn header(&mut self, shown: &Shown<'_>) {
        let (plan, identity) = (shown.plan, shown.bench.loaded.backend().identity());
        let constitution = &plan.constitution;
        let title =
            sanitize(&format!("{} {}", constitution.name, constitution.version)).into_owned();
        let digest = constitution.digest();
        let source = sanitize(shown.source).into_owned();
        self.line(&format!(
            "{BOLD}{title}{BOLD:#}  {source}  b3:{}",
            digest.short()
        ));
        let about = format!(
            "{}, pack {}, threshold {:.2}",
            identity.name, plan.pack.name, plan.threshold
        );
        self.line(&sanitize(&about));
        self.line("");
    }

    fn principle(&mut self, principle: &PrincipleReport) {
        let by = if principle.check {
            ", decided by a check"
        } else {
            ""
        };
        let status = match principle.status {
            Status::Active => "",
            Status::Draft => ", draft",
            Status::Retired => ", retired",
        };
        let title = sanitize(&principle.title).into_owned();
        self.line(&format!(
            "{BOLD}{}{BOLD:#}  {title}{DIM}{status}{by}{DIM:#}",
            principle.id
        ));
        // Repetitions of a test stand together.
        for repetitions in principle
            .results
            .chunk_by(|a, b| a.case.test == b.case.test)
        {
            self.test(repetitions);
        }
        self.line("");
    }

    /// One test with all its repetitions.
    fn test(&mut self, repetitions: &[TestResult]) {
        let Some(first) = repetitions.first() else {
            return;
        };
        let correct = repetitions.iter().filter(|r| r.correct()).count();
        let all = repetitions.len();
        let (style, mark) = match correct {
            0 => (BAD, "✗"),
            n if n == all => (GOOD, "✓"),
            _ => (WARN, "~"),
        };
        let expected = match first.case.expect {
            Expect::Violation => "violation",
            Expect::Ok => "ok",
        };
        let verdict = verdict(repetitions);
        let known: Vec<f64> = repetitions
            .iter()
            .filter_map(TestResult::probability)
            .collect();
        let p = match known.is_empty() {
            true => "    -".to_owned(),
            false => format!("{:.3}", known.iter().sum::<f64>() / known.len() as f64),
        };
        let prompt = excerpt(&first.case.prompt, PROMPT_COLUMNS);
        let response = excerpt(&first.case.response, RESPONSE_COLUMNS);
        self.line(&format!(
            "  {style}{mark}{style:#} expects {expected:<9}  {verdict:<14}  P {p}  {prompt} {DIM}→{DIM:#} {response}"
        ));
        let quoted = repetitions.iter().filter_map(|r| r.verdict.as_ref());
        if let Some(verdict) = quoted.filter(|v| v.violated).find(|v| v.quote.is_some())
            && let Some(quote) = &verdict.quote
        {
            let found = match verdict.quote_verified {
                true => "",
                false => " (not in the response)",
            };
            let quote = excerpt(quote, 72);
            self.line(&format!("      quote “{quote}”{WARN}{found}{WARN:#}"));
        }
        if let Some(error) = repetitions.iter().find_map(|r| r.error.as_ref()) {
            self.line(&format!("      {BAD}{}{BAD:#}", excerpt(error, 200)));
        }
    }

    fn table(&mut self, principles: &[&PrincipleReport]) {
        let mut table = Table::new(&[
            "PRINCIPLE",
            ">CORRECT",
            ">PRECISION",
            ">RECALL",
            ">P VIOLATING",
            ">P CLEAN",
            ">GAP",
            ">AUC",
            ">BEST THRESHOLD",
        ]);
        for principle in principles {
            let figures = &principle.figures;
            let separation = principle.separation.as_ref();
            let number = |read: fn(&Separation) -> f64| separation.map(read);
            table.row(vec![
                principle.id.clone(),
                format!("{}/{}", figures.correct, figures.tests),
                share(figures.precision),
                share(figures.recall),
                two_places(number(|s| s.mean_positive)),
                two_places(number(|s| s.mean_negative)),
                number(|s| s.gap).map_or_else(dash, |gap| format!("{gap:+.2}")),
                two_places(number(|s| s.auc)),
                match separation.map(|s| s.best) {
                    Some(Some(best)) => {
                        format!("{:.3} ({})", best.value, percent(best.balanced_accuracy))
                    }
                    Some(None) => "none separates".to_owned(),
                    None => dash(),
                },
            ]);
        }
        for line in table.lines(terminal_width()) {
            self.line(&line);
        }
    }

    fn overall(&mut self, shown: &Shown<'_>) {
        let (overall, judged) = (&shown.report.overall, shown.report.judged.as_ref());
        self.accuracy(overall, judged);
        if let Some(separation) = &judged.unwrap_or(overall).separation {
            let best = separation.best.map_or_else(
                || "no threshold separates them".to_owned(),
                |best| {
                    format!(
                        "threshold {:.3} would separate best ({} on these tests)",
                        best.value,
                        percent(best.balanced_accuracy)
                    )
                },
            );
            self.line(&format!(
                "  mean P {:.2} of violating responses, {:.2} of clean ones, AUC {:.2}; {best}",
                separation.mean_positive, separation.mean_negative, separation.auc
            ));
        }
        if overall.figures.undecided > 0 {
            let (undecided, errors) = (overall.figures.undecided, overall.figures.errors);
            self.line(&format!(
                "  {undecided} without a verdict, {errors} of them with an error"
            ));
        }
        if overall.unstable > 0 {
            self.line(&format!(
                "  {} tests had other verdicts in other repetitions",
                overall.unstable
            ));
        }
        if !shown.report.untested.is_empty() && shown.args.principle.is_empty() {
            let untested = shown.report.untested.join(", ");
            self.line(&format!("  no tests: {}", sanitize(&untested)));
        }
        self.calls(shown.calls());
        if let Some(least) = shown.args.min_accuracy.filter(|_| shown.below()) {
            self.line(&format!(
                "  {BAD}below --min-accuracy {}{BAD:#}",
                percent(least)
            ));
        }
    }

    /// How many verdicts are correct, and whether the model's are better than chance. `judged` are those, where
    /// checks decided others.
    fn accuracy(&mut self, overall: &Overall, judged: Option<&Overall>) {
        let figures = &overall.figures;
        self.line(&format!(
            "{BOLD}{} of {} verdicts correct, {}{BOLD:#}{}",
            figures.correct,
            figures.tests,
            share(figures.accuracy),
            interval(overall)
        ));
        if let Some(judged) = judged {
            let figures = &judged.figures;
            self.line(&format!(
                "  judged by the model: {} of {}, {}{}; checks decided the others",
                figures.correct,
                figures.tests,
                share(figures.accuracy),
                interval(judged)
            ));
        }
        let judged = judged.unwrap_or(overall);
        let Some(chance) = judged.chance else { return };
        let chance = percent(chance);
        if judged.better_than_chance {
            self.line(&format!("  better than chance, which is {chance}"));
        } else {
            self.line(&format!(
                "  {WARN}not told apart from chance, which is {chance}{WARN:#}: do not rely on these verdicts"
            ));
        }
    }

    fn calls(&mut self, calls: Calls) {
        if calls.made + calls.reused == 0 {
            self.line("  no model calls: programs decided");
            return;
        }
        let cached = match calls.prompt_tokens {
            0 => String::new(),
            all => format!(
                ", {all} prompt tokens ({} from the cache)",
                percent(calls.cached_tokens as f64 / all as f64)
            ),
        };
        self.line(&format!(
            "  {} model calls{cached}, {} more answered from the store",
            calls.made, calls.reused
        ));
    }
}

/// What the verdicts of a test were.
fn verdict(repetitions: &[TestResult]) -> String {
    let violated = |r: &&TestResult| r.verdict.as_ref().is_some_and(|v| v.violated);
    let count = repetitions.iter().filter(violated).count();
    let none = repetitions.iter().filter(|r| r.verdict.is_none()).count();
    match (count, none, repetitions.len()) {
        (0, 0, _) => "ok".to_owned(),
        (n, 0, all) if n == all => "violated".to_owned(),
        (_, n, all) if n == all => "no verdict".to_owned(),
        (n, _, all) => format!("violated {n}/{all}"),
    }
}

fn dash() -> String {
    "-".to_owned()
}

fn two_places(value: Option<f64>) -> String {
    value.map_or_else(dash, |value| format!("{value:.2}"))
}

/// The interval of the accuracy, behind it.
fn interval(overall: &Overall) -> String {
    overall.interval.map_or_else(String::new, |i| {
        format!(" (95 %: {:.0} to {:.0} %)", 100.0 * i.low, 100.0 * i.high)
    })
}

fn share(value: Option<f64>) -> String {
    value.map_or_else(dash, percent)
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
