//! Gates that look at rows together: duplicates, then collapse among those that are left.

use std::collections::HashMap;

use super::collapse::{self, Tokens};
use super::decided::Decided;
use super::decision::Finding;
use super::duplicates::{self, Prints, Repeats, Sets};
use super::hand_out::hand_out;
use super::row;
use super::rows::{PRINTS, REPEATS, Rows};
use super::settings::{Gate, Settings};
use super::words::mix;
use crate::chain::ChainId;
use crate::quality::pair::Origin;
use crate::store::{Depth, Store, StoreError};

/// Compares the rows that are left with each other. The wordings that revisions repeat, with chains by their number.
/// Without a store, nothing is read again.
pub(super) fn compare(
    rows: &mut Rows,
    settings: &Settings,
    store: Option<&Store>,
) -> Result<Vec<collapse::Found>, StoreError> {
    drop_duplicates(rows, settings, store)?;
    match settings.collapse {
        Some(cap) => drop_collapsed(rows, cap, store),
        None => Ok(Vec::new()),
    }
}

fn drop_duplicates(
    rows: &mut Rows,
    settings: &Settings,
    store: Option<&Store>,
) -> Result<(), StoreError> {
    let mut again = |number: u32| -> Result<Option<Sets>, StoreError> {
        let Some(store) = store else { return Ok(None) };
        let Decided {
            chain_id, outcome, ..
        } = rows.decided(number)?;
        let chain = store.chain_at(&ChainId(chain_id), Depth::Responses)?;
        let chosen = outcome.ok().map(|decision| decision.chosen);
        Ok(chosen.and_then(|chosen| row::sets(&chain, chosen)))
    };
    let prints = Prints {
        scratch: &rows.scratch,
        shelf: PRINTS,
        sets: &rows.sets,
    };
    let (exact, near) = (settings.duplicate, settings.near_duplicate);
    let mut found =
        |number: u32, repeats: Repeats| rows.scratch.put(REPEATS, number, &repeats.to_bytes());
    duplicates::find(
        &prints,
        &|number| rows.rank(number),
        exact,
        near,
        &mut again,
        &mut found,
    )?;
    // They are not compared again.
    rows.sets = HashMap::new();
    let mut from = Some(0);
    while let Some(first) = from {
        let some = rows.scratch.some(REPEATS, first)?;
        from = some.last().and_then(|(number, _)| number.checked_add(1));
        for (number, bytes) in some {
            let Some(repeats) = Repeats::from_bytes(&bytes) else {
                continue;
            };
            let name = rows.decided(repeats.other())?.chain_id;
            let finding = match repeats {
                Repeats::Exactly(_) => {
                    Finding::drop(Gate::Duplicate, format!("chain {name} has the same"))
                }
                Repeats::Nearly(_, similarity) => {
                    let reason = format!("chain {name} has nearly the same");
                    Finding::drop(Gate::NearDuplicate, reason).with(similarity)
                }
            };
            rows.leave_out(number, finding)?;
        }
    }
    Ok(())
}

fn drop_collapsed(
    rows: &mut Rows,
    cap: f64,
    store: Option<&Store>,
) -> Result<Vec<collapse::Found>, StoreError> {
    let kept = std::mem::take(&mut rows.texts);
    let again = |wanted: &mut dyn Iterator<Item = u32>,
                 each: &(dyn Fn(u32, [Tokens; 2]) + Sync)| match store {
        Some(store) => read_both(store, rows, wanted, each),
        None => Ok(()),
    };
    let all = collapse::Rows {
        count: rows.count() as u32,
        compared: &|number| rows.keeps_text(number),
        differs: &|number| rows.differs(number),
        // Drawn by the chain and not by its place.
        priority: &|number| mix(rows.hash(number)),
        kept: &kept,
        again: &again,
    };
    let outcome = collapse::find(&all, cap, &rows.scratch)?;
    for (number, wording) in outcome.dropped() {
        let Some(wording) = outcome.found.get(wording) else {
            continue;
        };
        let reason = format!(
            "{} of {} chosen texts hold a wording of it",
            wording.chosen, wording.rows
        );
        let finding = Finding::drop(Gate::Collapse, reason).with(wording.z);
        rows.leave_out(number, finding)?;
    }
    Ok(outcome.found)
}

/// Reads the chosen texts of rows and their drafts.
fn read_both(
    store: &Store,
    rows: &Rows,
    wanted: &mut dyn Iterator<Item = u32>,
    each: &(dyn Fn(u32, [Tokens; 2]) + Sync),
) -> Result<(), StoreError> {
    let work = |_, batch: Vec<(u32, [String; 2])>| {
        for (number, texts) in batch {
            each(number, texts.map(|text| Tokens::of(&text)));
        }
    };
    let size = |(_, [chosen, draft]): &(u32, [String; 2])| chosen.len() + draft.len();
    hand_out(size, work, |hand| -> Result<(), StoreError> {
        for number in wanted {
            let Decided {
                chain_id, outcome, ..
            } = rows.decided(number)?;
            let step = match outcome.map(|decision| decision.chosen) {
                Ok(Origin::Revision(ordinal)) => Some(ordinal),
                Ok(Origin::Person) => None,
                // A draft that was chosen is the draft.
                Ok(Origin::Draft) | Err(_) => continue,
            };
            if let Some(texts) = store.text_and_draft(&ChainId(chain_id), step)? {
                hand((number, texts));
            }
        }
        Ok(())
    })
}
