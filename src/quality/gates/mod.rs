//! Gates: what keeps a row out of a dataset, and what it measures on the way.
//!
//! [`gate`] looks at every chain that matches and decides about each. [`Gating::take`] then says what a chain
//! gives to a dataset. Most gates look at one row by itself; duplicates and collapse look at those that are
//! left. **Decisions are a function of the set of chains and the settings**: the order in which chains are read
//! changes nothing, and gating what was kept drops nothing more.

mod asked;
mod choice;
mod collapse;
mod compare;
mod decision;
pub(super) mod duplicates;
mod figures;
mod hand_out;
mod language;
mod personal;
mod refusal;
mod room;
mod row;
mod secrets;
mod settings;
mod words;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use super::pair::{Origin, Side, Texts};
use crate::chain::ChainId;
use crate::generation::Message;
use crate::store::{
    ChainDetail, Depth, Filter, GateFinding, GatedChain, Label, NewGating, Store, StoreError,
};

use compare::compare;
use hand_out::hand_out;
use room::Room;
use row::{Look, Looked};
use words::hash;

pub use asked::{AskError, Asked, ask_refusals};
pub use collapse::WordingKind;
pub use decision::{Action, Decision, Finding, Gated, Refused};
pub use figures::{ContrastFigures, Figures, GateFigures, Refusals, Share, Spread, Wording};
pub use refusal::refuses;
pub use settings::{DraftPreferred, Gate, RefusalOf, SettingError, Settings};

/// Counts the tokens of a conversation under a model's own template and tokenizer.
pub type CountTokens<'a> = &'a (dyn Fn(&[Message]) -> Result<u32, String> + Sync);

/// Counts the tokens of a text by itself, without a template.
pub type CountText<'a> = &'a (dyn Fn(&str) -> u32 + Sync);

/// What a judge says of two texts of a chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// One text.
    pub first: Origin,
    /// The other.
    pub second: Origin,
    /// The probability that the second is the better one, the mean of both orders.
    pub p: f64,
    /// Whether both orders say the same: that one text is better, or that neither is.
    pub agree: bool,
}

impl Compared {
    /// The probability that `second` is better than `first`, and whether the orders agree; `None` where it is
    /// about other texts.
    fn of(&self, first: Origin, second: Origin) -> Option<(f64, bool)> {
        if (self.first, self.second) == (first, second) {
            Some((self.p, self.agree))
        } else if (self.second, self.first) == (first, second) {
            Some((1.0 - self.p, self.agree))
        } else {
            None
        }
    }
}

/// What the gates decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Gating {
    /// Which gates were open.
    pub settings: Settings,
    /// What was counted and measured.
    pub figures: Figures,
    /// By run, position and sample, which is nearly the order in which a store keeps chains.
    decisions: Vec<(String, Decision)>,
    /// Hashes of the chains' ids with the places of their decisions, in order: what is looked up for every row
    /// should not be strings that lie scattered.
    by_id: Vec<(u64, u32)>,
    /// Chains that were looked at and have no text to learn from, by their ids, and why.
    without: Vec<(String, &'static str)>,
    rounds: Rounds,
}

/// Rounds besides the chosen one that must not be taught by themselves, by their chains and the ordinals of their steps:
/// what only [`Helpers`] find out is not asked again where rows are made.
type Rounds = BTreeMap<String, Vec<(u32, Refused)>>;

/// What gates cannot find out by themselves.
#[derive(Clone, Copy, Default)]
pub struct Helpers<'a> {
    /// Counts tokens; without it the gate of tokens stays open.
    pub tokens: Option<CountTokens<'a>>,
    /// Counts the tokens of one text. To render a template takes longer, and where texts are short enough by
    /// themselves there is no need to.
    pub text_tokens: Option<CountText<'a>>,
    /// Refusals as a model sees them.
    pub refusals: Option<&'a Asked>,
}

/// Looks at the matching chains. `run` is a whole id.
///
/// What is kept of a chain does not grow with its texts: where these are needed once more and there was no room
/// for them, they are read again.
///
/// # Errors
///
/// When the store cannot be read.
pub fn gate(
    store: &Store,
    filter: &Filter,
    run: Option<&str>,
    settings: &Settings,
    helpers: Helpers<'_>,
) -> Result<Gating, StoreError> {
    // What is read again must be what was looked at.
    store.at_one_moment(|| gate_at_once(store, filter, run, settings, helpers))?
}

fn gate_at_once(
    store: &Store,
    filter: &Filter,
    run: Option<&str>,
    settings: &Settings,
    helpers: Helpers<'_>,
) -> Result<Gating, StoreError> {
    let room = Room::default();
    let look = Look::new(settings, helpers, &room);
    let (mut rows, mut without, rounds) = look_at_all(store, filter, run, look)?;
    without.sort_unstable();
    let found = compare(&mut rows, settings, Some(store))?;
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for (_, reason) in &without {
        *reasons.entry((*reason).to_owned()).or_default() += 1;
    }
    let mut figures = figures::count(&rows, reasons, settings);
    for wording in &found {
        let (row, start, length) = wording.example;
        let example = &rows[row];
        let chain = store.chain_at(&ChainId(example.chain_id.clone()), Depth::Responses)?;
        let texts = Texts::of(&chain).ok();
        let text = texts.and_then(|texts| texts.get(example.decision.chosen));
        let words = text.map_or_else(String::new, |side| {
            collapse::words_at(side.text, start, length)
        });
        figures
            .wordings
            .push(Wording::new(wording, words, example.chain_id.clone()));
    }
    let decisions: Vec<(String, Decision)> = rows
        .into_iter()
        .map(|row| (row.chain_id, row.decision))
        .collect();
    let ids = decisions.iter().map(|(id, _)| hash(id));
    let mut by_id: Vec<(u64, u32)> = ids.zip(0..).collect();
    by_id.sort_unstable();
    Ok(Gating {
        settings: settings.clone(),
        figures,
        decisions,
        by_id,
        without,
        rounds,
    })
}

/// Why a chain that ended well has no text to learn from.
const NO_TEXT: &str = "empty-final";

/// What is kept of each chain that has a text, the others with the reason, and rounds that are left out.
type All = (Vec<Looked>, Vec<(String, &'static str)>, Rounds);

/// Looks at every chain by itself: one thread reads, all others look.
fn look_at_all(
    store: &Store,
    filter: &Filter,
    run: Option<&str>,
    look: Look<'_>,
) -> Result<All, StoreError> {
    let judged = Filter::parse("judged:true").unwrap_or_default();
    let any_judged = store.count(&judged, run)? > 0;
    let all: Mutex<Ordered> = Mutex::default();
    let work = |number, batch: Vec<(ChainDetail, Vec<Compared>)>| {
        let (mut rows, mut without, mut rounds) = All::default();
        for (chain, compared) in &batch {
            let row = look.at(chain, compared);
            let chosen = row.as_ref().map(|row| row.decision.chosen);
            let refused = look.rounds(chain, chosen);
            if !refused.is_empty() {
                rounds.insert(chain.row.chain_id.clone(), refused);
            }
            match row {
                Some(row) => rows.push(row),
                None => {
                    let reason = Texts::of(chain).err().unwrap_or(NO_TEXT);
                    without.push((chain.row.chain_id.clone(), reason));
                }
            }
        }
        // Nothing panics while it is held.
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.take(number, (rows, without, rounds));
    };
    let size = |(chain, _): &(ChainDetail, Vec<Compared>)| chain.text_bytes();
    let read = hand_out(size, work, |hand| {
        store.for_each_whole_chain(filter, run, Depth::Responses, |chain| {
            let compared = match any_judged {
                true => compared(store, &chain),
                false => Ok(Vec::new()),
            };
            match compared {
                Ok(compared) => hand((chain, compared)),
                Err(error) => return ControlFlow::Break(error),
            }
            ControlFlow::Continue(())
        })
    })?;
    if let ControlFlow::Break(error) = read {
        return Err(error);
    }
    let all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(all.done)
}

/// Batches in the order in which the store reads them, which is the one in which rows are compared: nothing is left to
/// sort. Only what comes too early is kept twice.
#[derive(Default)]
struct Ordered {
    done: All,
    /// Batches that are done.
    count: usize,
    early: BTreeMap<usize, All>,
}

impl Ordered {
    fn take(&mut self, number: usize, batch: All) {
        self.early.insert(number, batch);
        while let Some((rows, without, rounds)) = self.early.remove(&self.count) {
            self.done.0.extend(rows);
            self.done.1.extend(without);
            self.done.2.extend(rounds);
            self.count += 1;
        }
    }
}

/// What judges said of the texts of a chain, the latest first.
fn compared(store: &Store, chain: &ChainDetail) -> Result<Vec<Compared>, StoreError> {
    let judgements = store.preferences(&ChainId(chain.row.chain_id.clone()))?;
    let origin = |ordinal| match ordinal {
        0 => Origin::Draft,
        ordinal => Origin::Revision(ordinal),
    };
    let compared = judgements.iter().rev().map(|row| Compared {
        first: origin(row.first),
        second: origin(row.second),
        p: row.p,
        // Who prefers neither text in either order is undecided and does not go by the order.
        agree: row.agree || row.even,
    });
    Ok(compared.collect())
}

impl Gating {
    /// What was decided about a chain; `None` for one that was not looked at, or has no text.
    pub fn decision(&self, chain_id: &str) -> Option<&Decision> {
        let key = hash(chain_id);
        let first = self.by_id.partition_point(|(other, _)| *other < key);
        self.by_id[first..]
            .iter()
            .take_while(|(other, _)| *other == key)
            .map(|(_, place)| &self.decisions[*place as usize])
            .find(|(id, _)| id == chain_id)
            .map(|(_, decision)| decision)
    }

    /// What a chain gives to a dataset.
    pub fn take<'a>(&self, chain: &'a ChainDetail) -> Gated<'a> {
        let texts = match Texts::of(chain) {
            Ok(texts) => texts,
            Err(reason) => return Gated::nothing(Refused::plain(reason)),
        };
        match self.decision(&chain.row.chain_id) {
            Some(decision) => Gated::new(&texts, decision),
            None => Gated::nothing(Refused::plain(self.why_undecided(&chain.row.chain_id))),
        }
    }

    /// Why nothing was decided about a chain. One that was not looked at counts as one that runs.
    fn why_undecided(&self, chain_id: &str) -> &'static str {
        let found = self
            .without
            .binary_search_by(|(id, _)| id.as_str().cmp(chain_id));
        found.map_or("running", |index| self.without[index].1)
    }

    /// Why a row of these texts must not leave the store, whatever it teaches: personal data or a secret in one of
    /// them, where those gates are closed.
    pub fn guard<'t>(&self, texts: impl IntoIterator<Item = &'t str>) -> Option<Refused> {
        let mut found = texts
            .into_iter()
            .filter_map(|text| row::guard(text, &self.settings));
        found.next().map(|finding| Refused::by(&finding))
    }

    /// Whether a chain is about a control prompt, and that gate is closed.
    pub fn is_control(&self, chain: &ChainDetail) -> bool {
        self.settings.control && row::is_control(chain)
    }

    /// Why a revision and the text that it revises make no pair, by their lengths.
    pub fn lengths(&self, before: &str, after: &str) -> Option<Refused> {
        let finding = row::lengths(before, after, &self.settings)?;
        Some(Refused::by(&finding))
    }

    /// The response that a chain ended with and that a person rejected: an example of what is bad, unless it
    /// must not leave the store at all. `None` for a chain that nobody rejected.
    pub fn rejected<'a>(&self, chain: &'a ChainDetail) -> Option<Result<Side<'a>, Refused>> {
        if chain.row.label != Some(Label::Reject) {
            return None;
        }
        Some(row::rejected(chain, &self.settings))
    }

    /// What every adopted revision of a chain gives, in order: the ordinal of its step with its text or why it
    /// is not taught. A text that an earlier one repeats is refused. Empty for a chain without revisions.
    pub fn rounds<'a>(&self, chain: &'a ChainDetail) -> Vec<(u32, Result<Side<'a>, Refused>)> {
        let mut rounds = row::rounds(chain, &self.settings);
        let own = self.rounds.get(&chain.row.chain_id);
        for (step, refused) in own.into_iter().flatten() {
            let round = rounds.iter_mut().find(|(ordinal, _)| ordinal == step);
            if let Some((_, taken @ Ok(_))) = round {
                *taken = Err(refused.clone());
            }
        }
        let refused = match self.decision(&chain.row.chain_id) {
            // What is said of the chain as a whole holds for all its rounds.
            Some(decision) => decision.text_refused_as_a_whole().map(Refused::by),
            None => match self.why_undecided(&chain.row.chain_id) {
                // Earlier rounds may have a text where the last one has none.
                NO_TEXT => None,
                // The chain went on since it was looked at.
                reason => Some(Refused::plain(reason)),
            },
        };
        if let Some(refused) = refused {
            for (_, taken) in &mut rounds {
                *taken = Err(refused.clone());
            }
        }
        rounds
    }

    /// What the store keeps of it, chain by chain in the order in which it is written fastest.
    pub fn record(
        &self,
        filter: &Filter,
        run: Option<&str>,
    ) -> (NewGating, impl Iterator<Item = GatedChain> + use<'_>) {
        let gating = NewGating {
            filter: filter.source().to_owned(),
            run: run.map(str::to_owned),
            settings: self.settings.to_json(),
            // Plain data always serialises.
            figures: serde_json::to_value(&self.figures).unwrap_or_default(),
            without: self.without.iter().map(|(id, _)| id.clone()).collect(),
        };
        let chains = self.decisions.iter();
        (
            gating,
            chains.map(|(chain, decision)| gated(chain, decision)),
        )
    }
}

fn gated(chain_id: &str, decision: &Decision) -> GatedChain {
    GatedChain {
        chain_id: chain_id.to_owned(),
        kept: decision.keeps_text(),
        pair: decision.keeps_pair(),
        chosen: decision.chosen.to_string(),
        rejected: decision.rejected.map(|from| from.to_string()),
        why: decision.why.as_str().to_owned(),
        p: decision.p,
        margin: decision.contrast.margin,
        edit_distance: decision.contrast.edit_distance,
        length_ratio: decision.contrast.length_ratio,
        findings: decision
            .findings
            .iter()
            .map(|finding| GateFinding {
                gate: finding.gate.as_str().to_owned(),
                action: finding.action.as_str().to_owned(),
                pair_only: finding.pair_only,
                reason: finding.reason.clone(),
                value: finding.value,
            })
            .collect(),
    }
}
