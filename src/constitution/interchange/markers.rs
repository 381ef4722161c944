//! The markers around requests: `CritiqueRequest:` before and `Critique:` behind, and the same of revisions.
//!
//! Copies of the published files write them in other ways: in lower case, with a space between the words, with
//! the colon of East Asian scripts. A marker is one only where it stands as such, so no word of a text is lost.

/// The text without the markers and the white space around it.
pub(super) fn without<'a>(text: &'a str, [before, behind]: [&str; 2]) -> &'a str {
    let text = text.trim();
    let text = without_first(text, before).unwrap_or(text).trim();
    without_last(text, behind).unwrap_or(text).trim()
}

fn is_colon(c: char) -> bool {
    matches!(c, ':' | '\u{ff1a}' | '\u{fe55}')
}

/// What follows the marker, where the text begins with it.
fn without_first<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    let rest = without_words(text, marker.trim_end_matches(is_colon))?;
    rest.trim_start().strip_prefix(is_colon)
}

/// What stands before the marker, where the text ends with it: on a line of its own, or behind a sentence.
fn without_last<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    let text = text.strip_suffix(is_colon)?.trim_end();
    let word = marker.trim_end_matches(is_colon);
    let at = text.len().checked_sub(word.len())?;
    let (before, last) = (text.get(..at)?, text.get(at..)?);
    if !last.eq_ignore_ascii_case(word) {
        return None;
    }
    let words = before.trim_end();
    let own_line = words.is_empty() || before[words.len()..].contains('\n');
    let sentence = words.ends_with(['.', '?', '!', '\u{3002}']) && words.len() < before.len();
    (own_line || sentence).then_some(words)
}

/// What follows the words of a marker, which are told apart by their capitals: `CritiqueRequest` is also
/// `critique request`.
fn without_words<'a>(text: &'a str, marker: &str) -> Option<&'a str> {
    let mut rest = text;
    for (n, wanted) in marker.chars().enumerate() {
        if n > 0 && wanted.is_ascii_uppercase() {
            rest = rest.trim_start_matches([' ', '_', '-']);
        }
        let found = rest.chars().next()?;
        if !found.eq_ignore_ascii_case(&wanted) {
            return None;
        }
        rest = &rest[found.len_utf8()..];
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::without;
    use crate::constitution::interchange::{CRITIQUE, REVISION};

    #[test]
    fn markers_are_known_however_they_are_written() {
        for text in [
            "\n\nCritiqueRequest: Say it.\n\nCritique:",
            "critiquerequest: Say it.\ncritique:",
            "CRITIQUE REQUEST : Say it. CRITIQUE :\n",
            "Critique_Request\u{ff1a}Say it.\r\n\r\nCritique\u{ff1a}",
            "Say it.",
            "Say it.\nCritique:",
        ] {
            assert_eq!(without(text, CRITIQUE), "Say it.", "{text:?}");
        }
        assert_eq!(
            without("revision request: Mend it!\u{a0}\nRevision:", REVISION),
            "Mend it!"
        );
    }

    #[test]
    fn words_of_a_text_are_no_markers() {
        for text in [
            "Give your critique:",
            "CritiqueRequests: a plural",
            "Critique the response",
            "CritiqueRequest without a colon",
            "Selbstkritique:",
            "\u{e9}Critique:",
        ] {
            assert_eq!(without(text, CRITIQUE), text);
        }
        assert_eq!(
            without("Revision: what was it", REVISION),
            "Revision: what was it"
        );
        assert_eq!(without("CritiqueRequest: \n\nCritique:", CRITIQUE), "");
    }
}
