//! A model's vocabulary as the step loop needs it: looked up without calling llama.cpp.

use std::sync::Arc;

use super::shape::Vocabulary;
use super::tokenizer::Tokenizer;

/// The pieces and properties of every token, read once at load.
#[derive(Debug)]
pub struct Vocab {
    tokenizer: Arc<Tokenizer>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    kinds: Vec<Kind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Ends a turn.
    End,
    /// A control token that does not end a turn.
    Control,
    /// Text that may stand inside a JSON string as it is.
    Plain,
    /// Any other text.
    Text,
}

impl Vocab {
    /// Reads the vocabulary.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        let size = tokenizer.n_vocab();
        let (mut bytes, mut ends, mut kinds) = (Vec::new(), vec![0], Vec::new());
        for id in 0..i32::try_from(size).unwrap_or(i32::MAX) {
            let piece = tokenizer.piece(id, true);
            kinds.push(if tokenizer.is_eog(id) {
                Kind::End
            } else if tokenizer.is_control(id) {
                Kind::Control
            } else if !piece.is_empty()
                && piece.iter().all(|&b| b >= 0x20 && b != b'"' && b != b'\\')
            {
                Kind::Plain
            } else {
                Kind::Text
            });
            bytes.extend_from_slice(&piece);
            ends.push(bytes.len());
        }
        Self {
            tokenizer,
            bytes,
            ends,
            kinds,
        }
    }

    fn kind(&self, id: u32) -> Option<Kind> {
        self.kinds.get(id as usize).copied()
    }
}

impl Vocabulary for Vocab {
    fn piece(&self, id: u32) -> &[u8] {
        let id = id as usize;
        match (self.ends.get(id), self.ends.get(id + 1)) {
            (Some(&start), Some(&end)) => &self.bytes[start..end],
            _ => &[],
        }
    }

    fn ends_turn(&self, id: u32) -> bool {
        self.kind(id) == Some(Kind::End)
    }

    fn is_control(&self, id: u32) -> bool {
        matches!(self.kind(id), Some(Kind::End | Kind::Control))
    }

    fn is_plain(&self, id: u32) -> bool {
        self.kind(id) == Some(Kind::Plain)
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        self.tokenizer
            .encode_continuation(text)
            .into_iter()
            .map(i32::cast_unsigned)
            .collect()
    }
}
