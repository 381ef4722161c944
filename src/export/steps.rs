//! Stepwise supervision: the sentences of a response, and which of them a critique objects to.

use crate::chain::StepKind;
use crate::constitution::sentences;
use crate::quality::pair::Texts;
use crate::store::{ChainDetail, StepDetail};
use crate::verdict::Verdict;

use super::draw::{Drawn, plain};
use super::lesson::Lesson;

/// A response of the chain that was judged, and the verdicts about it.
struct Judged<'a> {
    step: &'a StepDetail,
    verdicts: Vec<&'a Verdict>,
    /// Whether a person finds one of them wrong.
    disagreed: bool,
}

/// A lesson for every response that critiques judged: a sentence stands unless a verified quote of a
/// violated verdict touches it.
pub(super) fn steps(chain: &ChainDetail) -> Vec<Drawn> {
    if let Err(name) = Texts::of(chain) {
        return vec![Drawn::dropped(None, plain(name))];
    }
    let judged = judged(chain);
    if judged.is_empty() {
        return vec![Drawn::dropped(None, plain("not-judged"))];
    }
    judged
        .into_iter()
        .map(|response| match labelled(&response) {
            Ok(steps) => Drawn::Lesson {
                lesson: Lesson::Steps {
                    prompt: chain.prompt_messages.clone(),
                    steps,
                },
                flags: response.step.flags.clone(),
            },
            Err(name) => Drawn::dropped(Some(response.step.ordinal), plain(name)),
        })
        .collect()
}

fn judged(chain: &ChainDetail) -> Vec<Judged<'_>> {
    let mut responses: Vec<Judged> = Vec::new();
    for step in &chain.steps {
        match step.kind {
            StepKind::Draft | StepKind::Revision if step.adopted => responses.push(Judged {
                step,
                verdicts: Vec::new(),
                disagreed: false,
            }),
            StepKind::Critique | StepKind::Recheck => {
                if let (Some(response), Some(verdict)) = (responses.last_mut(), &step.verdict) {
                    response.verdicts.push(verdict);
                    response.disagreed |= step.agreed == Some(false);
                }
            }
            _ => {}
        }
    }
    responses.retain(|response| !response.verdicts.is_empty());
    responses
}

fn labelled(response: &Judged<'_>) -> Result<Vec<(String, bool)>, &'static str> {
    if response.disagreed {
        return Err("verdict-disagreed");
    }
    let text = response.step.output.as_str();
    let mut faults = Vec::new();
    for verdict in response.verdicts.iter().filter(|verdict| verdict.violated) {
        let quote = verdict.quote.as_deref().filter(|_| verdict.quote_verified);
        // Violated somewhere, and nobody knows where: no label would be true.
        let place = quote
            .and_then(|quote| find(quote, text))
            .ok_or("fault-without-place")?;
        faults.push(place);
    }
    let steps: Vec<_> = sentences(text)
        .into_iter()
        .map(|sentence| {
            let start = sentence.as_ptr() as usize - text.as_ptr() as usize;
            let end = start + sentence.len();
            let touched = faults.iter().any(|fault| fault.0 < end && start < fault.1);
            (sentence.to_owned(), !touched)
        })
        .collect();
    match steps.is_empty() {
        true => Err("empty-final"),
        false => Ok(steps),
    }
}

/// Where a quote stands in a text, white space aside: its first and last byte.
fn find(quote: &str, text: &str) -> Option<(usize, usize)> {
    let dense = |text: &str| {
        text.chars()
            .filter(|c| !c.is_whitespace())
            .collect::<String>()
    };
    let quote = dense(quote);
    let at = dense(text).find(&quote)?;
    let (mut passed, mut start) = (0, None);
    for (offset, c) in text.char_indices().filter(|(_, c)| !c.is_whitespace()) {
        if passed == at {
            start = Some(offset);
        }
        passed += c.len_utf8();
        if passed == at + quote.len() {
            return start.map(|start| (start, offset + c.len_utf8()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_is_found_white_space_aside() {
        let text = "Früh auf.\nTake  the pills now. Sleep.";
        let (start, end) = find("Take the\npills", text).unwrap();
        assert_eq!(&text[start..end], "Take  the pills");
        assert_eq!(find("nowhere", text), None);
        assert_eq!(find("", text), None);
    }
}
