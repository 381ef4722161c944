//! What the principles of a constitution did in runs: which fire, which never do, and which undo each
//! other.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::chain::StepKind;
use crate::verdict::VerdictSource;

/// A step about a principle, as far as coverage needs it. Principles are named by their ids, or by anything else
/// that tells them apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace<P = String> {
    /// The principle.
    pub principle: P,
    /// Critique, revision or recheck.
    pub kind: StepKind,
    /// For a revision: whether it was adopted.
    pub adopted: bool,
    /// For a critique or recheck with a verdict: what was found.
    pub found: Option<Found>,
}

/// A verdict, as far as coverage needs it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Whether the response violates the principle.
    pub violated: bool,
    /// P(violated), where it is known.
    pub probability: Option<f64>,
    /// Whether the quote occurs in the response.
    pub quote_verified: bool,
    /// Who decided.
    pub source: VerdictSource,
}

/// What one principle did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PrincipleCoverage {
    /// Critiques under it.
    pub asked: u64,
    /// Critiques that found it violated.
    pub fired: u64,
    /// Revisions for it that were adopted.
    pub revised: u64,
    /// Rechecks under it.
    pub rechecked: u64,
    /// Rechecks that found it violated: its revision did not last.
    pub still_fired: u64,
    /// Times that it fired although it had been clean or mended, after a revision for another principle.
    pub retriggered: u64,
    /// Violated verdicts of the model, rechecks included.
    pub quotes: u64,
    /// How many of them quote words that are in the response.
    pub quotes_verified: u64,
    /// Mean P(violated) of its critiques, where it is known.
    pub mean_probability: Option<f64>,
    #[serde(skip)]
    sum: f64,
    #[serde(skip)]
    known: u64,
}

/// How often mending one principle made another fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Retrigger {
    /// Times that the other was asked about again, clean or mended before, with a revision for the one
    /// as the last between.
    pub asked: u64,
    /// How often it fired then.
    pub fired: u64,
}

/// What the principles did in the chains that were taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Coverage<P = String> {
    /// Chains.
    pub chains: u64,
    /// By principle.
    pub principles: BTreeMap<P, PrincipleCoverage>,
    /// By the principle that was mended, then by the one that was asked about after.
    pub retriggers: BTreeMap<P, BTreeMap<P, Retrigger>>,
    /// Chains in which each principle was asked about and fired, for finding those that go together.
    #[serde(skip)]
    histories: BTreeMap<P, History>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct History {
    asked: BTreeSet<u64>,
    fired: BTreeSet<u64>,
}

/// Principles that tell nothing, or nothing of their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Findings {
    /// Principles of the constitution that were never asked about.
    pub never_asked: Vec<String>,
    /// Asked about, and never violated.
    pub never_fired: Vec<String>,
    /// Violated whenever they were asked about.
    pub always_fired: Vec<String>,
    /// Pairs that fired in exactly the same chains of those in which both were asked about, at least
    /// twice and not always.
    pub always_together: Vec<(String, String)>,
}

impl<P: Ord + Clone> Coverage<P> {
    /// Takes the steps of one chain about principles, in order.
    pub fn add(&mut self, steps: &[Trace<P>]) {
        let chain = self.chains;
        self.chains += 1;
        // Principles that are clean or mended, each with the one that was mended last since.
        let mut settled: BTreeMap<&P, Option<&P>> = BTreeMap::new();
        for step in steps {
            let id = &step.principle;
            self.principles.entry(id.clone()).or_default().take(step);
            if step.kind == StepKind::Revision {
                if step.adopted {
                    for (other, after) in &mut settled {
                        if *other != id {
                            *after = Some(id);
                        }
                    }
                    // Mended, as far as its own revision goes.
                    settled.insert(id, None);
                }
                continue;
            }
            let Some(found) = step.found else { continue };
            if let Some(Some(after)) = settled.get(id).copied() {
                self.asked_again(after, id, found.violated);
            }
            if found.violated {
                settled.remove(id);
            } else {
                settled.insert(id, None);
            }
            if step.kind == StepKind::Critique {
                let history = self.histories.entry(id.clone()).or_default();
                history.asked.insert(chain);
                if found.violated {
                    history.fired.insert(chain);
                }
            }
        }
    }

    fn asked_again(&mut self, mended: &P, asked: &P, fired: bool) {
        let row = self.retriggers.entry(mended.clone()).or_default();
        let cell = row.entry(asked.clone()).or_default();
        cell.asked += 1;
        if fired {
            cell.fired += 1;
            if let Some(principle) = self.principles.get_mut(asked) {
                principle.retriggered += 1;
            }
        }
    }
}

impl Coverage {
    /// The cell of the matrix: how often mending `mended` made `asked` fire.
    pub fn retrigger(&self, mended: &str, asked: &str) -> Retrigger {
        let row = self.retriggers.get(mended);
        row.and_then(|row| row.get(asked))
            .copied()
            .unwrap_or_default()
    }

    /// What stands out. `active` are the principles that runs could have asked about.
    pub fn findings(&self, active: &[String]) -> Findings {
        let asked = |id: &String| self.principles.get(id).is_some_and(|p| p.asked > 0);
        let which = |test: fn(&PrincipleCoverage) -> bool| {
            let found = self
                .principles
                .iter()
                .filter(|(_, p)| p.asked > 0 && test(p));
            found.map(|(id, _)| id.clone()).collect()
        };
        Findings {
            never_asked: active.iter().filter(|id| !asked(id)).cloned().collect(),
            never_fired: which(|p| p.fired == 0),
            always_fired: which(|p| p.fired == p.asked),
            always_together: self.always_together(),
        }
    }

    fn always_together(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for (a, of_a) in &self.histories {
            for (b, of_b) in self
                .histories
                .range::<String, _>((std::ops::Bound::Excluded(a), std::ops::Bound::Unbounded))
            {
                let both: BTreeSet<u64> = of_a.asked.intersection(&of_b.asked).copied().collect();
                let fired = |history: &History| -> BTreeSet<u64> {
                    history.fired.intersection(&both).copied().collect()
                };
                let (fired_a, fired_b) = (fired(of_a), fired(of_b));
                if fired_a == fired_b && fired_a.len() >= 2 && fired_a.len() < both.len() {
                    pairs.push((a.clone(), b.clone()));
                }
            }
        }
        pairs
    }
}

impl PrincipleCoverage {
    fn take<P>(&mut self, step: &Trace<P>) {
        match step.kind {
            StepKind::Revision => self.revised += u64::from(step.adopted),
            StepKind::Critique => self.asked += 1,
            StepKind::Recheck => self.rechecked += 1,
            StepKind::Draft => {}
        }
        let Some(found) = step.found else { return };
        if found.violated && found.source == VerdictSource::Model {
            self.quotes += 1;
            self.quotes_verified += u64::from(found.quote_verified);
        }
        if step.kind == StepKind::Recheck {
            self.still_fired += u64::from(found.violated);
            return;
        }
        self.fired += u64::from(found.violated);
        if let Some(p) = found.probability.filter(|p| p.is_finite()) {
            self.sum += p;
            self.known += 1;
            self.mean_probability = Some(self.sum / self.known as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(principle: &str, kind: StepKind, violated: bool) -> Trace {
        Trace {
            principle: principle.to_owned(),
            kind,
            adopted: false,
            found: Some(Found {
                violated,
                probability: Some(if violated { 0.75 } else { 0.25 }),
                quote_verified: principle == "a",
                source: VerdictSource::Model,
            }),
        }
    }

    fn ask(principle: &str, violated: bool) -> Trace {
        verdict(principle, StepKind::Critique, violated)
    }

    fn recheck(principle: &str, violated: bool) -> Trace {
        verdict(principle, StepKind::Recheck, violated)
    }

    fn mend(principle: &str, adopted: bool) -> Trace {
        Trace {
            kind: StepKind::Revision,
            adopted,
            found: None,
            ..ask(principle, true)
        }
    }

    #[test]
    fn a_principle_that_fires_after_anothers_revision_is_retriggered_by_it() {
        let mut coverage = Coverage::default();
        coverage.add(&[
            ask("a", false),
            ask("b", true),
            mend("b", true),
            // Second round: b's revision made a fire, and a's made b fire again.
            ask("a", true),
            mend("a", true),
            ask("b", true),
            recheck("b", true),
            recheck("a", false),
        ]);
        assert_eq!(
            coverage.retrigger("b", "a"),
            Retrigger { asked: 1, fired: 1 }
        );
        assert_eq!(
            coverage.retrigger("a", "b"),
            Retrigger { asked: 1, fired: 1 }
        );
        let b = &coverage.principles["b"];
        assert_eq!((b.asked, b.fired, b.revised, b.retriggered), (2, 2, 1, 1));
        assert_eq!((b.rechecked, b.still_fired), (1, 1));
        assert_eq!((b.quotes, b.quotes_verified), (3, 0));
        let a = &coverage.principles["a"];
        assert_eq!(
            (a.quotes, a.quotes_verified, a.mean_probability),
            (1, 1, Some(0.5))
        );
    }

    #[test]
    fn a_revision_that_does_not_last_by_itself_is_no_conflict() {
        let mut coverage = Coverage::default();
        coverage.add(&[ask("a", true), mend("a", true), recheck("a", true)]);
        assert!(coverage.retriggers.is_empty());
        assert_eq!(coverage.principles["a"].still_fired, 1);
        // Nor is one that was not adopted.
        coverage.add(&[
            ask("a", false),
            ask("b", true),
            mend("b", false),
            ask("a", true),
        ]);
        assert!(coverage.retriggers.is_empty());
    }

    #[test]
    fn what_tells_nothing_is_found() {
        let mut coverage = Coverage::default();
        for n in 0..4 {
            coverage.add(&[
                ask("never", false),
                ask("always", true),
                ask("x", n < 2),
                ask("y", n < 2),
                ask("z", n < 1),
            ]);
        }
        let active = ["always", "never", "silent", "x"].map(str::to_owned);
        let findings = coverage.findings(&active);
        assert_eq!(findings.never_asked, ["silent"]);
        assert_eq!(findings.never_fired, ["never"]);
        assert_eq!(findings.always_fired, ["always"]);
        assert_eq!(findings.always_together, [("x".to_owned(), "y".to_owned())]);
    }
}
