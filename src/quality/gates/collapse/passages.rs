//! Passages: wordings that overlap, told as one.

use std::collections::HashMap;
use std::ops::Range;

use super::super::words::join;
use super::Found;
use super::texts::Texts;
use super::tokens::{Key, PHRASE};

/// The most wordings that are told.
pub(super) const MOST: usize = 100;

/// Tells a passage that repeats once: its wordings are joined where they overlap, and those that a passage
/// explains are left out. The most significant go first.
pub(super) fn passages(texts: &Texts<'_>, found: Vec<Found>) -> Vec<Found> {
    let counts: HashMap<Key, u32> = found
        .iter()
        .map(|found| (found.key, found.chosen))
        .collect();
    let tokens = |row: u32| texts.chosen(row);
    let words: Vec<&[u32]> = found
        .iter()
        .map(|found| {
            let (row, start, length) = found.example;
            &tokens(row)[start..start + length]
        })
        .collect();
    let mut explained = vec![false; found.len()];
    let mut told = Vec::new();
    for (number, one) in found.iter().enumerate() {
        if explained[number] || told.len() == MOST {
            continue;
        }
        let (row, start, length) = one.example;
        let passage = widened(tokens(row), start..start + length, one.chosen, &counts);
        let mut kind = one.kind;
        for (other, part) in words.iter().enumerate() {
            let inside = tokens(row)[passage.clone()]
                .windows(part.len().max(1))
                .any(|window| window == *part);
            if inside && close(one.chosen, found[other].chosen) {
                explained[other] = true;
                // That it stands at the beginning or the end says more.
                kind = kind.min(found[other].kind);
            }
        }
        told.push(Found {
            kind,
            example: (row, passage.start, passage.len()),
            ..one.clone()
        });
    }
    told
}

/// Whether about as many texts hold one wording as hold another.
fn close(a: u32, b: u32) -> bool {
    f64::from(a.min(b)) >= 0.8 * f64::from(a.max(b))
}

/// A place in a text, with the words around it that about as many texts hold together with it.
fn widened(
    tokens: &[u32],
    mut place: Range<usize>,
    count: u32,
    counts: &HashMap<Key, u32>,
) -> Range<usize> {
    let repeats = |words: Range<usize>| {
        let key = tokens.get(words).and_then(phrase_key);
        key.and_then(|key| counts.get(&key))
            .is_some_and(|&other| close(count, other))
    };
    while place.start > 0
        && PHRASE
            .iter()
            .any(|n| repeats(place.start - 1..place.start - 1 + n))
    {
        place.start -= 1;
    }
    while PHRASE.iter().any(|n| {
        (place.end + 1)
            .checked_sub(*n)
            .is_some_and(|at| repeats(at..place.end + 1))
    }) {
        place.end += 1;
    }
    place
}

fn phrase_key(words: &[u32]) -> Option<Key> {
    let (&first, rest) = words.split_first()?;
    let begun = join(3, u64::from(first));
    Some(
        rest.iter()
            .fold(begun, |key, &token| join(key, u64::from(token))),
    )
}
