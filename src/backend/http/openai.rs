//! The protocol that OpenAI-compatible servers share: `/v1/chat/completions`.
//!
//! A reply in a [`Shape`] takes a request for the decision, which ends with the boolean and reads its
//! probability, and only where the decision asks for more, a second one for the rest. The server turns
//! messages into tokens itself, so what a message spells out may count as a special token there.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::backend::BackendError;
use crate::generation::{
    Choice, Choose, Decision, Field, FieldKind, FinishReason, Generate, Generation, Message,
    SamplingParams, Shape, Usage,
};

use super::answer::Answer;
use super::client::{CallError, Client, clean};
use super::context::{TooLong, exceeded};
use super::logprobs::{self, NoProbability};
use super::{Kind, shape};

const CHAT: &str = "/v1/chat/completions";
/// The most alternatives that servers list for a token.
const TOP_LOGPROBS: u32 = 20;

/// A server that speaks the common protocol.
#[derive(Debug)]
pub(super) struct OpenAi {
    pub client: Arc<Client>,
    pub model: String,
    pub kind: Kind,
    pub kwargs: Map<String, Value>,
    pub context: u32,
}

impl OpenAi {
    pub(super) fn generate(&self, request: &Generate) -> Result<Generation, BackendError> {
        match &request.shape {
            Some(shape) => self.fill(request, shape),
            None => {
                let answer = self.ask(self.body(&request.messages, Some(request)), false)?;
                Ok(answer.generation())
            }
        }
    }

    pub(super) fn choose(&self, request: &Choose) -> Result<Choice, BackendError> {
        let mut body = self.body(&request.messages, None);
        body["max_tokens"] = logprobs::tokens_of_choice(&request.options).into();
        let answer = self.ask_with_logprobs(body)?;
        let places = listed(&answer.choice)?;
        let logprobs = logprobs::choice(&request.options, &places).map_err(|_| {
            BackendError::Inference(format!(
                "the server lists the {TOP_LOGPROBS} likeliest first tokens, and they do not tell \
                 the options apart; a model in this process can score them"
            ))
        })?;
        Ok(Choice {
            logprobs,
            usage: answer.usage,
        })
    }

    /// How many tokens a conversation has, where the server can say so without answering it.
    pub(super) fn count_tokens(&self, messages: &[Message]) -> Option<u32> {
        let count = match self.kind {
            Kind::Vllm => {
                let body = json!({
                    "model": self.model,
                    "messages": messages,
                    "add_generation_prompt": true,
                });
                self.client.post("/tokenize", &body).ok()?["count"].as_u64()?
            }
            Kind::LlamaServer => {
                let body = json!({"messages": messages, "chat_template_kwargs": self.kwargs});
                let prompt = self.client.post("/apply-template", &body).ok()?;
                let body = json!({"content": prompt["prompt"].as_str()?, "add_special": true});
                let tokens = self.client.post("/tokenize", &body).ok()?;
                tokens["tokens"].as_array()?.len() as u64
            }
            Kind::Other => return None,
        };
        u32::try_from(count).ok()
    }

    /// A request for free text; without `request` a greedy one.
    fn body(&self, messages: &[Message], request: Option<&Generate>) -> Value {
        let mut body = json!({
            "model": self.model,
            "messages": messages,
            "stream": false,
        });
        if !self.kwargs.is_empty() {
            body["chat_template_kwargs"] = Value::Object(self.kwargs.clone());
        }
        match request {
            None => body["temperature"] = 0.into(),
            Some(request) => {
                self.sample(&mut body, &request.sampling);
                body["seed"] = request.seed.into();
            }
        }
        // What a server's own defaults would otherwise decide.
        match self.kind {
            Kind::Vllm => body["repetition_penalty"] = 1.into(),
            Kind::LlamaServer => body["cache_prompt"] = true.into(),
            Kind::Other => {}
        }
        body
    }

    fn sample(&self, body: &mut Value, sampling: &SamplingParams) {
        body["temperature"] = sampling.temperature.into();
        body["max_tokens"] = sampling.max_tokens.max(1).into();
        if sampling.temperature <= 0.0 {
            return;
        }
        body["top_p"] = sampling.top_p.into();
        // Beyond the common protocol: sent where they do something, or undo a server's default.
        let known = self.kind != Kind::Other;
        if sampling.top_k > 0 {
            body["top_k"] = sampling.top_k.into();
        } else if known {
            let off = if self.kind == Kind::Vllm { -1 } else { 0 };
            body["top_k"] = off.into();
        }
        if sampling.min_p > 0.0 || known {
            body["min_p"] = sampling.min_p.into();
        }
        if self.kind == Kind::LlamaServer {
            body["samplers"] = json!(super::SAMPLERS);
        }
    }

    /// A reply in a shape whose first field is a decision.
    fn fill(&self, request: &Generate, shape: &Shape) -> Result<Generation, BackendError> {
        let Some((field, threshold, end_if_false)) = first_decision(shape) else {
            return Err(BackendError::Inference(
                "a server can fill only a form that begins with a decision".to_owned(),
            ));
        };
        let head = &shape.fields[..1];
        let mut body = self.body(&request.messages, None);
        // Enough for the field's name and the boolean, however the server cuts them into tokens.
        body["max_tokens"] = (shape::max_tokens(head) * 2).into();
        self.in_shape(&mut body, head, None);
        let first = self.ask_with_logprobs(body)?;
        let places = listed(&first.choice)?;
        let probability = logprobs::decision(&field.name, &places, threshold)
            .map_err(|error| no_decision(error, &field.name, &first.raw))?;
        let decided = probability >= threshold;
        let decisions = vec![Decision {
            field: field.name.clone(),
            probability,
        }];
        let ends = shape.fields.len() == 1 || (!decided && end_if_false);
        let (last, usage) = if ends {
            let usage = first.usage;
            (first, usage)
        } else {
            let mut body = self.body(&request.messages, Some(request));
            body["max_tokens"] = shape::max_tokens(&shape.fields).into();
            self.in_shape(&mut body, &shape.fields, Some(decided));
            let second = self.ask(body, false)?;
            // One conversation: its tokens count once, and what the second request finds cached of them
            // is what the first has put there.
            let usage = Usage {
                completion_tokens: first.usage.completion_tokens + second.usage.completion_tokens,
                duration_ms: first.usage.duration_ms + second.usage.duration_ms,
                ..first.usage
            };
            (second, usage)
        };
        let text = if ends {
            // It may have been cut off behind the boolean.
            Some(shape::decided(&field.name, decided))
        } else {
            // A reply that is no JSON stays as it is: it holds no verdict, and the chain says so.
            shape::in_form(&shape.fields, &last.split.answer, decided)
        };
        Ok(Generation {
            finish: if ends {
                FinishReason::Stop
            } else {
                last.finish
            },
            decisions,
            usage,
            text: text.unwrap_or_else(|| last.split.answer.clone()),
            ..last.generation()
        })
    }

    fn in_shape(&self, body: &mut Value, fields: &[Field], decided: Option<bool>) {
        body["response_format"] = json!({
            "type": "json_schema",
            "json_schema": {"name": "reply", "strict": true, "schema": shape::schema(fields, decided)},
        });
        if self.kind != Kind::Other {
            // What follows is no thought; templates without the variable ignore it.
            let mut kwargs = self.kwargs.clone();
            kwargs.entry("enable_thinking").or_insert(false.into());
            body["chat_template_kwargs"] = Value::Object(kwargs);
        }
    }

    fn ask_with_logprobs(&self, mut body: Value) -> Result<Answer, BackendError> {
        body["logprobs"] = true.into();
        body["top_logprobs"] = TOP_LOGPROBS.into();
        self.ask(body, true)
    }

    fn ask(&self, mut body: Value, with_logprobs: bool) -> Result<Answer, BackendError> {
        let begun = Instant::now();
        let reply = match self.client.post(CHAT, &body) {
            Err(error) => {
                let Some(room) = self.room(&error, &body) else {
                    return Err(self.explain(error, with_logprobs));
                };
                // Some servers refuse a limit that the context may not reach; the conversation fits.
                body["max_tokens"] = room.into();
                self.client
                    .post(CHAT, &body)
                    .map_err(|error| self.explain(error, with_logprobs))?
            }
            Ok(reply) => reply,
        };
        Answer::read(reply, begun, self.context)
    }

    /// The tokens that are left for a reply, where a refused request fits without its limit.
    fn room(&self, error: &CallError, body: &Value) -> Option<u32> {
        let TooLong { tokens, context } = exceeded(error)?;
        let room = context?.checked_sub(tokens?)?;
        let asked = body["max_tokens"].as_u64()?;
        (room > 0 && u64::from(room) < asked).then_some(room)
    }

    fn explain(&self, error: CallError, with_logprobs: bool) -> BackendError {
        if let Some(found) = exceeded(&error) {
            return BackendError::ContextExceeded {
                tokens: found.tokens.unwrap_or(0),
                context: found.context.unwrap_or(self.context),
            };
        }
        let CallError::Refused { status, words, .. } = &error else {
            return error.into();
        };
        let words_lower = words.to_ascii_lowercase();
        let about = |texts: &[&str]| texts.iter().any(|text| words_lower.contains(text));
        let hint = if *status == 404 && !about(&["model"]) {
            "; the address may be wrong, or the server does not speak /v1/chat/completions"
        } else if about(&["logprob"]) && with_logprobs {
            "; P(violated) is read from logprobs, so this server cannot give verdicts"
        } else if about(&[
            "response_format",
            "json_schema",
            "structured",
            "grammar",
            "schema",
        ]) {
            "; verdicts need the response format json_schema, so this server cannot give them"
        } else if about(&["top_k", "min_p"]) {
            "; --top-k 0 --min-p 0 leave out what it does not know"
        } else {
            ""
        };
        BackendError::Inference(format!("the server answers {status}: {words}{hint}"))
    }
}

fn first_decision(shape: &Shape) -> Option<(&Field, f64, bool)> {
    let field = shape.fields.first()?;
    let others = shape.fields[1..]
        .iter()
        .any(|field| matches!(field.kind, FieldKind::Decision { .. }));
    match field.kind {
        FieldKind::Decision {
            threshold,
            end_if_false,
        } if !others => Some((field, threshold, end_if_false)),
        _ => None,
    }
}

/// The listed tokens of an answer that was asked for them.
fn listed(choice: &Value) -> Result<Vec<logprobs::Place>, BackendError> {
    logprobs::places(choice).ok_or_else(|| {
        BackendError::Inference(
            "the server gives no logprobs, from which P(violated) is read; llama-server and vLLM \
             give them"
                .to_owned(),
        )
    })
}

fn no_decision(error: NoProbability, field: &str, reply: &str) -> BackendError {
    BackendError::Inference(match error {
        NoProbability::NotThere => format!(
            "the reply holds no boolean `{field}`; the server may lack the response format \
             json_schema: {}",
            clean(reply)
        ),
        NoProbability::TooFew => format!(
            "the server lists too few token probabilities to tell whether `{field}` is true or \
             false at this threshold"
        ),
    })
}
