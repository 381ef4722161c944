//! Counting sentences the way a reader would.
//!
//! The boundaries of Unicode's annex 29 are taken first, and then mended for what that annex leaves open:
//! abbreviations and initials before a capital, quotations followed by "he said", list markers. A blank
//! line or a list marker ends a sentence; any other line break is white space, so that wrapped prose
//! counts as it reads. A stretch without a letter or digit is no sentence.

use unicode_segmentation::UnicodeSegmentation;

/// Words that a full stop follows without ending the sentence, in lower case.
const ABBREVIATIONS: &[&str] = &[
    "approx", "capt", "cf", "dr", "e.g", "eg", "gen", "gov", "i.e", "ie", "lt", "messrs", "mr",
    "mrs", "ms", "mt", "mx", "prof", "rev", "sgt", "st", "viz", "vs",
];

/// Words that do so before a number.
const BEFORE_NUMBERS: &[&str] = &[
    "art", "ch", "col", "eq", "fig", "no", "nos", "p", "pp", "sec", "vol",
];

/// The sentences of a text, without the white space around them.
pub fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for block in blocks(text) {
        let (joined, origin) = joined(block);
        let boundaries = boundaries(&joined);
        let mut start = 0;
        for (index, &end) in boundaries.iter().enumerate() {
            let next = boundaries.get(index + 1);
            if next.is_some_and(|&next| goes_on(&joined[start..end], &joined[end..next])) {
                continue;
            }
            let sentence = block[origin[start]..origin[end]].trim();
            if sentence.chars().any(char::is_alphanumeric) {
                found.push(sentence);
            }
            start = end;
        }
    }
    found
}

/// A block with its line breaks turned into spaces and very long runs of punctuation or white space cut
/// (finding boundaries takes quadratic time in them), and for each of its bytes and its end the place
/// in the block.
fn joined(block: &str) -> (String, Vec<usize>) {
    const LONGEST_RUN: usize = 32;
    let (mut joined, mut origin) = (String::new(), Vec::new());
    let mut run = 0;
    for (at, c) in block.char_indices() {
        run = if c.is_alphanumeric() { 0 } else { run + 1 };
        if run <= LONGEST_RUN {
            let c = if matches!(c, '\n' | '\r') { ' ' } else { c };
            joined.push(c);
            origin.resize(joined.len(), at);
        }
    }
    origin.push(block.len());
    (joined, origin)
}

/// Where sentences may end, the end of the text included: the boundaries of annex 29, and those before a
/// number, which it leaves out when a lower-case word follows.
fn boundaries(text: &str) -> Vec<usize> {
    let pieces = text.split_sentence_bound_indices();
    let mut ends: Vec<usize> = pieces.map(|(at, piece)| at + piece.len()).collect();
    for (at, _) in text.match_indices(". ") {
        let rest = text[at + 1..].trim_start();
        let number = rest.trim_start_matches(['-', '−', '$', '€', '£', '(', '"', '“']);
        if number.starts_with(char::is_numeric) {
            ends.push(text.len() - rest.len());
        }
    }
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// The stretches of a text that no sentence crosses: paragraphs and list items, markers removed.
fn blocks(text: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let (mut start, mut end) = (0, 0);
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let marker = marker(line);
        if line.trim().is_empty() || marker.is_some() || line.starts_with('#') {
            blocks.push(&text[start..end]);
            start = at + marker.unwrap_or(0);
        }
        at += line.len();
        end = at;
        // A heading is a block of its own.
        if line.starts_with('#') {
            blocks.push(&text[start..end]);
            start = end;
        }
    }
    blocks.push(&text[start..end]);
    blocks
}

/// The length of a list marker at the start of a line, such as `- `, `* ` or `2. `.
fn marker(line: &str) -> Option<usize> {
    let text = line.trim_start();
    let indent = line.len() - text.len();
    let bullet = text.strip_prefix(['-', '*', '+', '•', '–']).or_else(|| {
        let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let count = text.len() - digits.len();
        (1..=3)
            .contains(&count)
            .then(|| digits.strip_prefix(['.', ')']))
            .flatten()
    })?;
    bullet
        .starts_with([' ', '\t'])
        .then(|| indent + text.len() - bullet.len())
}

/// Whether a sentence goes on after a boundary of annex 29.
fn goes_on(sentence: &str, next: &str) -> bool {
    let lower_case = next
        .chars()
        .find(|c| c.is_alphanumeric())
        .is_some_and(char::is_lowercase);
    if lower_case {
        return true;
    }
    let Some(stem) = sentence.trim_end().strip_suffix('.') else {
        return false;
    };
    let word = stem
        .rsplit(|c: char| c.is_whitespace() || matches!(c, '(' | '[' | '"' | '“'))
        .next()
        .unwrap_or_default();
    // "J. Smith", "U.S. Senate"; but "so did I." ends.
    let last = word.rsplit('.').next().unwrap_or_default();
    let mut letters = last.chars();
    let initial = matches!((letters.next(), letters.next()),
        (Some(c), None) if c.is_uppercase() && (c != 'I' || word.contains('.')));
    let word = word.to_lowercase();
    initial
        || ABBREVIATIONS.contains(&word.as_str())
        || next.starts_with(char::is_numeric) && BEFORE_NUMBERS.contains(&word.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        sentences(text).len()
    }

    #[test]
    fn plain_sentences() {
        assert_eq!(count(""), 0);
        assert_eq!(count("  \n\n "), 0);
        assert_eq!(count("One"), 1);
        assert_eq!(count("One. Two! Three? Four"), 4);
        assert_eq!(sentences(" One.  Two "), ["One.", "Two"]);
        assert_eq!(count("!!! ... ---"), 0);
        assert_eq!(count("今日は晴れです。明日は雨です。"), 2);
    }

    #[test]
    fn stops_that_end_nothing() {
        assert_eq!(count("Bring fruit, e.g. Apples or pears."), 1);
        assert_eq!(count("It costs 3.5 euros (approx. Four dollars)."), 1);
        assert_eq!(count("Dr. Smith met J. R. Jones in St. Ives."), 1);
        assert_eq!(count("The U.S. Senate voted."), 1);
        assert_eq!(count("Well... maybe not."), 1);
        assert_eq!(count("Visit example.com today."), 1);
        assert_eq!(count("\"Stop!\" he said."), 1);
        assert_eq!(count("It took approx. 5 minutes."), 1);
        assert_eq!(count("Add the flour. 3 eggs go in next."), 2);
        assert_eq!(count("See fig. 3 and No. 5. Compare them."), 2);
        assert_eq!(count("So did I. Then we left."), 2);
        assert_eq!(count("The answer is no. We left."), 2);
    }

    #[test]
    fn long_runs_neither_hang_nor_move_a_sentence() {
        let text = format!(
            "One.{}{}Two.{}",
            ")".repeat(300_000),
            " ".repeat(99),
            "!".repeat(300_000)
        );
        let found = sentences(&text);
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("One.") && found[1].starts_with("Two."));
    }

    #[test]
    fn an_ellipsis_before_a_capital_ends_a_sentence() {
        assert_eq!(count("Wait... What was that?"), 2);
    }

    #[test]
    fn line_breaks_lists_and_headings() {
        assert_eq!(count("a line that\nis wrapped\r\nhere."), 1);
        assert_eq!(count("A title\n\nA paragraph"), 2);
        assert_eq!(count("Buy:\n- milk\n- bread\n"), 3);
        assert_eq!(count("1. Buy milk\n2. Buy bread. Eat it.\n10) Rest"), 4);
        assert_eq!(count("# Plan\nWe go home."), 2);
        assert_eq!(count("2024 was dry.\n-5 degrees in May."), 2);
    }
}
