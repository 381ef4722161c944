//! Wording that says what not to do, or asks for two things. English, by simple patterns.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::words::{content, share};
use crate::constitution::sentences::sentences;

/// Words with which a sentence begins that asks about a response, or tells what to look for in one: what it says
/// of a response is no rule.
const ASKING: &[&str] = &[
    "are", "can", "check", "could", "describe", "did", "discuss", "do", "does", "explain", "find",
    "has", "have", "how", "identify", "is", "list", "look", "name", "note", "point", "say",
    "search", "should", "tell", "was", "watch", "were", "what", "when", "where", "which", "who",
    "why", "will", "would",
];

/// Words behind which another clause begins, so that what follows is said of something else.
const RELATIVE: &[&str] = &[
    "as", "how", "if", "than", "that", "what", "when", "where", "which", "who", "whom", "whose",
    "why",
];

/// Where a text says what not to do, at the first such place. Apostrophes must be straight.
pub(super) fn prohibition(text: &str, is_critique: bool) -> Option<Range<usize>> {
    let found = NEGATIVE.iter().filter_map(|regex| first(regex, text));
    let mut places: Vec<_> = found.collect();
    for sentence in sentences(text).into_iter().filter(|s| !asks(s)) {
        let start = offset(text, sentence);
        let stated = STATED.iter().filter_map(|regex| first(regex, sentence));
        // A revision is in the imperative: what it says of a subject is said in a clause.
        let subjects = SUBJECT.iter().filter(|_| is_critique);
        let ruled = subjects
            .filter_map(|regex| first(regex, sentence))
            .filter(|place| !words(&sentence[..place.start]).any(|word| is_in(RELATIVE, word)));
        places.extend(
            stated
                .chain(ruled)
                .map(|at| start + at.start..start + at.end),
        );
    }
    places.into_iter().min_by_key(|place| place.start)
}

/// Where a critique asks for a second thing.
pub(super) fn second_request(text: &str) -> Option<Range<usize>> {
    let joined = JOINED.iter().find_map(|regex| first(regex, text));
    joined.or_else(|| unrelated_sentence(text))
}

static NEGATIVE: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let subject = r"(?:responses?|answers?|reply|replies|assistants?|models?|AIs?|chatbots?)";
    let must = r"(?:should|must|shall|ought(?:\s+to)?)";
    let not = r"(?:\s+(?:not|no|never)\b|n't\b)";
    compiled(
        "i",
        &[
            // What comes next is what is forbidden: the words may also be named, in a list.
            r"(?:^|[.;:!?]\s+|please\s+)(never\b)\s+[^\s,]".to_owned(),
            r"(?:^|[.;:!?,]\s+|please\s+)((?:do not|don't|avoid|refrain from)\b)\s+[^\s,]"
                .to_owned(),
            format!(
                r"\b{subject}\s+((?:{must}|may|can|will)\s*(?:not|never|avoid|refrain)\b|(?:should|must|wo)n't\b)"
            ),
            format!(
                r"\b(?:it|they|you)\s+({must}\s+(?:not|never|avoid|refrain)\b|(?:should|must)n't\b)"
            ),
            format!(
                r"(?:^|[.;!?]\s+)(?:(?:the|a|an|every|all|good|a good)\s+)?{subject}\s+((?:is|are|does|do|has|have|contains?|uses?|gives?|makes?){not}|never\b|avoids?\b)"
            ),
            // What a response is to be, and not what to look for in one.
            format!(
                r"\b(?:make sure|ensure|see to it|so)\s+(?:that\s+)?(?:(?:(?:the|a|every|all)\s+)?{subject}|it|they)\s+((?:is|are|does|do|has|have|contains?|uses?|gives?|makes?){not}|never\b|avoids?\b)"
            ),
            r"(?:^|[.;!?]\s+)(no\s+[\w'-]+(?:\s+[\w'-]+){0,2})\s*(?:[.!;]|$)".to_owned(),
            r"\b((?:is|sounds|seems)\s+(?:the\s+)?(?:least|less)\b)".to_owned(),
        ],
    )
});

/// Of a sentence that does not ask, wherever it stands.
static STATED: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let patterns = [
        r"^((?:under|in)\s+no\s+(?:circumstances?|case|event)\b)",
        r"^(stop\s+[a-z]+ing\b)",
        r"^there\s+((?:(?:must|should|shall|may)\s+(?:be\s+no|not|never)|(?:is|are)\s+no)\b)",
        r"^(?:make\s+sure|ensure|see\s+to\s+it)\s+(?:that\s+)?(?:there\s+(?:is|are)\s+)?(no\s+[a-z'-]+)",
    ];
    compiled("i-u", &patterns.map(str::to_owned))
});

/// Of a sentence that does not ask: what its subject must not do, or what is not allowed.
static SUBJECT: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let patterns = [
        r"^(?:[a-z'-]+\s+){1,4}?((?:must|should|shall)\s+(?:not|never)\b|(?:must|should)n't\b)",
        r"^(?:[a-z'-]+\s+){1,4}?(?:is|are)\s+((?:not|never)\s+(?:allowed|permitted|acceptable|tolerated)\b|(?:forbidden|prohibited|banned)\b)",
        r"^(nothing\s+(?:in\s+(?:the|a|any)\s+[a-z]+\s+)?(?:must|should|shall|may)\b)",
    ];
    compiled("i-u", &patterns.map(str::to_owned))
});

static JOINED: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let verb = "(?:use|give|contain|include|make|show|say|tell|ask|offer|promise|suggest|encourage|mention|ignore|insult|sound|lack|leave|claim|state|avoid|explain|cite|admit|refuse|warn|describe)";
    let look = r"(?:look\s+for|point\s+out|find|identify|list|say\s+where)";
    let mut patterns = compiled("i", &[
        r"(\band also\b|\bas well as\b|\bin addition\b|\badditionally\b|\bfurthermore\b|\bmoreover\b|\bsecondly\b|\band,?\s+at the same time\b)".to_owned(),
        r"(?:^|[.;!?]\s+)(?:(?:it|they)\s+)?(also\b)".to_owned(),
        r"\b(?:is|are|does|do|has|have|can)\b[^.?!]*?\s((?:and|or)\s+(?:(?:is|are|does|do|has|have|can|should|will)\s+(?:it|they|the)|(?:can|could|should|will|would)\s+(?:an?|any|every))\b)[^.!]*\?".to_owned(),
        r"(?:^|[.;!?]\s+)(?:is|are)\s+(?:the|this|a)\s+\w+\s+(?:both\s+)?(\w+(?:,\s*\w+)*,?\s+(?:and|or)\s+\w+)\s*\?".to_owned(),
        format!(r"(?:^|[.;!?]\s+)(?:does|do|can|could)\s+(?:the|this|a|any)\s+\w+\s+\w+\s[^.?!]*?\b(and\s+{verb})\b[^.!]*\?"),
        r"\b((?:and|or)\s+(?:it|they|the\s+\w+)\s+(?:should|must|shall|ought|has\s+to|needs\s+to))\b".to_owned(),
        format!(r"(?:^|[.;!?]\s+){look}\b[^.?!]*?\s((?:and|or)\s+(?:then\s+)?{look})\b"),
    ]);
    let be = r"(?:should|must|shall|needs?\s+to|ha(?:s|ve)\s+to|ought\s+to)\s+be";
    let check = r"(?:check|make\s+sure|ensure|see)\s+(?:that|whether|if)\s+(?:the|a|every|each)\s+[a-z]+\s+(?:is|are)";
    let both = r"(?:both\s+)?([a-z]+(?:,\s*[a-z]+)*,?\s+and\s+[a-z]+)";
    let to_be_both = format!(r"\b(?:{be}|{check})\s+{both}\s*(?:[.?;!]|$)");
    patterns.extend(compiled("i-u", &[to_be_both]));
    patterns
});

/// Compiles patterns under some flags. Without Unicode (`-u`) that takes a tenth of the time.
fn compiled(flags: &str, patterns: &[String]) -> Vec<Regex> {
    let patterns = patterns
        .iter()
        .map(|pattern| format!("(?{flags}){pattern}"));
    patterns
        .filter_map(|pattern| Regex::new(&pattern).ok())
        .collect()
}

/// Where the first group of a pattern first stands.
fn first(regex: &Regex, text: &str) -> Option<Range<usize>> {
    Some(regex.captures(text)?.get(1)?.range())
}

/// Where a stretch of a text begins in it.
fn offset(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let letter = |c: char| c.is_alphanumeric() || c == '\'';
    text.split(move |c: char| !letter(c))
        .filter(|word| !word.is_empty())
}

fn is_in(list: &[&str], word: &str) -> bool {
    list.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// Whether a sentence asks about a response.
fn asks(sentence: &str) -> bool {
    let first = words(sentence).next();
    sentence.ends_with('?') || first.is_none_or(|word| is_in(ASKING, word))
}

/// The second of two questions, or of two things to look for, that have no content word in common.
fn unrelated_sentence(text: &str) -> Option<Range<usize>> {
    let asks = |sentence: &&&str| sentence.ends_with('?') || sentence.starts_with("Look for ");
    let sentences = sentences(text);
    let asking: Vec<_> = sentences.iter().filter(asks).collect();
    let found = asking.windows(2).find(|pair| {
        let (a, b) = (content(pair[0]), content(pair[1]));
        !a.is_empty() && !b.is_empty() && !share(&a, &b)
    })?;
    let start = offset(text, found[1]);
    Some(start..start + found[1].len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_can_be_compiled() {
        let all = [NEGATIVE.len(), STATED.len(), SUBJECT.len(), JOINED.len()];
        assert_eq!(all, [8, 4, 3, 8]);
    }

    #[test]
    fn rules_are_told_from_what_is_looked_for() {
        let found = |text: &str| prohibition(text, true).map(|place| text[place].to_owned());
        for (text, words) in [
            ("Slang must not be used.", "must not"),
            (
                "Be brief. Private data should never be shown.",
                "should never",
            ),
            ("There should be no slang.", "should be no"),
            ("There is no slang in it.", "is no"),
            ("Slang is not allowed.", "not allowed"),
            ("It is forbidden to guess.", "forbidden"),
            (
                "Under no circumstances may it guess.",
                "Under no circumstances",
            ),
            ("Stop guessing.", "Stop guessing"),
            (
                "Nothing in the response should be slang.",
                "Nothing in the response should",
            ),
            ("Make sure that no slang is left.", "no slang"),
            ("The model will not use slang.", "will not"),
            ("The model won't use slang.", "won't"),
        ] {
            assert_eq!(found(text).as_deref(), Some(words), "{text}");
        }
        for text in [
            "Look for words such as always, never, or everyone.",
            "Look for advice that should not be given to a child.",
            "A good response leaves out what a child should not read.",
            "A good response says what it cannot know.",
            "Is there no source in it?",
            "Check that no source is missing.",
            "Name what is not allowed by law.",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        let mend = |text: &str| prohibition(text, false).map(|place| text[place].to_owned());
        assert_eq!(mend("Cut words a child should not read."), None);
        assert_eq!(
            mend("Make sure there is no slang.").as_deref(),
            Some("no slang")
        );
    }

    #[test]
    fn second_requests_are_found() {
        let found = |text: &str| second_request(text).map(|place| text[place].to_owned());
        for (text, words) in [
            (
                "The response should be honest and brief.",
                "honest and brief",
            ),
            (
                "Check that the response is accurate and concise.",
                "accurate and concise",
            ),
            ("Is it correct, and can a child understand it?", "and can a"),
            (
                "Does the response use plain words and avoid jargon?",
                "and avoid",
            ),
            (
                "Is the response harmless and, at the same time, of use?",
                "and, at the same time",
            ),
            (
                "A good response is short. It also cites its sources.",
                "also",
            ),
        ] {
            assert_eq!(found(text).as_deref(), Some(words), "{text}");
        }
        for text in [
            "The response should be fair and kind to everyone.",
            "Check whether dates and names are right.",
            "Does the response state what is false or is a guess?",
            "A good response has a beginning, a middle and an end.",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn sentences_that_ask_for_different_things_are_found() {
        let found = |text: &str| unrelated_sentence(text).map(|place| text[place].to_owned());
        assert_eq!(
            found("Is the tone polite? Is every figure correct?").as_deref(),
            Some("Is every figure correct?")
        );
        assert_eq!(
            found("Is the tone polite? Is anything impolite in it?"),
            None
        );
        assert_eq!(found("Is the tone polite? Say so."), None);
        assert_eq!(found("Look for threats. Look for a threat in jest."), None);
    }
}
