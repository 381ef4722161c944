//! What is asked of a model and what comes back.
//!
//! A [`Request`] carries messages, never rendered text: turning messages into tokens is the backend's
//! business. There are two kinds. [`Generate`] writes text, optionally in a fixed [`Shape`].
//! [`Choose`] scores given continuations and returns their normalised log-probabilities.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// What a model is, as far as a run needs to remember it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// The digest of the model file, or of what a server says of itself.
    pub digest: Digest,
    /// A name for people, such as `SmolLM2-135M-Instruct Q4_1`.
    pub name: String,
    /// The digest of everything besides weights and request that decides a reply: chat template and its
    /// arguments, the adapter of requests that name none, cache types, and the mode of decoding.
    pub settings_digest: Digest,
    /// Those settings by name, so that two runs that differ can say where.
    pub settings: BTreeMap<String, String>,
    /// The most tokens that one request and its reply may have together.
    pub context_length: u32,
    /// Name or origin of the chat template.
    pub chat_template: String,
    /// Everything else worth keeping, such as architecture and quantisation.
    pub metadata: BTreeMap<String, String>,
}

/// The name of the setting that tells the LoRA adapter of requests that name none.
pub const COMMON_ADAPTER: &str = "lora of all steps";

impl ModelIdentity {
    /// The content key of a request: what decides its reply, and nothing else.
    pub fn content_key(&self, request: &Request) -> Digest {
        let mut settings_digest = self.settings_digest.clone();
        // A request that names an adapter is computed by that one alone.
        if request.adapter().is_some() && self.settings.contains_key(COMMON_ADAPTER) {
            let mut settings = self.settings.clone();
            settings.remove(COMMON_ADAPTER);
            settings_digest = Digest::of(&settings);
        }
        Digest::of(&(&self.digest, settings_digest, request))
    }
}

/// Who speaks in a [`Message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that stand above the conversation.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name used in chat templates and in datasets.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation. Its content is data: it never changes roles.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, as plain text.
    pub content: String,
}

impl Message {
    /// A message of the given role.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
        }
    }

    /// A message from the person.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new(Role::User, content)
    }

    /// A message from the model.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new(Role::Assistant, content)
    }
}

/// How tokens are drawn. The seed is not here: every step derives its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingParams {
    /// Divides the logits; 0 means greedy decoding.
    pub temperature: f64,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep the smallest set of tokens whose probabilities sum to at least this; 1 keeps all.
    pub top_p: f64,
    /// Drop tokens less likely than this share of the most likely one; 0 keeps all.
    pub min_p: f64,
    /// The most tokens a reply may have.
    pub max_tokens: u32,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 0.7,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            max_tokens: 512,
        }
    }
}

/// Something to ask of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Request {
    /// Write text.
    Generate(Generate),
    /// Score continuations.
    Choose(Choose),
}

impl Request {
    /// The conversation that the request continues.
    pub fn messages(&self) -> &[Message] {
        match self {
            Request::Generate(request) => &request.messages,
            Request::Choose(request) => &request.messages,
        }
    }

    /// The LoRA adapter that answers it; `None` for what the backend was loaded with.
    pub fn adapter(&self) -> Option<&str> {
        match self {
            Request::Generate(request) => request.adapter.as_deref(),
            Request::Choose(request) => request.adapter.as_deref(),
        }
    }
}

/// A request to write the next assistant message.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Generate {
    /// The conversation so far; the reply is the next assistant message.
    pub messages: Vec<Message>,
    /// How tokens are drawn.
    pub sampling: SamplingParams,
    /// Seeds the sampler. Equal requests with equal seeds may be answered from the store.
    pub seed: u32,
    /// The form that the reply must have; `None` for free text.
    pub shape: Option<Shape>,
    /// A text that the reply is likely to repeat, as a revision repeats what it revises. It makes the
    /// reply faster and never other, so it is no part of what tells requests apart.
    #[serde(skip)]
    pub repeats: Option<String>,
    /// The LoRA adapter that writes it, by the name that the backend knows it by, which tells its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
}

/// A request to score the given continuations of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choose {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// The texts that the assistant's reply might begin with; at least two, all different.
    pub options: Vec<String>,
    /// The LoRA adapter that scores them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
}

/// A JSON object with fixed fields in a fixed order: the grammar of a structured reply.
///
/// The field names and the punctuation are known, so a backend that can force tokens spends none of
/// its decode steps on them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// The fields in the order in which they are written.
    pub fields: Vec<Field>,
}

/// One field of a [`Shape`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Field {
    /// The key.
    pub name: String,
    /// What values it takes.
    pub kind: FieldKind,
}

/// What a [`Field`] holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum FieldKind {
    /// A boolean that is *read*, not drawn: true exactly when the probability of `true`, normalised
    /// over `true` and `false`, is at least the threshold. The reply reports that probability.
    Decision {
        /// The least probability that counts as true.
        threshold: f64,
        /// The object ends after this field when the decision is false.
        end_if_false: bool,
    },
    /// Free text of at most `max_tokens` tokens.
    Text {
        /// The most tokens of the text, its quotation marks not counted.
        max_tokens: u32,
    },
    /// One of the given words.
    OneOf {
        /// The words, in the order in which they are offered; none is a prefix of another.
        options: Vec<String>,
    },
}

/// Why a model stopped writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// It ended its turn, or completed the requested shape.
    Stop,
    /// It reached the token limit.
    Length,
    /// The context had no room for another token.
    Context,
}

impl FinishReason {
    /// The name used in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::Context => "context",
        }
    }
}

/// What a request cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the rendered conversation.
    pub prompt_tokens: u32,
    /// How many of them were already in the KV cache and were not decoded again.
    pub cached_tokens: u32,
    /// Tokens of the reply, forced ones included.
    pub completion_tokens: u32,
    /// Tokens that were guessed from a text that the reply repeats.
    #[serde(default)]
    pub proposed_tokens: u32,
    /// How many of them were what the model wrote.
    #[serde(default)]
    pub accepted_tokens: u32,
    /// Milliseconds from admission to the last token, time spent waiting for a place excluded.
    pub duration_ms: f64,
}

/// A decision that was read from token probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The name of the field that it decided.
    pub field: String,
    /// Probability of `true`, normalised over `true` and `false`.
    pub probability: f64,
}

/// A finished reply to [`Generate`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The answer: what the model wrote, without a think block.
    pub text: String,
    /// Everything the model wrote, think block included.
    pub raw: String,
    /// The content of the think block, where there is one.
    pub thinking: Option<String>,
    /// True when a think block was opened and never closed; then `text` is empty.
    pub thinking_unclosed: bool,
    /// Why it stopped.
    pub finish: FinishReason,
    /// Decisions of the shape, in the order of its fields.
    pub decisions: Vec<Decision>,
    /// True when bytes that are not UTF-8 had to be replaced.
    pub invalid_utf8: bool,
    /// What it cost.
    pub usage: Usage,
}

/// A finished reply to [`Choose`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Log-probability of each option, normalised over the options, in the order of the request.
    pub logprobs: Vec<f64>,
    /// What it cost.
    pub usage: Usage,
}

/// A reply to a [`Request`], of the same kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The answer to [`Request::Generate`].
    Generated(Generation),
    /// The answer to [`Request::Choose`].
    Chosen(Choice),
}

/// A reply with its think block taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitThinking {
    /// What is said to the person.
    pub answer: String,
    /// The content of the think block, where there is one.
    pub thinking: Option<String>,
    /// True when the block never closes; then there is no answer.
    pub unclosed: bool,
}

/// The tags that reasoning models put around their thoughts: opening and closing.
pub const THINK_TAGS: [(&str, &str); 6] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
];

/// Takes a reasoning model's think block apart from its answer.
///
/// `opened` is the closing tag of a block that the chat template opened, inside which the reply begins.
/// White space around the block is dropped; an answer without a block stays as it is.
pub fn split_thinking(raw: &str, opened: Option<&str>) -> SplitThinking {
    let start = raw.trim_start();
    let own = THINK_TAGS.iter().find(|(open, _)| start.starts_with(open));
    let (inside, close) = match (own, opened) {
        // Some models repeat the tag that the template has written.
        (Some((open, close)), _) => (&start[open.len()..], *close),
        (None, Some(close)) => (raw, close),
        (None, None) => {
            return SplitThinking {
                answer: raw.to_owned(),
                thinking: None,
                unclosed: false,
            };
        }
    };
    match inside.split_once(close) {
        Some((thinking, answer)) => SplitThinking {
            answer: answer.trim_start().to_owned(),
            thinking: Some(thinking.trim().to_owned()),
            unclosed: false,
        },
        None => SplitThinking {
            answer: String::new(),
            thinking: Some(inside.trim().to_owned()),
            unclosed: true,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_is_in_the_keys_of_what_it_computes_and_in_no_others() {
        let key = |common: Option<&str>, named: Option<&str>| {
            let mut settings = BTreeMap::from([("context_length".to_owned(), "64".to_owned())]);
            settings.extend(common.map(|name| (COMMON_ADAPTER.to_owned(), name.to_owned())));
            let model = ModelIdentity {
                digest: Digest::of(&"model"),
                name: "model".to_owned(),
                settings_digest: Digest::of(&settings),
                settings,
                context_length: 64,
                chat_template: String::new(),
                metadata: BTreeMap::new(),
            };
            model.content_key(&Request::Choose(Choose {
                messages: vec![Message::user("Which?")],
                options: vec!["A".to_owned(), "B".to_owned()],
                adapter: named.map(str::to_owned),
            }))
        };
        assert_ne!(key(Some("one"), None), key(None, None));
        assert_ne!(key(Some("one"), None), key(Some("other"), None));
        assert_ne!(key(Some("one"), Some("critic")), key(Some("one"), None));
        assert_eq!(key(Some("one"), Some("critic")), key(None, Some("critic")));
    }

    fn split(raw: &str, opened: bool) -> (String, Option<String>, bool) {
        let split = split_thinking(raw, opened.then_some("</think>"));
        (split.answer, split.thinking, split.unclosed)
    }

    #[test]
    fn a_think_block_is_kept_apart_from_the_answer() {
        assert_eq!(
            split("<think>\nhm\n</think>\n\nYes.", false),
            ("Yes.".into(), Some("hm".into()), false)
        );
        assert_eq!(
            split("hm\n</think>\nYes.", true),
            ("Yes.".into(), Some("hm".into()), false)
        );
        assert_eq!(
            split("Yes, </think> is a tag.", false).0,
            "Yes, </think> is a tag."
        );
    }

    #[test]
    fn a_block_that_never_closes_leaves_no_answer() {
        assert_eq!(
            split("<think>hm", false),
            (String::new(), Some("hm".into()), true)
        );
        assert_eq!(split("hm", true), (String::new(), Some("hm".into()), true));
    }
}
