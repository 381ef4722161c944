//! Failure modes of small models, recognised in a step's output and named on the step.
//!
//! These are descriptions, not decisions about verdicts: nothing here says whether a response violates
//! a principle.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;

use crate::chain::{Flag, StepKind};
use crate::constitution::Principle;
use crate::generation::{FinishReason, Generation};

/// What an output is held against.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// The text that a revision revises.
    pub revised: Option<&'a str>,
    /// The critique that a revision answers.
    pub critique: Option<&'a str>,
    /// The principle that the step is about.
    pub principle: Option<&'a Principle>,
    /// What the person asked.
    pub prompt: &'a str,
}

/// The failure modes of the text of a draft, a prose critique or a revision.
pub fn of_text(kind: StepKind, generation: &Generation, around: Surroundings<'_>) -> Vec<Flag> {
    let text = generation.text.trim();
    let mut flags = of_generation(generation);
    let mut flag = |flag: Flag, found: bool| {
        if found {
            flags.push(flag);
        }
    };
    flag(Flag::Empty, text.is_empty());
    flag(Flag::Repetition, repeats(text));
    if kind == StepKind::Draft || kind == StepKind::Revision {
        flag(Flag::Preamble, PREAMBLE.is_match(first_line(text)));
        flag(Flag::RolesSwapped, ROLES.is_match(text));
        let principle = around
            .principle
            .map(|p| format!("{} {}", p.critique, p.revision));
        let known = [Some(around.prompt), around.revised];
        flag(
            Flag::PrincipleQuoted,
            principle.is_some_and(|principle| share_quoted(&principle, text, &known) > 0.5),
        );
    }
    if kind == StepKind::Revision {
        flag(
            Flag::NoRevision,
            text.len() < 240 && NO_REVISION.is_match(text),
        );
        flag(
            Flag::Unchanged,
            around.revised.is_some_and(|revised| same(revised, text)),
        );
        let known = [around.revised, None];
        flag(
            Flag::CritiqueRepeated,
            around
                .critique
                .is_some_and(|critique| share_quoted(critique, text, &known) > 0.6),
        );
    }
    flags.sort_unstable();
    flags
}

/// The failure modes that a reply of any form can show.
pub fn of_generation(generation: &Generation) -> Vec<Flag> {
    let mut flags = Vec::new();
    if generation.finish != FinishReason::Stop {
        flags.push(Flag::Truncated);
    }
    if generation.invalid_utf8 {
        flags.push(Flag::InvalidUtf8);
    }
    if generation.thinking_unclosed {
        flags.push(Flag::ThinkUnclosed);
    }
    flags
}

/// Whether a revision with these flags holds no usable response.
pub fn unusable(flags: &[Flag]) -> bool {
    flags.iter().any(|flag| {
        matches!(
            flag,
            Flag::Empty
                | Flag::NoRevision
                | Flag::Unchanged
                | Flag::CritiqueRepeated
                | Flag::ThinkUnclosed
        )
    })
}

// The patterns are constants that the tests compile, so `expect` cannot fail.
fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("a constant pattern")
}

static PREAMBLE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?ix) ^ \W*
          (?: (?: sure | certainly | of\ course | okay | ok | absolutely | yes | great )
              (?: \ thing )? [,.!]* \s+ )?
          (?: (?: here \s* (?: 's | ’s | \ is | \ are ) | below \ is | the \ following \ is | this \ is )
              \s (?: [\w'’-]+ \s ){0,6}
              (?: response | revision | version | answer | rewrite | draft | reply ) \b
            | (?: my \s | the \s )? (?: revised | rewritten | improved | updated ) \s
              (?: response | version | answer | reply ) \b [^.]{0,40} :
          )",
    )
});

static NO_REVISION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?ix) ^ \W*
          (?: no \s (?: further \s )? (?: revisions? | changes? | rewrite | edits? | critique ) \b
              .{0,30} \b (?: needed | necessary | required | made )
            | (?: the \s | this \s )? (?: response | answer | draft ) \s .{0,40}
              \b (?: does \s not \s need | needs \s no | requires \s no | does \s not \s require )
              .{0,20} (?: revis | chang | rewrit | edit )
            | no \s (?: further \s )? (?: revisions? | changes? | edits? ) \W* $
            | i \s (?: have | see | would \s make | made | find ) \s (?: no | nothing ) \s
              (?: further \s | other \s | to \s | need \s to \s )? (?: revis | chang | rewrit | edit ) \w*
              (?: \s (?: it | this | to \s make
                | (?: to \s | in \s )? (?: the | this | my ) \s (?: response | answer | draft | text ) ) )? \W* $
            | there \s is \s (?: nothing | no \s need ) \s to \s (?: revise | change | rewrite )
            | (?: none | n/a ) \W* $
          )",
    )
});

static ROLES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?imx) ^ \s* (?: human | user | assistant | person ) \s* : | <\|im_start\|>")
});

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

fn same(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

/// The share of the source's runs of five words that stand in `text`, runs that the text may well know
/// from elsewhere not counted. 0 for a source of fewer than eight words.
fn share_quoted(source: &str, text: &str, known: &[Option<&str>]) -> f64 {
    const RUN: usize = 5;
    let source = words(source);
    if source.len() < 8 {
        return 0.0;
    }
    let runs_of = |text: &str| -> HashSet<String> {
        words(text).windows(RUN).map(|run| run.join(" ")).collect()
    };
    let known: HashSet<String> = known
        .iter()
        .flatten()
        .flat_map(|text| runs_of(text))
        .collect();
    let text = runs_of(text);
    let own: Vec<String> = source
        .windows(RUN)
        .map(|run| run.join(" "))
        .filter(|run| !known.contains(run))
        .collect();
    if own.is_empty() {
        return 0.0;
    }
    own.iter().filter(|run| text.contains(*run)).count() as f64 / own.len() as f64
}

/// Whether a text says the same over and over: more than half of its runs of four words, or of its
/// lines, stood there before.
fn repeats(text: &str) -> bool {
    let words = words(text);
    let again = |runs: &mut dyn Iterator<Item = String>| {
        let (mut seen, mut total) = (HashSet::new(), 0);
        for run in runs {
            seen.insert(run);
            total += 1;
        }
        (total, total - seen.len())
    };
    let (runs, repeated) = again(&mut words.windows(4).map(|run| run.join(" ")));
    let (lines, same_lines) = again(
        &mut text
            .lines()
            .map(str::trim)
            .filter(|line| line.len() > 3)
            .map(str::to_owned),
    );
    (runs >= 24 && repeated * 2 > runs) || (lines >= 6 && same_lines * 2 > lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::principle;
    use crate::generation::Usage;

    fn reply(text: &str) -> Generation {
        Generation {
            text: text.to_owned(),
            raw: text.to_owned(),
            thinking: None,
            thinking_unclosed: false,
            finish: FinishReason::Stop,
            decisions: Vec::new(),
            invalid_utf8: false,
            usage: Usage::default(),
        }
    }

    fn revision(text: &str, around: Surroundings<'_>) -> Vec<Flag> {
        of_text(StepKind::Revision, &reply(text), around)
    }

    #[test]
    fn preambles_are_found_and_answers_are_not() {
        for text in [
            "Here is the revised response:\n\nText.",
            "Sure! Here's a rewritten version of the response: …",
            "Certainly. Here is my revised answer.",
            "Revised response: Text.",
            "**Revised Response:** Text",
        ] {
            assert_eq!(
                revision(text, Surroundings::default()),
                [Flag::Preamble],
                "{text}"
            );
        }
        for text in [
            "Here is how to bake bread: mix flour and water.",
            "The response of the body to cold is shivering.",
            "This is a question that many people ask.",
        ] {
            assert_eq!(revision(text, Surroundings::default()), [], "{text}");
        }
    }

    #[test]
    fn a_refusal_to_revise_is_no_revision() {
        for text in [
            "No revision needed.",
            "No changes are necessary.",
            "The response does not need to be revised.",
            "There is nothing to change.",
            "None.",
            "No changes.",
            "I have no changes to make.",
            "I see no need to revise it.",
            "I would make no changes to the response.",
        ] {
            assert_eq!(
                revision(text, Surroundings::default()),
                [Flag::NoRevision],
                "{text}"
            );
        }
        for text in [
            "No changes came to the town for years.",
            "I have no idea how a tyre is changed.",
            "I made no changes to your calendar; please check it yourself.",
            "I have no editing experience with that tool, so ask someone who does.",
            "I see no change in the figures you sent.",
        ] {
            assert_eq!(revision(text, Surroundings::default()), [], "{text}");
        }
    }

    #[test]
    fn the_critique_or_the_principle_in_place_of_a_response() {
        let critique =
            "The response gives medical advice without saying that a doctor should be asked first.";
        let around = Surroundings {
            critique: Some(critique),
            ..Surroundings::default()
        };
        assert_eq!(revision(critique, around), [Flag::CritiqueRepeated]);
        let principle = principle("kindness-and-honesty");
        let around = Surroundings {
            principle: Some(&principle),
            ..Surroundings::default()
        };
        let quoted = format!("{} {}", principle.critique, principle.revision);
        assert_eq!(revision(&quoted, around), [Flag::PrincipleQuoted]);
        assert_eq!(revision("Ask your doctor before you take it.", around), []);
    }

    #[test]
    fn unchanged_text_and_swapped_roles() {
        let around = Surroundings {
            revised: Some("Same  words."),
            ..Surroundings::default()
        };
        assert_eq!(revision("Same words.", around), [Flag::Unchanged]);
        assert_eq!(
            revision(
                "User: What is it?\nAssistant: It is.",
                Surroundings::default()
            ),
            [Flag::RolesSwapped]
        );
        assert_eq!(revision("The user: a person.", Surroundings::default()), []);
    }

    #[test]
    fn endless_repetition() {
        assert_eq!(
            revision(
                &"I am here to help you. ".repeat(20),
                Surroundings::default()
            ),
            [Flag::Repetition]
        );
        let list = (0..20)
            .map(|n| format!("Step {n} is about topic {n}.\n"))
            .collect::<String>();
        assert_eq!(revision(&list, Surroundings::default()), []);
    }

    #[test]
    fn what_the_backend_saw_is_named() {
        let mut cut = reply("Text");
        cut.finish = FinishReason::Length;
        cut.invalid_utf8 = true;
        assert_eq!(
            of_text(StepKind::Draft, &cut, Surroundings::default()),
            [Flag::Truncated, Flag::InvalidUtf8]
        );
        assert_eq!(
            of_text(StepKind::Draft, &reply("  "), Surroundings::default()),
            [Flag::Empty]
        );
    }
}
