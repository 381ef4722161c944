//! What a gating counted and measured.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::collapse::{Found, WordingKind};
use super::decision::{Action, Finding};
use super::rows::{Measure, Rows};
use super::settings::{Gate, Settings};
use crate::statistics::{Interval, mcnemar, wilson};
use crate::store::{Sorter, StoreError};

/// Pairs whose median edit distance is below this are minimal revisions.
const MINIMAL: f64 = 0.3;
/// Chosen texts that are longer than this by the median teach length.
const LONGER: f64 = 1.5;
/// By how much a figure may miss a round number that it stands for.
const ROUNDED: f64 = 1e-9;

/// The bit of a number's sign.
const SIGN: u64 = 1 << 63;

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

/// Values of which the [`Spread`] is wanted. More than a few lie on disk.
#[derive(Debug, Default)]
pub(super) struct Spreading {
    values: Sorter,
    count: u64,
}

impl Spreading {
    /// Adds one, which is a number.
    pub fn add(&mut self, value: f64) -> Result<(), StoreError> {
        self.count += 1;
        // Bits of numbers are in the order of the numbers where the sign is turned, and those below zero whole.
        let bits = value.to_bits();
        let ordered = match value.is_sign_negative() {
            true => !bits,
            false => bits ^ SIGN,
        };
        self.values.add(ordered, 0)
    }

    /// Where they lie; `None` where there are none.
    fn spread(self) -> Result<Option<Spread>, StoreError> {
        let Some(last) = self.count.checked_sub(1) else {
            return Ok(None);
        };
        let places = [0.25, 0.5, 0.75].map(|share| share * last as f64);
        let mut quartiles = [0.0; 3];
        let mut sum = 0.0;
        for (number, entry) in (0_u64..).zip(self.values.sorted()?) {
            let (ordered, _) = entry?;
            let value = f64::from_bits(match ordered & SIGN {
                0 => !ordered,
                _ => ordered ^ SIGN,
            });
            sum += value;
            for (place, quartile) in places.iter().zip(&mut quartiles) {
                // Between two values as far as the place lies between theirs.
                if number == place.floor() as u64 {
                    *quartile = value;
                } else if number == place.ceil() as u64 {
                    *quartile += (value - *quartile) * place.fract();
                }
            }
        }
        let [low, median, high] = quartiles;
        Ok(Some(Spread {
            low,
            median,
            high,
            mean: sum / self.count as f64,
        }))
    }
}

/// What is counted while chains are looked at.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// For each gate, chains that it leaves out, those of which it leaves out the pair only, and those that it changed.
    gates: [[u64; 3]; Gate::ALL.len()],
    refusals: Both,
    asked: Both,
}

/// How many chains of benign prompts there are by whether their draft refuses, and whether their final text does.
type Both = [[u64; 2]; 2];

impl Tally {
    /// Counts what a gate found.
    pub fn finding(&mut self, finding: &Finding) {
        // In the order of `Gate::ALL`, which is that of the enumeration.
        let kind = match (finding.action, finding.pair_only) {
            (Action::Drop, false) => 0,
            (Action::Drop, true) => 1,
            (Action::Flip | Action::Replace, _) => 2,
        };
        self.gates[finding.gate as usize][kind] += 1;
    }

    /// Counts whether draft and final text refuse, by their form and as a model sees it.
    pub fn refusals(&mut self, by_form: Option<[bool; 2]>, asked: Option<[bool; 2]>) {
        for (counts, refuses) in [(&mut self.refusals, by_form), (&mut self.asked, asked)] {
            if let Some([draft, last]) = refuses {
                counts[usize::from(draft)][usize::from(last)] += 1;
            }
        }
    }

    fn of_gates(&self, settings: &Settings) -> Vec<GateFigures> {
        let figures = |(gate, [dropped, pairs, changed]): (Gate, [u64; 3])| GateFigures {
            gate: gate.as_str(),
            threshold: settings.value(gate),
            dropped,
            pairs,
            changed,
        };
        Gate::ALL.into_iter().zip(self.gates).map(figures).collect()
    }
}

/// Counts rows.
pub(super) fn count(rows: &Rows, settings: &Settings) -> Result<Figures, StoreError> {
    let contrast = contrast(rows)?;
    let [kept, pairs] = rows.kept();
    Ok(Figures {
        chains: rows.count(),
        without: rows.without.clone(),
        kept,
        pairs,
        gates: rows.tally.of_gates(settings),
        refusals: refusals(rows.tally.refusals),
        refusals_asked: refusals(rows.tally.asked),
        wordings: Vec::new(),
        notes: notes(contrast.as_ref()),
        contrast,
        tokenizer: None,
    })
}

/// From whether draft and final text refuse.
fn refusals([[neither, last], [draft, both]]: Both) -> Option<Refusals> {
    let prompts = neither + last + draft + both;
    let share = |count: u64| Share {
        count,
        share: count as f64 / prompts as f64,
        interval: wilson(count, prompts),
    };
    let (drafts, finals) = (share(draft + both), share(last + both));
    (prompts > 0).then(|| Refusals {
        prompts,
        drafts,
        finals,
        increase: finals.share - drafts.share,
        p_value: mcnemar(draft, last),
    })
}

fn contrast(rows: &Rows) -> Result<Option<ContrastFigures>, StoreError> {
    let distances = rows.contrasts(Measure::EditDistance)?;
    let pairs = distances.count;
    let (Some(edit_distance), Some(length_ratio)) = (
        distances.spread()?,
        rows.contrasts(Measure::LengthRatio)?.spread()?,
    ) else {
        return Ok(None);
    };
    let margins = rows.contrasts(Measure::Margin)?;
    Ok(Some(ContrastFigures {
        pairs,
        edit_distance,
        length_ratio,
        judged: margins.count,
        margin: margins.spread()?,
    }))
}

fn notes(contrast: Option<&ContrastFigures>) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(contrast) = contrast else {
        return notes;
    };
    let distance = contrast.edit_distance.median;
    if distance < MINIMAL {
        notes.push(format!(
            "half of the pairs differ in {:.0} % of their words or less. On such pairs plain DPO tends to \
             lower the likelihood of the chosen text too (Pal et al. 2024, DPO-positive); prefer DPO-positive, or \
             APO, which was made for minimal revisions (D'Oosterlinck et al. 2024; `loss_type=\"apo_zero\"` in TRL)",
            (100.0 * distance - ROUNDED).ceil()
        ));
    }
    let ratio = contrast.length_ratio.median;
    if ratio > LONGER {
        notes.push(format!(
            "half of the chosen texts are {:.1} times as long as the rejected ones or longer; a model learns length \
             from such pairs as well",
            (10.0 * ratio + ROUNDED).floor() / 10.0
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
