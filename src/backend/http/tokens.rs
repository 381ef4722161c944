//! llama-server's tokenizer, asked over HTTP, with template text and message text kept apart.
//!
//! Template text is tokenised with special tokens parsed, message text without, so that a message that
//! spells out a special token reaches the model as plain characters. What a vocabulary does besides is
//! found out by asking it: which token begins a sequence, and whether it puts a space before text.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::backend::{BackendError, cut_inside};
use crate::chat_template::Span;

use super::client::Client;

/// Texts put in front of a fragment to keep a vocabulary from adding a space to it.
const SENTINELS: [&str; 3] = ["\n", "\u{1}", "|"];
/// The most bytes of text whose tokens are remembered.
const REMEMBERED: usize = 1024 * 1024;

/// A token with the text that it stands for, where that is UTF-8.
type Token = (u32, String);

/// The vocabulary of a server.
#[derive(Debug)]
pub(super) struct Tokens {
    client: Arc<Client>,
    /// The token that begins a sequence, where the vocabulary wants one.
    bos: Option<u32>,
    /// Whether a space is put before text at the start of every call.
    adds_space: bool,
    known: Mutex<Known>,
}

/// Texts that occur again and again, such as a template's and a pack's.
#[derive(Debug, Default)]
struct Known {
    bytes: usize,
    tokens: HashMap<(bool, String), Arc<Vec<Token>>>,
}

impl Tokens {
    /// Asks the server what its vocabulary does.
    pub(super) fn connect(client: Arc<Client>) -> Result<Self, BackendError> {
        let mut tokens = Self {
            client,
            bos: None,
            adds_space: false,
            known: Mutex::default(),
        };
        let plain = tokens.ask("a", false, false)?;
        let begun = tokens.ask("a", false, true)?;
        tokens.adds_space = text_of(&plain) == " a";
        tokens.bos =
            (begun.len() > plain.len() && begun[1..].starts_with(&plain)).then(|| begun[0].0);
        Ok(tokens)
    }

    /// The tokens of a rendered conversation, with one token that begins a sequence at most.
    pub(super) fn encode(&self, spans: &[Span]) -> Result<Vec<u32>, BackendError> {
        let spans = Span::joined(spans);
        let mut encoded: Vec<Arc<Vec<Token>>> = Vec::with_capacity(spans.len());
        let mut structural = HashSet::new();
        // Template text first: which tokens it uses decides what messages must not produce.
        let mut after_special = true;
        for span in &spans {
            let ids = if span.trusted {
                self.fragment(&span.text, true, after_special)?
            } else {
                Arc::default()
            };
            structural.extend(ids.iter().filter(|t| is_marker(&t.1)).map(|t| t.0));
            after_special = ids.last().is_some_and(|token| is_marker(&token.1));
            encoded.push(ids);
        }
        let mut tokens = Vec::new();
        after_special = true;
        for (span, ids) in spans.iter().zip(&mut encoded) {
            if !span.trusted {
                *ids = self.plain(&span.text, after_special, &structural)?;
            }
            if let Some(last) = ids.last() {
                after_special = is_marker(&last.1);
            }
            tokens.extend(ids.iter().map(|token| token.0));
        }
        if let Some(bos) = self.bos
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }

    /// The tokens of plain text that continues a sequence.
    pub(super) fn continuation(&self, text: &str) -> Result<Vec<u32>, BackendError> {
        let tokens = self.fragment(text, false, false)?;
        Ok(tokens.iter().map(|token| token.0).collect())
    }

    /// Tokenises text so that none of `structural` comes out of it: the text is cut inside such a word.
    fn plain(
        &self,
        text: &str,
        after_special: bool,
        structural: &HashSet<u32>,
    ) -> Result<Arc<Vec<Token>>, BackendError> {
        let tokens = self.fragment(text, false, after_special)?;
        let offence = tokens.iter().find_map(|(id, piece)| {
            let piece = piece.trim();
            (structural.contains(id) && piece.chars().count() > 1 && text.contains(piece))
                .then(|| piece.to_owned())
        });
        let Some(offence) = offence else {
            return Ok(tokens);
        };
        let mut tokens = Vec::new();
        for part in cut_inside(text, &offence) {
            let after_special = after_special && tokens.is_empty();
            tokens.extend_from_slice(&self.plain(part, after_special, structural)?);
        }
        Ok(Arc::new(tokens))
    }

    /// Tokenises a part of a longer text. A vocabulary that puts a space before text does so after
    /// special tokens only, as if the whole had been tokenised at once.
    fn fragment(
        &self,
        text: &str,
        parse_special: bool,
        after_special: bool,
    ) -> Result<Arc<Vec<Token>>, BackendError> {
        if text.is_empty() {
            return Ok(Arc::default());
        }
        if !self.adds_space || after_special {
            return self.remembered(text, parse_special);
        }
        for sentinel in SENTINELS {
            let head = self.remembered(sentinel, parse_special)?;
            let whole = self.remembered(&format!("{sentinel}{text}"), parse_special)?;
            if whole.starts_with(&head) {
                return Ok(Arc::new(whole[head.len()..].to_vec()));
            }
        }
        self.remembered(text, parse_special)
    }

    fn remembered(&self, text: &str, parse_special: bool) -> Result<Arc<Vec<Token>>, BackendError> {
        // A poisoned lock only means that another thread panicked between two insertions.
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (parse_special, text.to_owned());
        if let Some(tokens) = lock().tokens.get(&key) {
            return Ok(Arc::clone(tokens));
        }
        let tokens = Arc::new(self.ask(text, parse_special, false)?);
        let mut known = lock();
        if known.bytes > REMEMBERED {
            *known = Known::default();
        }
        known.bytes += text.len();
        known.tokens.insert(key, Arc::clone(&tokens));
        Ok(tokens)
    }

    fn ask(
        &self,
        text: &str,
        parse_special: bool,
        add_special: bool,
    ) -> Result<Vec<Token>, BackendError> {
        let body = json!({
            "content": text,
            "parse_special": parse_special,
            "add_special": add_special,
            "with_pieces": true,
        });
        let reply = self.client.post("/tokenize", &body)?;
        let token = |token: &Value| {
            let id = u32::try_from(token.get("id")?.as_u64()?).ok()?;
            Some((id, token.get("piece")?.as_str().unwrap_or("").to_owned()))
        };
        reply["tokens"]
            .as_array()
            .and_then(|tokens| tokens.iter().map(token).collect())
            .ok_or_else(|| {
                BackendError::Inference("the server's /tokenize gives no tokens".to_owned())
            })
    }
}

/// Whether the text of a token looks like a mark of the template, such as `<|im_start|>` or `[INST]`.
fn is_marker(piece: &str) -> bool {
    let piece = piece.trim();
    piece.len() > 2
        && [('<', '>'), ('[', ']')]
            .iter()
            .any(|(open, close)| piece.starts_with(*open) && piece.ends_with(*close))
}

fn text_of(tokens: &[Token]) -> String {
    tokens.iter().map(|(_, piece)| piece.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_templates_are_told_from_words() {
        for mark in ["<|im_start|>", "<s>", "[INST]", " </s>", "<start_of_turn>"] {
            assert!(is_marker(mark), "{mark}");
        }
        for word in ["<", "<>", "user", "[1", "a>", ""] {
            assert!(!is_marker(word), "{word}");
        }
    }
}
