//! Labelled comparisons as questions, and what the answers come to.

use std::sync::Arc;

use serde::Serialize;

use super::question::Answer;
use super::{Asked, Judge, Question, Subject};
use crate::generation::{Choose, Message};
use crate::judgement::{Mode, Preference};
use crate::template::PackError;

/// A question that a file poses itself, complete as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Posed {
    /// The question.
    pub conversation: Vec<Message>,
    /// Its answers, such as `(A)` and `(B)`; the one that is offered first comes first.
    pub answers: Vec<String>,
    /// Which of them are right.
    pub right: Vec<bool>,
    /// The question with the meanings of two answers exchanged, and how long each meaning is.
    pub exchanged: Option<(Vec<Message>, [usize; 2])>,
}

/// What is asked about one labelled comparison.
#[derive(Clone, Debug)]
pub enum Labelled {
    /// Two responses: the first text of the pair is the chosen one.
    Responses {
        /// What is asked.
        asked: Vec<Asked>,
        /// The characters of the chosen and of the rejected text.
        lengths: [usize; 2],
    },
    /// A question of the file's own.
    Posed {
        /// The question.
        posed: Posed,
        /// What is asked: as it stands, then exchanged.
        questions: Vec<Question>,
    },
}

/// How the judge did on one comparison.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Scored {
    /// P(right) where the right answer was offered first.
    pub right_first: Option<f64>,
    /// P(right) where it was offered second.
    pub right_second: Option<f64>,
    /// P(right): the mean of both, clamped after reasons.
    pub p: f64,
    /// Whether the right answer is the longer one; `None` where they are as long, or nobody knows.
    pub right_longer: Option<bool>,
}

impl Scored {
    /// Whether both orders were asked and prefer the same answer.
    pub fn agrees(&self) -> Option<bool> {
        let (first, second) = self.right_first.zip(self.right_second)?;
        Some((first > 0.5 && second > 0.5) || (first < 0.5 && second < 0.5))
    }
}

impl Labelled {
    /// What is asked about two responses under principles that are drawn for `line`.
    ///
    /// # Errors
    ///
    /// When a template fails.
    pub fn responses(
        judge: &Arc<Judge>,
        line: u64,
        (conversation, chosen, rejected): (Vec<Message>, String, String),
    ) -> Result<Self, PackError> {
        let drawn = judge.draw(&("labelled", line));
        let principles: Vec<_> = drawn.iter().map(|principle| principle.id.clone()).collect();
        let lengths = [chosen.chars().count(), rejected.chars().count()];
        let subject = Arc::new(Subject {
            conversation,
            first: chosen,
            second: rejected,
        });
        Ok(Self::Responses {
            asked: judge.questions(&subject, &principles)?,
            lengths,
        })
    }

    /// A question that is asked as it stands and, where that is possible, exchanged.
    pub fn posed(judge: &Judge, posed: Posed) -> Self {
        let options = letters(&posed.answers);
        let exchanged = posed.exchanged.as_ref().map(|(messages, _)| messages);
        let questions = std::iter::once(&posed.conversation)
            .chain(exchanged)
            .map(|messages| {
                Question::direct(Choose {
                    messages: messages.clone(),
                    options: options.clone(),
                    adapter: judge.adapter.clone(),
                })
            })
            .collect();
        Self::Posed { posed, questions }
    }

    /// Everything that is asked.
    pub fn questions(&self) -> Vec<Question> {
        match self {
            Labelled::Responses { asked, .. } => asked.iter().map(|a| a.question.clone()).collect(),
            Labelled::Posed { questions, .. } => questions.clone(),
        }
    }

    /// What the answers come to.
    ///
    /// # Errors
    ///
    /// When an answer that is needed holds no probability.
    pub fn score(&self, judge: &Judge, answers: Vec<Answer>) -> Result<Scored, String> {
        match self {
            Labelled::Responses { asked, lengths } => {
                let votes = judge.votes(asked, answers)?;
                let all: Vec<_> = votes.iter().map(|vote| vote.preference).collect();
                let mean = Preference::mean(&all).ok_or("no principle was drawn")?;
                // The second text is the rejected one.
                let right = mean.swapped();
                Ok(Scored {
                    // Swapped, the right text comes second: it is (A) where that one is shown first.
                    right_first: Some(right.p_ba),
                    right_second: Some(right.p_ab),
                    p: right.p(judge.mode),
                    right_longer: longer(lengths[0], lengths[1]),
                })
            }
            Labelled::Posed { posed, .. } => posed.score(&answers),
        }
    }
}

impl Posed {
    fn score(&self, answers: &[Answer]) -> Result<Scored, String> {
        let share = |answer: &Answer, wanted: bool| -> Option<f64> {
            let all = &answer.probabilities;
            let of = |(p, right): (&f64, &bool)| (*right == wanted).then_some(*p);
            (all.len() == self.right.len())
                .then(|| all.iter().zip(&self.right).filter_map(of).sum())
        };
        let no_probability = "the model gave no probability for the answers";
        let first = answers.first().ok_or(no_probability)?;
        let as_posed = share(first, true).ok_or(no_probability)?;
        // With meanings exchanged, the letter that was wrong is right.
        let exchanged = match answers.get(1) {
            Some(answer) => Some(share(answer, false).ok_or(no_probability)?),
            None => None,
        };
        let right_comes_first = self.right.first().copied().unwrap_or_default();
        let (right_first, right_second) = match right_comes_first {
            true => (Some(as_posed), exchanged),
            false => (exchanged, Some(as_posed)),
        };
        let mean = match (right_first, right_second) {
            // From P(A) in each order, rounded as judgements are.
            (Some(first), Some(second)) => Preference::from_letters(1.0 - first, second)
                .ok_or(no_probability)?
                .p(Mode::Choice),
            _ => as_posed,
        };
        let lengths = self.exchanged.as_ref().map(|(_, lengths)| *lengths);
        let right_longer = lengths.and_then(|[a, b]| match right_comes_first {
            true => longer(a, b),
            false => longer(b, a),
        });
        Ok(Scored {
            right_first,
            right_second,
            p: mean,
            right_longer,
        })
    }
}

fn longer(a: usize, b: usize) -> Option<bool> {
    (a != b).then_some(a > b)
}

/// The answers as they are scored: without what all of them end in, such as the closing bracket of a letter.
fn letters(answers: &[String]) -> Vec<String> {
    let closes = |end: char| {
        answers
            .iter()
            .all(|a| a.ends_with(end) && a.chars().count() > 2)
    };
    let mut answers = answers.to_vec();
    if closes(')') {
        for answer in &mut answers {
            answer.pop();
        }
    }
    answers
}
