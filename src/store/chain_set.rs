//! A set of chains, as bits.

/// Chains by their places in the [`Overview`](super::Overview), which have no gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChainSet {
    words: Vec<u64>,
    /// How many places there are.
    places: usize,
}

impl ChainSet {
    /// None of so many chains.
    pub fn none(places: usize) -> Self {
        Self {
            words: vec![0; places.div_ceil(64)],
            places,
        }
    }

    /// All of so many chains.
    pub fn all(places: usize) -> Self {
        let mut set = Self::none(places);
        set.turn();
        set
    }

    /// Adds a chain; a place that there is not is left out.
    pub fn insert(&mut self, place: usize) {
        if place < self.places {
            self.words[place / 64] |= 1_u64 << (place % 64);
        }
    }

    /// Whether a chain is in it.
    pub fn holds(&self, place: usize) -> bool {
        place < self.places && (self.words[place / 64] >> (place % 64)) & 1 == 1
    }

    /// How many chains there are in it.
    pub fn count(&self) -> u64 {
        self.words
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum()
    }

    /// Adds what is in another set over the same chains.
    pub fn add(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// Keeps only what is in another set over the same chains as well.
    pub fn keep(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    /// Puts the chains in it that were not, in place of those that were.
    pub fn turn(&mut self) {
        for word in &mut self.words {
            *word = !*word;
        }
        let used = self.places % 64;
        if used > 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1_u64 << used) - 1;
        }
    }

    /// The chains in it, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                if left == 0 {
                    return None;
                }
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                Some(at * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set(places: usize, of: &BTreeSet<usize>) -> ChainSet {
        let mut set = ChainSet::none(places);
        for place in of {
            set.insert(*place);
        }
        set
    }

    fn listed(set: &ChainSet) -> BTreeSet<usize> {
        set.iter().collect()
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            places in 0..200_usize,
            a in prop::collection::btree_set(0..200_usize, 0..60),
            b in prop::collection::btree_set(0..200_usize, 0..60),
        ) {
            let there = |of: &BTreeSet<usize>| of.range(..places).copied().collect::<BTreeSet<_>>();
            let (first, second) = (set(places, &a), set(places, &b));
            let (a, b) = (there(&a), there(&b));
            prop_assert_eq!(listed(&first), a.clone());
            prop_assert_eq!(first.count(), a.len() as u64);
            for place in 0..210 {
                prop_assert_eq!(first.holds(place), a.contains(&place));
            }
            let mut both = first.clone();
            both.keep(&second);
            prop_assert_eq!(listed(&both), &a & &b);
            let mut any = first.clone();
            any.add(&second);
            prop_assert_eq!(listed(&any), &a | &b);
            let mut others = first;
            others.turn();
            prop_assert_eq!(listed(&others), &(0..places).collect::<BTreeSet<_>>() - &a);
            prop_assert_eq!(listed(&ChainSet::all(places)).len(), places);
        }
    }
}
