//! What must hold in every conversation.

use crate::export::lesson::Lesson;
use crate::generation::{Message, Role};

/// What is wrong with the turns of a row.
pub(super) fn faults(lesson: &Lesson) -> Vec<String> {
    let mut faults = Vec::new();
    let prompt = lesson.prompt();
    if let Some(what) = order(prompt) {
        faults.push(what);
    }
    if let Some(index) = prompt
        .iter()
        .position(|message| message.content.trim().is_empty())
    {
        faults.push(format!("message {index} of the prompt is blank"));
    }
    if lesson
        .answers()
        .iter()
        .any(|answer| answer.trim().is_empty())
    {
        faults.push("an answer is blank".to_owned());
    }
    if let Lesson::Steps { steps, .. } = lesson
        && (steps.is_empty() || steps.iter().any(|(text, _)| text.trim().is_empty()))
    {
        faults.push("a step is blank, or there is none".to_owned());
    }
    faults
}

/// Perhaps a system message; then person and model in turn, the person first and last.
fn order(prompt: &[Message]) -> Option<String> {
    let turns = match prompt.first() {
        Some(first) if first.role == Role::System => &prompt[1..],
        _ => prompt,
    };
    for (index, message) in turns.iter().enumerate() {
        let expected = match index % 2 {
            0 => Role::User,
            _ => Role::Assistant,
        };
        if message.role != expected {
            let place = index + prompt.len() - turns.len();
            return Some(format!(
                "message {place} of the prompt is of the {} and not of the {}: roles do not alternate",
                message.role.as_str(),
                expected.as_str()
            ));
        }
    }
    match turns.len() % 2 {
        1 => None,
        _ => Some("the prompt does not end with the user".to_owned()),
    }
}

/// What is wrong with the two texts of a pair, or with how sure a row is.
pub(super) fn contrast(lesson: &Lesson) -> Option<String> {
    let probability = match lesson {
        Lesson::Pair { probability, .. } => *probability,
        Lesson::Critique(critique) => critique.probability,
        _ => None,
    };
    if probability.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
        return Some("the probability is not between 0 and 1".to_owned());
    }
    let (one, other) = match lesson {
        Lesson::Pair {
            chosen, rejected, ..
        } => (chosen, rejected),
        Lesson::Revision(revision) => (&revision.revision, &revision.response),
        _ => return None,
    };
    (one.trim() == other.trim()).then(|| "chosen and rejected are the same".to_owned())
}

/// Every conversation that a trainer makes of a row.
pub(super) fn whole(lesson: &Lesson) -> Vec<Vec<Message>> {
    let answered = |answer: String| {
        let mut messages = lesson.prompt().to_vec();
        messages.push(Message::assistant(answer));
        messages
    };
    let answers = lesson.answers();
    match answers.is_empty() {
        true => vec![lesson.prompt().to_vec()],
        false => answers.into_iter().map(answered).collect(),
    }
}
