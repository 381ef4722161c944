//! What a gating counted and measured.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::collapse::{Found, WordingKind};
use super::decision::{Action, Decision};
use super::row::Looked;
use super::settings::{Gate, Settings};
use crate::statistics::{Interval, mcnemar, wilson};

/// Pairs whose median edit distance is below this are minimal revisions.
const MINIMAL: f64 = 0.3;
/// Chosen texts that are longer than this by the median teach length.
const LONGER: f64 = 1.5;

/// What a gating counted and measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Chains that were looked at.
    pub chains: u64,
    /// Chains without a text to learn from, by reason.
    pub without: BTreeMap<String, u64>,
    /// Chains whose chosen text may be learned from.
    pub kept: u64,
    /// Chains whose pair may be learned from.
    pub pairs: u64,
    /// What each gate did, in the order of the gates.
    pub gates: Vec<GateFigures>,
    /// Refusals of benign prompts; `None` where no prompt says that it is benign.
    pub refusals: Option<Refusals>,
    /// The same as a model sees them; `None` where none was asked.
    pub refusals_asked: Option<Refusals>,
    /// Wording that revisions repeat.
    pub wordings: Vec<Wording>,
    /// How far the texts of the kept pairs lie apart; `None` without a pair.
    pub contrast: Option<ContrastFigures>,
    /// What counted tokens; `None` where nothing did.
    pub tokenizer: Option<String>,
    /// What a person should know who trains on this.
    pub notes: Vec<String>,
}

/// What one gate did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateFigures {
    /// The gate.
    pub gate: &'static str,
    /// Its threshold; `false` where it was left out.
    pub threshold: Value,
    /// Chains that it leaves out, whatever other gates say.
    pub dropped: u64,
    /// Chains of which it leaves out the pair only.
    pub pairs: u64,
    /// Pairs that it turned round, or gave another round's text.
    pub changed: u64,
}

/// Refusals of benign prompts, by draft and by final text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Refusals {
    /// Chains of benign prompts.
    pub prompts: u64,
    /// Drafts that refuse.
    pub drafts: Share,
    /// Final texts that refuse.
    pub finals: Share,
    /// By how much the share of final texts is higher: the over-refusal that the constitution brought.
    pub increase: f64,
    /// The probability of so uneven a change by chance (McNemar's exact test).
    pub p_value: f64,
}

/// A share with its 95 % interval (Wilson).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// How many.
    pub count: u64,
    /// Over all.
    pub share: f64,
    /// The interval.
    pub interval: Option<Interval>,
}

/// Wording that revisions repeat and drafts do not.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Wording {
    /// Where it stands.
    pub kind: WordingKind,
    /// Its words in one of the texts.
    pub words: String,
    /// Chosen texts that hold it.
    pub chosen: u32,
    /// Drafts that hold it.
    pub drafts: u32,
    /// Rows that were counted.
    pub rows: u32,
    /// The z-score of the difference.
    pub z: f64,
    /// Rows that were left out for it.
    pub dropped: u32,
    /// A chain whose chosen text holds it.
    pub example: String,
}

/// How far the texts of the kept pairs lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ContrastFigures {
    /// Pairs.
    pub pairs: u64,
    /// Share of words that differ.
    pub edit_distance: Spread,
    /// Characters of the chosen text over those of the rejected one.
    pub length_ratio: Spread,
    /// Pairs that a judge looked at.
    pub judged: u64,
    /// By how much the judge prefers the chosen text.
    pub margin: Option<Spread>,
}

/// Where the values of a measure lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// A quarter lies below.
    pub low: f64,
    /// Half lies below.
    pub median: f64,
    /// Three quarters lie below.
    pub high: f64,
    /// The mean.
    pub mean: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (values.len() - 1) as f64;
            let (below, above) = (place.floor() as usize, place.ceil() as usize);
            values[below] + (values[above] - values[below]) * (place - below as f64)
        };
        (!values.is_empty()).then(|| Self {
            low: at(0.25),
            median: at(0.5),
            high: at(0.75),
            mean: values.iter().sum::<f64>() / values.len() as f64,
        })
    }
}

/// Counts rows.
pub(super) fn count(
    rows: &[Looked],
    without: BTreeMap<String, u64>,
    settings: &Settings,
) -> Figures {
    let decisions = || rows.iter().map(|row| &row.decision);
    let kept = |keeps: fn(&Decision) -> bool| decisions().filter(|d| keeps(d)).count() as u64;
    let contrast = contrast(decisions());
    Figures {
        chains: rows.len() as u64 + without.values().sum::<u64>(),
        without,
        kept: kept(Decision::keeps_text),
        pairs: kept(Decision::keeps_pair),
        gates: of_gates(decisions(), settings),
        refusals: refusals(rows.iter().filter_map(|row| row.refuses).collect()),
        refusals_asked: refusals(rows.iter().filter_map(|row| row.asked).collect()),
        wordings: Vec::new(),
        notes: notes(contrast.as_ref()),
        contrast,
        tokenizer: None,
    }
}

fn of_gates<'a>(
    decisions: impl Iterator<Item = &'a Decision>,
    settings: &Settings,
) -> Vec<GateFigures> {
    let untouched = |gate: Gate| GateFigures {
        gate: gate.as_str(),
        threshold: settings.value(gate),
        dropped: 0,
        pairs: 0,
        changed: 0,
    };
    let mut gates = Gate::ALL.map(untouched);
    // In the order of `Gate::ALL`, which is that of the enumeration.
    for finding in decisions.flat_map(|decision| &decision.findings) {
        let figures = &mut gates[finding.gate as usize];
        match (finding.action, finding.pair_only) {
            (Action::Drop, false) => figures.dropped += 1,
            (Action::Drop, true) => figures.pairs += 1,
            (Action::Flip | Action::Replace, _) => figures.changed += 1,
        }
    }
    gates.into()
}

/// From whether draft and final text refuse.
fn refusals(benign: Vec<[bool; 2]>) -> Option<Refusals> {
    let prompts = benign.len() as u64;
    let count =
        |which: fn(&[bool; 2]) -> bool| benign.iter().filter(|both| which(both)).count() as u64;
    let share = |count: u64| Share {
        count,
        share: count as f64 / prompts as f64,
        interval: wilson(count, prompts),
    };
    let (drafts, finals) = (share(count(|both| both[0])), share(count(|both| both[1])));
    (prompts > 0).then(|| Refusals {
        prompts,
        drafts,
        finals,
        increase: finals.share - drafts.share,
        p_value: mcnemar(
            count(|both| both[0] && !both[1]),
            count(|both| !both[0] && both[1]),
        ),
    })
}

fn contrast<'a>(decisions: impl Iterator<Item = &'a Decision>) -> Option<ContrastFigures> {
    let kept: Vec<_> = decisions
        .filter(|decision| decision.keeps_pair())
        .map(|decision| decision.contrast)
        .collect();
    let margins: Vec<f64> = kept.iter().filter_map(|contrast| contrast.margin).collect();
    Some(ContrastFigures {
        pairs: kept.len() as u64,
        edit_distance: Spread::of(kept.iter().map(|contrast| contrast.edit_distance).collect())?,
        length_ratio: Spread::of(
            kept.iter()
                .filter_map(|contrast| contrast.length_ratio)
                .collect(),
        )?,
        judged: margins.len() as u64,
        margin: Spread::of(margins),
    })
}

fn notes(contrast: Option<&ContrastFigures>) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(contrast) = contrast else {
        return notes;
    };
    let distance = contrast.edit_distance.median;
    if distance < MINIMAL {
        notes.push(format!(
            "half of the pairs differ in less than {:.0} % of their words. On such pairs plain DPO tends to \
             lower the likelihood of the chosen text too (Pal et al. 2024, DPO-positive); prefer DPO-positive, or \
             APO, which was made for minimal revisions (D'Oosterlinck et al. 2024; `loss_type=\"apo_zero\"` in TRL)",
            100.0 * distance
        ));
    }
    let ratio = contrast.length_ratio.median;
    if ratio > LONGER {
        notes.push(format!(
            "half of the chosen texts are more than {ratio:.1} times as long as the rejected ones; a model learns \
             length from such pairs as well"
        ));
    }
    if contrast.judged == 0 {
        notes.push(
            "no judge compared these pairs: the chosen text is the later one, and nothing says that it is better"
                .to_owned(),
        );
    }
    notes
}

impl Wording {
    pub(super) fn new(found: &Found, words: String, example: String) -> Self {
        Self {
            kind: found.kind,
            words,
            chosen: found.chosen,
            drafts: found.drafts,
            rows: found.rows,
            z: found.z,
            dropped: found.dropped,
            example,
        }
    }
}
