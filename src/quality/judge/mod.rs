//! The judge: which of two responses keeps a principle better.
//!
//! A pair of texts and a principle become questions: the same multiple choice with either text as (A),
//! and after reasons several times over. [`Question`] is one of them, [`answer_all`] asks many at once,
//! [`Judge`] makes questions of texts and judgements of answers, [`pairs`] says which texts of a chain are
//! compared, and [`labelled`] and [`accuracy`] judge the judge.

pub mod accuracy;
mod drive;
pub mod labelled;
pub mod pairs;
mod plot;
mod question;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use drive::{Ask, DriveError, Options, Replies, Summary, answer_all};
pub use plot::reliability_svg;
pub use question::{Answer, Question};

use crate::chain::Call;
use crate::constitution::{Constitution, Principle, by_weight};
use crate::digest::Digest;
use crate::generation::{Choose, Generate, Message, SamplingParams};
use crate::judgement::{Mode, Order, Preference, Vote};
use crate::template::{Comparison, JudgeStep, Pack, PackError};

use question::Conclusion;

/// The letters as they are scored: behind an opening bracket, which the model is made to begin with, and
/// without the closing one, which says nothing.
pub const LETTERS: [&str; 2] = ["(A", "(B"];

/// What decides a judgement besides the texts.
#[derive(Clone, Debug)]
pub struct Judge {
    /// Where principles come from.
    pub constitution: Constitution,
    /// How it is asked.
    pub pack: Pack,
    /// Whether reasons come first.
    pub mode: Mode,
    /// How many principles are drawn for a pair.
    pub ensemble: usize,
    /// Draw from these; `None` for the active ones that no program decides.
    pub only: Option<Vec<String>>,
    /// How often reasons are asked for.
    pub samples: u32,
    /// How reasons are drawn.
    pub sampling: SamplingParams,
    /// What draws and reasons derive from.
    pub seed: u64,
    /// The LoRA adapter that judges.
    pub adapter: Option<String>,
}

/// What two responses respond to.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The prompt's messages.
    pub conversation: Vec<Message>,
    /// The first text of the pair.
    pub first: String,
    /// The second text of the pair.
    pub second: String,
}

/// A question, with what its answer is for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The principle's id.
    pub principle: String,
    /// Which text is (A).
    pub order: Order,
    /// The question.
    pub question: Question,
}

impl Judge {
    /// The principles that may be drawn.
    pub fn drawable(&self) -> Vec<&Principle> {
        match &self.only {
            Some(ids) => ids
                .iter()
                .filter_map(|id| self.constitution.principle(id))
                .collect(),
            None => {
                let mut active = self.constitution.active();
                active.retain(|p| p.check.is_none() && p.weight > 0.0);
                active
            }
        }
    }

    /// The principles for one pair, which `about` names: drawn by weight, none of them twice.
    pub fn draw(&self, about: &impl serde::Serialize) -> Vec<&Principle> {
        let drawable = self.drawable();
        let mut drawn = by_weight(&drawable, &("judge", self.seed, about));
        drawn.truncate(self.ensemble);
        drawn
    }

    /// What is asked about a pair under the given principles.
    pub fn questions(
        self: &Arc<Self>,
        subject: &Arc<Subject>,
        principles: &[String],
    ) -> Result<Vec<Asked>, PackError> {
        let mut asked = Vec::new();
        // Orders outside: what begins alike stands together.
        for order in Order::BOTH {
            for id in principles {
                let Some(principle) = self.constitution.principle(id) else {
                    continue;
                };
                let mut push = |question| {
                    asked.push(Asked {
                        principle: id.clone(),
                        order,
                        question,
                    });
                };
                match self.mode {
                    Mode::Choice => {
                        let compared = self.compared(subject, principle, order, "");
                        let messages = self.pack.render_judge(JudgeStep::Judge, &compared)?;
                        push(Question::direct(self.choice(messages)));
                    }
                    Mode::Cot => {
                        for sample in 0..self.samples {
                            push(self.reasoned(subject, principle, order, sample)?);
                        }
                    }
                }
            }
        }
        Ok(asked)
    }

    /// One vote a principle, from the answers to [`questions`](Self::questions) in their order.
    ///
    /// # Errors
    ///
    /// When an order of a principle has no answer that holds probabilities.
    pub fn votes(&self, asked: &[Asked], answers: Vec<Answer>) -> Result<Vec<Vote>, String> {
        let mut votes: Vec<(String, Letters)> = Vec::new();
        for (asked, answer) in asked.iter().zip(answers) {
            let known = votes.iter().position(|(id, _)| *id == asked.principle);
            let index = known.unwrap_or_else(|| {
                votes.push((asked.principle.clone(), Letters::default()));
                votes.len() - 1
            });
            votes[index].1.add(asked.order, answer);
        }
        votes
            .into_iter()
            .map(|(principle, letters)| {
                let preference = letters.preference().ok_or_else(|| {
                    format!("{principle}: the model gave no probability for the letters")
                })?;
                Ok(Vote {
                    principle,
                    preference,
                    calls: letters.calls,
                })
            })
            .collect()
    }

    fn choice(&self, messages: Vec<Message>) -> Choose {
        Choose {
            messages,
            options: LETTERS.map(str::to_owned).to_vec(),
            adapter: self.adapter.clone(),
        }
    }

    fn compared<'a>(
        &'a self,
        subject: &'a Subject,
        principle: &'a Principle,
        order: Order,
        reasoning: &'a str,
    ) -> Comparison<'a> {
        let (a, b) = subject.shown(order);
        Comparison {
            conversation: &subject.conversation,
            prompt: subject
                .conversation
                .last()
                .map_or("", |message| &message.content),
            a,
            b,
            principle,
            constitution_name: &self.constitution.name,
            reasoning,
        }
    }

    fn reasoned(
        self: &Arc<Self>,
        subject: &Arc<Subject>,
        principle: &Principle,
        order: Order,
        sample: u32,
    ) -> Result<Question, PackError> {
        let compared = self.compared(subject, principle, order, "");
        let (a, b) = subject.shown(order);
        // By what is shown and not by the pair, so that the pair the other way round is asked the same.
        let seed = Digest::of(&("reasons", self.seed, &principle.id, a, b, sample)).seed();
        let generate = Generate {
            messages: self.pack.render_judge(JudgeStep::Reason, &compared)?,
            sampling: self.sampling.clone(),
            seed,
            shape: None,
            repeats: None,
            adapter: self.adapter.clone(),
        };
        let conclusion = Conclusion {
            judge: Arc::clone(self),
            subject: Arc::clone(subject),
            principle: principle.id.clone(),
            order,
        };
        Ok(Question::reasoned(generate, conclusion))
    }

    /// What asks for the letter after the given reasons.
    fn conclude(
        &self,
        subject: &Subject,
        principle: &str,
        order: Order,
        reasoning: &str,
    ) -> Result<Choose, String> {
        let found = self.constitution.principle(principle);
        let principle = found.ok_or_else(|| format!("there is no principle `{principle}`"))?;
        let compared = self.compared(subject, principle, order, reasoning);
        let messages = self.pack.render_judge(JudgeStep::Conclude, &compared);
        Ok(self.choice(messages.map_err(|error| error.to_string())?))
    }
}

impl Subject {
    /// What is shown as (A) and as (B).
    fn shown(&self, order: Order) -> (&str, &str) {
        match order {
            Order::Ab => (&self.first, &self.second),
            Order::Ba => (&self.second, &self.first),
        }
    }
}

/// P(A) in both orders, one for each sample.
#[derive(Default)]
struct Letters {
    ab: Vec<f64>,
    ba: Vec<f64>,
    calls: Vec<(Order, Call)>,
}

impl Letters {
    fn add(&mut self, order: Order, answer: Answer) {
        let all = match order {
            Order::Ab => &mut self.ab,
            Order::Ba => &mut self.ba,
        };
        all.extend(answer.probabilities.first());
        let calls = answer.calls.into_iter().map(|call| (order, call));
        self.calls.extend(calls);
    }

    fn preference(&self) -> Option<Preference> {
        let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
        // Without a sample the mean is NaN, which is no probability.
        Preference::from_letters(mean(&self.ab), mean(&self.ba))
    }
}
