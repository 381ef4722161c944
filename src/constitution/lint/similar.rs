//! Texts that say almost the same, told by their shingles (runs of two words).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::words::words;

/// From which share of shingles in common two texts are near-duplicates (Jaccard index).
pub(super) const THRESHOLD: f64 = 0.5;
/// Texts with fewer words must be equal.
const FEWEST_WORDS: usize = 4;
/// With how many earlier texts one text is compared at most.
const MOST_CANDIDATES: usize = 200;

/// A text that is close to an earlier one.
#[derive(Debug, PartialEq)]
pub(super) struct Pair {
    /// The earlier one.
    pub first: usize,
    /// The later one.
    pub second: usize,
    /// Their Jaccard index.
    pub similarity: f64,
}

/// For each text the closest earlier one, where that is a near-duplicate.
pub(super) fn pairs(texts: &[&str]) -> Vec<Pair> {
    let sets: Vec<Vec<u64>> = texts.iter().map(|text| shingles(text)).collect();
    let mut frequency: HashMap<u64, usize> = HashMap::new();
    for shingle in sets.iter().flatten() {
        *frequency.entry(*shingle).or_default() += 1;
    }
    let mut index: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut pairs = Vec::new();
    for (second, set) in sets.iter().enumerate() {
        // Two sets that share half of their shingles share one among the rarest half of each.
        let mut rarest = set.clone();
        rarest.sort_by_key(|shingle| (frequency.get(shingle), *shingle));
        let needed = (set.len() as f64 * THRESHOLD).ceil() as usize;
        rarest.truncate((set.len() + 1).saturating_sub(needed));
        let lists = rarest.iter().filter_map(|shingle| index.get(shingle));
        let mut candidates: Vec<_> = lists.flatten().copied().take(MOST_CANDIDATES).collect();
        candidates.sort_unstable();
        candidates.dedup();
        let compared = candidates.into_iter().map(|first| Pair {
            first,
            second,
            similarity: jaccard(&sets[first], set),
        });
        let best = compared.max_by(|a, b| {
            let earlier = b.first.cmp(&a.first);
            a.similarity.total_cmp(&b.similarity).then(earlier)
        });
        pairs.extend(best.filter(|pair| pair.similarity >= THRESHOLD));
        for shingle in rarest {
            index.entry(shingle).or_default().push(second);
        }
    }
    pairs
}

/// The shingles of a text, in order and each once.
fn shingles(text: &str) -> Vec<u64> {
    let words = words(text);
    let size = if words.len() < FEWEST_WORDS {
        words.len()
    } else {
        2
    };
    let mut shingles: Vec<u64> = words.windows(size.max(1)).map(hash).collect();
    shingles.sort_unstable();
    shingles.dedup();
    shingles
}

fn hash(words: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    words.hash(&mut hasher);
    hasher.finish()
}

fn jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut common) = (0, 0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        i += usize::from(x <= y);
        j += usize::from(y <= x);
        common += usize::from(x == y);
    }
    match a.len() + b.len() - common {
        0 => 0.0,
        union => common as f64 / union as f64,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_changed_word_leaves_texts_close() {
        let texts = [
            "Look for advice that could hurt someone badly.",
            "Look for statements that are false or made up.",
            "Look for advice that could harm someone badly!",
        ];
        let found = pairs(&texts);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].first, found[0].second), (0, 2));
    }

    #[test]
    fn short_texts_must_be_equal_and_empty_ones_are_like_nothing() {
        assert_eq!(pairs(&["be kind", "be kind.", "be calm", "", ""]).len(), 1);
    }

    #[test]
    fn many_equal_texts_take_no_time() {
        let texts = vec!["the same words again and again in all of them"; 10_000];
        assert_eq!(pairs(&texts).len(), 9_999);
    }

    proptest! {
        /// The index of rare shingles finds what comparing each with each finds.
        #[test]
        fn nothing_is_missed(texts in prop::collection::vec("([a-d] ){4,9}", 2..12)) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let sets: Vec<_> = texts.iter().map(|text| shingles(text)).collect();
            let expected: Vec<usize> = (1..texts.len())
                .filter(|&j| (0..j).any(|i| jaccard(&sets[i], &sets[j]) >= THRESHOLD))
                .collect();
            let found: Vec<usize> = pairs(&texts).iter().map(|pair| pair.second).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
