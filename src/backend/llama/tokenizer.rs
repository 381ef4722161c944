//! Text to tokens and back, with template text and message text kept apart.
//!
//! Template text is tokenised with special tokens parsed, message text without, so that a message that
//! spells out a special token reaches the model as plain characters. Two ways remain in which plain text
//! becomes a token that has a meaning: some vocabularies build control tokens by merging characters, and
//! tokens that a vocabulary calls user-defined are matched everywhere. Both are noticed in the result,
//! and the text is cut inside the words at fault.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token_type::LlamaTokenAttr;

use crate::backend::{BackendError, cut_inside};
use crate::chat_template::Span;

/// Texts that are put in front of a fragment to keep a vocabulary from adding a space to it.
const SENTINELS: [&str; 3] = ["\n", "\u{1}", "|"];

/// One token of a rendered conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id in the vocabulary.
    pub id: i32,
    /// True when it comes from the template, false when it comes from a message.
    pub trusted: bool,
}

/// A model's vocabulary. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    model: Arc<LlamaModel>,
    /// Whether a space is put before text at the start of every call.
    adds_space: bool,
}

impl Tokenizer {
    /// Loads the vocabulary of a model file, and nothing else of it.
    pub fn open(path: &Path) -> Result<Self, BackendError> {
        super::load_model(path, None, true).map(Self::new)
    }

    /// The tokenizer of a loaded model; the vocabulary alone is enough.
    pub fn new(model: Arc<LlamaModel>) -> Self {
        let mut tokenizer = Self {
            model,
            adds_space: false,
        };
        // Asked of the vocabulary itself: what the file says of it has a default per tokenizer.
        let probe = tokenizer.raw("a", false);
        tokenizer.adds_space = tokenizer.text_of(&probe) == b" a";
        tokenizer
    }

    /// Turns a rendered conversation into tokens, with one BOS at most: it is added where the vocabulary
    /// asks for one and the template wrote none.
    pub fn encode(&self, spans: &[Span]) -> Vec<Token> {
        let spans = Span::joined(spans);
        let mut tokens: Vec<Token> = Vec::new();
        let mut encoded: Vec<Vec<i32>> = Vec::with_capacity(spans.len());
        let mut structural = HashSet::new();
        // Template text first: which tokens it uses decides what messages must not produce.
        let mut after_special = true;
        for span in &spans {
            if !span.trusted {
                after_special = false;
                encoded.push(Vec::new());
                continue;
            }
            let ids = self.fragment(&span.text, true, after_special);
            after_special = ids.last().is_some_and(|id| self.is_special(*id));
            structural.extend(ids.iter().copied().filter(|id| self.is_user_defined(*id)));
            encoded.push(ids);
        }
        after_special = true;
        for (span, ids) in spans.iter().zip(&mut encoded) {
            if !span.trusted {
                *ids = self.plain(&span.text, after_special, &structural);
            }
            if let Some(last) = ids.last() {
                after_special = self.is_special(*last);
            }
            tokens.extend(ids.iter().map(|id| Token {
                id: *id,
                trusted: span.trusted,
            }));
        }
        self.add_bos(&mut tokens);
        tokens
    }

    /// Turns plain text that continues a sequence into tokens: no BOS, no special tokens, no added space.
    pub fn encode_continuation(&self, text: &str) -> Vec<i32> {
        self.plain(text, false, &HashSet::new())
    }

    /// The bytes of a token; control tokens have none unless `special`.
    pub fn piece(&self, id: i32, special: bool) -> Vec<u8> {
        if !self.knows(id) {
            return Vec::new();
        }
        self.model
            .vocab()
            .token_to_piece(LlamaToken(id), special, None)
    }

    /// Whether the token ends a reply.
    pub fn is_eog(&self, id: i32) -> bool {
        self.knows(id) && self.model.vocab().is_eog(LlamaToken(id))
    }

    /// Whether the token is a control token.
    pub fn is_control(&self, id: i32) -> bool {
        self.knows(id) && self.model.vocab().is_control(LlamaToken(id))
    }

    /// How many tokens the vocabulary has.
    pub fn n_vocab(&self) -> usize {
        usize::try_from(self.model.vocab().n_tokens()).unwrap_or(0)
    }

    /// The text of the token that begins a sequence; empty when there is none.
    pub fn bos_text(&self) -> String {
        let id = self.model.vocab().bos().0;
        String::from_utf8_lossy(&self.piece(id, true)).into_owned()
    }

    /// The text of the token that ends a sequence; empty when there is none.
    pub fn eos_text(&self) -> String {
        let id = self.model.vocab().eos().0;
        String::from_utf8_lossy(&self.piece(id, true)).into_owned()
    }

    /// The chat template in the model file: the default one where there are several; `None` where there
    /// is none, or where it is not UTF-8.
    pub fn chat_template(&self) -> Option<String> {
        ["tokenizer.chat_template", "tokenizer.chat_template.default"]
            .iter()
            .find_map(|key| self.model.meta_val_str(key).ok())
            .filter(|source| !source.trim().is_empty())
    }

    fn knows(&self, id: i32) -> bool {
        usize::try_from(id).is_ok_and(|id| id < self.n_vocab())
    }

    fn is_user_defined(&self, id: i32) -> bool {
        self.knows(id)
            && self
                .model
                .vocab()
                .attr(LlamaToken(id))
                .contains(LlamaTokenAttr::UserDefined)
    }

    /// Whether the token was matched as a whole rather than built from characters.
    fn is_special(&self, id: i32) -> bool {
        self.is_control(id) || self.is_user_defined(id)
    }

    fn raw(&self, text: &str, parse_special: bool) -> Vec<i32> {
        if text.is_empty() {
            return Vec::new();
        }
        self.model
            .vocab()
            .tokenize(text.as_bytes(), false, parse_special)
            .into_iter()
            .map(|token| token.0)
            .collect()
    }

    fn text_of(&self, ids: &[i32]) -> Vec<u8> {
        ids.iter().flat_map(|id| self.piece(*id, true)).collect()
    }

    /// Tokenises a part of a longer text. A vocabulary that puts a space before text does so after
    /// special tokens only, as if the whole had been tokenised at once.
    fn fragment(&self, text: &str, parse_special: bool, after_special: bool) -> Vec<i32> {
        if !self.adds_space || after_special || text.is_empty() {
            return self.raw(text, parse_special);
        }
        for sentinel in SENTINELS {
            let head = self.raw(sentinel, parse_special);
            let mut whole = self.raw(&format!("{sentinel}{text}"), parse_special);
            if whole.starts_with(&head) {
                return whole.split_off(head.len());
            }
        }
        self.raw(text, parse_special)
    }

    /// Tokenises text so that no token in it has a meaning beyond its characters. `structural` are the
    /// user-defined tokens that the template of this conversation uses.
    fn plain(&self, text: &str, after_special: bool, structural: &HashSet<i32>) -> Vec<i32> {
        let ids = self.fragment(text, false, after_special);
        let offence = ids.iter().find_map(|id| {
            let meant = self.is_control(*id) || self.is_eog(*id) || structural.contains(id);
            let piece = meant.then(|| String::from_utf8(self.piece(*id, true)).ok())??;
            let piece = piece.trim();
            // A single character cannot be cut, and white space has no other meaning.
            (piece.chars().count() > 1 && text.contains(piece)).then(|| piece.to_owned())
        });
        let Some(offence) = offence else {
            return ids;
        };
        let mut ids = Vec::new();
        for part in cut_inside(text, &offence) {
            let after_special = after_special && ids.is_empty();
            ids.extend(self.plain(part, after_special, structural));
        }
        ids
    }

    fn add_bos(&self, tokens: &mut Vec<Token>) {
        let vocab = self.model.vocab();
        let bos = vocab.bos().0;
        let begins = tokens.first().is_some_and(|token| token.id == bos);
        if vocab.should_add_bos() && self.knows(bos) && !begins {
            tokens.insert(
                0,
                Token {
                    id: bos,
                    trusted: true,
                },
            );
        }
    }
}

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
mod tests;
