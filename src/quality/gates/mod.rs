//! Gates: what keeps a row out of a dataset, and what it measures on the way.
//!
//! [`gate`] looks at every chain that matches and decides about each. [`Gating::decided`] then says what was decided
//! about one, and [`Decided::take`] what it gives to a dataset. Most gates look at one row by itself; duplicates and
//! collapse look at those that are left. **Decisions lie on disk**, and of a chain no more than some bytes are in memory.
//! **Decisions are a function of the set of chains and the settings**: the order in which chains are read
//! changes nothing, and gating what was kept drops nothing more.

mod asked;
mod choice;
mod collapse;
mod compare;
mod decided;
mod decision;
pub(super) mod duplicates;
mod figures;
mod hand_out;
mod language;
mod personal;
mod refusal;
mod room;
mod row;
mod rows;
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
use crate::store::{ChainDetail, Depth, Filter, GateRecord, Label, NewGating, Store, StoreError};

use compare::compare;
use decided::{Decisions, NO_TEXT};
use hand_out::hand_out;
use room::Room;
use row::Look;
use rows::{Looked, Rows};

pub use asked::{AskError, Asked, ask_refusals};
pub use collapse::WordingKind;
pub use decided::Decided;
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
#[derive(Debug)]
pub struct Gating {
    /// Which gates were open.
    pub settings: Settings,
    /// What was counted and measured.
    pub figures: Figures,
    decisions: Decisions,
}

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
/// When the store cannot be read, or there is no room for a temporary file.
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
    let mut rows = look_at_all(store, filter, run, look)?;
    let found = compare(&mut rows, settings, Some(store))?;
    let mut figures = figures::count(&rows, settings)?;
    for wording in &found {
        let (row, start, length) = wording.example;
        let example = rows.decided(row)?;
        let chain = store.chain_at(&ChainId(example.chain_id.clone()), Depth::Responses)?;
        let texts = Texts::of(&chain).ok();
        let chosen = example.decision().map(|decision| decision.chosen);
        let text = texts.zip(chosen).and_then(|(texts, from)| texts.get(from));
        let words = text.map_or_else(String::new, |side| {
            collapse::words_at(side.text, start, length)
        });
        figures
            .wordings
            .push(Wording::new(wording, words, example.chain_id));
    }
    Ok(Gating {
        settings: settings.clone(),
        figures,
        decisions: rows.into_decisions(),
    })
}

/// Looks at every chain by itself: one thread reads, all others look.
fn look_at_all(
    store: &Store,
    filter: &Filter,
    run: Option<&str>,
    look: Look<'_>,
) -> Result<Rows, StoreError> {
    let judged = Filter::parse("judged:true").unwrap_or_default();
    let any_judged = store.count(&judged, run)? > 0;
    let all = Mutex::new(Ordered::begin()?);
    let work = |number, batch: Vec<(ChainDetail, Vec<Compared>)>| {
        let looked = batch
            .iter()
            .map(|(chain, compared)| look_at(look, chain, compared))
            .collect();
        // Nothing panics while it is held.
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.take(number, looked);
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
    all.rows()
}

fn look_at(look: Look<'_>, chain: &ChainDetail, compared: &[Compared]) -> Looked {
    let (decision, row) = look.at(chain, compared).unzip();
    let chosen = decision.as_ref().map(|decision| decision.chosen);
    let reason = || Texts::of(chain).err().unwrap_or(NO_TEXT).into();
    Looked {
        decided: Decided {
            chain_id: chain.row.chain_id.clone(),
            rounds: look.rounds(chain, chosen),
            outcome: decision.ok_or_else(reason),
        },
        row,
    }
}

/// Batches in the order in which the store reads them, which is the one in which chains are compared. Only what comes too
/// early waits.
struct Ordered {
    rows: Rows,
    /// Batches that are done.
    count: usize,
    early: BTreeMap<usize, Vec<Looked>>,
    failed: Option<StoreError>,
}

impl Ordered {
    fn begin() -> Result<Self, StoreError> {
        Ok(Self {
            rows: Rows::begin()?,
            count: 0,
            early: BTreeMap::new(),
            failed: None,
        })
    }

    fn take(&mut self, number: usize, batch: Vec<Looked>) {
        self.early.insert(number, batch);
        while let Some(batch) = self.early.remove(&self.count) {
            self.count += 1;
            let rows = &mut self.rows;
            if self.failed.is_none() {
                let added = batch.into_iter().try_for_each(|looked| rows.add(looked));
                self.failed = added.err();
            }
        }
    }

    fn rows(self) -> Result<Rows, StoreError> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(self.rows),
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
    /// What was decided about a chain.
    ///
    /// # Errors
    ///
    /// When decisions cannot be read back.
    pub fn decided(&self, chain_id: &str) -> Result<Decided, StoreError> {
        self.decisions.of(chain_id)
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

    /// What the store keeps of it, chain by chain in the order in which it is written fastest.
    pub fn record(
        &self,
        filter: &Filter,
        run: Option<&str>,
    ) -> (
        NewGating,
        impl Iterator<Item = Result<GateRecord, StoreError>> + use<'_>,
    ) {
        let gating = NewGating {
            filter: filter.source().to_owned(),
            run: run.map(str::to_owned),
            settings: self.settings.to_json(),
            // Plain data always serialises.
            figures: serde_json::to_value(&self.figures).unwrap_or_default(),
        };
        (gating, self.decisions.records())
    }
}
