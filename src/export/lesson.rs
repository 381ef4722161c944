//! What there is to learn from: the terms that every format has in common.

use crate::generation::{Message, Role};
use crate::quality::pair::Origin;

/// One thing to learn, before a format gives it a form.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Lesson {
    /// To answer a conversation like this.
    Answer {
        prompt: Vec<Message>,
        response: String,
    },
    /// To prefer one answer to another.
    Pair {
        prompt: Vec<Message>,
        chosen: String,
        rejected: String,
        /// P(chosen is better), as a judge has it.
        probability: Option<f64>,
    },
    /// That an answer is good, or is not.
    Unpaired {
        prompt: Vec<Message>,
        completion: String,
        good: bool,
    },
    /// A conversation to answer.
    Prompt { prompt: Vec<Message> },
    /// Which sentences of an answer stand.
    Steps {
        prompt: Vec<Message>,
        steps: Vec<(String, bool)>,
    },
    /// A critique and the revision that it led to.
    Revision(Box<Revision>),
    /// To criticise.
    Critique(Box<Critique>),
}

/// A response, its critique and its revision.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Revision {
    pub prompt: Vec<Message>,
    pub response: String,
    pub critique_request: String,
    pub critique: String,
    pub revision_request: String,
    pub revision: String,
    /// Where the revision and the response come from; `None` for one that no chain gave.
    pub from: Option<[Origin; 2]>,
}

/// A critique as it was asked for and written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Critique {
    pub request: Vec<Message>,
    pub reply: String,
    pub principle: String,
    pub violated: Option<bool>,
    pub probability: Option<f64>,
}

/// What a format draws from chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draws {
    Answers,
    Pairs,
    Unpaired,
    Prompts,
    Steps,
    Revisions,
    Critiques,
}

impl Lesson {
    /// The conversation before the answer.
    pub fn prompt(&self) -> &[Message] {
        match self {
            Lesson::Answer { prompt, .. }
            | Lesson::Pair { prompt, .. }
            | Lesson::Unpaired { prompt, .. }
            | Lesson::Prompt { prompt }
            | Lesson::Steps { prompt, .. } => prompt,
            Lesson::Revision(revision) => &revision.prompt,
            Lesson::Critique(critique) => &critique.request,
        }
    }

    /// Every text that a row holds.
    pub fn texts(&self) -> Vec<&str> {
        let mut texts: Vec<&str> = self
            .prompt()
            .iter()
            .map(|message| message.content.as_str())
            .collect();
        match self {
            Lesson::Answer { response, .. } => texts.push(response),
            Lesson::Pair {
                chosen, rejected, ..
            } => texts.extend([chosen.as_str(), rejected]),
            Lesson::Unpaired { completion, .. } => texts.push(completion),
            Lesson::Prompt { .. } => {}
            Lesson::Steps { steps, .. } => {
                texts.extend(steps.iter().map(|(text, _)| text.as_str()))
            }
            Lesson::Revision(round) => texts.extend([
                round.response.as_str(),
                &round.critique_request,
                &round.critique,
                &round.revision_request,
                &round.revision,
            ]),
            Lesson::Critique(critique) => texts.push(&critique.reply),
        }
        texts
    }

    /// The answers to it, the preferred one first.
    pub fn answers(&self) -> Vec<String> {
        match self {
            Lesson::Answer { response, .. } => vec![response.clone()],
            Lesson::Pair {
                chosen, rejected, ..
            } => vec![chosen.clone(), rejected.clone()],
            Lesson::Unpaired { completion, .. } => vec![completion.clone()],
            Lesson::Prompt { .. } => Vec::new(),
            Lesson::Steps { steps, .. } => {
                let texts: Vec<&str> = steps.iter().map(|(text, _)| text.as_str()).collect();
                vec![texts.join("\n")]
            }
            Lesson::Revision(revision) => {
                vec![revision.revision.clone(), revision.response.clone()]
            }
            Lesson::Critique(critique) => vec![critique.reply.clone()],
        }
    }
}

/// A conversation whose system message is kept apart, as some formats have it.
pub(super) struct Apart<'a> {
    /// What the system message says.
    pub system: Option<&'a str>,
    /// Finished exchanges before the last question: what the person said, and the answer.
    pub history: Vec<(&'a str, &'a str)>,
    /// The last question.
    pub question: &'a str,
}

/// Takes a conversation apart; `None` where roles do not alternate, or it does not end with the person.
pub(super) fn apart(messages: &[Message]) -> Option<Apart<'_>> {
    let (system, turns) = match messages.split_first() {
        Some((first, rest)) if first.role == Role::System => (Some(first.content.as_str()), rest),
        _ => (None, messages),
    };
    let (question, earlier) = turns.split_last()?;
    if question.role != Role::User || earlier.len() % 2 != 0 {
        return None;
    }
    let history = earlier
        .chunks_exact(2)
        .map(|pair| match (pair[0].role, pair[1].role) {
            (Role::User, Role::Assistant) => {
                Some((pair[0].content.as_str(), pair[1].content.as_str()))
            }
            _ => None,
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Apart {
        system,
        history,
        question: &question.content,
    })
}

/// Puts a conversation together again.
pub(super) fn together(
    system: Option<&str>,
    history: &[(String, String)],
    question: &str,
) -> Vec<Message> {
    let mut messages = Vec::new();
    messages.extend(system.map(|system| Message::new(Role::System, system)));
    for (asked, answered) in history {
        messages.push(Message::user(asked));
        messages.push(Message::assistant(answered));
    }
    messages.push(Message::user(question));
    messages
}

/// Why a format cannot hold a lesson.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// It has room for one question and one answer, and there are more.
    SeveralTurns,
    /// It asks for turns of person and model, one after the other.
    RolesDoNotAlternate,
    /// It is of another kind.
    NotForFormat,
}

impl Misfit {
    /// The name used in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Misfit::SeveralTurns => "several-turns",
            Misfit::RolesDoNotAlternate => "roles-do-not-alternate",
            Misfit::NotForFormat => "not-for-format",
        }
    }
}
