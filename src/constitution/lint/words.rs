//! Words as the rules compare them. English; other languages give fewer warnings, not wrong ones.

use std::sync::LazyLock;

use regex::Regex;
use unicode_segmentation::UnicodeSegmentation;

/// Words that carry no content of their own, and words that every critique and revision may have.
const COMMON: &[&str] = &[
    "a",
    "about",
    "above",
    "after",
    "again",
    "ai",
    "all",
    "also",
    "although",
    "always",
    "am",
    "an",
    "and",
    "another",
    "answer",
    "answers",
    "any",
    "anything",
    "are",
    "as",
    "asked",
    "asks",
    "assistant",
    "assistant's",
    "assistants",
    "at",
    "be",
    "because",
    "been",
    "before",
    "being",
    "below",
    "between",
    "both",
    "but",
    "by",
    "can",
    "cannot",
    "could",
    "did",
    "do",
    "does",
    "doing",
    "don't",
    "down",
    "during",
    "each",
    "either",
    "else",
    "enough",
    "even",
    "every",
    "everything",
    "few",
    "for",
    "from",
    "further",
    "get",
    "give",
    "given",
    "gives",
    "good",
    "had",
    "has",
    "have",
    "having",
    "he",
    "her",
    "here",
    "him",
    "his",
    "how",
    "human",
    "human's",
    "i",
    "if",
    "in",
    "instead",
    "into",
    "is",
    "it",
    "its",
    "itself",
    "just",
    "keep",
    "kept",
    "last",
    "least",
    "less",
    "let",
    "like",
    "look",
    "looking",
    "made",
    "make",
    "makes",
    "many",
    "may",
    "might",
    "model",
    "model's",
    "models",
    "more",
    "most",
    "much",
    "must",
    "need",
    "needed",
    "needs",
    "never",
    "no",
    "nor",
    "not",
    "nothing",
    "of",
    "off",
    "on",
    "once",
    "one",
    "only",
    "or",
    "other",
    "others",
    "ought",
    "our",
    "out",
    "over",
    "own",
    "part",
    "parts",
    "people",
    "person",
    "place",
    "please",
    "principle",
    "put",
    "rather",
    "reader",
    "replies",
    "reply",
    "request",
    "response",
    "response's",
    "responses",
    "rest",
    "revise",
    "revised",
    "rewrite",
    "rule",
    "same",
    "say",
    "says",
    "shall",
    "she",
    "should",
    "so",
    "some",
    "someone",
    "something",
    "still",
    "such",
    "take",
    "text",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "these",
    "they",
    "thing",
    "things",
    "this",
    "those",
    "through",
    "to",
    "too",
    "under",
    "until",
    "up",
    "upon",
    "use",
    "user",
    "user's",
    "uses",
    "using",
    "very",
    "violate",
    "violates",
    "was",
    "way",
    "we",
    "well",
    "were",
    "what",
    "when",
    "where",
    "whether",
    "which",
    "while",
    "who",
    "whom",
    "whose",
    "why",
    "will",
    "with",
    "within",
    "without",
    "would",
    "write",
    "written",
    "yes",
    "yet",
    "you",
    "your",
];

/// The words of a text in lower case, with `'` for every apostrophe.
pub(super) fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase().replace('’', "'");
    lower.unicode_words().map(str::to_owned).collect()
}

/// The words of a text that say what it is about. Variables stand for other words.
pub(super) fn content(text: &str) -> Vec<String> {
    static BRACES: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?s)\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}").ok());
    let text = match &*BRACES {
        Some(braces) if text.contains('{') => braces.replace_all(text, " "),
        _ => text.into(),
    };
    let mut words = words(&text);
    words.retain(|word| COMMON.binary_search(&word.as_str()).is_err());
    words.sort();
    words.dedup();
    words
}

/// Whether two texts have a content word in common, in whatever form it stands.
pub(super) fn share(a: &[String], b: &[String]) -> bool {
    a.iter().any(|a| b.iter().any(|b| akin(a, b)))
}

/// Whether two words are forms of one word, judged by how they begin.
fn akin(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    let (a, b) = (bare(a), bare(b));
    let common = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let (a, b) = (a.chars().count(), b.chars().count());
    let (short, long) = (a.min(b), a.max(b));
    // "true" and "truth", "easy" and "easily"; not "contain" and "continue".
    let needed = if short > 4 { 4 } else { 3 };
    common >= needed && common + 2 >= short && common + 5 >= long
}

/// The word without a prefix that turns its meaning: what is unsafe is mended by what is safe.
fn bare(word: &str) -> &str {
    let cut = ["un", "in", "im", "dis", "mis", "non"].iter();
    let mut cut = cut.filter_map(|prefix| word.strip_prefix(prefix));
    cut.find(|rest| rest.chars().count() >= 4).unwrap_or(word)
}

/// About how many tokens a text takes: four letters of ASCII or one other character each.
pub(super) fn tokens(text: &str) -> usize {
    let ascii = text.bytes().filter(u8::is_ascii).count();
    let others = text.chars().filter(|c| !c.is_ascii()).count();
    ascii.div_ceil(4) + others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_words_are_in_order() {
        assert!(COMMON.is_sorted());
    }

    #[test]
    fn forms_of_a_word_are_akin() {
        for (a, b) in [
            ("true", "truth"),
            ("hurt", "hurtful"),
            ("answer", "unanswered"),
            ("invent", "invented"),
            ("easy", "easily"),
            ("safe", "unsafe"),
        ] {
            assert!(akin(a, b) && akin(b, a), "{a} {b}");
        }
        for (a, b) in [
            ("contain", "continue"),
            ("rude", "sentence"),
            ("short", "shout"),
            ("cat", "dog"),
        ] {
            assert!(!akin(a, b), "{a} {b}");
        }
    }

    #[test]
    fn content_leaves_out_what_every_text_has() {
        let text = "A good response doesn't hurt anyone. Look for Harm!";
        assert_eq!(content(text), ["anyone", "doesn't", "harm", "hurt"]);
        let paper = "Please shorten the assistant's last answer, given {{ prompt }}{% if round %}.{% endif %}";
        assert_eq!(content(paper), ["shorten"]);
        assert_eq!(tokens("abcd efgh"), 3);
        assert_eq!(tokens("漢字"), 2);
    }
}
