//! Writes a reply in a fixed [`Shape`]: the grammar of verdicts, token by token. Pure.
//!
//! A shape is literals with holes between them. Literals are known, so their tokens are forced and
//! decoded together with what follows, like a prompt; the model is asked only in the holes. A decision
//! costs no token of its own: its probability is read from the row of logits behind the literal.

mod writer;

use crate::generation::{FieldKind, Shape};

pub use writer::{Progress, ShapeWriter};

/// What a shape needs to know of a vocabulary.
pub trait Vocabulary {
    /// The bytes of a token.
    fn piece(&self, id: u32) -> &[u8];
    /// Whether the token ends a turn.
    fn ends_turn(&self, id: u32) -> bool;
    /// Whether the token ends a turn, or is a control token that no text contains.
    fn is_control(&self, id: u32) -> bool;
    /// Whether every byte of the token may stand inside a JSON string as it is.
    fn is_plain(&self, id: u32) -> bool;
    /// The tokens of a text that continues a sequence. Not asked for during a step.
    fn encode(&self, text: &str) -> Vec<u32>;
}

/// A known text and its tokens.
#[derive(Clone, Debug, PartialEq)]
struct Literal {
    text: String,
    tokens: Vec<u32>,
    /// The tokens of what is left of the text behind its first byte, its first two, and so on, where it follows a text:
    /// the token that closes that one may begin this one. Nothing is tokenised during a step.
    rests: Vec<Vec<u32>>,
}

impl Literal {
    /// Tokenises a literal, which follows a text or something else.
    fn new(text: String, follows_text: bool, vocabulary: &impl Vocabulary) -> Self {
        let cuts = if follows_text { text.len() } else { 0 };
        let rest = |at: usize| text.get(at..).unwrap_or_default();
        Self {
            tokens: vocabulary.encode(&text),
            rests: (1..=cuts).map(|at| vocabulary.encode(rest(at))).collect(),
            text,
        }
    }

    /// What is left behind the first `written` bytes, and its tokens. At least one is written: the quotation mark
    /// that closes the text before it.
    fn behind(&self, written: usize) -> (&str, &[u32]) {
        let tokens = self.rests.get(written.saturating_sub(1));
        (
            self.text.get(written..).unwrap_or_default(),
            tokens.map_or(&[][..], Vec::as_slice),
        )
    }
}

/// A place where the model is asked.
#[derive(Clone, Debug, PartialEq)]
enum Hole {
    Decision {
        field: String,
        threshold: f64,
        end_if_false: bool,
        yes: Vec<u32>,
        no: Vec<u32>,
    },
    Text {
        max_tokens: u32,
    },
    OneOf {
        options: Vec<Vec<u32>>,
    },
}

/// A shape, made ready for one vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct CompiledShape {
    /// The literal before each hole, and the one at the end: one more than there are holes.
    literals: Vec<Literal>,
    holes: Vec<Hole>,
}

impl CompiledShape {
    /// Prepares a shape: lays out its literals and tokenises them.
    pub fn new(shape: &Shape, vocabulary: &impl Vocabulary) -> Self {
        let mut literals = Vec::new();
        let mut holes = Vec::new();
        let mut literal = String::from("{");
        for (index, field) in shape.fields.iter().enumerate() {
            if index > 0 {
                literal.push_str(", ");
            }
            // Field names are this program's own; serialising a string cannot fail.
            literal.push_str(&serde_json::Value::from(field.name.as_str()).to_string());
            literal.push(':');
            let (before, hole, after) = match &field.kind {
                FieldKind::Decision {
                    threshold,
                    end_if_false,
                } => {
                    let (common, [yes, no]) = distinct(vocabulary, " true", " false");
                    let hole = Hole::Decision {
                        field: field.name.clone(),
                        threshold: *threshold,
                        end_if_false: *end_if_false,
                        yes,
                        no,
                    };
                    (common, hole, "")
                }
                FieldKind::Text { max_tokens } => (
                    " \"".to_owned(),
                    Hole::Text {
                        max_tokens: *max_tokens,
                    },
                    "\"",
                ),
                FieldKind::OneOf { options } => {
                    let options = options
                        .iter()
                        .map(|option| vocabulary.encode(option))
                        .collect();
                    (" \"".to_owned(), Hole::OneOf { options }, "\"")
                }
            };
            literal.push_str(&before);
            literals.push(std::mem::replace(&mut literal, after.to_owned()));
            holes.push(hole);
        }
        literal.push('}');
        literals.push(literal);
        let literals = literals
            .into_iter()
            .enumerate()
            .map(|(index, text)| {
                let before = index.checked_sub(1).and_then(|before| holes.get(before));
                let follows_text = matches!(before, Some(Hole::Text { .. }));
                Literal::new(text, follows_text, vocabulary)
            })
            .collect();
        Self { literals, holes }
    }

    /// The most tokens that a reply in this shape may have.
    pub fn max_tokens(&self) -> usize {
        let literals: usize = self
            .literals
            .iter()
            .map(|literal| literal.tokens.len())
            .sum();
        let holes: usize = self
            .holes
            .iter()
            .map(|hole| match hole {
                Hole::Decision { yes, no, .. } => yes.len().max(no.len()),
                Hole::Text { max_tokens } => *max_tokens as usize + 1,
                Hole::OneOf { options } => options.iter().map(Vec::len).max().unwrap_or(0),
            })
            .sum();
        literals + holes
    }
}

/// The tokens of two texts, and the text that their tokens have in common at the front, which the
/// literal before them takes over.
fn distinct(vocabulary: &impl Vocabulary, a: &str, b: &str) -> (String, [Vec<u32>; 2]) {
    let (mut a, mut b) = (vocabulary.encode(a), vocabulary.encode(b));
    let common = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let text: Vec<u8> = a[..common]
        .iter()
        .flat_map(|&id| vocabulary.piece(id))
        .copied()
        .collect();
    a.drain(..common);
    b.drain(..common);
    (String::from_utf8_lossy(&text).into_owned(), [a, b])
}

#[cfg(test)]
mod tests;
