//! llama-server's own protocol, which takes tokens: `/tokenize` and `/completion`.
//!
//! The conversation is rendered here with the server's chat template, so that message text cannot forge
//! turns. A form is written hole by hole, as the backend in this process writes it: what is known is
//! sent as tokens, and the model is asked only in the holes. A decision is one token: both booleans are
//! raised alike until they hold all the probability, and the server tells how it is shared.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::backend::BackendError;
use crate::chat_template::ChatTemplate;
use crate::generation::{
    Choice, Choose, FinishReason, Generate, Generation, Message, SamplingParams, Usage,
    split_thinking,
};

use super::client::{CallError, Client};
use super::context::exceeded;
use super::filling::Filling;
use super::tokens::Tokens;

const COMPLETION: &str = "/completion";
/// What is read of an answer. Without this the server sends the whole prompt back.
const FIELDS: [&str; 7] = [
    "content",
    "tokens",
    "stop_type",
    "truncated",
    "tokens_predicted",
    "timings",
    "completion_probabilities",
];
/// Added to the logits of the tokens that are compared: others keep no probability worth mentioning,
/// and 32-bit logits keep their differences to 1e-5.
const RAISE: f64 = 100.0;

/// A llama-server.
#[derive(Debug)]
pub(super) struct LlamaServer {
    pub client: Arc<Client>,
    /// Sent along for servers that hold several models.
    pub model: String,
    pub template: ChatTemplate,
    pub tokens: Tokens,
    pub context: u32,
}

/// A conversation ready for a reply.
pub(super) struct Prompt {
    pub tokens: Vec<u32>,
    /// The closing tag of the think block that it ends in.
    thinking: Option<&'static str>,
}

/// One answer of the server.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Written {
    pub text: String,
    pub tokens: Vec<u32>,
    pub finish: Option<FinishReason>,
    pub cached: u32,
    pub predicted: u32,
    pub milliseconds: f64,
}

impl LlamaServer {
    pub(super) fn generate(&self, request: &Generate) -> Result<Generation, BackendError> {
        match &request.shape {
            Some(shape) => Filling::new(self, request)?.fill(shape),
            None => self.write(request),
        }
    }

    pub(super) fn count_tokens(&self, messages: &[Message]) -> Result<u32, BackendError> {
        let prompt = self.prompt(messages, false)?;
        Ok(u32::try_from(prompt.tokens.len()).unwrap_or(u32::MAX))
    }

    pub(super) fn choose(&self, request: &Choose) -> Result<Choice, BackendError> {
        let mut prompt = self.prompt(&request.messages, true)?.tokens;
        let prompt_tokens = prompt.len();
        let mut options = Vec::new();
        for option in &request.options {
            options.push(self.tokens.continuation(option)?);
        }
        prompt.extend(common(&mut options));
        let mut firsts: Vec<u32> = options.iter().filter_map(|o| o.first()).copied().collect();
        firsts.sort_unstable();
        firsts.dedup();
        if firsts.len() < request.options.len() {
            return Err(BackendError::Inference(
                "some options begin with the same token, and the server tells the probabilities of \
                 one token; a model in this process can score them"
                    .to_owned(),
            ));
        }
        self.fits(prompt_tokens, prompt.len() - prompt_tokens + 1)?;
        let ids: Vec<u32> = options.iter().map(|option| option[0]).collect();
        let (shares, written) = self.compare(&prompt, &ids)?;
        Ok(Choice {
            logprobs: shares.into_iter().map(f64::ln).collect(),
            usage: Usage {
                prompt_tokens: u32::try_from(prompt_tokens).unwrap_or(u32::MAX),
                cached_tokens: written.cached,
                completion_tokens: 0,
                duration_ms: written.milliseconds,
                ..Usage::default()
            },
        })
    }

    fn write(&self, request: &Generate) -> Result<Generation, BackendError> {
        let prompt = self.prompt(&request.messages, false)?;
        self.fits(prompt.tokens.len(), 1)?;
        let sampling = sampling(&request.sampling, request.seed);
        let written =
            self.complete(&prompt.tokens, request.sampling.max_tokens.max(1), sampling)?;
        let prompt_tokens = u32::try_from(prompt.tokens.len()).unwrap_or(u32::MAX);
        let split = split_thinking(&written.text, prompt.thinking);
        Ok(Generation {
            text: split.answer,
            raw: written.text,
            thinking: split.thinking,
            thinking_unclosed: split.unclosed,
            finish: written.finish.unwrap_or(FinishReason::Stop),
            decisions: Vec::new(),
            // A server answers in JSON, which is text.
            invalid_utf8: false,
            usage: Usage {
                prompt_tokens,
                cached_tokens: written.cached.min(prompt_tokens),
                completion_tokens: written.predicted,
                duration_ms: written.milliseconds,
                ..Usage::default()
            },
        })
    }

    /// The tokens of a conversation. With `close`, a think block that the template opened is closed at
    /// once: what follows is no thought.
    pub(super) fn prompt(&self, messages: &[Message], close: bool) -> Result<Prompt, BackendError> {
        let (spans, thinking) = self
            .template
            .render_for_reply(messages, close)
            .map_err(|error| BackendError::Template(error.to_string()))?;
        Ok(Prompt {
            tokens: self.tokens.encode(&spans)?,
            thinking,
        })
    }

    pub(super) fn fits(&self, prompt_tokens: usize, room: usize) -> Result<(), BackendError> {
        if prompt_tokens + room <= self.context as usize {
            return Ok(());
        }
        Err(BackendError::ContextExceeded {
            tokens: u32::try_from(prompt_tokens).unwrap_or(u32::MAX),
            context: self.context,
        })
    }

    /// How the probability of the given next tokens is shared among them.
    pub(super) fn compare(
        &self,
        prompt: &[u32],
        ids: &[u32],
    ) -> Result<(Vec<f64>, Written), BackendError> {
        let bias: Vec<Value> = ids.iter().map(|id| json!([id, RAISE])).collect();
        let settings = json!({
            "samplers": [],
            "temperature": 1,
            "logit_bias": bias,
            "n_probs": ids.len(),
            "post_sampling_probs": true,
        });
        let reply = self.ask(prompt, 1, settings)?;
        let written = self.read(&reply, prompt.len())?;
        let listed = reply
            .pointer("/completion_probabilities/0/top_probs")
            .and_then(Value::as_array)
            .ok_or_else(|| {
                BackendError::Inference(
                    "the server gives no token probabilities, from which P(violated) is read; a \
                     newer llama-server gives them"
                        .to_owned(),
                )
            })?;
        Ok((shares(listed, ids)?, written))
    }

    /// Writes on behind `prompt`.
    pub(super) fn complete(
        &self,
        prompt: &[u32],
        max_tokens: u32,
        settings: Value,
    ) -> Result<Written, BackendError> {
        let reply = self.ask(prompt, max_tokens, settings)?;
        self.read(&reply, prompt.len())
    }

    fn ask(&self, prompt: &[u32], max_tokens: u32, settings: Value) -> Result<Value, BackendError> {
        let mut body = settings;
        body["model"] = self.model.as_str().into();
        body["prompt"] = prompt.into();
        body["n_predict"] = max_tokens.into();
        body["cache_prompt"] = true.into();
        body["return_tokens"] = true.into();
        body["response_fields"] = json!(FIELDS);
        self.client
            .post(COMPLETION, &body)
            .map_err(|error| self.explain(error, prompt.len()))
    }

    fn explain(&self, error: CallError, prompt_tokens: usize) -> BackendError {
        let Some(found) = exceeded(&error) else {
            return error.into();
        };
        let tokens = u32::try_from(prompt_tokens).unwrap_or(u32::MAX);
        BackendError::ContextExceeded {
            tokens: found.tokens.unwrap_or(tokens),
            context: found.context.unwrap_or(self.context),
        }
    }

    fn read(&self, reply: &Value, prompt_tokens: usize) -> Result<Written, BackendError> {
        let number = |place: &str| {
            let found = reply.pointer(place).and_then(Value::as_u64).unwrap_or(0);
            u32::try_from(found).unwrap_or(u32::MAX)
        };
        let time = |place: &str| reply.pointer(place).and_then(Value::as_f64).unwrap_or(0.0);
        let Some(text) = reply["content"].as_str() else {
            return Err(BackendError::Inference(format!(
                "the answer of the server is no completion: {}",
                super::client::clean(&reply.to_string())
            )));
        };
        let predicted = number("/tokens_predicted");
        let ended = matches!(reply["stop_type"].as_str(), Some("eos" | "word"));
        // The server stops one token before its context is full.
        let full = reply["truncated"] == true
            || prompt_tokens + predicted as usize + 1 >= self.context as usize;
        let mut tokens: Vec<u32> = reply["tokens"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|id| u32::try_from(id.as_u64()?).ok())
            .collect();
        if ended {
            // The token that ends the turn is no part of the text.
            tokens.pop();
        }
        Ok(Written {
            text: text.to_owned(),
            tokens,
            finish: Some(match (ended, full) {
                (true, _) => FinishReason::Stop,
                (false, true) => FinishReason::Context,
                (false, false) => FinishReason::Length,
            }),
            cached: number("/timings/cache_n"),
            predicted,
            milliseconds: time("/timings/prompt_ms") + time("/timings/predicted_ms"),
        })
    }
}

/// Sampling as the backend in this process does it.
pub(super) fn sampling(params: &SamplingParams, seed: u32) -> Value {
    if params.temperature <= 0.0 {
        return json!({"samplers": ["top_k"], "top_k": 1, "temperature": 0});
    }
    json!({
        "samplers": super::SAMPLERS,
        "temperature": params.temperature,
        "top_k": params.top_k,
        "top_p": params.top_p,
        "min_p": params.min_p,
        // The last number asks the server to choose one itself.
        "seed": seed.min(u32::MAX - 1),
    })
}

/// Takes the tokens that all have in common at the front out of them.
pub(super) fn common(all: &mut [Vec<u32>]) -> Vec<u32> {
    let Some((first, others)) = all.split_first() else {
        return Vec::new();
    };
    let same = |at: usize| others.iter().all(|other| other.get(at) == first.get(at));
    let length = (0..first.len()).take_while(|at| same(*at)).count();
    let common = first[..length].to_vec();
    for tokens in all {
        tokens.drain(..length);
    }
    common
}

/// The probabilities of `ids` among the listed tokens, normalised over them.
fn shares(listed: &[Value], ids: &[u32]) -> Result<Vec<f64>, BackendError> {
    let of = |id: &u32| {
        let token = listed
            .iter()
            .find(|token| token["id"].as_u64() == Some(u64::from(*id)));
        token
            .and_then(|token| token["prob"].as_f64())
            // What is too unlikely for 32 bits is left out.
            .unwrap_or(0.0)
            .max(f64::MIN_POSITIVE)
    };
    let found: Vec<f64> = ids.iter().map(of).collect();
    let total: f64 = found.iter().sum();
    if total < 0.5 {
        return Err(BackendError::Inference(
            "the server does not raise the tokens that are compared (logit_bias), so their \
             probabilities cannot be read"
                .to_owned(),
        ));
    }
    Ok(found.into_iter().map(|share| share / total).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_options_have_in_common_goes_in_front() {
        let mut all = vec![vec![1, 2, 3], vec![1, 2, 4, 5]];
        assert_eq!(common(&mut all), [1, 2]);
        assert_eq!(all, [vec![3], vec![4, 5]]);
        let mut inside = vec![vec![1], vec![1, 2]];
        assert_eq!(common(&mut inside), [1]);
        assert_eq!(inside, [vec![], vec![2]]);
    }

    #[test]
    fn probabilities_are_shared_among_the_compared_tokens() {
        let listed = [
            json!({"id": 7, "token": " false", "prob": 0.6}),
            json!({"id": 5, "token": " true", "prob": 0.2}),
        ];
        let read = shares(&listed, &[5, 7]).unwrap();
        assert!((read[0] - 0.25).abs() < 1e-9);
        // One so unlikely that the server leaves it out is impossible, and its logarithm a number.
        let read = shares(&listed[..1], &[5, 7]).unwrap();
        assert!(read[0] < 1e-9 && read[0].ln().is_finite());
        assert!(shares(&[json!({"id": 9, "prob": 0.9})], &[5, 7]).is_err());
    }
}
