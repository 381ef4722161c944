//! Gates that look at rows together: duplicates, then collapse among those that are left.

use std::collections::HashMap;

use super::collapse::{self, Tokens};
use super::decided::Decided;
use super::decision::Finding;
use super::duplicates::{self, Prints, Repeats, Sets};
use super::hand_out::hand_out;
use super::row;
use super::rows::{PRINTS, Rows};
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
    let found = duplicates::find(&prints, &rows.by_worth(), exact, near, &mut again)?;
    // They are not compared again.
    rows.sets = HashMap::new();
    for (number, repeats) in found {
        let finding = match repeats {
            Repeats::Exactly(other) => {
                let name = rows.decided(other)?.chain_id;
                Finding::drop(Gate::Duplicate, format!("chain {name} has the same"))
            }
            Repeats::Nearly(other, similarity) => {
                let name = rows.decided(other)?.chain_id;
                let reason = format!("chain {name} has nearly the same");
                Finding::drop(Gate::NearDuplicate, reason).with(similarity)
            }
        };
        rows.leave_out(number, finding)?;
    }
    Ok(())
}

fn drop_collapsed(
    rows: &mut Rows,
    cap: f64,
    store: Option<&Store>,
) -> Result<Vec<collapse::Found>, StoreError> {
    let left: Vec<u32> = rows.left().collect();
    let wordings: Vec<collapse::Row> = left
        .iter()
        .map(|&number| collapse::Row {
            texts: rows.take_wording(number),
            // Drawn by the chain and not by its place.
            priority: mix(rows.hash(number)),
        })
        .collect();
    let again = |numbers: &[usize], each: &(dyn Fn(usize, [Tokens; 2]) + Sync)| {
        let wanted = numbers.iter().map(|&number| (number, left[number]));
        match store {
            Some(store) => read_both(store, rows, wanted, each),
            None => Ok(()),
        }
    };
    let mut outcome = collapse::find(&wordings, cap, &rows.scratch, &again)?;
    for (&number, dropped) in left.iter().zip(outcome.dropped) {
        if let Some(wording) = dropped.and_then(|number| outcome.found.get(number as usize)) {
            let reason = format!(
                "{} of {} chosen texts hold a wording of it",
                wording.chosen, wording.rows
            );
            let finding = Finding::drop(Gate::Collapse, reason).with(wording.z);
            rows.leave_out(number, finding)?;
        }
    }
    for wording in &mut outcome.found {
        wording.example.0 = left[wording.example.0] as usize;
    }
    Ok(outcome.found)
}

/// Reads the chosen texts of rows and their drafts, each row with the number that it is handed over with.
fn read_both(
    store: &Store,
    rows: &Rows,
    wanted: impl Iterator<Item = (usize, u32)>,
    each: &(dyn Fn(usize, [Tokens; 2]) + Sync),
) -> Result<(), StoreError> {
    let work = |_, batch: Vec<(usize, [String; 2])>| {
        for (number, texts) in batch {
            each(number, texts.map(|text| Tokens::of(&text)));
        }
    };
    let size = |(_, [chosen, draft]): &(usize, [String; 2])| chosen.len() + draft.len();
    hand_out(size, work, |hand| -> Result<(), StoreError> {
        for (number, row) in wanted {
            let Decided {
                chain_id, outcome, ..
            } = rows.decided(row)?;
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
