//! Two runs compared, from what is kept in memory of every chain.

use std::collections::{BTreeSet, HashMap};

use super::overview::{Done, Histories, MarkedStep};
use super::{Filter, Store, StoreError};
use crate::chain::StepKind;
use crate::evaluation::{Counts, Outcome, PairFindings};

/// How two runs compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// How their pairs fall.
    pub counts: Counts,
    /// The pairs, in the order of the first run.
    pub pairs: Vec<ComparedPair>,
    /// Chains of the first run that are in no pair.
    pub alone: u64,
}

/// A pair of two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComparedPair {
    /// The key of its first chain.
    pub(super) first: i64,
    /// Whether its chains found other principles violated, or ended with other texts.
    pub differs: bool,
}

impl Store {
    /// How two runs compare, by their whole ids: the same as the pairs that
    /// [`for_each_pair`](Self::for_each_pair) hands out.
    pub fn compared(&self, first: &str, second: &str) -> Result<Compared, StoreError> {
        let (chains, first, second) = self.snapshot(|conn| {
            let seen = self.overview().now(conn)?;
            let of_run = |run: &str| seen.matching(conn, &Filter::all(), Some(run));
            let (first, second) = (of_run(first)?, of_run(second)?);
            Ok((first.count(), seen.done(&first), seen.done(&second)))
        })?;
        Ok(compared(chains, &first, &second))
    }
}

fn compared(
    chains: u64,
    (first, of_first): &(Vec<Done>, Histories),
    (second, of_second): &(Vec<Done>, Histories),
) -> Compared {
    let (of_first, of_second) = (Asked::of(of_first), Asked::of(of_second));
    let counterparts = second.iter().enumerate();
    let counterparts: HashMap<_, _> = counterparts
        .map(|(at, chain)| ((chain.question, chain.sample), at))
        .collect();
    let mut order: Vec<usize> = (0..first.len()).collect();
    order.sort_unstable_by_key(|at| (first[*at].position, first[*at].sample, first[*at].key));
    let (mut counts, mut pairs) = (Counts::default(), Vec::new());
    for at in order {
        let chain = &first[at];
        let Some(beside) = counterparts.get(&(chain.question, chain.sample)) else {
            continue;
        };
        let other = &second[*beside];
        let pair = Outcome {
            same_draft: chain.draft == other.draft,
            same_final: chain.last == other.last,
            sides: [
                of_first.findings(at, chain),
                of_second.findings(*beside, other),
            ],
        };
        counts.add(&pair);
        pairs.push(ComparedPair {
            first: chain.key,
            differs: pair.differs(),
        });
    }
    Compared {
        counts: counts.finish(str::to_owned),
        alone: chains.saturating_sub(pairs.len() as u64),
        pairs,
    }
}

/// What critiques asked about, by chain.
struct Asked<'a> {
    /// By mark: the principle of a critique with a verdict, and whether that found it violated.
    marks: Vec<Option<(&'a str, bool)>>,
    chains: Vec<&'a [MarkedStep]>,
}

impl<'a> Asked<'a> {
    fn of(histories: &'a Histories) -> Self {
        let marks = histories.marks().iter().map(|mark| {
            let verdict = mark.verdict.filter(|_| mark.kind == StepKind::Critique)?;
            Some((mark.principle.as_str(), verdict.violated))
        });
        Self {
            marks: marks.collect(),
            chains: histories.chains().collect(),
        }
    }

    fn findings(&self, at: usize, chain: &Done) -> PairFindings<&'a str> {
        let (mut asked, mut fired) = (BTreeSet::new(), BTreeSet::new());
        let steps = self.chains[at].iter();
        for (principle, violated) in steps.filter_map(|step| self.marks[step.mark as usize]) {
            asked.insert(principle);
            if violated {
                fired.insert(principle);
            }
        }
        PairFindings {
            asked,
            fired,
            revised: chain.revised,
        }
    }
}
