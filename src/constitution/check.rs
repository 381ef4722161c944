//! Rules that a program decides: the `check` of a principle.
//!
//! Every rule compares text literally, case included; a pattern ignores case with `(?i)`.

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

pub use super::language::LANGUAGES;
pub use super::pattern::{Pattern, PatternError};
use super::sentences::sentences;
use super::{language, wire::one_or_more};

/// The most characters of a response that a breach quotes.
const LONGEST_QUOTE: usize = 160;

/// The rules of a principle; all of them must hold for a response to pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Check {
    /// The response, white space around it aside, starts with one of these.
    #[serde(
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub starts_with_any: Vec<String>,
    /// The response, white space around it aside, ends with one of these.
    #[serde(
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub ends_with_any: Vec<String>,
    /// Every one of these occurs in the response.
    #[serde(
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub contains: Vec<String>,
    /// None of these occurs in the response.
    #[serde(
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub not_contains: Vec<String>,
    /// Every one of these patterns matches somewhere in the response.
    #[serde(
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub regex: Vec<Pattern>,
    /// None of these patterns matches anywhere in the response.
    #[serde(
        deserialize_with = "one_or_more",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub not_regex: Vec<Pattern>,
    /// The fewest words; a word has a letter or a digit (Unicode annex 29).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_words: Option<u32>,
    /// The most words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_words: Option<u32>,
    /// The most characters as a reader counts them (grapheme clusters), white space around aside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_chars: Option<u32>,
    /// The most sentences. Abbreviations, numbers and wrapped lines end none; headings and list items
    /// are sentences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sentences: Option<u32>,
    /// When true, the whole response is one JSON value.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub json: bool,
    /// The language of the response as an ISO 639-1 code, one of [`LANGUAGES`]. A response too short or
    /// too mixed to tell passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

/// A rule that a response broke.
#[derive(Clone, Debug, PartialEq)]
pub struct Breach {
    /// The name of the rule, such as `max_sentences`.
    pub rule: &'static str,
    /// Which rule broke and where, as a sentence.
    pub message: String,
    /// The words at fault, taken literally from the response, where there are any.
    pub quote: Option<String>,
}

impl Breach {
    fn new(rule: &'static str, message: String, quote: &str) -> Self {
        let quote = cut(quote.trim());
        Self {
            rule,
            message,
            quote: (!quote.is_empty()).then(|| quote.to_owned()),
        }
    }
}

impl Check {
    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The rules that `response` breaks, in the order in which the rules are documented.
    pub fn breaches(&self, response: &str) -> Vec<Breach> {
        let mut breaches = Vec::new();
        self.edges(response, &mut breaches);
        self.substrings(response, &mut breaches);
        self.patterns(response, &mut breaches);
        self.sizes(response, &mut breaches);
        self.form(response, &mut breaches);
        breaches
    }

    fn edges(&self, response: &str, breaches: &mut Vec<Breach>) {
        let text = response.trim();
        let starts = &self.starts_with_any;
        if !starts.is_empty() && !starts.iter().any(|s| text.starts_with(s.trim_start())) {
            let message = format!("The response does not start with {}.", any_of(starts));
            let first = sentences(text).first().copied().unwrap_or(text);
            breaches.push(Breach::new("starts_with_any", message, first));
        }
        let ends = &self.ends_with_any;
        if !ends.is_empty() && !ends.iter().any(|s| text.ends_with(s.trim_end())) {
            let message = format!("The response does not end with {}.", any_of(ends));
            let last = sentences(text).last().copied().unwrap_or(text);
            breaches.push(Breach::new("ends_with_any", message, cut_front(last)));
        }
    }

    fn substrings(&self, response: &str, breaches: &mut Vec<Breach>) {
        for wanted in self.contains.iter().filter(|s| !response.contains(*s)) {
            let message = format!("The response does not contain {}.", shown(wanted));
            breaches.push(Breach::new("contains", message, ""));
        }
        for banned in &self.not_contains {
            if let Some(at) = response.find(banned) {
                let message = format!(
                    "The response contains {}{}.",
                    shown(banned),
                    on_line(response, at)
                );
                breaches.push(Breach::new("not_contains", message, banned));
            }
        }
    }

    fn patterns(&self, response: &str, breaches: &mut Vec<Breach>) {
        let unmatched = |pattern: &&Pattern| pattern.find(response).is_none();
        for pattern in self.regex.iter().filter(unmatched) {
            let message = format!(
                "Nothing in the response matches the pattern {}.",
                shown(pattern.as_str())
            );
            breaches.push(Breach::new("regex", message, ""));
        }
        for pattern in &self.not_regex {
            if let Some((at, found)) = pattern.find(response) {
                let message = format!(
                    "The response matches the pattern {}{}.",
                    shown(pattern.as_str()),
                    on_line(response, at)
                );
                breaches.push(Breach::new("not_regex", message, found));
            }
        }
    }

    fn sizes(&self, response: &str, breaches: &mut Vec<Breach>) {
        let text = response.trim();
        if self.min_words.is_some() || self.max_words.is_some() {
            self.words(text, breaches);
        }
        if let Some(most) = self.max_chars {
            let count = text.graphemes(true).count();
            if let Some((at, _)) = text.grapheme_indices(true).nth(most as usize) {
                let message = format!("The response has {count} characters, more than {most}.");
                breaches.push(Breach::new("max_chars", message, &text[at..]));
            }
        }
        if let Some(most) = self.max_sentences {
            let sentences = sentences(text);
            if let Some(first) = sentences.get(most as usize) {
                let count = sentences.len();
                let message = format!("The response has {count} sentences, more than {most}.");
                breaches.push(Breach::new("max_sentences", message, first));
            }
        }
    }

    fn words(&self, text: &str, breaches: &mut Vec<Breach>) {
        let count = text.unicode_words().count();
        if let Some(least) = self.min_words.filter(|least| count < *least as usize) {
            let message = format!("The response has {count} words, fewer than {least}.");
            breaches.push(Breach::new("min_words", message, ""));
        }
        if let Some(most) = self.max_words
            && let Some((at, _)) = text.unicode_word_indices().nth(most as usize)
        {
            let message = format!("The response has {count} words, more than {most}.");
            breaches.push(Breach::new("max_words", message, &text[at..]));
        }
    }

    fn form(&self, response: &str, breaches: &mut Vec<Breach>) {
        if self.json
            && let Err(error) = serde_json::from_str::<serde_json::Value>(response)
        {
            let message = format!("The response is not one JSON value: {error}.");
            let line = response.lines().nth(error.line().saturating_sub(1));
            breaches.push(Breach::new("json", message, line.unwrap_or_default()));
        }
        if let Some(wanted) = &self.language
            && let Some(found) = language::detect(response)
            && found != wanted
        {
            let message = format!("The response is in the language `{found}`, not `{wanted}`.");
            let first = sentences(response).first().copied().unwrap_or_default();
            breaches.push(Breach::new("language", message, first));
        }
    }
}

/// The beginning of a quote, at most [`LONGEST_QUOTE`] characters.
fn cut(text: &str) -> &str {
    let end = text.char_indices().nth(LONGEST_QUOTE);
    text[..end.map_or(text.len(), |(at, _)| at)].trim_end()
}

/// The end of a quote, at most [`LONGEST_QUOTE`] characters.
fn cut_front(text: &str) -> &str {
    let start = text.char_indices().rev().nth(LONGEST_QUOTE - 1);
    text[start.map_or(0, |(at, _)| at)..].trim_start()
}

/// Where in a text of several lines something stands.
fn on_line(text: &str, at: usize) -> String {
    match text.trim_end().lines().count() {
        0 | 1 => String::new(),
        _ => format!(" on line {}", text[..at].matches('\n').count() + 1),
    }
}

fn shown(text: &str) -> String {
    format!("“{}”", super::error::excerpt(text))
}

fn any_of(texts: &[String]) -> String {
    const SHOWN: usize = 6;
    let listed: Vec<_> = texts.iter().take(SHOWN).map(|text| shown(text)).collect();
    match texts.len() {
        1 => listed.join(""),
        count if count > SHOWN => format!("any of {}, …", listed.join(", ")),
        _ => format!("any of {}", listed.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A check from YAML, and what it says of a response: rule and quote of every breach.
    fn judge(yaml: &str, response: &str) -> Vec<(&'static str, Option<String>)> {
        let check: Check = serde_yaml::from_str(yaml).unwrap();
        let breaches = check.breaches(response);
        for breach in &breaches {
            assert!(breach.message.ends_with('.'), "{}", breach.message);
        }
        breaches.into_iter().map(|b| (b.rule, b.quote)).collect()
    }

    fn breach(rule: &'static str, quote: &str) -> Vec<(&'static str, Option<String>)> {
        vec![(rule, (!quote.is_empty()).then(|| quote.to_owned()))]
    }

    #[test]
    fn edges_ignore_white_space_around_the_response() {
        let yaml = r#"{starts_with_any: ["Yes", "No"], ends_with_any: "?"}"#;
        assert_eq!(judge(yaml, " \n Yes, why? \n"), []);
        let ends = breach("ends_with_any", "Why.");
        assert_eq!(judge(yaml, "No? Why."), ends);
        let starts = breach("starts_with_any", "yes.");
        assert_eq!(judge(yaml, "yes. OK?"), starts);
        assert_eq!(judge(yaml, "").len(), 2);
    }

    #[test]
    fn all_of_contains_and_none_of_not_contains() {
        let yaml = "{contains: [tea, milk], not_contains: [sugar]}";
        assert_eq!(judge(yaml, "tea with milk"), []);
        assert_eq!(judge(yaml, "tea"), breach("contains", ""));
        assert_eq!(
            judge(yaml, "Tea, milk, sugar"),
            [
                ("contains", None),
                ("not_contains", Some("sugar".to_owned()))
            ]
        );
    }

    #[test]
    fn the_message_names_the_line_of_a_longer_response() {
        let check: Check = serde_yaml::from_str("not_contains: b").unwrap();
        let message = |response: &str| check.breaches(response)[0].message.clone();
        assert_eq!(message("a\nb\nc"), "The response contains “b” on line 2.");
        assert_eq!(message("a b"), "The response contains “b”.");
    }

    #[test]
    fn patterns_must_match_or_must_not() {
        let yaml = r"{regex: '^\d+', not_regex: ['(?i)you', 'x*$']}";
        assert_eq!(
            judge(yaml, "ask You"),
            [
                ("regex", None),
                ("not_regex", Some("You".to_owned())),
                ("not_regex", None)
            ]
        );
    }

    #[test]
    fn sizes_count_words_characters_and_sentences() {
        assert_eq!(
            judge("{min_words: 2, max_words: 3}", "one two - three!"),
            []
        );
        assert_eq!(judge("min_words: 2", "one"), breach("min_words", ""));
        assert_eq!(
            judge("max_words: 2", "one, two, three four"),
            breach("max_words", "three four")
        );
        assert_eq!(judge("max_chars: 4", " 👩‍👩‍👧é🇳🇴a "), []);
        assert_eq!(judge("max_chars: 3", "👩‍👩‍👧é🇳🇴ab"), breach("max_chars", "ab"));
        assert_eq!(
            judge("max_sentences: 1", "I pay 3.5 pounds, e.g. In cash"),
            []
        );
        assert_eq!(
            judge("max_sentences: 1", "One. Two. Three."),
            breach("max_sentences", "Two.")
        );
        assert_eq!(judge("max_sentences: 0", ""), []);
    }

    #[test]
    fn json_is_the_whole_response() {
        assert_eq!(judge("json: true", " {\"a\": [1, null]}\n"), []);
        assert_eq!(
            judge("json: true", "{\n\"a\": }"),
            breach("json", "\"a\": }")
        );
        assert_eq!(judge("json: true", "{} {}").len(), 1);
        assert_eq!(judge("json: true", ""), breach("json", ""));
        assert_eq!(judge("json: true", &"[".repeat(100_000)).len(), 1);
        assert_eq!(judge("json: false", "x"), []);
    }

    #[test]
    fn a_language_is_judged_only_where_it_can_be_told() {
        let german = "Der Zug an die Küste fährt jeden Morgen vom zweiten Gleis ab. Immer.";
        assert_eq!(
            judge("language: en", german),
            breach(
                "language",
                "Der Zug an die Küste fährt jeden Morgen vom zweiten Gleis ab."
            )
        );
        assert_eq!(judge("language: de", german), []);
        assert_eq!(judge("language: en", "Nein."), []);
    }

    #[test]
    fn a_check_survives_serialisation_and_leaves_out_what_it_has_not() {
        let check: Check =
            serde_yaml::from_str("{regex: a, contains: [b], max_words: 3, json: true}").unwrap();
        let json = serde_json::to_string(&check).unwrap();
        assert_eq!(
            json,
            r#"{"contains":["b"],"regex":["a"],"max_words":3,"json":true}"#
        );
        assert_eq!(serde_json::from_str::<Check>(&json).unwrap(), check);
        assert!(serde_json::from_str::<Check>("{}").unwrap().is_empty());
        assert!(serde_json::from_str::<Check>(r#"{"min_word": 1}"#).is_err());
    }

    /// Every rule at once, each easily broken.
    fn strict() -> Check {
        serde_yaml::from_str(
            r"{starts_with_any: ['☃'], ends_with_any: ['☃'], contains: ['☃'], not_contains: [a, ' ', '.'],
               regex: '^☃$', not_regex: ['\w+', '.', '\s*'], min_words: 5, max_words: 1, max_chars: 2,
               max_sentences: 1, json: true, language: sn}",
        )
        .unwrap()
    }

    fn quotes_are_literal(response: &str) -> Result<(), TestCaseError> {
        for breach in strict().breaches(response) {
            if let Some(quote) = breach.quote {
                prop_assert!(!quote.is_empty());
                prop_assert!(response.contains(&quote), "{quote:?} in {response:?}");
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_text_can_be_judged_and_quotes_are_literal(response in any::<String>()) {
            quotes_are_literal(&response)?;
        }

        #[test]
        fn prose_can_be_judged_and_quotes_are_literal(
            response in "([A-Za-zäß]{1,9}|e\\.g\\.|[0-9]\\.[0-9]|[.?!…]|\r?\n|- |#| |[👩👧]\u{200d}?|。){0,80}"
        ) {
            quotes_are_literal(&response)?;
        }
    }
}
