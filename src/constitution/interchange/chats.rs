//! Few-shot conversations of Hugging Face's recipe.

use super::json::Json;
use super::read::{Entry, note_others};
use super::{CRITIQUE, REVISION, markers};
use crate::constitution::Example;
use crate::constitution::error::excerpt;

/// How many messages a conversation has that shows a critique and a revision.
const MESSAGES: usize = 6;

/// Conversations of six messages, about a principle of the file, become examples of that principle. They are
/// lists of messages, or stand one after the other in one list. Others are named, each with its reason.
pub(super) fn system_chat(chats: &Json, entries: &mut [Entry], notes: &mut Vec<String>) {
    let Json::List(listed) = chats else {
        let kind = chats.kind();
        notes.push(format!(
            "`system_chat` is left out: it must be a list of conversations, and is {kind}"
        ));
        return;
    };
    let flat = !listed.is_empty() && listed.iter().all(|m| matches!(m, Json::Object(_)));
    let chats: Vec<Result<&[Json], String>> = match flat {
        true => listed.chunks(MESSAGES).map(Ok).collect(),
        false => listed.iter().map(messages_of).collect(),
    };
    for (number, messages) in (1..).zip(chats) {
        let what = format!("system_chat, conversation {number}");
        let taken = messages.and_then(|messages| {
            let (entry, example) = example(messages, entries)?;
            entries[entry].examples.push(example);
            Ok(messages)
        });
        match taken {
            Ok(messages) => {
                for message in messages {
                    note_others(message, &what, &["role", "content"], notes);
                }
            }
            Err(reason) => notes.push(format!("{what} is left out: {reason}")),
        }
    }
}

fn messages_of(chat: &Json) -> Result<&[Json], String> {
    match chat {
        Json::List(messages) => Ok(messages),
        other => Err(format!(
            "it must be a list of messages, and is {}",
            other.kind()
        )),
    }
}

/// The principle that a conversation is about, and the example that it is; or why it is none.
fn example(messages: &[Json], entries: &[Entry]) -> Result<(usize, Example), String> {
    let Ok(messages) = <&[Json; MESSAGES]>::try_from(messages) else {
        let count = messages.len();
        return Err(format!(
            "a critique and a revision take {MESSAGES} messages, and it has {count}"
        ));
    };
    let [a, b, c, d, e, f] = messages;
    let prompt = text_of(a, 1, "user")?;
    let response = text_of(b, 2, "assistant")?;
    let critic = text_of(c, 3, "user")?;
    let critique = text_of(d, 4, "assistant")?;
    let request = text_of(e, 5, "user")?;
    let revision = text_of(f, 6, "assistant")?;
    let asked = |entry: &Entry| {
        entry.critique == markers::without(&critic, CRITIQUE)
            && entry.revision == markers::without(&request, REVISION)
    };
    let Some(entry) = entries.iter().position(asked) else {
        let (critic, request) = (excerpt(critic.trim()), excerpt(request.trim()));
        return Err(format!(
            "no principle of the file has both its critique `{critic}` and its revision `{request}`"
        ));
    };
    let example = Example {
        prompt,
        response,
        critique,
        revision,
    };
    Ok((entry, example))
}

/// The text of a message, which must be by `role`.
fn text_of(message: &Json, number: usize, role: &str) -> Result<String, String> {
    match (message.get("role"), message.get("content")) {
        (Some(Json::Text(found)), Some(Json::Text(content))) if found == role => {
            Ok(content.clone())
        }
        (Some(Json::Text(found)), Some(Json::Text(_))) => Err(format!(
            "its message {number} must be by `{role}`, and is by `{}`",
            excerpt(found)
        )),
        _ => Err(format!(
            "its message {number} has no `role` and `content` that are texts"
        )),
    }
}
