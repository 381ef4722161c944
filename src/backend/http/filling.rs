//! A form written hole by hole over llama-server: what is known is sent as tokens, and the model is asked
//! only in the holes.

use serde_json::Value;

use crate::backend::BackendError;
use crate::generation::{
    Decision, FieldKind, FinishReason, Generate, Generation, SamplingParams, Shape, Usage,
};

use super::llama_server::{LlamaServer, Written, common, sampling};
use super::shape::{self, string_end};

/// A form that is being written.
pub(super) struct Filling<'a> {
    server: &'a LlamaServer,
    sampling: &'a SamplingParams,
    seed: u32,
    prompt_tokens: usize,
    /// Conversation and reply so far.
    tokens: Vec<u32>,
    /// The reply so far.
    text: String,
    /// The end of it that is not among the tokens yet.
    pending: String,
    decisions: Vec<Decision>,
    /// The first request tells how much of the conversation was cached.
    cached: Option<u32>,
    milliseconds: f64,
    requests: u32,
}

impl<'a> Filling<'a> {
    pub(super) fn new(
        server: &'a LlamaServer,
        request: &'a Generate,
    ) -> Result<Self, BackendError> {
        let tokens = server.prompt(&request.messages, true)?.tokens;
        Ok(Self {
            server,
            sampling: &request.sampling,
            seed: request.seed,
            prompt_tokens: tokens.len(),
            tokens,
            text: String::new(),
            pending: String::new(),
            decisions: Vec::new(),
            cached: None,
            milliseconds: 0.0,
            requests: 0,
        })
    }

    pub(super) fn fill(mut self, shape: &Shape) -> Result<Generation, BackendError> {
        let room = shape::max_tokens(&shape.fields) as usize;
        self.server.fits(self.prompt_tokens, room)?;
        self.put("{");
        for (index, field) in shape.fields.iter().enumerate() {
            if index > 0 {
                self.put(", ");
            }
            self.put(&format!("{}:", Value::from(field.name.as_str())));
            match &field.kind {
                FieldKind::Decision {
                    threshold,
                    end_if_false,
                } => {
                    let yes = self.decide(&field.name, *threshold)?;
                    if !yes && *end_if_false {
                        break;
                    }
                }
                FieldKind::Text { max_tokens } => {
                    self.put(" \"");
                    let closed = self.write(*max_tokens, shape::STRING_GRAMMAR)?;
                    self.close(closed);
                }
                FieldKind::OneOf { options } => {
                    self.put(" \"");
                    let longest = options.iter().map(String::len).max().unwrap_or(1);
                    let most = u32::try_from(longest).unwrap_or(u32::MAX);
                    let closed = self.write(most, &shape::words_grammar(options))?;
                    self.close(closed);
                }
            }
        }
        self.put("}");
        Ok(self.finish())
    }

    /// Adds known text.
    fn put(&mut self, text: &str) {
        self.text.push_str(text);
        self.pending.push_str(text);
    }

    fn settle(&mut self) -> Result<(), BackendError> {
        let tokens = self.server.tokens.continuation(&self.pending)?;
        self.tokens.extend(tokens);
        self.pending.clear();
        Ok(())
    }

    /// Reads a boolean.
    fn decide(&mut self, field: &str, threshold: f64) -> Result<bool, BackendError> {
        let with = |word: &str| {
            let text = format!("{} {word}", self.pending);
            self.server.tokens.continuation(&text)
        };
        let mut both = vec![with("true")?, with("false")?];
        self.tokens.extend(common(&mut both));
        let [Some(yes), Some(no)] = [both[0].first(), both[1].first()] else {
            return Err(BackendError::Inference(
                "the server's vocabulary does not tell true from false".to_owned(),
            ));
        };
        let (shares, written) = self.server.compare(&self.tokens, &[*yes, *no])?;
        self.count(&written);
        let probability = shares[0];
        self.decisions.push(Decision {
            field: field.to_owned(),
            probability,
        });
        let answer = probability >= threshold;
        self.text.push_str(if answer { " true" } else { " false" });
        self.tokens.extend(&both[usize::from(!answer)]);
        self.pending.clear();
        Ok(answer)
    }

    /// Lets the model write the inside of a string. Says whether its tokens hold the closing quotation
    /// mark as well.
    fn write(&mut self, max_tokens: u32, grammar: &str) -> Result<bool, BackendError> {
        self.settle()?;
        // Every hole draws its own numbers.
        let seed = self.seed.wrapping_add(self.requests);
        let mut settings = sampling(self.sampling, seed);
        settings["grammar"] = grammar.into();
        let written = self
            .server
            .complete(&self.tokens, max_tokens.max(1), settings)?;
        self.count(&written);
        let (inside, closed) = string_end(&written.text);
        self.text.push_str(inside);
        if closed || inside.len() == written.text.len() {
            self.tokens.extend(&written.tokens);
        } else {
            self.tokens.extend(self.server.tokens.continuation(inside)?);
        }
        Ok(closed)
    }

    /// Closes a string, in the tokens only where they do not hold the quotation mark yet.
    fn close(&mut self, closed: bool) {
        self.text.push('"');
        if !closed {
            self.pending.push('"');
        }
    }

    fn count(&mut self, written: &Written) {
        let conversation = u32::try_from(self.prompt_tokens).unwrap_or(u32::MAX);
        self.cached
            .get_or_insert_with(|| written.cached.min(conversation));
        self.milliseconds += written.milliseconds;
        self.requests += 1;
    }

    fn finish(self) -> Generation {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        // As in this process, the end of the object is not sent, so it is not counted.
        let reply = self.tokens.len() - self.prompt_tokens;
        Generation {
            raw: self.text.clone(),
            text: self.text,
            thinking: None,
            thinking_unclosed: false,
            finish: FinishReason::Stop,
            decisions: self.decisions,
            invalid_utf8: false,
            usage: Usage {
                prompt_tokens: count(self.prompt_tokens),
                cached_tokens: self.cached.unwrap_or(0),
                completion_tokens: count(reply),
                duration_ms: self.milliseconds,
                ..Usage::default()
            },
        }
    }
}
