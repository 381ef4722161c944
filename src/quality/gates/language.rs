//! Responses in another language than their prompt.

use std::sync::LazyLock;

use regex::Regex;
use whatlang::{Info, detect};

/// The fewest letters of a text from which its language is told.
const FEWEST_LETTERS: usize = 24;

/// How many characters of a text are looked at.
const LOOKED_AT: usize = 600;

/// Two languages by their ISO 639-3 codes, and how sure it is that they differ.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Differs {
    /// Of the prompt.
    pub prompt: &'static str,
    /// Of the response.
    pub response: &'static str,
    /// The lesser of the two confidences, 0 to 1.
    pub confidence: f64,
}

/// Whether a response is in another language than its prompt. `None` where either cannot be told, and where the
/// prompt asks for a translation or names the language.
pub(super) fn differs(prompt: &str, response: &str) -> Option<Differs> {
    // Telling a language takes longer than all other gates together, and most texts need no telling.
    if plainly_english(prompt) && plainly_english(response) {
        return None;
    }
    let (asked, given) = (language(prompt)?, language(response)?);
    if asked.lang() == given.lang() || wanted(prompt, &given) {
        return None;
    }
    Some(Differs {
        prompt: asked.lang().code(),
        response: given.lang().code(),
        confidence: asked.confidence().min(given.confidence()),
    })
}

/// English words that are no words of other languages in these letters.
const ENGLISH: [&str; 24] = [
    "about", "and", "are", "because", "does", "from", "have", "how", "should", "that", "the",
    "their", "there", "they", "this", "what", "when", "which", "who", "why", "with", "would",
    "you", "your",
];

/// Whether one word of eight, and at least two, are English ones.
fn plainly_english(text: &str) -> bool {
    let (mut words, mut english) = (0, 0);
    let each = beginning(text).split(|c: char| !c.is_alphabetic());
    for word in each.filter(|word| !word.is_empty()) {
        words += 1;
        english += usize::from(ENGLISH.iter().any(|known| word.eq_ignore_ascii_case(known)));
    }
    english >= 2 && english * 8 >= words
}

fn beginning(text: &str) -> &str {
    match text.char_indices().nth(LOOKED_AT) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

fn language(text: &str) -> Option<Info> {
    let text = beginning(text);
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    if letters < FEWEST_LETTERS {
        return None;
    }
    detect(text)
}

/// Whether the prompt asks for another language than its own.
fn wanted(prompt: &str, given: &Info) -> bool {
    let lower = prompt.to_lowercase();
    let names = [given.lang().eng_name(), given.lang().name()];
    TRANSLATION.is_match(&lower)
        || names
            .iter()
            .any(|name| lower.contains(&name.to_lowercase()))
}

// The pattern is a constant that the tests compile, so `expect` cannot fail.
static TRANSLATION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"translat|übersetz|tradui|tradu[cz]|vertaal|översätt|oversett|oversæt|перев[ео]|翻译|翻訳|languages?\b")
        .expect("a constant pattern")
});

#[cfg(test)]
mod tests {
    use super::*;

    const ENGLISH: &str = "Could you tell me when the next train to the coast leaves the station?";
    const GERMAN: &str =
        "Der nächste Zug an die Küste fährt morgen früh um sieben Uhr vom zweiten Gleis ab.";

    #[test]
    fn another_language_is_noticed() {
        let differs = differs(ENGLISH, GERMAN).unwrap();
        assert_eq!((differs.prompt, differs.response), ("eng", "deu"));
        assert!(differs.confidence > 0.9, "{}", differs.confidence);
    }

    #[test]
    fn plain_english_needs_no_telling() {
        assert!(plainly_english("What does the dog do when it rains?"));
        for text in [
            GERMAN,
            "The end",
            "Les animaux de la ferme sont là-bas.",
            "De hond ligt in de tuin en the kat ook",
            "",
        ] {
            assert!(!plainly_english(text), "{text}");
        }
        assert_eq!(
            differs(ENGLISH, "Why, this is what you and they would have."),
            None
        );
    }

    #[test]
    fn the_same_language_a_short_text_and_a_wish_are_not() {
        assert_eq!(
            differs(
                ENGLISH,
                "It leaves at seven in the morning from platform two."
            ),
            None
        );
        assert_eq!(differs("When?", GERMAN), None);
        assert_eq!(differs(ENGLISH, "Um sieben."), None);
        for prompt in [
            "Please translate this for me: the next train leaves at seven in the morning.",
            "Answer in German, please: when does the next train to the coast leave?",
        ] {
            assert_eq!(differs(prompt, GERMAN), None, "{prompt}");
        }
    }
}
