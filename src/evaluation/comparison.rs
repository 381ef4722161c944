//! Two runs over the same prompts: what each found and wrote, chain by chain.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::chain::{StepKind, StopReason};
use crate::statistics::mcnemar;

/// Two chains of the same prompt and sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// The prompt's id.
    pub prompt_id: String,
    /// What the person says last.
    pub prompt: String,
    /// Which response to the prompt.
    pub sample: u32,
    /// The chain of the first run.
    pub first: Side,
    /// The chain of the second run.
    pub second: Side,
}

/// One chain of a pair.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    /// Its name.
    pub chain_id: String,
    /// Why it ended.
    pub stop_reason: Option<StopReason>,
    /// Its verdicts, in order.
    pub asked: Vec<Asked>,
    /// The first response.
    pub draft: String,
    /// The final text.
    #[serde(rename = "final")]
    pub last: String,
    /// Whether a revision was adopted.
    pub revised: bool,
    /// Rounds begun.
    pub rounds: u32,
    /// Tokens of all requests.
    pub prompt_tokens: u64,
    /// How many of them were in the KV cache.
    pub cached_tokens: u64,
    /// Tokens of all replies.
    pub tokens: u64,
}

/// One verdict of a chain.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Asked {
    /// The principle.
    pub principle: String,
    /// Critique or recheck.
    pub kind: StepKind,
    /// Whether it found a violation.
    pub violated: bool,
    /// P(violated), where it is known.
    pub probability: Option<f64>,
    /// The words objected to.
    pub quote: Option<String>,
}

/// What is counted of a pair. Principles are named by their ids, or by anything else that tells them apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<P = String> {
    /// Whether both chains have the same draft.
    pub same_draft: bool,
    /// Whether they ended with the same text.
    pub same_final: bool,
    /// What is counted of either chain.
    pub sides: [PairFindings<P>; 2],
}

/// What is counted of a chain of a pair.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairFindings<P = String> {
    /// Principles that a critique asked about, with a verdict.
    pub asked: BTreeSet<P>,
    /// Those that a critique found violated.
    pub fired: BTreeSet<P>,
    /// Whether a revision was adopted.
    pub revised: bool,
}

impl<P: Ord> Outcome<P> {
    /// Whether the chains found other principles violated, or ended with other texts.
    pub fn differs(&self) -> bool {
        let [first, second] = &self.sides;
        first.fired != second.fired || !self.same_final
    }
}

impl Side {
    fn findings(&self) -> PairFindings {
        let critiques = self.asked.iter().filter(|a| a.kind == StepKind::Critique);
        let principle = |asked: &Asked| asked.principle.clone();
        PairFindings {
            asked: critiques.clone().map(principle).collect(),
            fired: critiques.filter(|a| a.violated).map(principle).collect(),
            revised: self.revised,
        }
    }
}

impl Pair {
    /// Whether the chains found other principles violated, or ended with other texts.
    pub fn differs(&self) -> bool {
        self.outcome().differs()
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            same_draft: self.first.draft == self.second.draft,
            same_final: self.first.last == self.second.last,
            sides: [self.first.findings(), self.second.findings()],
        }
    }
}

/// In how many pairs something holds, by side, and whether the difference may be chance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Split {
    /// In both runs.
    pub both: u64,
    /// In the first only.
    pub only_first: u64,
    /// In the second only.
    pub only_second: u64,
    /// In neither.
    pub neither: u64,
    /// McNemar's test of the pairs in which it holds in one only: the probability of a split at least as
    /// uneven by chance.
    pub p_value: f64,
}

impl Split {
    fn add(&mut self, first: bool, second: bool) {
        match (first, second) {
            (true, true) => self.both += 1,
            (true, false) => self.only_first += 1,
            (false, true) => self.only_second += 1,
            (false, false) => self.neither += 1,
        }
    }

    fn test(&mut self) {
        self.p_value = mcnemar(self.only_first, self.only_second);
    }

    /// Pairs.
    pub fn pairs(&self) -> u64 {
        self.both + self.only_first + self.only_second + self.neither
    }
}

/// What the chains of one run came to, over all pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Verdicts of critiques.
    pub critiques: u64,
    /// Characters of the drafts.
    pub draft_chars: u64,
    /// Characters of the final texts.
    pub final_chars: u64,
    /// Tokens of all requests.
    pub prompt_tokens: u64,
    /// How many of them were in the KV cache.
    pub cached_tokens: u64,
    /// Tokens of all replies, drafts included.
    pub tokens: u64,
}

impl Totals {
    fn add(&mut self, side: &Side) {
        let chars = |text: &str| text.chars().count() as u64;
        let critiques = side.asked.iter().filter(|a| a.kind == StepKind::Critique);
        self.critiques += critiques.count() as u64;
        self.draft_chars += chars(&side.draft);
        self.final_chars += chars(&side.last);
        self.prompt_tokens += side.prompt_tokens;
        self.cached_tokens += side.cached_tokens;
        self.tokens += side.tokens;
    }
}

/// How pairs fall.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Counts<P = String> {
    /// Pairs.
    pub pairs: u64,
    /// Pairs that differ in what fired or in their final texts.
    pub different: u64,
    /// Pairs with the same draft.
    pub same_drafts: u64,
    /// Pairs with the same final text.
    pub same_finals: u64,
    /// Chains in which any principle fired.
    pub fired: Split,
    /// Chains that were revised.
    pub revised: Split,
    /// By principle: whether it fired, in pairs in which both runs asked about it.
    pub principles: BTreeMap<P, Split>,
}

impl<P: Ord + Clone> Counts<P> {
    /// Takes a pair.
    pub fn add(&mut self, pair: &Outcome<P>) {
        let [a, b] = &pair.sides;
        self.pairs += 1;
        self.different += u64::from(pair.differs());
        self.same_drafts += u64::from(pair.same_draft);
        self.same_finals += u64::from(pair.same_final);
        self.fired.add(!a.fired.is_empty(), !b.fired.is_empty());
        self.revised.add(a.revised, b.revised);
        for principle in a.asked.intersection(&b.asked) {
            let split = self.principles.entry(principle.clone()).or_default();
            split.add(a.fired.contains(principle), b.fired.contains(principle));
        }
    }

    /// The figures once all pairs were taken, with the names of the principles.
    pub fn finish(self, name: impl Fn(P) -> String) -> Counts {
        let named = self.principles.into_iter().map(|(p, s)| (name(p), s));
        let mut counts = Counts {
            pairs: self.pairs,
            different: self.different,
            same_drafts: self.same_drafts,
            same_finals: self.same_finals,
            fired: self.fired,
            revised: self.revised,
            principles: named.collect(),
        };
        counts.fired.test();
        counts.revised.test();
        counts.principles.values_mut().for_each(Split::test);
        counts
    }
}

/// Figures of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// How the pairs fall.
    #[serde(flatten)]
    pub counts: Counts,
    /// The first run's chains.
    pub first: Totals,
    /// The second run's chains.
    pub second: Totals,
}

impl Comparison {
    /// Takes a pair.
    pub fn add(&mut self, pair: &Pair) {
        self.counts.add(&pair.outcome());
        self.first.add(&pair.first);
        self.second.add(&pair.second);
    }

    /// The figures once all pairs were taken.
    pub fn finish(self) -> Self {
        Self {
            counts: self.counts.finish(|id| id),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(verdicts: &[(&str, bool)], last: &str) -> Side {
        let asked = |(principle, violated): &(&str, bool)| Asked {
            principle: (*principle).to_owned(),
            kind: StepKind::Critique,
            violated: *violated,
            probability: None,
            quote: None,
        };
        Side {
            chain_id: String::new(),
            stop_reason: None,
            asked: verdicts.iter().map(asked).collect(),
            draft: "draft".to_owned(),
            last: last.to_owned(),
            revised: last != "draft",
            rounds: 1,
            prompt_tokens: 10,
            cached_tokens: 5,
            tokens: 3,
        }
    }

    fn pair(first: Side, second: Side) -> Pair {
        Pair {
            prompt_id: "p".to_owned(),
            prompt: "p".to_owned(),
            sample: 0,
            first,
            second,
        }
    }

    #[test]
    fn pairs_are_counted_by_side_and_principle() {
        let mut comparison = Comparison::default();
        for _ in 0..5 {
            comparison.add(&pair(
                side(&[("a", true), ("b", false)], "new"),
                side(&[("a", false), ("c", false)], "draft"),
            ));
        }
        comparison.add(&pair(
            side(&[("a", true)], "draft"),
            side(&[("a", true)], "draft"),
        ));
        let done = comparison.finish();
        let counts = &done.counts;
        assert_eq!(
            (
                counts.pairs,
                counts.different,
                counts.same_drafts,
                counts.same_finals
            ),
            (6, 5, 6, 1)
        );
        let fired = counts.fired;
        assert_eq!(
            (
                fired.both,
                fired.only_first,
                fired.only_second,
                fired.neither
            ),
            (1, 5, 0, 0)
        );
        assert!((fired.p_value - 0.0625).abs() < 1e-9);
        // Only what both were asked about can be compared.
        assert_eq!(counts.principles.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(counts.principles["a"].pairs(), 6);
        assert_eq!((done.first.final_chars, done.second.final_chars), (20, 30));
        assert_eq!((done.first.critiques, done.first.tokens), (11, 18));
    }

    #[test]
    fn a_recheck_is_no_firing() {
        let mut first = side(&[("a", true)], "draft");
        first.asked[0].kind = StepKind::Recheck;
        assert!(first.findings().fired.is_empty());
        assert!(!pair(first, side(&[("a", false)], "draft")).differs());
    }
}
