//! Which texts of a chain are compared, and what the answers say of them.

use std::sync::Arc;

use super::question::Answer;
use super::{Asked, Judge, Subject};
use crate::judgement::{Judgement, PairKind};
use crate::store::{JudgementRow, Responses};
use crate::template::PackError;

/// Two texts of a chain to be compared; for [`PairKind::Best`] the draft with each of several.
#[derive(Clone, Debug)]
pub struct Contest {
    /// Why.
    pub kind: PairKind,
    /// The pairs: ordinals of first and second step, and what is asked about them.
    pub candidates: Vec<Candidate>,
}

/// One pair, and what is asked about it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The step that wrote the first text.
    pub first: u32,
    /// The step that wrote the second text.
    pub second: u32,
    /// What is asked.
    pub asked: Vec<Asked>,
}

/// What there is to compare in a chain.
#[derive(Clone, Debug, Default)]
pub struct Contests {
    /// To be judged.
    pub open: Vec<Contest>,
    /// Pairs that this judge has judged before.
    pub known: u64,
    /// Pairs of texts that say the same.
    pub equal: u64,
}

/// The contests of a chain, of which `known` are its judgements by this very judge.
///
/// # Errors
///
/// When a template of the pack or of a principle fails.
pub fn contests(
    judge: &Arc<Judge>,
    kind: PairKind,
    chain: &Responses,
    known: &[JudgementRow],
) -> Result<Contests, PackError> {
    let mut found = Contests::default();
    let mut candidates = Vec::new();
    for (first, second) in places(kind, chain.responses.len()) {
        let (first, second) = (&chain.responses[first], &chain.responses[second]);
        if first.text.trim() == second.text.trim() {
            found.equal += 1;
            continue;
        }
        let is_known = known.iter().any(|row| {
            let same = (row.first, row.second) == (first.ordinal, second.ordinal);
            row.kind == kind && (same || kind == PairKind::Best)
        });
        if is_known {
            found.known += 1;
            continue;
        }
        // Rounds that are compared with each other are held to the same principles.
        let pair = match kind {
            PairKind::Best => (0, 0),
            _ => (first.ordinal, second.ordinal),
        };
        let drawn = judge.draw(&(&chain.prompt_id, chain.sample, pair));
        let principles: Vec<_> = drawn.iter().map(|principle| principle.id.clone()).collect();
        let subject = Arc::new(Subject {
            conversation: chain.messages.clone(),
            first: first.text.clone(),
            second: second.text.clone(),
        });
        candidates.push(Candidate {
            first: first.ordinal,
            second: second.ordinal,
            asked: judge.questions(&subject, &principles)?,
        });
    }
    found.open = match kind {
        PairKind::Best if candidates.is_empty() => Vec::new(),
        PairKind::Best => vec![Contest { kind, candidates }],
        _ => candidates
            .into_iter()
            .map(|candidate| Contest {
                kind,
                candidates: vec![candidate],
            })
            .collect(),
    };
    // One judgement a chain, however many rounds there were to choose from.
    if kind == PairKind::Best {
        found.known = found.known.min(1);
    }
    Ok(found)
}

/// The pairs among so many responses, by their places.
fn places(kind: PairKind, responses: usize) -> Vec<(usize, usize)> {
    match kind {
        _ if responses < 2 => Vec::new(),
        PairKind::FirstLast => vec![(0, responses - 1)],
        PairKind::DraftEach | PairKind::Best => (1..responses).map(|place| (0, place)).collect(),
        PairKind::Adjacent => (1..responses).map(|place| (place - 1, place)).collect(),
    }
}

impl Contest {
    /// The judgement that the answers make, which are in the order of the questions of all candidates. Of
    /// several candidates the one counts whose second text does best; the earlier one where two do as well.
    ///
    /// # Errors
    ///
    /// When an answer that is needed holds no probability.
    pub fn judge(&self, judge: &Judge, answers: Vec<Answer>) -> Result<Judgement, String> {
        let mut answers = answers.into_iter();
        let mut best: Option<Judgement> = None;
        for candidate in &self.candidates {
            let own: Vec<_> = answers.by_ref().take(candidate.asked.len()).collect();
            let votes = judge.votes(&candidate.asked, own)?;
            let pair = (candidate.first, candidate.second);
            let judgement = Judgement::new(self.kind, pair, judge.mode, votes)
                .ok_or("no principle was drawn")?;
            let p = |judgement: &Judgement| {
                f64::midpoint(judgement.preference.p_ab, judgement.preference.p_ba)
            };
            if best.as_ref().is_none_or(|best| p(&judgement) > p(best)) {
                best = Some(judgement);
            }
        }
        best.ok_or_else(|| "there is nothing to compare".to_owned())
    }

    /// Everything that is asked.
    pub fn questions(&self) -> Vec<super::Question> {
        let all = self.candidates.iter().flat_map(|c| &c.asked);
        all.map(|asked| asked.question.clone()).collect()
    }
}
