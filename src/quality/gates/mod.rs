//! Gates: what keeps a row out of a dataset, and what it measures on the way.
//!
//! [`gate`] looks at every chain that matches and decides about each. [`Gating::take`] then says what a chain
//! gives to a dataset. Most gates look at one row by itself; duplicates and collapse look at those that are
//! left. **Decisions are a function of the set of chains and the settings**: the order in which chains are read
//! changes nothing, and gating what was kept drops nothing more.

mod asked;
mod choice;
mod collapse;
mod decision;
pub(super) mod duplicates;
mod figures;
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

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use super::pair::{Origin, Side, Texts};
use crate::chain::ChainId;
use crate::generation::Message;
use crate::store::{
    ChainDetail, Depth, Filter, GateFinding, GatedChain, Label, NewGating, Store, StoreError,
};

use collapse::Tokens;
use duplicates::{Repeats, Sets};
use room::Room;
use row::{Look, Looked};

pub use asked::{AskError, Asked, ask_refusals};
pub use collapse::WordingKind;
pub use decision::{Action, Decision, Finding, Gated, Refused};
pub use figures::{ContrastFigures, Figures, GateFigures, Refusals, Share, Spread, Wording};
pub use refusal::refuses;
pub use settings::{DraftPreferred, Gate, RefusalOf, SettingError, Settings};

/// Chains that are looked at together.
const TOGETHER: usize = 256;

/// Counts the tokens of a conversation under a model's own template and tokenizer.
pub type CountTokens<'a> = &'a (dyn Fn(&[Message]) -> Result<u32, String> + Sync);

/// What a judge says of two texts of a chain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// One text.
    pub first: Origin,
    /// The other.
    pub second: Origin,
    /// The probability that the second is the better one, the mean of both orders.
    pub p: f64,
    /// Whether both orders prefer the same text.
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
    /// Places of the decisions in the order of the chains' ids.
    by_id: Vec<u32>,
}

/// What gates cannot find out by themselves.
#[derive(Clone, Copy, Default)]
pub struct Helpers<'a> {
    /// Counts tokens; without it the gate of tokens stays open.
    pub tokens: Option<CountTokens<'a>>,
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
    let (mut rows, without) = look_at_all(store, filter, run, look)?;
    let found = compare(&mut rows, settings, Some(store))?;
    let mut figures = figures::count(&rows, without, settings);
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
    let mut by_id: Vec<u32> = (0..).take(decisions.len()).collect();
    by_id.sort_unstable_by(|a, b| decisions[*a as usize].0.cmp(&decisions[*b as usize].0));
    Ok(Gating {
        settings: settings.clone(),
        figures,
        decisions,
        by_id,
    })
}

/// What is kept of each chain that has a text, and the counts of the others by reason.
type All = (Vec<Looked>, BTreeMap<String, u64>);

/// Looks at every chain by itself: one thread reads, all others look.
fn look_at_all(
    store: &Store,
    filter: &Filter,
    run: Option<&str>,
    look: Look<'_>,
) -> Result<All, StoreError> {
    let judged = Filter::parse("judged:true").unwrap_or_default();
    let any_judged = store.count(&judged, run)? > 0;
    let all: Mutex<All> = Mutex::default();
    let work = |batch: Vec<(ChainDetail, Vec<Compared>)>| {
        let mut rows = Vec::with_capacity(batch.len());
        let mut without = Vec::new();
        for (chain, compared) in &batch {
            match look.at(chain, compared) {
                Some(row) => rows.push(row),
                None => without.push(Texts::of(chain).err().unwrap_or("empty-final")),
            }
        }
        // Nothing panics while it is held.
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.0.append(&mut rows);
        for reason in without {
            *all.1.entry(reason.to_owned()).or_default() += 1;
        }
    };
    let read = hand_out(work, |hand| {
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
    Ok(all.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Calls `work` on all threads with what `read` hands out on this one, [`TOGETHER`] at a time.
fn hand_out<T: Send, R>(
    work: impl Fn(Vec<T>) + Sync,
    read: impl FnOnce(&mut dyn FnMut(T)) -> R,
) -> R {
    let (sender, batches) = crossbeam_channel::bounded::<Vec<T>>(4);
    rayon::in_place_scope(|scope| {
        for _ in 0..rayon::current_num_threads() {
            scope.spawn(|_| batches.iter().for_each(&work));
        }
        let mut batch = Vec::with_capacity(TOGETHER);
        let read = read(&mut |item| {
            batch.push(item);
            if batch.len() == TOGETHER {
                // The receivers stay until the sender is gone.
                let _ = sender.send(std::mem::take(&mut batch));
            }
        });
        let _ = sender.send(batch);
        drop(sender);
        read
    })
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
        agree: row.agree,
    });
    Ok(compared.collect())
}

/// Brings rows into their order and compares those that are left with each other. The wordings that revisions
/// repeat, with rows by their number. Without a store, nothing is read again.
fn compare(
    rows: &mut [Looked],
    settings: &Settings,
    store: Option<&Store>,
) -> Result<Vec<collapse::Found>, StoreError> {
    rows.sort_unstable_by(|a, b| (&a.place, &a.chain_id).cmp(&(&b.place, &b.chain_id)));
    drop_duplicates(rows, settings, store)?;
    match settings.collapse {
        Some(cap) => drop_collapsed(rows, cap, store),
        None => Ok(Vec::new()),
    }
}

fn drop_duplicates(
    rows: &mut [Looked],
    settings: &Settings,
    store: Option<&Store>,
) -> Result<(), StoreError> {
    let numbers: Vec<usize> = (0..rows.len())
        .filter(|&row| rows[row].print.is_some())
        .collect();
    let prints: Vec<_> = rows.iter().filter_map(|row| row.print.as_deref()).collect();
    let mut failed = None;
    let mut again = |number: usize| -> Option<Sets> {
        let row = &rows[numbers[number]];
        match store?.chain_at(&ChainId(row.chain_id.clone()), Depth::Responses) {
            Ok(chain) => row::sets(&chain, row.decision.chosen),
            Err(error) => {
                failed = Some(error);
                None
            }
        }
    };
    let (exact, near) = (settings.duplicate, settings.near_duplicate);
    let repeats = duplicates::find(&prints, exact, near, &mut again);
    if let Some(error) = failed {
        return Err(error);
    }
    for (row, repeats) in numbers.iter().zip(repeats) {
        let name = |other: usize| &rows[numbers[other]].chain_id;
        let finding = match repeats {
            None => continue,
            Some(Repeats::Exactly(other)) => Finding::drop(
                Gate::Duplicate,
                format!("chain {} has the same", name(other)),
            ),
            Some(Repeats::Nearly(other, similarity)) => {
                let reason = format!("chain {} has nearly the same", name(other));
                Finding::drop(Gate::NearDuplicate, reason).with(similarity)
            }
        };
        rows[*row].decision.findings.push(finding);
    }
    for row in rows {
        row.print = None;
    }
    Ok(())
}

fn drop_collapsed(
    rows: &mut [Looked],
    cap: f64,
    store: Option<&Store>,
) -> Result<Vec<collapse::Found>, StoreError> {
    let left: Vec<usize> = (0..rows.len())
        .filter(|&row| rows[row].decision.keeps_text())
        .collect();
    let wordings: Vec<collapse::Row> = left
        .iter()
        .map(|&row| std::mem::take(&mut rows[row].wording))
        .collect();
    let failed = Cell::new(None);
    let again = |numbers: &[usize], each: &(dyn Fn(usize, [Tokens; 2]) + Sync)| {
        let wanted = numbers.iter().map(|&number| (number, &rows[left[number]]));
        if let Some(store) = store
            && let Err(error) = read_both(store, wanted, each)
        {
            failed.set(Some(error));
        }
    };
    let mut outcome = collapse::find(&wordings, cap, &again);
    if let Some(error) = failed.take() {
        return Err(error);
    }
    for (&row, dropped) in left.iter().zip(outcome.dropped) {
        if let Some(wording) = dropped.and_then(|number| outcome.found.get(number)) {
            let reason = format!(
                "{} of {} chosen texts hold a wording of it",
                wording.chosen, wording.rows
            );
            let finding = Finding::drop(Gate::Collapse, reason).with(wording.z);
            rows[row].decision.findings.push(finding);
        }
    }
    for wording in &mut outcome.found {
        wording.example.0 = left[wording.example.0];
    }
    Ok(outcome.found)
}

/// Reads the chosen texts of rows and their drafts, each row with the number that it is handed over with.
fn read_both<'a>(
    store: &Store,
    rows: impl Iterator<Item = (usize, &'a Looked)>,
    each: &(dyn Fn(usize, [Tokens; 2]) + Sync),
) -> Result<(), StoreError> {
    let work = |batch: Vec<(usize, [String; 2])>| {
        for (number, texts) in batch {
            each(number, texts.map(|text| Tokens::of(&text)));
        }
    };
    hand_out(work, |hand| -> Result<(), StoreError> {
        for (number, row) in rows {
            let step = match row.decision.chosen {
                Origin::Revision(ordinal) => Some(ordinal),
                Origin::Person => None,
                // A draft that was chosen is the draft.
                Origin::Draft => continue,
            };
            let chain = ChainId(row.chain_id.clone());
            if let Some(texts) = store.text_and_draft(&chain, step)? {
                hand((number, texts));
            }
        }
        Ok(())
    })
}

impl Gating {
    /// What was decided about a chain; `None` for one that was not looked at, or has no text.
    pub fn decision(&self, chain_id: &str) -> Option<&Decision> {
        let at = |place: &u32| &self.decisions[*place as usize];
        let found = self
            .by_id
            .binary_search_by(|place| at(place).0.as_str().cmp(chain_id));
        found.ok().map(|index| &at(&self.by_id[index]).1)
    }

    /// What a chain gives to a dataset.
    pub fn take<'a>(&self, chain: &'a ChainDetail) -> Gated<'a> {
        let texts = match Texts::of(chain) {
            Ok(texts) => texts,
            Err(reason) => return Gated::nothing(Refused::plain(reason)),
        };
        match self.decision(&chain.row.chain_id) {
            Some(decision) => Gated::new(&texts, decision),
            None => Gated::nothing(Refused::plain("empty-final")),
        }
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
        // What is said of the chain as a whole holds for all its rounds.
        let decision = self.decision(&chain.row.chain_id);
        let whole = decision.and_then(|decision| decision.text_refused_as_a_whole());
        if let Some(finding) = whole {
            for (_, taken) in &mut rounds {
                *taken = Err(Refused::by(finding));
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
