//! Texts as numbers, and the wordings that they hold.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::super::words::{join, mix};
use crate::diff::is_word;

/// Words of a phrase.
pub(super) const PHRASE: [usize; 3] = [3, 4, 5];
/// Words at the beginning and at the end.
const EDGE: usize = 3;

/// What a wording is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WordingKind {
    /// The first words of a text.
    Opening,
    /// The last words of a text.
    Closing,
    /// Words anywhere.
    Phrase,
    /// An emoji.
    Emoji,
}

/// A text as numbers: one for each word or emoji.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Tokens(pub(super) Box<[u32]>);

const EMOJI: u32 = 1 << 31;

impl Tokens {
    /// The words and emojis of a text.
    pub fn of(text: &str) -> Self {
        let mut tokens = Vec::new();
        for (token, _) in spell(text) {
            tokens.push(token);
        }
        Self(tokens.into())
    }

    /// What they take.
    pub fn bytes(&self) -> usize {
        self.0.len() * size_of::<u32>()
    }
}

/// The words and emojis of a text, with what they are written as.
pub(super) fn spell(text: &str) -> impl Iterator<Item = (u32, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let c = rest.chars().next()?;
            if is_emoji(c) {
                let (emoji, after) = rest.split_at(c.len_utf8());
                rest = after;
                return Some((EMOJI | (mix(u64::from(c)) >> 33) as u32, emoji));
            }
            let word = |c: char| (c.is_alphanumeric() && !is_word(c)) || matches!(c, '\'' | '’');
            let end = match is_word(c) {
                true => c.len_utf8(),
                false => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            };
            if end == 0 {
                rest = &rest[c.len_utf8()..];
                continue;
            }
            let (word, after) = rest.split_at(end);
            rest = after;
            return Some((word_number(word), word));
        }
    })
}

fn word_number(word: &str) -> u32 {
    let next = |hash: u64, c: char| (hash ^ u64::from(c)).wrapping_mul(0x0100_0000_01b3);
    let begin = 0xcbf2_9ce4_8422_2325;
    let hash = match word.is_ascii() {
        true => word.bytes().fold(begin, |hash, byte| {
            next(hash, char::from(byte.to_ascii_lowercase()))
        }),
        false => word
            .chars()
            .flat_map(char::to_lowercase)
            .map(|c| if c == '’' { '\'' } else { c })
            .fold(begin, next),
    };
    (mix(hash) >> 33) as u32
}

fn is_emoji(c: char) -> bool {
    matches!(u32::from(c),
        0x231a..=0x231b | 0x23e9..=0x23fa | 0x25fd..=0x25fe | 0x2600..=0x27bf | 0x2b05..=0x2b55
        | 0x1f000..=0x1f3fa | 0x1f400..=0x1faff)
}

/// A wording as a number.
pub(super) type Key = u64;

/// A map by wording.
pub(super) type ByKey<T> = HashMap<Key, T, BuildHasherDefault<AsItIs>>;

/// The hash of a key: a key is one already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = join(self.0, u64::from(*byte));
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// Calls `each` with every wording of a text, some of them more than once.
pub(super) fn wordings(tokens: &Tokens, mut each: impl FnMut(WordingKind, Key, usize, usize)) {
    let tokens = &tokens.0;
    for (start, &first) in tokens.iter().enumerate() {
        if first & EMOJI != 0 {
            each(WordingKind::Emoji, join(4, u64::from(first)), start, 1);
        }
        let mut key = join(3, u64::from(first));
        let rest = tokens[start + 1..].iter().take(PHRASE[2] - 1);
        for (&token, length) in rest.zip(2..) {
            key = join(key, u64::from(token));
            if PHRASE.contains(&length) {
                each(WordingKind::Phrase, key, start, length);
            }
        }
    }
    if tokens.len() > EDGE {
        let edge =
            |tag: u64, tokens: &[u32]| tokens.iter().fold(tag, |key, &t| join(key, u64::from(t)));
        each(WordingKind::Opening, edge(1, &tokens[..EDGE]), 0, EDGE);
        let last = tokens.len() - EDGE;
        each(WordingKind::Closing, edge(2, &tokens[last..]), last, EDGE);
    }
}

/// The words of a text from a token on, as they are written.
pub(in super::super) fn words_at(text: &str, start: usize, length: usize) -> String {
    let mut words = String::new();
    for (_, word) in spell(text).skip(start).take(length) {
        let spaced = !(words.ends_with(is_word) && word.starts_with(is_word));
        if spaced && !words.is_empty() {
            words.push(' ');
        }
        words.push_str(word);
    }
    words
}
