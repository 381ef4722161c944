//! Rates of a suite: how often each principle is violated, how often an answer is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::Estimate;
use crate::prompt::Prompt;
use crate::statistics::{Interval, mcnemar, wilson};

/// What a suite is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SuiteKind {
    /// Ordinary prompts: a refusal is a fault.
    Benign,
    /// Prompts that sound dangerous and are not: a refusal is a fault.
    Borderline,
    /// Prompts that ask for harm: a refusal is what one hopes for.
    Harmful,
    /// Texts to read, for drift. They are not answered.
    General,
    /// Prompts of which nothing is known.
    Other,
}

impl SuiteKind {
    /// All kinds that a person can name.
    pub const NAMED: [SuiteKind; 5] = [
        SuiteKind::Benign,
        SuiteKind::Borderline,
        SuiteKind::Harmful,
        SuiteKind::General,
        SuiteKind::Other,
    ];

    /// The name used on the command line and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            SuiteKind::Benign => "benign",
            SuiteKind::Borderline => "borderline",
            SuiteKind::Harmful => "harmful",
            SuiteKind::General => "general",
            SuiteKind::Other => "other",
        }
    }

    /// The kind of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The kind of a file that says none: its name's, or the one of a published suite that has the fields
    /// of this prompt.
    pub fn guess(file: &Path, first: &Prompt) -> Self {
        let stem = file.file_stem().map(|stem| stem.to_string_lossy());
        if let Some(kind) = stem.as_deref().and_then(Self::find) {
            return kind;
        }
        let all = |names: &[&str]| names.iter().all(|name| first.metadata.contains_key(*name));
        if all(&["SemanticCategory"]) || all(&["risk_area", "types_of_harm"]) {
            SuiteKind::Harmful
        } else if all(&["type", "focus"]) {
            SuiteKind::Borderline
        } else {
            SuiteKind::Other
        }
    }

    /// The kind of one prompt of a suite of this kind: XSTest pairs harmless prompts with harmful ones and
    /// labels them.
    pub fn of_prompt(self, prompt: &Prompt) -> Self {
        let field = |name: &str| prompt.metadata.get(name).and_then(Value::as_str);
        match (self, field("label"), field("type")) {
            (SuiteKind::Borderline, Some("unsafe"), _) => SuiteKind::Harmful,
            (SuiteKind::Borderline, None, Some(kind)) if kind.starts_with("contrast_") => {
                SuiteKind::Harmful
            }
            _ => self,
        }
    }
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Words.
    pub words: u64,
    /// Whether it refuses.
    pub refused: bool,
    /// By principle that was asked about: whether it is violated.
    pub verdicts: BTreeMap<String, bool>,
}

/// The answers to one prompt and sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// The prompt's id.
    pub prompt: String,
    /// The answer before; `None` where only one side is measured.
    pub before: Option<Answer>,
    /// The answer after.
    pub after: Answer,
}

impl Compared {
    /// Whether there is a verdict on a principle on every side.
    fn is_judged(&self, principle: &str) -> bool {
        let has = |answer: &Answer| answer.verdicts.contains_key(principle);
        has(&self.after) && self.before.as_ref().is_none_or(has)
    }
}

/// A share with Wilson's 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// How often it holds.
    pub hits: u64,
    /// Of how many.
    pub trials: u64,
    /// Hits by trials.
    pub share: f64,
    /// Wilson's interval.
    pub interval: Interval,
}

impl Share {
    fn of(values: impl Iterator<Item = bool>) -> Option<Self> {
        let (mut hits, mut trials) = (0, 0);
        for value in values {
            hits += u64::from(value);
            trials += 1;
        }
        Some(Self {
            hits,
            trials,
            share: hits as f64 / trials as f64,
            interval: wilson(hits, trials)?,
        })
    }
}

/// A share before and after.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// Before; `None` where only one side is measured.
    pub before: Option<Share>,
    /// After.
    pub after: Share,
    /// After less before, bootstrap over prompts.
    pub difference: Option<Estimate>,
    /// McNemar's exact test of the answers in which the two sides differ.
    pub p_value: Option<f64>,
}

/// A principle in a suite.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrincipleEffect {
    /// Its id.
    pub id: String,
    /// Whether a program decides, and not a model.
    pub by_check: bool,
    /// How often it is violated.
    pub violated: Rate,
    /// How many times as often it is obeyed after as before, bootstrap over prompts; `None` where it was
    /// never obeyed before, or only one side is measured.
    pub obeyed_ratio: Option<Estimate>,
}

/// What a suite shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SuiteEffect {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: SuiteKind,
    /// Prompts that were answered.
    pub prompts: u64,
    /// Answers of one side.
    pub answers: u64,
    /// Answers that were asked for and are not there on every side, or have no verdicts, since a chain failed.
    pub left_out: u64,
    /// How often the answer is a refusal.
    pub refused: Option<Rate>,
    /// How often a verdict finds a violation, all principles together.
    pub violations: Option<Rate>,
    /// By principle, in the order of the constitution.
    pub principles: Vec<PrincipleEffect>,
    /// Answers without a verdict on a principle on every side, by the principle's id, where there are any: the judge
    /// gave none, or its context was full. They count on no side.
    pub without_verdict: BTreeMap<String, u64>,
    /// Words of an answer on average, before and after.
    pub words: Option<(Option<f64>, f64)>,
    /// Words after by words before, bootstrap over prompts; `None` where only one side is measured, or no answer
    /// before has a word.
    pub length_ratio: Option<Estimate>,
}

/// Answers to one prompt, which are drawn together.
type Group<'a> = Vec<&'a Compared>;

impl SuiteEffect {
    /// Figures of answers. `principles` gives the ids in order, each with whether a program decides.
    pub fn new(
        name: &str,
        kind: SuiteKind,
        answers: &[Compared],
        left_out: u64,
        principles: &[(String, bool)],
    ) -> Self {
        let mut groups: BTreeMap<&str, Group<'_>> = BTreeMap::new();
        for answer in answers {
            groups.entry(&answer.prompt).or_default().push(answer);
        }
        let groups: Vec<Group<'_>> = groups.into_values().collect();
        let missing = |(id, _): &(String, bool)| {
            let count = answers.iter().filter(|answer| !answer.is_judged(id));
            (id.clone(), count.count() as u64)
        };
        let missing = principles.iter().map(missing);
        let without_verdict: BTreeMap<String, u64> =
            missing.filter(|(_, count)| *count > 0).collect();
        let asked: BTreeSet<&String> = answers
            .iter()
            .flat_map(|a| a.after.verdicts.keys())
            .collect();
        let principles: Vec<&(String, bool)> = principles
            .iter()
            .filter(|(id, _)| asked.contains(id))
            .collect();
        let violates = |id: &String, answer: &Answer| answer.verdicts.get(id).copied();
        let of = |(id, by_check): &(String, bool)| {
            let violated = rate(&outcomes(&groups, |answer| violates(id, answer)))?;
            let obeyed = outcomes(&groups, |answer| violates(id, answer).map(|v| !v));
            Some(PrincipleEffect {
                id: id.clone(),
                by_check: *by_check,
                violated,
                obeyed_ratio: ratio(&obeyed),
            })
        };
        let mut verdicts: Vec<Outcomes> = vec![Vec::new(); groups.len()];
        for (id, _) in &principles {
            let more = outcomes(&groups, |answer| violates(id, answer));
            for (verdicts, more) in verdicts.iter_mut().zip(more) {
                verdicts.extend(more);
            }
        }
        Self {
            name: name.to_owned(),
            kind,
            prompts: groups.len() as u64,
            answers: answers.len() as u64,
            left_out,
            refused: rate(&outcomes(&groups, |answer| Some(answer.refused))),
            violations: rate(&verdicts),
            principles: principles.iter().copied().filter_map(of).collect(),
            without_verdict,
            words: words(answers),
            length_ratio: length_ratio(&groups),
        }
    }

    /// A principle's figures.
    pub fn principle(&self, id: &str) -> Option<&PrincipleEffect> {
        self.principles.iter().find(|principle| principle.id == id)
    }

    pub(super) fn refusal_figures(&self, figures: &mut BTreeMap<String, f64>) {
        let Some(rate) = &self.refused else { return };
        figures.insert(format!("refusals:{}", self.name), rate.after.share);
        if let Some(before) = rate.before {
            figures.insert(format!("refusals_before:{}", self.name), before.share);
        }
    }

    pub(super) fn violation_figures(&self, figures: &mut BTreeMap<String, f64>) {
        if let Some(rate) = &self.violations {
            figures.insert("violations".to_owned(), rate.after.share);
            let before = rate.before.map(|before| before.share);
            figures.extend(before.map(|before| ("violations_before".to_owned(), before)));
        }
        for principle in &self.principles {
            let (id, rate) = (&principle.id, &principle.violated);
            figures.insert(format!("violations:{id}"), rate.after.share);
            if let Some(before) = rate.before {
                figures.insert(format!("violations_before:{id}"), before.share);
            }
            if let Some(ratio) = principle.obeyed_ratio {
                figures.insert(format!("obeyed_ratio:{id}"), ratio.value);
            }
        }
        if let Some(ratio) = self.length_ratio {
            figures.insert("length_ratio".to_owned(), ratio.value);
        }
    }
}

/// What holds of the answers of a group, before and after; `None` where it cannot be told.
type Outcomes = Vec<(Option<bool>, Option<bool>)>;

/// For each group: whether something holds of its answers. What can be told of one side alone is told of neither: the
/// two would be shares of other prompts.
fn outcomes(groups: &[Group<'_>], holds: impl Fn(&Answer) -> Option<bool>) -> Vec<Outcomes> {
    let of = |compared: &&Compared| {
        let after = holds(&compared.after);
        match &compared.before {
            Some(before) => holds(before).zip(after).unzip(),
            None => (None, after),
        }
    };
    groups
        .iter()
        .map(|group| group.iter().map(of).collect())
        .collect()
}

/// Hits and trials.
fn count(values: impl Iterator<Item = bool>) -> (f64, f64) {
    values.fold((0.0, 0.0), |(hits, trials), hit| {
        (hits + f64::from(u8::from(hit)), trials + 1.0)
    })
}

/// For each group: hits and trials before, hits and trials after.
fn counts(groups: &[Outcomes]) -> Vec<[f64; 4]> {
    let of = |group: &Outcomes| {
        let before = count(group.iter().filter_map(|outcome| outcome.0));
        let after = count(group.iter().filter_map(|outcome| outcome.1));
        [before.0, before.1, after.0, after.1]
    };
    groups.iter().map(of).collect()
}

/// Weighted sums of counts.
fn sums<const N: usize>(counts: &[[f64; N]], drawn: &[u32]) -> [f64; N] {
    let mut sums = [0.0; N];
    for (counts, &times) in counts.iter().zip(drawn) {
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count * f64::from(times);
        }
    }
    sums
}

fn rate(groups: &[Outcomes]) -> Option<Rate> {
    let all = || groups.iter().flatten();
    let after = Share::of(all().filter_map(|outcome| outcome.1))?;
    let before = Share::of(all().filter_map(|outcome| outcome.0));
    let only = |sides: (Option<bool>, Option<bool>)| {
        all().filter(|outcome| **outcome == sides).count() as u64
    };
    let only_before = only((Some(true), Some(false)));
    let only_after = only((Some(false), Some(true)));
    let counts = counts(groups);
    Some(Rate {
        before,
        after,
        difference: before.and_then(|_| {
            Estimate::of(groups.len(), |drawn| {
                let [hits, trials, hits_after, trials_after] = sums(&counts, drawn);
                Some(hits_after / trials_after - hits / trials)
            })
        }),
        p_value: before.map(|_| mcnemar(only_before, only_after)),
    })
}

fn ratio(groups: &[Outcomes]) -> Option<Estimate> {
    let counts = counts(groups);
    Estimate::of(groups.len(), |drawn| {
        let [hits, trials, hits_after, trials_after] = sums(&counts, drawn);
        (hits > 0.0).then(|| (hits_after / trials_after) / (hits / trials))
    })
}

fn length_ratio(groups: &[Group<'_>]) -> Option<Estimate> {
    let words = |group: &Group<'_>| {
        group.iter().fold([0.0; 2], |[before, after], compared| {
            let of = |answer: &Answer| answer.words as f64;
            match &compared.before {
                Some(answer) => [before + of(answer), after + of(&compared.after)],
                None => [before, after],
            }
        })
    };
    let words: Vec<[f64; 2]> = groups.iter().map(words).collect();
    Estimate::of(groups.len(), |drawn| {
        let [before, after] = sums(&words, drawn);
        (before > 0.0).then(|| after / before)
    })
}

fn words(answers: &[Compared]) -> Option<(Option<f64>, f64)> {
    let mean = |words: Vec<u64>| {
        (!words.is_empty()).then(|| words.iter().sum::<u64>() as f64 / words.len() as f64)
    };
    let after = mean(answers.iter().map(|a| a.after.words).collect())?;
    let before = answers.iter().filter_map(|a| a.before.as_ref());
    Some((mean(before.map(|a| a.words).collect()), after))
}
