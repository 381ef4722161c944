//! What a chat completion says: text, thoughts, why it ended, what it cost. Pure.

use std::time::Instant;

use serde_json::Value;

use crate::backend::BackendError;
use crate::generation::{FinishReason, Generation, SplitThinking, Usage, split_thinking};

use super::client::clean;

/// The parts of an answer that matter.
pub(super) struct Answer {
    pub split: SplitThinking,
    pub raw: String,
    pub finish: FinishReason,
    pub usage: Usage,
    pub choice: Value,
}

impl Answer {
    /// Reads a chat completion. `context` is the most tokens of conversation and reply.
    pub(super) fn read(
        mut reply: Value,
        begun: Instant,
        context: u32,
    ) -> Result<Self, BackendError> {
        let choice = match reply.pointer_mut("/choices/0").map(Value::take) {
            Some(choice @ Value::Object(_)) => choice,
            _ => {
                return Err(BackendError::Inference(format!(
                    "the answer of the server is no chat completion: {}",
                    clean(&reply.to_string())
                )));
            }
        };
        let usage = usage(&reply, begun);
        let message = &choice["message"];
        let text = |name: &str| message[name].as_str().filter(|text| !text.is_empty());
        let content = content(message);
        let content = content.as_str();
        let thinking = text("reasoning_content").or_else(|| text("reasoning"));
        let used = usage.prompt_tokens.saturating_add(usage.completion_tokens);
        let finish = match choice["finish_reason"].as_str() {
            Some("length") if used >= context => FinishReason::Context,
            Some("length") => FinishReason::Length,
            Some("content_filter") => {
                return Err(BackendError::Inference(
                    "the server withholds the reply (content_filter)".to_owned(),
                ));
            }
            _ => FinishReason::Stop,
        };
        let (raw, split) = match thinking {
            Some(thinking) => apart(thinking, content, finish),
            None => (content.to_owned(), split_thinking(content, opened(content))),
        };
        Ok(Answer {
            split,
            raw,
            finish,
            usage,
            choice,
        })
    }

    /// The answer as a reply without decisions.
    pub(super) fn generation(self) -> Generation {
        Generation {
            text: self.split.answer,
            raw: self.raw,
            thinking: self.split.thinking,
            thinking_unclosed: self.split.unclosed,
            finish: self.finish,
            decisions: Vec::new(),
            // A server answers in JSON, which is text.
            invalid_utf8: false,
            usage: self.usage,
        }
    }
}

/// The text of a message: one string, or parts of which some are texts.
fn content(message: &Value) -> String {
    match &message["content"] {
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).collect(),
        content => content.as_str().unwrap_or("").to_owned(),
    }
}

/// A reply whose thoughts the server has taken apart.
fn apart(thinking: &str, content: &str, finish: FinishReason) -> (String, SplitThinking) {
    let unclosed = content.is_empty() && finish != FinishReason::Stop;
    let close = if unclosed { "" } else { "</think>\n\n" };
    let split = SplitThinking {
        answer: content.to_owned(),
        thinking: Some(thinking.trim().to_owned()),
        unclosed,
    };
    (format!("<think>{thinking}{close}{content}"), split)
}

/// The closing tag of a block that the server's template opened, where the server leaves it in the text:
/// a line of its own, with no opening tag before it.
fn opened(content: &str) -> Option<&'static str> {
    const CLOSE: &str = "</think>";
    let (before, after) = content.split_once(CLOSE)?;
    let own_line = before.ends_with('\n') && (after.is_empty() || after.starts_with('\n'));
    (own_line && !before.contains("<think>")).then_some(CLOSE)
}

fn usage(reply: &Value, begun: Instant) -> Usage {
    let number = |places: &[&str]| {
        let found = places.iter().find_map(|p| reply.pointer(p)?.as_u64());
        u32::try_from(found.unwrap_or(0)).unwrap_or(u32::MAX)
    };
    let time = |place: &str| reply.pointer(place).and_then(Value::as_f64);
    let measured = time("/timings/prompt_ms").zip(time("/timings/predicted_ms"));
    Usage {
        prompt_tokens: number(&["/usage/prompt_tokens"]),
        cached_tokens: number(&[
            "/timings/cache_n",
            "/usage/prompt_tokens_details/cached_tokens",
            "/usage/prompt_cache_hit_tokens",
        ]),
        completion_tokens: number(&["/usage/completion_tokens"]),
        duration_ms: match measured {
            Some((prompt, predicted)) => prompt + predicted,
            None => begun.elapsed().as_secs_f64() * 1000.0,
        },
        ..Usage::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn thoughts_are_kept_apart_wherever_the_server_puts_them() {
        let (raw, split) = apart("hm", "Yes.", FinishReason::Stop);
        assert_eq!(raw, "<think>hm</think>\n\nYes.");
        assert_eq!(split, split_thinking(&raw, None));
        let (_, split) = apart("hm", "", FinishReason::Length);
        assert!(split.unclosed);
        assert_eq!(opened("hm\n</think>\n\nYes."), Some("</think>"));
        assert_eq!(opened("Yes, </think> is a tag."), None);
        assert_eq!(opened("<think>\nhm\n</think>\nYes."), None);
    }

    #[test]
    fn a_text_may_come_in_parts() {
        let parts = json!([
            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
            {"type": "text", "text": "Six "},
            {"type": "text", "text": "minutes."},
        ]);
        assert_eq!(content(&json!({"content": parts})), "Six minutes.");
        assert_eq!(content(&json!({"content": "Six."})), "Six.");
        assert_eq!(content(&json!({"content": null})), "");
    }

    #[test]
    fn usage_is_read_where_servers_put_it() {
        let read = |value: Value| usage(&value, Instant::now());
        let llama = read(json!({
            "usage": {"prompt_tokens": 10, "completion_tokens": 3},
            "timings": {"cache_n": 4, "prompt_ms": 1.5, "predicted_ms": 2.0},
        }));
        assert_eq!(
            (
                llama.prompt_tokens,
                llama.cached_tokens,
                llama.completion_tokens,
                llama.duration_ms
            ),
            (10, 4, 3, 3.5)
        );
        let vllm = read(json!({
            "usage": {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 8}},
        }));
        assert_eq!(vllm.cached_tokens, 8);
        let none = read(json!({"usage": null}));
        assert_eq!((none.prompt_tokens, none.cached_tokens), (0, 0));
    }
}
