//! What is kept of chains while gates compare them: little in memory, the rest on disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::collapse::{Both, Tokens};
use super::decided::{Decided, Decisions};
use super::decision::{Decision, Finding};
use super::duplicates::{Print, Sets};
use super::figures::{Spreading, Tally};
use super::words::hash;
use crate::quality::pair::Why;
use crate::store::{Scratch, Shelf, StoreError};

/// Shelves, by the numbers of the chains.
pub(super) const PRINTS: Shelf = 1;
const CONTRASTS: Shelf = 2;
pub(super) const HELD: Shelf = 3;
pub(super) const REPEATS: Shelf = 4;

/// What is measured of a pair, in the order in which it is kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum Measure {
    EditDistance,
    LengthRatio,
    Margin,
}

/// What was found out about a chain by itself.
#[derive(Debug)]
pub(super) struct Looked {
    pub decided: Decided,
    /// `None` where the chain has no text.
    pub row: Option<Row>,
}

/// What chains with a text are compared by, and what is counted of them.
#[derive(Debug)]
pub(super) struct Row {
    /// For near and exact duplicates; `None` for a row that is left out already.
    pub print: Option<Print>,
    /// For collapse.
    pub wording: Both,
    /// Whether draft and final text refuse, where the prompt says that it is benign.
    pub refuses: Option<[bool; 2]>,
    /// The same as a model sees it.
    pub asked: Option<[bool; 2]>,
}

/// All chains that were looked at, in the order in which the store reads them.
#[derive(Debug)]
pub(super) struct Rows {
    pub scratch: Scratch,
    /// Hashes of their ids.
    hashes: Vec<u64>,
    /// What is known of each at a glance.
    marks: Vec<u8>,
    /// Runs of words for which there was room.
    pub sets: HashMap<u32, Arc<Sets>>,
    /// The same of texts: the chosen one and the draft, where they differ.
    pub texts: HashMap<u32, Box<[Tokens; 2]>>,
    pub tally: Tally,
    /// Chains without a text to learn from, by reason.
    pub without: BTreeMap<String, u64>,
}

// Bits of a mark.
const KEEPS_TEXT: u8 = 1;
const KEEPS_PAIR: u8 = 1 << 1;
const BY_PERSON: u8 = 1 << 2;
const HAS_PRINT: u8 = 1 << 3;
/// Its wording is compared with its draft's.
const DIFFERS: u8 = 1 << 4;

impl Rows {
    /// None yet.
    pub fn begin() -> Result<Self, StoreError> {
        Ok(Self {
            scratch: Scratch::begin()?,
            hashes: Vec::new(),
            marks: Vec::new(),
            sets: HashMap::new(),
            texts: HashMap::new(),
            tally: Tally::default(),
            without: BTreeMap::new(),
        })
    }

    /// Adds the next chain.
    pub fn add(&mut self, looked: Looked) -> Result<(), StoreError> {
        let number = self.marks.len() as u32;
        looked.decided.keep(&self.scratch, number)?;
        self.hashes.push(hash(&looked.decided.chain_id));
        let mut mark = 0;
        match looked.decided.outcome {
            Ok(decision) => {
                mark = self.mark(number, &decision)?;
                for finding in &decision.findings {
                    self.tally.finding(finding);
                }
            }
            Err(reason) => *self.without.entry(reason.into_owned()).or_default() += 1,
        }
        if let Some(mut row) = looked.row {
            if let Some(print) = &mut row.print {
                mark |= HAS_PRINT;
                self.scratch.put(PRINTS, number, &print.to_bytes())?;
                self.sets
                    .extend(print.take_sets().map(|sets| (number, sets)));
            }
            match row.wording {
                Both::Same => {}
                Both::NotKept => mark |= DIFFERS,
                Both::Kept(texts) => {
                    mark |= DIFFERS;
                    self.texts.insert(number, texts);
                }
            }
            self.tally.refusals(row.refuses, row.asked);
        }
        self.marks.push(mark);
        Ok(())
    }

    fn mark(&self, number: u32, decision: &Decision) -> Result<u8, StoreError> {
        let bit = |holds: bool, bit: u8| if holds { bit } else { 0 };
        if decision.keeps_pair() {
            let contrast = &decision.contrast;
            // What is missing is no number.
            let number_or = |value: Option<f64>| value.unwrap_or(f64::NAN).to_le_bytes();
            let values = [
                contrast.edit_distance.to_le_bytes(),
                number_or(contrast.length_ratio),
                number_or(contrast.margin),
            ];
            self.scratch.put(CONTRASTS, number, values.as_flattened())?;
        }
        Ok(bit(decision.keeps_text(), KEEPS_TEXT)
            | bit(decision.keeps_pair(), KEEPS_PAIR)
            | bit(decision.why == Why::Person, BY_PERSON))
    }

    /// Leaves a chain out, for what was found when chains were compared.
    pub fn leave_out(&mut self, number: u32, finding: Finding) -> Result<(), StoreError> {
        let mut decided = self.decided(number)?;
        self.tally.finding(&finding);
        if let Ok(decision) = &mut decided.outcome {
            decision.findings.push(finding);
        }
        self.marks[number as usize] &= !(KEEPS_TEXT | KEEPS_PAIR);
        decided.keep(&self.scratch, number)
    }

    /// What was decided about a chain.
    pub fn decided(&self, number: u32) -> Result<Decided, StoreError> {
        Decided::kept(&self.scratch, number)
    }

    /// How many chains there are.
    pub fn count(&self) -> u64 {
        self.marks.len() as u64
    }

    /// How many keep their text, and how many their pair.
    pub fn kept(&self) -> [u64; 2] {
        [KEEPS_TEXT, KEEPS_PAIR].map(|bit| self.with(bit).count() as u64)
    }

    fn with(&self, bit: u8) -> impl Iterator<Item = u32> + '_ {
        (0..self.marks.len() as u32).filter(move |number| self.has(*number, bit))
    }

    fn has(&self, number: u32, bit: u8) -> bool {
        self.marks[number as usize] & bit != 0
    }

    /// Whether a chain keeps its text.
    pub fn keeps_text(&self, number: u32) -> bool {
        self.has(number, KEEPS_TEXT)
    }

    /// Whether the chosen text of a chain is another than its draft, and both are compared.
    pub fn differs(&self, number: u32) -> bool {
        self.has(number, DIFFERS)
    }

    /// Which of the rows that say the same stay: those with a lower rank. What a person decided must not go for what
    /// nobody looked at, and a row that keeps its pair not for one that keeps only its text. `None` for a row without a
    /// print.
    pub fn rank(&self, number: u32) -> Option<u8> {
        let (by_person, pair) = (self.has(number, BY_PERSON), self.has(number, KEEPS_PAIR));
        let rank = 2 * u8::from(!by_person) + u8::from(!pair);
        self.has(number, HAS_PRINT).then_some(rank)
    }

    /// The hash of a chain's id.
    pub fn hash(&self, number: u32) -> u64 {
        self.hashes[number as usize]
    }

    /// How far the texts of the kept pairs lie apart, by one measure, as far as there are values of it.
    pub fn contrasts(&self, measure: Measure) -> Result<Spreading, StoreError> {
        let mut values = Spreading::default();
        let mut outcome = Ok(());
        self.scratch.each(CONTRASTS, |number, bytes| {
            let value = bytes.as_chunks().0.get(measure as usize);
            let value = value.copied().map_or(f64::NAN, f64::from_le_bytes);
            if self.has(number, KEEPS_PAIR) && !value.is_nan() && outcome.is_ok() {
                outcome = values.add(value);
            }
        })?;
        outcome.map(|()| values)
    }

    /// The decisions by themselves.
    pub fn into_decisions(self) -> Decisions {
        Decisions::new(self.scratch, self.hashes)
    }
}
