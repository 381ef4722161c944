//! Texts as words, and runs of words as numbers.

/// A hash of a run of words.
pub(super) type Run = u64;

/// The words of a text in lower case: runs of letters, marks and digits, joined by apostrophes. In scripts that
/// are written without spaces every character is a word. Emojis and punctuation are none.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if is_alone(c) {
            finish(&mut word, &mut words);
            words.push(c.to_string());
        } else if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        } else if matches!(c, '\'' | '’')
            && !word.is_empty()
            && chars.peek().is_some_and(|next| next.is_alphanumeric())
        {
            word.push('\'');
        } else if !is_mark(c) {
            finish(&mut word, &mut words);
        }
    }
    finish(&mut word, &mut words);
    words
}

fn finish(word: &mut String, words: &mut Vec<String>) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

/// Characters of scripts without spaces between words: Han, kana, Thai, Lao, Khmer, Burmese.
fn is_alone(c: char) -> bool {
    matches!(u32::from(c),
        0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x3040..=0x30ff | 0x3400..=0x4dbf
        | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3134f)
        && c.is_alphanumeric()
}

/// Combining marks and joiners, which belong to the letter before them.
fn is_mark(c: char) -> bool {
    matches!(u32::from(c), 0x0300..=0x036f | 0x200c..=0x200d | 0xfe00..=0xfe0f)
}

/// A hash of a text: the same in every run, on every machine.
pub(super) fn hash(text: &str) -> u64 {
    // FNV-1a, whose low bits are then mixed with its high ones.
    let fnv = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(fnv)
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
pub(super) fn runs(words: &[String], length: usize) -> impl Iterator<Item = Run> + '_ {
    let hashes: Vec<u64> = words.iter().map(|word| hash(word)).collect();
    let length = length.min(hashes.len()).max(1);
    let joined: Vec<u64> = hashes
        .windows(length)
        .map(|run| {
            run.iter()
                .fold(run.len() as u64, |all, &next| join(all, next))
        })
        .collect();
    joined.into_iter()
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
        let all = |text: &str, n| runs(&words(text), n).collect::<Vec<_>>();
        assert_eq!(all("a b c d", 3).len(), 2);
        assert_eq!(all("A, b c", 3), all("a b c", 3));
        assert_ne!(all("a b c", 3), all("c b a", 3));
        assert_eq!(all("a b", 3), all("a b", 2));
        assert!(all("", 3).is_empty());
    }
}
