//! Content that repeats and is stored once: texts, conversations, prompts, models, model calls.
//!
//! Every function finds what is there or adds it, and gives back its key.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Statement, params};
use serde::Serialize;

use super::read;
use crate::chain::Call;
use crate::digest::{Digest, canonical};
use crate::generation::ModelIdentity;
use crate::generation::{Decision, Generation, Message, Request, Role, Usage};
use crate::prompt::Prompt;

/// JSON text of plain data.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> String {
    // Fails only for maps with keys that are no strings, which no domain type has.
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// The 32 bytes of a digest.
pub(super) fn bytes(digest: &Digest) -> [u8; 32] {
    let hex = digest.as_str().strip_prefix("b3:").unwrap_or_default();
    // A `Digest` always holds 64 hexadecimal digits; were it otherwise, its text would be hashed.
    blake3::Hash::from_hex(hex)
        .unwrap_or_else(|_| blake3::hash(digest.as_str().as_bytes()))
        .into()
}

/// Keys of content that was written or met lately, so that what repeats costs no look-up. Must be forgotten
/// when a transaction is undone.
#[derive(Debug, Default)]
pub(super) struct Known {
    texts: Recent,
    /// Beginnings of conversations.
    prefixes: Recent,
    /// Model calls by their content keys.
    generations: Recent,
}

impl Known {
    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A bounded map from a hash to the key of a row.
#[derive(Debug, Default)]
struct Recent(HashMap<[u8; 32], i64>);

impl Recent {
    const MOST: usize = 8192;

    fn get(&self, hash: &[u8; 32]) -> Option<i64> {
        self.0.get(hash).copied()
    }

    fn remember(&mut self, hash: [u8; 32], id: i64) {
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        self.0.insert(hash, id);
    }
}

/// A text.
pub(super) fn text(conn: &Connection, known: &mut Known, body: &str) -> rusqlite::Result<i64> {
    let digest: [u8; 32] = blake3::hash(body.as_bytes()).into();
    if let Some(id) = known.texts.get(&digest) {
        return Ok(id);
    }
    // What is not known is mostly new, so it is written first and looked for after.
    let new = conn
        .prepare_cached("INSERT INTO texts (digest, body) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
        .execute(params![digest, body])?;
    let id = match new {
        0 => conn
            .prepare_cached("SELECT id FROM texts WHERE digest = ?1")?
            .query_row([digest], |row| row.get(0))?,
        _ => conn.last_insert_rowid(),
    };
    known.texts.remember(digest, id);
    Ok(id)
}

fn json_text<T: Serialize>(
    conn: &Connection,
    known: &mut Known,
    value: Option<&T>,
) -> rusqlite::Result<Option<i64>> {
    value
        .map(|value| text(conn, known, &json(value)))
        .transpose()
}

/// A conversation; `None` when it is empty.
fn conversation(
    conn: &Connection,
    known: &mut Known,
    messages: &[Message],
) -> rusqlite::Result<Option<i64>> {
    let keys = prefix_keys(messages);
    // The last message is rarely met again, and is never remembered.
    let shared = messages.len().saturating_sub(1);
    let met = (0..shared).rev().find_map(|index| {
        let id = known.prefixes.get(keys.get(index)?)?;
        Some((index + 1, id))
    });
    let (from, mut parent) = met.map_or((0, None), |(from, id)| (from, Some(id)));
    for (index, (message, key)) in messages.iter().zip(keys).enumerate().skip(from) {
        let id = turn(conn, known, parent, message)?;
        if index < shared {
            known.prefixes.remember(key, id);
        }
        parent = Some(id);
    }
    Ok(parent)
}

/// A key for each beginning of a conversation: its first message, its first two, and so on.
fn prefix_keys(messages: &[Message]) -> Vec<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    let key = |message: &Message| {
        hasher.update(message.role.as_str().as_bytes());
        hasher.update(&(message.content.len() as u64).to_le_bytes());
        hasher.update(message.content.as_bytes());
        hasher.finalize().into()
    };
    messages.iter().map(key).collect()
}

/// One message after the conversation `parent`.
fn turn(
    conn: &Connection,
    known: &mut Known,
    parent: Option<i64>,
    message: &Message,
) -> rusqlite::Result<i64> {
    let content = text(conn, known, &message.content)?;
    let role = message.role.as_str();
    let new = conn
        .prepare_cached(
            "INSERT INTO conversations (parent, role, content) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![parent, role, content])?;
    if new > 0 {
        return Ok(conn.last_insert_rowid());
    }
    conn.prepare_cached(
        "SELECT id FROM conversations WHERE ifnull(parent, 0) = ?1 AND role = ?2 AND content = ?3",
    )?
    .query_row(params![parent.unwrap_or(0), role, content], |row| {
        row.get(0)
    })
}

/// The last message of a conversation, and the conversation before it.
pub(super) const TURN: &str = "SELECT c.parent, c.role, t.body
     FROM conversations c JOIN texts t ON t.id = c.content WHERE c.id = ?1";

/// The messages of a conversation, first message first.
pub(super) fn messages(conn: &Connection, id: Option<i64>) -> rusqlite::Result<Vec<Message>> {
    let mut statement = conn.prepare_cached(TURN)?;
    turns(&mut statement, id)
}

/// The same with [`TURN`] as a statement.
pub(super) fn turns(
    statement: &mut Statement<'_>,
    id: Option<i64>,
) -> rusqlite::Result<Vec<Message>> {
    let mut messages = Vec::new();
    let mut next = id;
    while let Some(id) = next {
        next = statement.query_row([id], |row| {
            let role: Role = read::name(row, 1)?;
            messages.push(Message::new(role, row.get::<_, String>(2)?));
            row.get(0)
        })?;
    }
    messages.reverse();
    Ok(messages)
}

/// A prompt with its id and metadata: its key and that of its text.
pub(super) fn prompt(
    conn: &Connection,
    known: &mut Known,
    prompt: &Prompt,
) -> rusqlite::Result<(i64, i64)> {
    // Not in canonical form: metadata keeps the order of its fields.
    let digest = blake3::hash(json(prompt).as_bytes());
    let there = conn
        .prepare_cached("SELECT id, text FROM prompts WHERE digest = ?1")?
        .query_row([digest.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some(keys) = there {
        return Ok(keys);
    }
    let conversation = conversation(conn, known, &prompt.messages)?;
    let text = text(conn, known, prompt.text())?;
    conn.prepare_cached(
        "INSERT INTO prompts (digest, prompt_id, conversation, text, metadata)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        digest.as_bytes(),
        prompt.id.0,
        conversation,
        text,
        json(&prompt.metadata)
    ])?;
    Ok((conn.last_insert_rowid(), text))
}

/// What a model is.
pub(super) fn model(conn: &Connection, model: &ModelIdentity) -> rusqlite::Result<i64> {
    let identity = canonical(model);
    let known = conn
        .prepare_cached("SELECT id FROM models WHERE identity = ?1")?
        .query_row([&identity], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    conn.execute(
        "INSERT INTO models (digest, settings_digest, name, identity) VALUES (?1, ?2, ?3, ?4)",
        params![
            model.digest.as_str(),
            model.settings_digest.as_str(),
            model.name,
            identity
        ],
    )?;
    Ok(conn.last_insert_rowid())
}

/// A model call, and whether it is new. A key that is there keeps its reply.
pub(super) fn generation(
    conn: &Connection,
    known: &mut Known,
    call: &Call,
) -> rusqlite::Result<(i64, bool)> {
    let key = bytes(&call.key);
    if let Some(id) = known.generations.get(&key) {
        return Ok((id, false));
    }
    let there = conn
        .prepare_cached("SELECT id FROM generations WHERE key = ?1")?
        .query_row([&key], |row| row.get(0))
        .optional()?;
    let id = match there {
        Some(id) => id,
        None => insert_generation(conn, known, &key, call)?,
    };
    known.generations.remember(key, id);
    Ok((id, there.is_none()))
}

fn insert_generation(
    conn: &Connection,
    known: &mut Known,
    key: &[u8; 32],
    call: &Call,
) -> rusqlite::Result<i64> {
    let conversation = conversation(conn, known, call.request.messages())?;
    let (sampling, shape, options, seed) = match &call.request {
        Request::Generate(ask) => (
            json_text(conn, known, Some(&ask.sampling))?,
            json_text(conn, known, ask.shape.as_ref())?,
            None,
            Some(ask.seed),
        ),
        Request::Choose(ask) => {
            let options = json_text(conn, known, Some(&ask.options))?;
            (None, None, options, None)
        }
    };
    let reply = &call.generation;
    let thinking = reply.thinking.as_deref();
    let thinking = thinking.map(|body| text(conn, known, body)).transpose()?;
    conn.prepare_cached(
        "INSERT INTO generations (key, conversation, sampling, shape, options, seed, text, raw, thinking,
             thinking_unclosed, invalid_utf8, finish, prompt_tokens, cached_tokens, completion_tokens,
             duration_ms, proposed_tokens, accepted_tokens)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    )?
    .execute(params![
        key,
        conversation,
        sampling,
        shape,
        options,
        seed,
        text(conn, known, &reply.text)?,
        text(conn, known, &reply.raw)?,
        thinking,
        reply.thinking_unclosed,
        reply.invalid_utf8,
        reply.finish.as_str(),
        reply.usage.prompt_tokens,
        reply.usage.cached_tokens,
        reply.usage.completion_tokens,
        // NaN would become NULL.
        if reply.usage.duration_ms.is_nan() { 0.0 } else { reply.usage.duration_ms },
        reply.usage.proposed_tokens,
        reply.usage.accepted_tokens,
    ])?;
    let id = conn.last_insert_rowid();
    for (ordinal, decision) in (0..).zip(&reply.decisions) {
        conn.prepare_cached(
            "INSERT INTO decisions (generation, ordinal, field, probability) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![id, ordinal, decision.field, decision.probability])?;
    }
    Ok(id)
}

/// The stored reply to the request with the given content key.
pub(super) fn find_generation(
    conn: &Connection,
    key: &Digest,
) -> rusqlite::Result<Option<Generation>> {
    let found = conn
        .prepare_cached(
            "SELECT g.id, t.body, r.body, h.body, g.thinking_unclosed, g.finish, g.invalid_utf8,
                 g.prompt_tokens, g.cached_tokens, g.completion_tokens, g.duration_ms,
                 g.proposed_tokens, g.accepted_tokens
             FROM generations g JOIN texts t ON t.id = g.text JOIN texts r ON r.id = g.raw
             LEFT JOIN texts h ON h.id = g.thinking WHERE g.key = ?1",
        )?
        .query_row([bytes(key)], |row| {
            let generation = Generation {
                text: row.get(1)?,
                raw: row.get(2)?,
                thinking: row.get(3)?,
                thinking_unclosed: row.get(4)?,
                finish: read::name(row, 5)?,
                decisions: Vec::new(),
                invalid_utf8: row.get(6)?,
                usage: Usage {
                    prompt_tokens: row.get(7)?,
                    cached_tokens: row.get(8)?,
                    completion_tokens: row.get(9)?,
                    duration_ms: row.get(10)?,
                    proposed_tokens: row.get(11)?,
                    accepted_tokens: row.get(12)?,
                },
            };
            Ok((row.get::<_, i64>(0)?, generation))
        })
        .optional()?;
    let Some((id, generation)) = found else {
        return Ok(None);
    };
    Ok(Some(Generation {
        decisions: decisions(conn, id)?,
        ..generation
    }))
}

/// The decisions of a model call, in order.
pub(super) fn decisions(conn: &Connection, generation: i64) -> rusqlite::Result<Vec<Decision>> {
    let mut statement = conn.prepare_cached(
        "SELECT field, probability FROM decisions WHERE generation = ?1 ORDER BY ordinal",
    )?;
    let rows = statement.query_map([generation], |row| {
        Ok(Decision {
            field: row.get(0)?,
            probability: row.get::<_, Option<f64>>(1)?.unwrap_or(f64::NAN),
        })
    })?;
    rows.collect()
}
