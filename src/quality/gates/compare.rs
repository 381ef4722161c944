//! Gates that look at rows together: duplicates, then collapse among those that are left.

use std::cell::Cell;

use super::collapse::{self, Tokens};
use super::decision::Finding;
use super::duplicates::{self, Repeats, Sets};
use super::hand_out::hand_out;
use super::row::{self, Looked};
use super::settings::{Gate, Settings};
use crate::chain::ChainId;
use crate::quality::pair::{Origin, Why};
use crate::store::{Depth, Store, StoreError};

/// Brings rows into their order and compares those that are left with each other. The wordings that revisions
/// repeat, with rows by their number. Without a store, nothing is read again.
pub(super) fn compare(
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
    let numbers = by_worth(rows);
    let prints: Vec<_> = numbers
        .iter()
        .filter_map(|&row| rows[row].print.as_deref())
        .collect();
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

/// The rows that have a print, those first that stay before others that say the same: what a person decided must not
/// go for what nobody looked at, and a row that keeps its pair not for one that keeps only its text. Rows that are
/// worth the same stay in their order.
fn by_worth(rows: &[Looked]) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..rows.len())
        .filter(|&row| rows[row].print.is_some())
        .collect();
    numbers.sort_by_key(|&row| {
        let decision = &rows[row].decision;
        (decision.why != Why::Person, !decision.keeps_pair())
    });
    numbers
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
    let work = |_, batch: Vec<(usize, [String; 2])>| {
        for (number, texts) in batch {
            each(number, texts.map(|text| Tokens::of(&text)));
        }
    };
    let size = |(_, [chosen, draft]): &(usize, [String; 2])| chosen.len() + draft.len();
    hand_out(size, work, |hand| -> Result<(), StoreError> {
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
