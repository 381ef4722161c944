//! Writes one reply in a shape: forces what is known, and reads rows of logits in the holes.

use crate::backend::llama::sampling::{Sampler, log_softmax};
use crate::backend::llama::text_value::TextValue;
use crate::generation::Decision;

use super::{CompiledShape, Hole, Vocabulary};

/// Writes one reply in a shape.
#[derive(Debug)]
pub struct ShapeWriter {
    shape: std::sync::Arc<CompiledShape>,
    hole: usize,
    value: Value,
    text: Vec<u8>,
    decisions: Vec<Decision>,
}

/// Where the writer stands inside a hole.
#[derive(Debug)]
enum Value {
    Start,
    Text(TextValue),
    OneOf(Vec<u32>),
}

/// Whether a reply is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Decode the tokens that were pushed, and come back with the row behind them.
    More,
    /// Nothing is left to decode.
    Done,
}

impl ShapeWriter {
    /// A writer at the start of a reply. Pushes the tokens of the first literal.
    pub fn new(shape: std::sync::Arc<CompiledShape>, tokens: &mut Vec<u32>) -> Self {
        let mut writer = Self {
            shape,
            hole: 0,
            value: Value::Start,
            text: Vec::new(),
            decisions: Vec::new(),
        };
        writer.force(0, tokens);
        writer
    }

    /// The reply so far, as bytes.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether free text is being written.
    pub fn in_text(&self) -> bool {
        matches!(self.shape.holes.get(self.hole), Some(Hole::Text { .. }))
    }

    /// Whether the next row is read for a probability, which is kept to its last digit.
    pub fn decides(&self) -> bool {
        matches!(self.shape.holes.get(self.hole), Some(Hole::Decision { .. }))
    }

    /// Whether the shape lets a token come next, drawn from the row behind the last one. None may where
    /// nothing is drawn, because the text has come to its limit.
    pub fn allows(&self, id: u32, vocabulary: &impl Vocabulary) -> bool {
        match self.shape.holes.get(self.hole) {
            None => false,
            Some(Hole::Decision { yes, no, .. }) => {
                [yes, no].iter().any(|answer| answer.first() == Some(&id))
            }
            Some(Hole::Text { max_tokens }) => {
                let value = self.text_value();
                value.tokens() < *max_tokens && fits(id, &value, self.tail(), vocabulary)
            }
            Some(Hole::OneOf { options }) => {
                let written: &[u32] = match &self.value {
                    Value::OneOf(written) => written.as_slice(),
                    _ => &[],
                };
                options.iter().any(|option| {
                    option.starts_with(written) && option.get(written.len()) == Some(&id)
                })
            }
        }
    }

    /// The text that is being written.
    fn text_value(&self) -> TextValue {
        match self.value {
            Value::Text(value) => value,
            _ => TextValue::new(),
        }
    }

    /// What follows the closing quotation mark of the text that is being written.
    fn tail(&self) -> &str {
        let literal = self.shape.literals.get(self.hole + 1);
        literal.and_then(|l| l.text.get(1..)).unwrap_or_default()
    }

    /// The decisions so far.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// Takes the row of logits behind the last token and pushes the tokens that come next.
    pub fn advance(
        &mut self,
        logits: &[f32],
        sampler: &mut Sampler,
        vocabulary: &impl Vocabulary,
        tokens: &mut Vec<u32>,
    ) -> Progress {
        let shape = std::sync::Arc::clone(&self.shape);
        let Some(hole) = shape.holes.get(self.hole) else {
            return Progress::Done;
        };
        match hole {
            Hole::Decision {
                field,
                threshold,
                end_if_false,
                yes,
                no,
            } => {
                let probability = decide(logits, yes, no);
                self.decisions.push(Decision {
                    field: field.clone(),
                    probability,
                });
                let answer = probability >= *threshold;
                self.push_all(if answer { yes } else { no }, vocabulary, tokens);
                if !answer && *end_if_false {
                    self.text.push(b'}');
                    return Progress::Done;
                }
                self.close_hole(tokens)
            }
            Hole::Text { max_tokens } => {
                self.write_text(*max_tokens, logits, sampler, vocabulary, tokens)
            }
            Hole::OneOf { options } => {
                self.write_option(options, logits, sampler, vocabulary, tokens)
            }
        }
    }

    fn write_text(
        &mut self,
        max_tokens: u32,
        logits: &[f32],
        sampler: &mut Sampler,
        vocabulary: &impl Vocabulary,
        tokens: &mut Vec<u32>,
    ) -> Progress {
        let value = self.text_value();
        let exhausted = value.tokens() >= max_tokens;
        let token = if exhausted {
            None
        } else {
            let tail = self.tail();
            sampler.sample(logits, |id| fits(id, &value, tail, vocabulary))
        };
        let Some(token) = token else {
            // The limit is reached, or no token fits: close the string here.
            self.text.truncate(self.text.len() - value.dangling());
            return self.close_hole(tokens);
        };
        let piece = vocabulary.piece(token);
        tokens.push(token);
        self.text.extend_from_slice(piece);
        match value.push(piece) {
            Ok(open) => {
                self.value = Value::Text(open);
                Progress::More
            }
            Err(rest) => {
                // `accepts` has made sure that what the token wrote beyond the text begins what follows.
                self.finish_literal(rest, tokens)
            }
        }
    }

    /// The token closed the string and wrote `begun` more bytes, with which the next literal goes on.
    fn finish_literal(&mut self, begun: usize, tokens: &mut Vec<u32>) -> Progress {
        let shape = std::sync::Arc::clone(&self.shape);
        self.hole += 1;
        self.value = Value::Start;
        let (text, rest) = shape.literals[self.hole].behind(1 + begun);
        self.text.extend_from_slice(text.as_bytes());
        tokens.extend_from_slice(rest);
        if self.hole == shape.holes.len() {
            Progress::Done
        } else {
            Progress::More
        }
    }

    fn write_option(
        &mut self,
        options: &[Vec<u32>],
        logits: &[f32],
        sampler: &mut Sampler,
        vocabulary: &impl Vocabulary,
        tokens: &mut Vec<u32>,
    ) -> Progress {
        let mut written = match std::mem::replace(&mut self.value, Value::Start) {
            Value::OneOf(written) => written,
            _ => Vec::new(),
        };
        loop {
            let mut next: Vec<u32> = options
                .iter()
                .filter(|option| option.starts_with(&written))
                .filter_map(|option| option.get(written.len()).copied())
                .collect();
            next.sort_unstable();
            next.dedup();
            let forced = match next.as_slice() {
                [] => return self.close_hole(tokens),
                [only] => Some(*only),
                _ => None,
            };
            // An empty row of choices is handled above, so there is always a token here.
            let Some(token) = forced.or_else(|| sampler.sample_among(logits, &next)) else {
                return self.close_hole(tokens);
            };
            self.push_all(&[token], vocabulary, tokens);
            written.push(token);
            if forced.is_none() && !options.contains(&written) {
                // The next choice depends on a row that is not there yet, unless it is forced.
                let continuing: Vec<_> = options
                    .iter()
                    .filter(|option| option.starts_with(&written))
                    .collect();
                if continuing.len() > 1 {
                    self.value = Value::OneOf(written);
                    return Progress::More;
                }
            }
        }
    }

    fn push_all(&mut self, ids: &[u32], vocabulary: &impl Vocabulary, tokens: &mut Vec<u32>) {
        for &id in ids {
            tokens.push(id);
            self.text.extend_from_slice(vocabulary.piece(id));
        }
    }

    /// Goes on behind the current hole: forces the literal that follows it.
    fn close_hole(&mut self, tokens: &mut Vec<u32>) -> Progress {
        self.hole += 1;
        self.value = Value::Start;
        let hole = self.hole;
        self.force(hole, tokens);
        if hole == self.shape.holes.len() {
            Progress::Done
        } else {
            Progress::More
        }
    }

    fn force(&mut self, literal: usize, tokens: &mut Vec<u32>) {
        if let Some(literal) = self.shape.literals.get(literal) {
            tokens.extend_from_slice(&literal.tokens);
            self.text.extend_from_slice(literal.text.as_bytes());
        }
    }
}

/// Whether a token may come next in a text. It may run on into `tail`, what follows the text's closing
/// quotation mark.
fn fits(id: u32, value: &TextValue, tail: &str, vocabulary: &impl Vocabulary) -> bool {
    !vocabulary.is_control(id)
        && ((vocabulary.is_plain(id) && value.is_open())
            || value.accepts(vocabulary.piece(id), tail.as_bytes()))
}

/// P(yes), normalised over the two answers. The first tokens differ, so they decide.
fn decide(logits: &[f32], yes: &[u32], no: &[u32]) -> f64 {
    let first = |ids: &[u32]| ids.first().copied().unwrap_or(u32::MAX);
    let scores = log_softmax(logits, &[first(yes), first(no)]);
    1.0 / (1.0 + (scores[1] - scores[0]).exp())
}
