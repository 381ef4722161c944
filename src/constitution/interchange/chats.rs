//! Few-shot conversations of Hugging Face's recipe.

use super::json::Json;
use super::read::{Entry, note_others};
use super::{CRITIQUE, REVISION, markers};
use crate::constitution::Example;

/// Conversations of six messages, about a principle of the file, become examples of that principle. They are
/// lists of messages, or stand one after the other in one list.
pub(super) fn system_chat(chats: &Json, entries: &mut [Entry], notes: &mut Vec<String>) {
    const MESSAGES: usize = 6;
    let listed = match chats {
        Json::List(chats) => chats.as_slice(),
        other => std::slice::from_ref(other),
    };
    let flat = !listed.is_empty() && listed.iter().all(|m| matches!(m, Json::Object(_)));
    let chats: Vec<Option<&[Json]>> = match flat {
        true => listed.chunks(MESSAGES).map(Some).collect(),
        false => listed.iter().map(messages_of).collect(),
    };
    let mut left = 0;
    for (number, chat) in (1..).zip(&chats) {
        match chat.filter(|messages| example(messages, entries)) {
            Some(messages) => {
                for message in messages {
                    let what = format!("system_chat, conversation {number}");
                    note_others(message, &what, &["role", "content"], notes);
                }
            }
            None => left += 1,
        }
    }
    if left > 0 {
        notes.push(format!(
            "system_chat: {left} of {} conversations are left out, since they are not the six messages of \
             a critique and a revision by one of the principles",
            chats.len()
        ));
    }
}

fn messages_of(chat: &Json) -> Option<&[Json]> {
    match chat {
        Json::List(messages) => Some(messages),
        _ => None,
    }
}

/// Adds a conversation to the principle that it is about; tells whether there is one.
fn example(messages: &[Json], entries: &mut [Entry]) -> bool {
    let message = |message: &Json, role: &str| match (message.get("role"), message.get("content")) {
        (Some(Json::Text(found)), Some(Json::Text(content))) if found == role => {
            Some(content.clone())
        }
        _ => None,
    };
    let roles = ["user", "assistant"].into_iter().cycle();
    let texts = messages.iter().zip(roles).map(|(m, role)| message(m, role));
    let texts: Option<Vec<String>> = texts.collect();
    let Some(Ok([prompt, response, critic, critique, request, revision])) =
        texts.map(<[String; 6]>::try_from)
    else {
        return false;
    };
    let asked = |entry: &&mut Entry| {
        entry.critique == markers::without(&critic, CRITIQUE)
            && entry.revision == markers::without(&request, REVISION)
    };
    let Some(entry) = entries.iter_mut().find(asked) else {
        return false;
    };
    entry.examples.push(Example {
        prompt,
        response,
        critique,
        revision,
    });
    true
}
