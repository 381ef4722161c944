//! Replies from a script: a backend without a model, for trying policies and for tests.
//!
//! A script is a YAML file of rules. The first rule that matches a request answers it:
//!
//! ```yaml
//! context_length: 4096        # in words; longer conversations are refused
//! rules:
//!   - contains: [capital, France]   # strings that the last message must all hold
//!     verdict: false                # only free text (false) or only verdicts (true)
//!     times: 1                      # how often the rule applies; unlimited when left out
//!     reply: Paris is the capital of France.
//!   - verdict: true
//!     probability: 0.9
//!     reply: '{"violated": true, "quote": "Paris", "critique": "…", "severity": "minor"}'
//!   - contains: [crash]
//!     error: the script says so
//!   - contains: [late]
//!     until: go                     # the reply waits until this file exists
//!   - contains: [which]
//!     choice: 0.8                   # only choices: the probability of the first option
//! ```
//!
//! What no rule matches is answered from the content of the request: equal requests get equal replies. All
//! options of a choice are then as likely.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;
use serde::Deserialize;

use crate::digest::Digest;
use crate::generation::{
    Choice, Choose, Decision, FinishReason, Generate, Generation, Message, Reply, Request, Usage,
    split_thinking,
};

use super::{Backend, BackendError, ModelIdentity, Ticket, TicketReply};

/// A script as it is written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// The most words of a conversation.
    pub context_length: Option<u32>,
    /// Tried in order.
    pub rules: Vec<Rule>,
}

/// One rule of a [`Script`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Strings that the last message must all hold.
    pub contains: Vec<String>,
    /// Only verdicts, or only free text; both when left out.
    pub verdict: Option<bool>,
    /// How often the rule applies; unlimited when left out.
    pub times: Option<u32>,
    /// The reply as the model would write it, think block included.
    pub reply: Option<String>,
    /// The probability of the verdict's decision.
    pub probability: Option<f64>,
    /// Why the reply ends; `stop` when left out.
    pub finish: Option<FinishReason>,
    /// Only choices: the probability of the first option; the others share the rest.
    pub choice: Option<f64>,
    /// Fail with this message instead of replying.
    pub error: Option<String>,
    /// Keep the reply back until this file exists.
    pub until: Option<PathBuf>,
}

/// How often a reply that is kept back looks for its file.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A backend that answers from a [`Script`].
#[derive(Debug)]
pub struct ScriptedBackend {
    identity: ModelIdentity,
    script: Script,
    /// How often each rule has applied.
    applied: Mutex<Vec<u32>>,
    parallel: usize,
}

impl ScriptedBackend {
    /// Reads a script. The error names the line.
    pub fn from_yaml(text: &str, parallel: usize) -> Result<Self, String> {
        let script: Script = if text.trim().is_empty() {
            Script::default()
        } else {
            serde_yaml::from_str(text).map_err(|error| error.to_string())?
        };
        for (index, rule) in script.rules.iter().enumerate() {
            for (key, given) in [("probability", rule.probability), ("choice", rule.choice)] {
                if let Some(given) = given.filter(|given| !(0.0..=1.0).contains(given)) {
                    return Err(format!(
                        "rules[{index}]: `{key}` is {given}; write a number from 0 to 1"
                    ));
                }
            }
        }
        let identity = ModelIdentity {
            digest: Digest::of_bytes(text.as_bytes()),
            name: "scripted".to_owned(),
            settings_digest: Digest::of_bytes(b"scripted"),
            settings: BTreeMap::new(),
            context_length: script.context_length.unwrap_or(u32::MAX),
            chat_template: "none".to_owned(),
            metadata: BTreeMap::new(),
        };
        let applied = Mutex::new(vec![0; script.rules.len()]);
        Ok(Self {
            identity,
            script,
            applied,
            parallel,
        })
    }

    /// The answer to a request, and the file that it waits for.
    fn answer(&self, request: &Request) -> (Result<Reply, BackendError>, Option<PathBuf>) {
        let prompt_tokens = count(request.messages());
        let context = self.identity.context_length;
        if prompt_tokens > context {
            let error = BackendError::ContextExceeded {
                tokens: prompt_tokens,
                context,
            };
            return (Err(error), None);
        }
        match request {
            Request::Generate(generate) => {
                let rule = self.rule(request);
                let until = rule.and_then(|rule| rule.until.clone());
                (generate_reply(generate, rule, prompt_tokens), until)
            }
            Request::Choose(choose) => {
                let rule = self.rule(request);
                let until = rule.and_then(|rule| rule.until.clone());
                (choice_reply(choose, rule, prompt_tokens), until)
            }
        }
    }

    /// The rule that answers a request, which counts as applied.
    fn rule(&self, request: &Request) -> Option<&Rule> {
        let last = request
            .messages()
            .last()
            .map_or("", |message| &message.content);
        let fits = |rule: &Rule| match request {
            Request::Generate(generate) => {
                rule.choice.is_none()
                    && rule
                        .verdict
                        .is_none_or(|verdict| verdict == generate.shape.is_some())
            }
            Request::Choose(_) => rule.choice.is_some(),
        };
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let (index, rule) = self.script.rules.iter().enumerate().find(|(index, rule)| {
            fits(rule)
                && rule.times.is_none_or(|times| applied[*index] < times)
                && rule
                    .contains
                    .iter()
                    .all(|text| last.contains(text.as_str()))
        })?;
        applied[index] += 1;
        Some(rule)
    }
}

fn generate_reply(
    request: &Generate,
    rule: Option<&Rule>,
    prompt_tokens: u32,
) -> Result<Reply, BackendError> {
    if let Some(error) = rule.and_then(|rule| rule.error.clone()) {
        return Err(BackendError::Inference(error));
    }
    let (raw, probability) = match rule.and_then(|rule| rule.reply.clone()) {
        Some(reply) => (reply, rule.and_then(|rule| rule.probability)),
        None => default_reply(request),
    };
    let decisions = probability
        .filter(|_| request.shape.is_some())
        .map(|probability| Decision {
            field: "violated".to_owned(),
            probability,
        })
        .into_iter()
        .collect();
    let split = split_thinking(&raw, None);
    let completion_tokens = words(&raw);
    Ok(Reply::Generated(Generation {
        text: split.answer,
        raw,
        thinking: split.thinking,
        thinking_unclosed: split.unclosed,
        finish: rule
            .and_then(|rule| rule.finish)
            .unwrap_or(FinishReason::Stop),
        decisions,
        invalid_utf8: false,
        usage: Usage {
            prompt_tokens,
            cached_tokens: 0,
            completion_tokens,
            duration_ms: 0.0,
            ..Usage::default()
        },
    }))
}

fn choice_reply(
    request: &Choose,
    rule: Option<&Rule>,
    prompt_tokens: u32,
) -> Result<Reply, BackendError> {
    if let Some(error) = rule.and_then(|rule| rule.error.clone()) {
        return Err(BackendError::Inference(error));
    }
    let count = request.options.len();
    let first = rule.and_then(|rule| rule.choice);
    let logprobs = match first {
        None => vec![-(count as f64).ln(); count],
        Some(first) => {
            let others = (1.0 - first) / count.saturating_sub(1).max(1) as f64;
            let share = |index| if index == 0 { first } else { others };
            (0..count).map(|index| f64::ln(share(index))).collect()
        }
    };
    let usage = Usage {
        prompt_tokens,
        ..Usage::default()
    };
    Ok(Reply::Chosen(Choice { logprobs, usage }))
}

/// A reply that depends on the request alone: about half of the verdicts are clean.
fn default_reply(request: &Generate) -> (String, Option<f64>) {
    let digest = Digest::of(&(&request.messages, request.seed));
    if request.shape.is_none() {
        return (
            format!("Reply {} has two sentences. It ends here.", digest.id(8)),
            None,
        );
    }
    let probability = f64::from(digest.seed()) / f64::from(u32::MAX);
    let text = if probability < 0.5 {
        r#"{"violated": false}"#.to_owned()
    } else {
        format!(
            r#"{{"violated": true, "quote": "has two sentences", "critique": "Critique {}.", "severity": "minor"}}"#,
            digest.id(8)
        )
    };
    (text, Some(probability))
}

fn wait_for(file: &Path) {
    while !file.exists() {
        std::thread::sleep(LOOK_EVERY);
    }
}

fn count(messages: &[Message]) -> u32 {
    messages.iter().map(|message| words(&message.content)).sum()
}

fn words(text: &str) -> u32 {
    u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX)
}

impl Backend for ScriptedBackend {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    fn parallelism(&self) -> usize {
        self.parallel
    }

    fn count_tokens(&self, messages: &[Message]) -> Result<u32, BackendError> {
        Ok(count(messages))
    }

    fn submit(&self, ticket: Ticket, request: Request, reply: Sender<TicketReply>) {
        let (answer, until) = self.answer(&request);
        match until {
            None => drop(reply.send((ticket, answer))),
            Some(file) => drop(std::thread::spawn(move || {
                wait_for(&file);
                let _ = reply.send((ticket, answer));
            })),
        }
    }
}
