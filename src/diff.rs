//! Word diffs: what a revision took away from a text and what it put in.

use std::ops::Range;

use similar::{ChangeTag, TextDiff};

/// Whether a character is a word by itself: those of scripts that are written without spaces between words, which are
/// Han, kana, Thai, Lao, Khmer and Burmese.
pub fn is_word(c: char) -> bool {
    // Most texts hold none of them.
    c >= '\u{e00}'
        && matches!(u32::from(c),
        0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x3040..=0x30ff | 0x3400..=0x4dbf
        | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3134f)
        && c.is_alphanumeric()
}

/// The share of words that differ, 0 for equal texts and 1 for texts without a word in common: words removed and added,
/// over the words of both. White space does not count. Where no spaces part words, characters count.
pub fn changed_share(old: &str, new: &str) -> f64 {
    let (old, new) = (spaced(old), spaced(new));
    let total = old.len() + new.len();
    if total == 0 || old == new {
        return 0.0;
    }
    let kept: usize = similar::capture_diff_slices(similar::Algorithm::Myers, &old, &new)
        .iter()
        .filter(|op| op.tag() == similar::DiffTag::Equal)
        .map(|op| op.old_range().len())
        .sum();
    1.0 - 2.0 * kept as f64 / total as f64
}

/// What white space parts, and every character that is a word by itself.
fn spaced(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for mut rest in text.split_whitespace() {
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_word(*c)) {
            let (before, from) = rest.split_at(at);
            let (word, after) = from.split_at(c.len_utf8());
            words.extend((!before.is_empty()).then_some(before));
            words.push(word);
            rest = after;
        }
        words.extend((!rest.is_empty()).then_some(rest));
    }
    words
}

/// What became of a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is in both texts.
    Same,
    /// It is in the old text only.
    Removed,
    /// It is in the new text only.
    Added,
}

/// A piece of a diff. The pieces that are the same or removed join to the old text, those that are the
/// same or added to the new one, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What became of it.
    pub change: Change,
    /// The text; never empty.
    pub text: String,
    /// Whether it is to be marked, as a quote is.
    pub marked: bool,
}

impl Piece {
    fn new(change: Change, text: String) -> Self {
        Self {
            change,
            text,
            marked: false,
        }
    }
}

/// The difference between two texts, by words as Unicode separates them. Spaces between two
/// changed words are changed with them, so that a changed phrase reads as one.
pub fn words(old: &str, new: &str) -> Vec<Piece> {
    let diff = TextDiff::from_unicode_words(old, new);
    let mut runs: Vec<Run> = Vec::new();
    for change in diff.iter_all_changes() {
        let text = change.value();
        match (change.tag(), runs.last_mut()) {
            (ChangeTag::Equal, Some(Run::Same(same))) => same.push_str(text),
            (ChangeTag::Equal, _) => runs.push(Run::Same(text.to_owned())),
            (tag, Some(Run::Changed { removed, added })) => {
                (if tag == ChangeTag::Delete {
                    removed
                } else {
                    added
                })
                .push_str(text);
            }
            (ChangeTag::Delete, _) => runs.push(Run::Changed {
                removed: text.to_owned(),
                added: String::new(),
            }),
            (ChangeTag::Insert, _) => runs.push(Run::Changed {
                removed: String::new(),
                added: text.to_owned(),
            }),
        }
    }
    pieces(bridge(runs))
}

/// The same, unless more than `limit` bytes of the two texts lie between what they begin and end with
/// alike: the time that a diff takes grows with the square of what differs.
pub fn words_within(old: &str, new: &str, limit: usize) -> Option<Vec<Piece>> {
    let alike = |a: &mut dyn Iterator<Item = char>, b: &mut dyn Iterator<Item = char>| -> usize {
        let pairs = a.zip(b).take_while(|(a, b)| a == b);
        pairs.map(|(c, _)| c.len_utf8()).sum()
    };
    let start = alike(&mut old.chars(), &mut new.chars());
    let (old_rest, new_rest) = (&old[start..], &new[start..]);
    let end = alike(&mut old_rest.chars().rev(), &mut new_rest.chars().rev());
    let between = old_rest.len() + new_rest.len() - 2 * end;
    (between <= limit).then(|| words(old, new))
}

/// One text, unchanged.
pub fn unchanged(text: &str) -> Vec<Piece> {
    let piece = Piece::new(Change::Same, text.to_owned());
    Vec::from_iter((!text.is_empty()).then_some(piece))
}

/// Marks the given places of the new text, which are byte ranges at character boundaries.
pub fn mark(pieces: Vec<Piece>, places: &[Range<usize>]) -> Vec<Piece> {
    let mut marked = Vec::with_capacity(pieces.len());
    let mut start = 0;
    for piece in pieces {
        if piece.change == Change::Removed {
            marked.push(piece);
            continue;
        }
        let end = start + piece.text.len();
        let mut cuts: Vec<usize> = places
            .iter()
            .flat_map(|place| [place.start, place.end])
            .filter(|cut| (start + 1..end).contains(cut))
            .map(|cut| cut - start)
            .filter(|&cut| piece.text.is_char_boundary(cut))
            .chain([0, piece.text.len()])
            .collect();
        cuts.sort_unstable();
        cuts.dedup();
        for cut in cuts.windows(2) {
            let inside = |place: &Range<usize>| place.contains(&(start + cut[0]));
            marked.push(Piece {
                change: piece.change,
                text: piece.text[cut[0]..cut[1]].to_owned(),
                marked: places.iter().any(inside),
            });
        }
        start = end;
    }
    marked
}

/// Where the words of `quote` occur in `text`, white space aside; `None` when they do not.
pub fn find(quote: &str, text: &str) -> Option<Range<usize>> {
    let needle: String = quote.chars().filter(|c| !c.is_whitespace()).collect();
    if needle.is_empty() {
        return None;
    }
    let mut squeezed = String::with_capacity(text.len());
    // For each byte of the squeezed text, where its character begins and ends in the text.
    let mut origin: Vec<(usize, usize)> = Vec::with_capacity(text.len());
    for (at, c) in text.char_indices().filter(|(_, c)| !c.is_whitespace()) {
        squeezed.push(c);
        origin.resize(squeezed.len(), (at, at + c.len_utf8()));
    }
    let at = squeezed.find(&needle)?;
    let start = origin.get(at)?.0;
    let end = origin.get(at + needle.len() - 1)?.1;
    Some(start..end)
}

enum Run {
    Same(String),
    Changed { removed: String, added: String },
}

/// Joins changes that only spaces separate. Line ends stay, so that paragraphs can be told apart.
fn bridge(runs: Vec<Run>) -> Vec<Run> {
    let mut joined: Vec<Run> = Vec::with_capacity(runs.len());
    let mut runs = runs.into_iter().peekable();
    while let Some(run) = runs.next() {
        match (run, joined.last_mut()) {
            (Run::Same(space), Some(Run::Changed { removed, added }))
                if runs.peek().is_some() && space.chars().all(|c| c == ' ') =>
            {
                removed.push_str(&space);
                added.push_str(&space);
            }
            (
                Run::Changed {
                    removed: more_removed,
                    added: more_added,
                },
                Some(Run::Changed { removed, added }),
            ) => {
                removed.push_str(&more_removed);
                added.push_str(&more_added);
            }
            (run, _) => joined.push(run),
        }
    }
    joined
}

fn pieces(runs: Vec<Run>) -> Vec<Piece> {
    runs.into_iter()
        .flat_map(|run| match run {
            Run::Same(text) => [(Change::Same, text), (Change::Added, String::new())],
            Run::Changed { removed, added } => [(Change::Removed, removed), (Change::Added, added)],
        })
        .filter(|(_, text)| !text.is_empty())
        .map(|(change, text)| Piece::new(change, text))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(pieces: &[Piece]) -> String {
        pieces
            .iter()
            .map(|piece| match piece.change {
                Change::Same => piece.text.clone(),
                Change::Removed => format!("[-{}-]", piece.text),
                Change::Added => format!("{{+{}+}}", piece.text),
            })
            .collect()
    }

    fn join(pieces: &[Piece], without: Change) -> String {
        pieces
            .iter()
            .filter(|piece| piece.change != without)
            .map(|piece| piece.text.as_str())
            .collect()
    }

    #[test]
    fn changed_words_read_as_phrases() {
        for (old, new, expected) in [
            ("a b", "a b", "a b"),
            ("I can not help.", "I can help.", "I can [-not -]help."),
            (
                "the old dog ran",
                "the new cat ran",
                "the [-old dog-]{+new cat+} ran",
            ),
            ("End.", "End!", "End[-.-]{+!+}"),
            ("", "all new", "{+all new+}"),
            ("all old", "", "[-all old-]"),
            ("one\n\ntwo", "1\n\n2", "[-one-]{+1+}\n\n[-two-]{+2+}"),
        ] {
            assert_eq!(plain(&words(old, new)), expected);
        }
    }

    #[test]
    fn a_diff_of_too_much_is_not_made() {
        let (a, b) = ("a ".repeat(500), "b ".repeat(500));
        // Both end with a space.
        assert_eq!(words_within(&a, &b, 1997), None);
        assert!(words_within(&a, &b, 1998).is_some());
        // What both begin and end with does not count, at the borders of characters.
        let (old, new) = (format!("{a}é{a}"), format!("{a}è{a}"));
        assert_eq!(words_within(&old, &new, 4), Some(words(&old, &new)));
        assert_eq!(words_within(&old, &new, 3), None);
        assert_eq!(words_within(&a, &a, 0), Some(words(&a, &a)));
        // The shorter one is the beginning and the end of the longer one.
        assert_eq!(words_within("aa", "aaa", 1), Some(words("aa", "aaa")));
    }

    #[test]
    fn marks_lie_on_the_new_text() {
        let text = "the new cat ran";
        let place = find("cat  r", text).unwrap();
        assert_eq!(&text[place.clone()], "cat r");
        let pieces = mark(words("the old cat ran", text), &[place]);
        let marked: String = pieces
            .iter()
            .filter(|piece| piece.marked)
            .map(|piece| piece.text.as_str())
            .collect();
        assert_eq!(marked, "cat r");
        assert_eq!(join(&pieces, Change::Removed), text);
    }

    #[test]
    fn a_quote_is_found_white_space_aside() {
        assert_eq!(find("b c", "a b\n c d"), Some(2..6));
        assert_eq!(find(" é漢 ", "x é 漢!"), Some(2..8));
        assert_eq!(find("z", "a b"), None);
        assert_eq!(find(" ", "a b"), None);
    }

    #[test]
    fn words_that_differ_are_counted() {
        let share = |old: &str, new: &str| (100.0 * changed_share(old, new)).round() as u32;
        assert_eq!(share("a b  c", "a b\nc"), 0);
        assert_eq!(share("", " "), 0);
        assert_eq!(share("a b", "c d"), 100);
        assert_eq!(share("a b c d", "a b x d"), 25);
        // One character of ten, and one word of five.
        assert_eq!(share("今天下午有雨请带把伞", "今天上午有雨请带把伞"), 10);
        assert_eq!(share("用 Rust 写的。", "用 Rust 读的。"), 20);
        assert_eq!(spaced("写Rust的, 漢"), ["写", "Rust", "的", ",", "漢"]);
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            // Few words, so that much is the same and much moves.
            prop::collection::vec(
                prop::sample::select(
                    &[
                        "a",
                        "b",
                        " ",
                        "  ",
                        "\n",
                        "\r\n",
                        ".",
                        "é",
                        "漢",
                        "👩‍🚀",
                        "don't"
                    ][..]
                ),
                0..40
            )
            .prop_map(|words| words.concat()),
        ]
    }

    proptest! {
        #[test]
        fn the_pieces_join_to_both_texts(old in texts(), new in texts()) {
            let pieces = words(&old, &new);
            prop_assert_eq!(join(&pieces, Change::Added), old.as_str());
            prop_assert_eq!(join(&pieces, Change::Removed), new.as_str());
            prop_assert!(pieces.iter().all(|piece| !piece.text.is_empty()));
            prop_assert!(pieces.windows(2).all(|pair| pair[0].change != pair[1].change));
            if old == new {
                prop_assert!(pieces.iter().all(|piece| piece.change == Change::Same));
            }
        }

        #[test]
        fn marking_changes_no_text(old in texts(), new in texts(), quote in texts()) {
            let found = find(&quote, &new);
            prop_assert_eq!(found.is_some(), crate::verdict::occurs(&quote, &new));
            let places: Vec<_> = found.into_iter().collect();
            let pieces = mark(words(&old, &new), &places);
            prop_assert_eq!(join(&pieces, Change::Added), old.as_str());
            prop_assert_eq!(join(&pieces, Change::Removed), new.as_str());
            let marked: String = pieces.iter().filter(|p| p.marked).map(|p| p.text.as_str()).collect();
            let expected: String = places.iter().map(|place| &new[place.clone()]).collect();
            prop_assert_eq!(marked, expected);
        }
    }
}
