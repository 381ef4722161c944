//! Texts as words, and runs of words as numbers.

use crate::diff::is_word;

/// A hash of a run of words.
pub(super) type Run = u64;

/// Hands out the words of a text in lower case: runs of letters, marks and digits, joined by apostrophes. In
/// scripts that are written without spaces every character is a word. Emojis and punctuation are none.
fn each_word(text: &str, mut each: impl FnMut(&str)) {
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_ascii_alphanumeric() {
            word.push(c.to_ascii_lowercase());
        } else if is_word(c) {
            finish(&mut word, &mut each);
            each(c.encode_utf8(&mut [0; 4]));
        } else if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        } else if matches!(c, '\'' | '’')
            && !word.is_empty()
            && chars.peek().is_some_and(|next| next.is_alphanumeric())
        {
            word.push('\'');
        } else if !is_mark(c) {
            finish(&mut word, &mut each);
        }
    }
    finish(&mut word, &mut each);
}

fn finish(word: &mut String, each: &mut impl FnMut(&str)) {
    if !word.is_empty() {
        each(word.as_str());
        word.clear();
    }
}

/// The words of a text.
#[cfg(test)]
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    each_word(text, |word| words.push(word.to_owned()));
    words
}

/// Combining marks and joiners, which belong to the letter before them.
fn is_mark(c: char) -> bool {
    matches!(u32::from(c), 0x0300..=0x036f | 0x200c..=0x200d | 0xfe00..=0xfe0f)
}

/// A hash of a text: the same in every run, on every machine.
pub(super) fn hash(text: &str) -> u64 {
    mix(fnv(text.bytes()))
}

/// The hash of a text in lower case.
pub(super) fn hash_lower(text: &str) -> u64 {
    match text.is_ascii() {
        true => mix(fnv(text.bytes().map(|byte| byte.to_ascii_lowercase()))),
        false => hash(&text.to_lowercase()),
    }
}

/// FNV-1a, whose low bits have yet to be mixed with its high ones.
fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Joins a hash to that of the words before it.
pub(super) fn join(before: u64, next: u64) -> u64 {
    mix(before.rotate_left(23) ^ next.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The last step of splitmix64: every bit depends on every bit.
pub(super) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The runs of `length` words; a shorter text is one run of all its words.
pub(super) fn runs(text: &str, length: usize) -> Vec<Run> {
    let mut hashes: Vec<u64> = Vec::new();
    each_word(text, |word| hashes.push(hash(word)));
    let length = length.min(hashes.len()).max(1);
    let joined = |run: &[u64]| {
        run.iter()
            .fold(run.len() as u64, |all, &next| join(all, next))
    };
    hashes.windows(length).map(joined).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_a_reader_would_count() {
        assert_eq!(
            words("Don’t stop: it's 3.5 km — «déjà» vu! 🎉"),
            ["don't", "stop", "it's", "3", "5", "km", "déjà", "vu"]
        );
        assert_eq!(words("雨が降る"), ["雨", "が", "降", "る"]);
        assert_eq!(words("e\u{301}tude"), ["etude"]);
        assert!(words(" … ").is_empty());
    }

    #[test]
    fn runs_depend_on_order_and_length() {
        assert_eq!(runs("a b c d", 3).len(), 2);
        assert_eq!(runs("A, b c", 3), runs("a b c", 3));
        assert_ne!(runs("a b c", 3), runs("c b a", 3));
        assert_eq!(runs("a b", 3), runs("a b", 2));
        assert!(runs("", 3).is_empty());
    }

    #[test]
    fn capitals_do_not_change_a_hash_in_lower_case() {
        for text in ["Don't", "ÉTÉ", "été", "plain", "ΑΣ"] {
            assert_eq!(hash_lower(text), hash(&text.to_lowercase()), "{text}");
        }
    }
}
