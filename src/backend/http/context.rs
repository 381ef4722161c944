//! Recognises that a request was refused because it is too long.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::client::CallError;

/// How long a request was, as far as the server says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TooLong {
    /// Tokens of the conversation.
    pub tokens: Option<u32>,
    /// The most that the server takes, reply included.
    pub context: Option<u32>,
}

/// What a refusal says of the context; `None` where it is about something else.
pub(super) fn exceeded(error: &CallError) -> Option<TooLong> {
    static CONTEXT: LazyLock<Regex> = LazyLock::new(|| {
        // Constant patterns; a test compiles them.
        Regex::new(r"(?i)context (?:length|size|window)[^0-9]{0,40}?([0-9]+)")
            .expect("valid pattern")
    });
    static TOKENS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"(?i)([0-9]+) (?:in the messages|input tokens|prompt tokens|tokens from the input)|(?:messages resulted in|prompt contains at least|request \(|input \() ?([0-9]+)",
        )
        .expect("valid pattern")
    });
    let CallError::Refused {
        status,
        body,
        words,
    } = error
    else {
        return None;
    };
    if !matches!(status, 400 | 413 | 422 | 500) {
        return None;
    }
    let inner = body.get("error").unwrap_or(body);
    let text = |name: &str| inner.get(name).and_then(Value::as_str).unwrap_or("");
    let named = text("type") == "exceed_context_size_error"
        || text("code") == "context_length_exceeded"
        || CONTEXT.is_match(words) && words.to_ascii_lowercase().contains("token");
    if !named {
        return None;
    }
    let number = |name: &str| u32::try_from(inner.get(name)?.as_u64()?).ok();
    let found = |pattern: &Regex| {
        let captures = pattern.captures(words)?;
        let group = captures.get(1).or_else(|| captures.get(2))?;
        group.as_str().parse().ok()
    };
    Some(TooLong {
        tokens: number("n_prompt_tokens").or_else(|| found(&TOKENS)),
        context: number("n_ctx").or_else(|| found(&CONTEXT)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(status: u16, body: Value) -> CallError {
        let words = body
            .pointer("/error/message")
            .or_else(|| body.get("message"))
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned();
        CallError::Refused {
            status,
            body,
            words,
        }
    }

    fn read(body: Value) -> Option<(Option<u32>, Option<u32>)> {
        exceeded(&refused(400, body)).map(|e| (e.tokens, e.context))
    }

    #[test]
    fn refusals_of_common_servers_are_read() {
        // llama-server, vLLM in two versions, and OpenAI's own words.
        assert_eq!(
            read(
                json!({"error": {"code": 400, "type": "exceed_context_size_error", "message": "request (900 tokens) exceeds the available context size (512 tokens)", "n_prompt_tokens": 900, "n_ctx": 512}})
            ),
            Some((Some(900), Some(512)))
        );
        assert_eq!(
            read(
                json!({"message": "This model's maximum context length is 4096 tokens. However, you requested 4500 tokens (4000 in the messages, 500 in the completion)."})
            ),
            Some((Some(4000), Some(4096)))
        );
        assert_eq!(
            read(
                json!({"error": {"message": "'max_tokens' is too large: 5000. This model's maximum context length is 4096 tokens and your request has 30 input tokens"}})
            ),
            Some((Some(30), Some(4096)))
        );
        assert_eq!(
            read(
                json!({"error": {"code": "context_length_exceeded", "message": "Your messages resulted in 9001 tokens; the maximum context length is 8192."}})
            ),
            Some((Some(9001), Some(8192)))
        );
    }

    #[test]
    fn other_refusals_are_none_of_them() {
        assert_eq!(
            read(json!({"error": {"message": "unknown field `top_k`"}})),
            None
        );
        assert_eq!(
            exceeded(&refused(404, json!({"message": "context length 5 tokens"}))),
            None
        );
    }
}
