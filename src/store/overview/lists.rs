//! Lists that grow at any time, and numbers for what is met again and again.

use std::collections::HashMap;
use std::hash::Hash;

/// Lists in one vector: each item knows the one before it.
#[derive(Debug)]
pub struct Lists<T>(Vec<(T, Last)>);

/// Where a list ends: the place behind its last item; 0 for an empty list.
pub type Last = u32;

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Lists<T> {
    /// Adds to a list that ends at `last`, and gives back where it ends then.
    pub fn push(&mut self, last: Last, item: T) -> Last {
        self.0.push((item, last));
        // As many items as do not fit here would not fit into memory either.
        self.0.len() as Last
    }

    /// The items of a list, the last one first.
    pub fn items(&self, last: Last) -> impl Iterator<Item = T> {
        let all = &self.0;
        let at = move |last: Last| all.get((last as usize).checked_sub(1)?).copied();
        std::iter::successors(at(last), move |(_, before)| at(*before)).map(|(item, _)| item)
    }
}

/// Values by number.
#[derive(Debug)]
pub struct Numbered<T> {
    all: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            numbers: HashMap::new(),
        }
    }
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    /// The number of a value.
    pub fn number(&mut self, value: T) -> u32 {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let number = self.all.len() as u32;
        self.all.push(value.clone());
        self.numbers.insert(value, number);
        number
    }

    /// Takes up what another one knows, and gives back its numbers here by those that it has there.
    pub fn take_up(&mut self, other: Self) -> Vec<u32> {
        let values = other.all.into_iter();
        values.map(|value| self.number(value)).collect()
    }

    /// Every value, in the order of the numbers.
    pub fn all(&self) -> &[T] {
        &self.all
    }
}
