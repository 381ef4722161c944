//! What training has changed: the same prompts answered before and after, and the same texts read by both.
//!
//! [`SuiteEffect`] holds rates of violations and refusals, [`Preferred`] which answers a judge prefers,
//! [`Drift`] how far the model has moved on text that has nothing to do with the training. Every figure has a
//! 95 % interval: Wilson's for shares, the percentile bootstrap over prompts or texts for everything else.
//! [`Condition`] makes a check of a figure.

mod condition;
mod drift;
mod preferred;
mod suite;

pub use condition::{Condition, ConditionError};
pub use drift::Drift;
pub use preferred::{Preferred, Verdict};
pub use suite::{Answer, Compared, PrincipleEffect, Rate, Share, SuiteEffect, SuiteKind};

use std::collections::BTreeMap;

use serde::Serialize;

use crate::statistics::{Interval, bootstrap};

/// A figure with its 95 % bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Its interval; `None` where it cannot be had.
    pub interval: Option<Interval>,
}

impl Estimate {
    /// A statistic of groups, which is told how often each counts. `None` where it has no value.
    fn of(groups: usize, mut statistic: impl FnMut(&[u32]) -> Option<f64>) -> Option<Self> {
        let value = statistic(&vec![1; groups]).filter(|value| value.is_finite())?;
        Some(Self {
            value,
            interval: bootstrap(groups, statistic),
        })
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Effect {
    /// By suite, in the order in which they were named.
    pub suites: Vec<SuiteEffect>,
    /// All suites with answers together; `None` where there is one of them only.
    pub all: Option<SuiteEffect>,
    /// Which answers the judge prefers.
    pub preferred: Option<Preferred>,
    /// Pairs of answers that the judge was asked about and could not decide.
    pub undecided: u64,
    /// How far the model has moved.
    pub drift: Option<Drift>,
}

impl Effect {
    /// The figures that a condition may name.
    pub fn figures(&self) -> BTreeMap<String, f64> {
        let mut figures = BTreeMap::new();
        for suite in &self.suites {
            suite.refusal_figures(&mut figures);
        }
        if let Some(all) = self.together() {
            all.violation_figures(&mut figures);
        }
        if let Some(drift) = &self.drift {
            drift.figures(&mut figures);
        }
        if let Some(preferred) = &self.preferred {
            preferred.figures(&mut figures);
        }
        figures
    }

    /// All answers.
    fn together(&self) -> Option<&SuiteEffect> {
        let answered = || self.suites.iter().find(|suite| suite.answers > 0);
        self.all.as_ref().or_else(answered)
    }

    /// Why a figure that there could have been has no value.
    pub fn why_missing(&self, figure: &str) -> &'static str {
        let (name, of) = figure.split_once(':').unwrap_or((figure, ""));
        let all = self.together();
        match name {
            "drift" | "drift_top" | "same_top" | "perplexity" | "perplexity_before"
            | "perplexity_ratio" => "no text has a token to look at",
            "win_rate" | "win_rate_length_controlled" if self.preferred.is_none() => {
                "no pair of answers that differ was judged"
            }
            "win_rate" | "win_rate_length_controlled" => "the lengths do not tell it apart",
            "refusals" | "refusals_before" => "no answer of the suite is there on every side",
            _ if all.is_none_or(|all| all.answers == 0) => "no answer is there on every side",
            "length_ratio" => "no answer before has a word",
            "obeyed_ratio" if all.is_some_and(|all| all.principle(of).is_some()) => {
                "the side before never obeyed it"
            }
            _ => "no answer has a verdict on it on every side",
        }
    }
}

#[cfg(test)]
mod tests;
