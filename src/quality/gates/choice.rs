//! Which text of a chain is chosen, and which rejected.

use super::Compared;
use super::decision::{Action, Decision, Finding};
use super::settings::{DraftPreferred, Gate, Settings};
use crate::diff::changed_share;
use crate::quality::pair::{Contrast, Origin, Side, Texts, Why};
use crate::store::{ChainDetail, Label, length_ratio};

/// By how much a margin may fall short of the least one, since probabilities are rounded.
const ROUNDED: f64 = 1e-9;

/// The pair of a chain before any gate has looked at its texts; `None` where it has no text to learn from.
pub(super) fn choose(
    chain: &ChainDetail,
    texts: &Texts<'_>,
    compared: &[Compared],
    settings: &Settings,
) -> Option<Decision> {
    let draft = texts.draft;
    let mut made = Made {
        chosen: texts.person.unwrap_or_else(|| texts.last()),
        rejected: Some(draft).filter(|draft| !draft.text.trim().is_empty()),
        why: Why::Later,
        p: None,
        findings: Vec::new(),
    };
    if made.chosen.text.trim().is_empty() {
        return None;
    }
    // A person who accepted a text, or wrote one, has the last word.
    if texts.person.is_some() || chain.row.label == Some(Label::Accept) {
        made.why = Why::Person;
        return Some(made.finish(chain, settings));
    }
    let against_draft = |side: &Side<'_>| {
        let mut judged = compared.iter();
        judged.find_map(|judgement| judgement.of(draft.from, side.from))
    };
    if made.rejected.is_none() {
        return Some(made.finish(chain, settings));
    }
    if let Some(judged) = against_draft(&made.chosen) {
        made.judge(texts, compared, judged, settings);
    } else if let Some((side, judged)) = texts
        .revisions
        .iter()
        .filter(|side| !side.text.trim().is_empty())
        .filter_map(|side| Some((*side, against_draft(side)?)))
        .max_by(|(_, a), (_, b)| a.0.total_cmp(&b.0))
    {
        // The judge looked at another revision than the last: the one that does best (`judge --pairs best`).
        made.chosen = side;
        made.judge(texts, compared, judged, settings);
        if made.why == Why::Judge {
            made.why = Why::BestRound;
        }
    }
    Some(made.finish(chain, settings))
}

struct Made<'a> {
    chosen: Side<'a>,
    rejected: Option<Side<'a>>,
    why: Why,
    p: Option<f64>,
    findings: Vec<Finding>,
}

/// P(second is better), and whether both orders agree.
type Judged = (f64, bool);

impl<'a> Made<'a> {
    fn judge(
        &mut self,
        texts: &Texts<'a>,
        all: &[Compared],
        (p, agree): Judged,
        settings: &Settings,
    ) {
        self.p = Some(p);
        self.why = Why::Judge;
        if !agree && settings.judge_disagrees {
            let reason = "the judge decides by the order of the texts";
            self.findings
                .push(Finding::drop(Gate::JudgeDisagrees, reason));
            return;
        }
        let margin = 2.0 * p - 1.0;
        if settings
            .judge_tie
            .is_some_and(|least| margin.abs() < least - ROUNDED)
        {
            let reason = format!("the judge prefers neither (margin {margin:+.2})");
            self.findings
                .push(Finding::drop(Gate::JudgeTie, reason).with(margin));
            return;
        }
        if p < 0.5 {
            self.prefer_draft(texts, all, p, settings);
        }
    }

    fn prefer_draft(&mut self, texts: &Texts<'a>, all: &[Compared], p: f64, settings: &Settings) {
        let Some(policy) = settings.draft_preferred else {
            return;
        };
        let reason = format!("the judge prefers the draft (P {:.2})", 1.0 - p);
        let finding = |action| Finding {
            action,
            ..Finding::drop(Gate::DraftPreferred, reason.clone()).with(p)
        };
        let best = best_round(texts, all, settings);
        match (policy, best) {
            (DraftPreferred::Flip, _) => {
                let last = std::mem::replace(&mut self.chosen, texts.draft);
                self.rejected = Some(last);
                (self.p, self.why) = (Some(1.0 - p), Why::Flipped);
                self.findings.push(finding(Action::Flip));
            }
            (DraftPreferred::Best, Some((from, p))) => {
                if let Some(side) = texts.get(from) {
                    self.chosen = side;
                    (self.p, self.why) = (Some(p), Why::BestRound);
                    self.findings.push(finding(Action::Replace));
                }
            }
            (DraftPreferred::Drop | DraftPreferred::Best, _) => {
                self.findings.push(finding(Action::Drop))
            }
        }
    }

    fn finish(mut self, chain: &ChainDetail, settings: &Settings) -> Decision {
        let equal = |rejected: &Side<'_>| self.chosen.text.trim() == rejected.text.trim();
        if settings.equal_texts && self.rejected.as_ref().is_some_and(equal) {
            let reason = "chosen and rejected say the same";
            self.findings
                .insert(0, Finding::drop(Gate::EqualTexts, reason));
        }
        let contrast = self.rejected.map_or_else(Contrast::default, |rejected| {
            contrast(chain, &self.chosen, &rejected, self.p)
        });
        Decision {
            chosen: self.chosen.from,
            rejected: self.rejected.map(|side| side.from),
            why: self.why,
            p: self.p,
            contrast,
            findings: self.findings,
        }
    }
}

/// The revision that does best against the draft, where one is clearly better: with both orders agreeing, and
/// no tie. Of equally good ones the earlier.
fn best_round(texts: &Texts<'_>, all: &[Compared], settings: &Settings) -> Option<(Origin, f64)> {
    let least = settings.judge_tie.unwrap_or(0.0);
    let mut best: Option<(Origin, f64)> = None;
    for side in texts
        .revisions
        .iter()
        .filter(|side| !side.text.trim().is_empty())
    {
        let judged = all
            .iter()
            .find_map(|one| one.of(texts.draft.from, side.from));
        let Some((p, true)) = judged else { continue };
        let clear = p > 0.5 && 2.0 * p - 1.0 >= least - ROUNDED;
        if clear && best.is_none_or(|(_, known)| p > known) {
            best = Some((side.from, p));
        }
    }
    best
}

/// How far two texts of a chain lie apart.
fn contrast(
    chain: &ChainDetail,
    chosen: &Side<'_>,
    rejected: &Side<'_>,
    p: Option<f64>,
) -> Contrast {
    let row = &chain.row;
    // Draft and final text were compared when the chain ended, and the measure has no direction.
    let known = row.changed.filter(|_| {
        let both = [Some(chosen.text), Some(rejected.text)];
        both == [row.last.as_deref(), row.draft.as_deref()]
            || both == [row.draft.as_deref(), row.last.as_deref()]
    });
    Contrast {
        edit_distance: known.unwrap_or_else(|| changed_share(rejected.text, chosen.text)),
        length_ratio: length_ratio(rejected.text, chosen.text),
        margin: p.map(|p| 2.0 * p - 1.0),
    }
}
