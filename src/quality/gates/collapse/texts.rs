//! The texts of rows: kept where there was room, read again where not.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::tokens::Tokens;
use crate::store::StoreError;

/// The chosen text and the draft of a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) enum Both {
    /// They are the same.
    #[default]
    Same,
    /// They were kept.
    Kept(Box<[Tokens; 2]>),
    /// There was no room for them.
    NotKept,
}

/// The rows, as far as their wording goes. They are numbered from 0.
pub(in super::super) struct Rows<'a> {
    pub count: u32,
    /// Whether a row is looked at.
    pub compared: &'a dyn Fn(u32) -> bool,
    /// Whether its chosen text is another than its draft.
    pub differs: &'a dyn Fn(u32) -> bool,
    /// Rows with a higher one go first.
    pub priority: &'a dyn Fn(u32) -> u64,
    /// Chosen texts and drafts that were kept, of rows where they differ.
    pub kept: &'a HashMap<u32, Box<[Tokens; 2]>>,
    pub again: Again<'a>,
}

/// Reads chosen texts and drafts again, of the rows with these numbers, and hands them over one row at a time,
/// to several threads at once.
pub(in super::super) type Again<'a> =
    &'a dyn Fn(&mut dyn Iterator<Item = u32>, Each<'_>) -> Result<(), StoreError>;

/// Takes the chosen text and the draft of a row.
type Each<'a> = &'a (dyn Fn(u32, [Tokens; 2]) + Sync);

impl Rows<'_> {
    /// Whether the texts of a row have to be read again.
    pub fn is_gone(&self, number: u32) -> bool {
        (self.differs)(number) && !self.kept.contains_key(&number)
    }

    /// What decides which rows go: the priority, and where it is the same the number.
    pub fn place(&self, number: u32) -> (u64, u32) {
        ((self.priority)(number), number)
    }
}

/// Texts of some rows: those that were kept, and those that were read again.
pub(super) struct Texts<'a> {
    kept: &'a HashMap<u32, Box<[Tokens; 2]>>,
    read: HashMap<u32, [Tokens; 2]>,
}

impl<'a> Texts<'a> {
    pub fn of(rows: &Rows<'a>, numbers: &[u32]) -> Result<Self, StoreError> {
        let read: Mutex<HashMap<u32, [Tokens; 2]>> = Mutex::default();
        let mut missing = numbers.iter().copied().filter(|&row| rows.is_gone(row));
        (rows.again)(&mut missing, &|number, texts| {
            let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
            read.insert(number, texts);
        })?;
        let read = read.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Self {
            kept: rows.kept,
            read,
        })
    }

    pub fn get(&self, number: u32) -> Option<&[Tokens; 2]> {
        let kept = self.kept.get(&number).map(|texts| &**texts);
        kept.or_else(|| self.read.get(&number))
    }

    pub fn chosen(&self, number: u32) -> &[u32] {
        self.get(number)
            .map_or(&[][..], |[chosen, _]| &chosen.0[..])
    }
}
