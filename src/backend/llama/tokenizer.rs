//! Text to tokens and back, with template text and message text kept apart.

use std::sync::Arc;

use llama_cpp_2::model::LlamaModel;

use crate::chat_template::Span;

/// One token of a rendered conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id in the vocabulary.
    pub id: i32,
    /// True when it comes from the template, false when it comes from a message.
    pub trusted: bool,
}

/// A model's vocabulary.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    model: Arc<LlamaModel>,
}

impl Tokenizer {
    /// The tokenizer of a loaded model; the vocabulary alone is enough.
    pub fn new(model: Arc<LlamaModel>) -> Self {
        Self { model }
    }

    /// Turns a rendered conversation into tokens, with one BOS at most.
    pub fn encode(&self, _spans: &[Span]) -> Vec<Token> {
        unimplemented!()
    }

    /// Turns plain text that continues a sequence into tokens: no BOS, no special tokens, no added space.
    pub fn encode_continuation(&self, _text: &str) -> Vec<i32> {
        unimplemented!()
    }

    /// The bytes of a token; control tokens have none unless `special`.
    pub fn piece(&self, _id: i32, _special: bool) -> Vec<u8> {
        unimplemented!()
    }

    /// Whether the token ends a reply.
    pub fn is_eog(&self, _id: i32) -> bool {
        unimplemented!()
    }

    /// Whether the token is a control token.
    pub fn is_control(&self, _id: i32) -> bool {
        unimplemented!()
    }

    /// How many tokens the vocabulary has.
    pub fn n_vocab(&self) -> usize {
        usize::try_from(self.model.n_vocab()).unwrap_or(0)
    }

    /// The text of the token that begins a sequence; empty when there is none.
    pub fn bos_text(&self) -> String {
        unimplemented!()
    }

    /// The text of the token that ends a sequence; empty when there is none.
    pub fn eos_text(&self) -> String {
        unimplemented!()
    }

    /// The chat template in the model file: the default one where there are several.
    pub fn chat_template(&self) -> Option<String> {
        unimplemented!()
    }
}
