//! Drafts of a stored run, for a run that takes them in place of writing its own.

use rusqlite::{Connection, OptionalExtension};

use super::rows::{CallDetail, StepDetail};
use super::{Store, StoreError};
use crate::chain::{Call, ChainId, Step, StepKind};
use crate::digest::Digest;
use crate::generation::{Generate, Generation, Request};
use crate::prompt::{Prompt, PromptId};

/// The drafts of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Drafts {
    /// The run.
    pub run_id: String,
    /// Digest of all prompts and drafts, in order.
    pub digest: Digest,
    /// Chains that have a draft, in the order of the run.
    pub chains: Vec<ChainId>,
    /// Chains that have none, since they failed or have only begun.
    pub without: u64,
}

/// A draft, and what it responds to.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// The prompt.
    pub prompt: Prompt,
    /// Which response to the prompt this is.
    pub sample: u32,
    /// The place of its chain in the run.
    pub position: u64,
    /// The step that wrote it, with its model calls.
    pub step: Step,
}

impl Store {
    /// Which drafts a run has. `run_id` is a whole id.
    pub fn drafts(&self, run_id: &str) -> Result<Drafts, StoreError> {
        self.snapshot(|conn| drafts(conn, run_id))
    }

    /// The draft of a chain, which [`drafts`](Self::drafts) named.
    pub fn draft(&self, chain: &ChainId) -> Result<Draft, StoreError> {
        let detail = self.chain(chain)?;
        let step = detail.steps.into_iter().find(|s| s.kind == StepKind::Draft);
        let step = step.ok_or_else(|| self.unknown("draft of chain", &chain.0, ""))?;
        Ok(Draft {
            prompt: Prompt {
                id: PromptId(detail.row.prompt_id),
                messages: detail.prompt_messages,
                metadata: detail.prompt_metadata,
            },
            sample: detail.row.sample,
            position: detail.row.position,
            step: to_step(step),
        })
    }
}

fn drafts(conn: &Connection, run_id: &str) -> rusqlite::Result<Drafts> {
    let run: Option<i64> = conn
        .prepare_cached("SELECT id FROM runs WHERE run_id = ?1")?
        .query_row([run_id], |row| row.get(0))
        .optional()?;
    let mut statement = conn.prepare_cached(
        "SELECT c.chain_id, p.digest, c.sample, t.digest FROM chains c
         JOIN prompts p ON p.id = c.prompt
         LEFT JOIN steps s ON s.chain = c.id AND s.ordinal = 0 AND s.kind = 'draft' AND s.adopted
         LEFT JOIN texts t ON t.id = s.output
         WHERE c.run = ?1 ORDER BY c.position, c.sample, c.id",
    )?;
    let mut rows = statement.query([run])?;
    let mut hasher = blake3::Hasher::new();
    let (mut chains, mut without) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let Some(text) = row.get::<_, Option<[u8; 32]>>(3)? else {
            without += 1;
            continue;
        };
        hasher.update(&row.get::<_, [u8; 32]>(1)?);
        hasher.update(&row.get::<_, u32>(2)?.to_le_bytes());
        hasher.update(&text);
        chains.push(ChainId(row.get(0)?));
    }
    Ok(Drafts {
        run_id: run_id.to_owned(),
        digest: Digest::from_hash(hasher.finalize()),
        chains,
        without,
    })
}

fn to_step(detail: StepDetail) -> Step {
    Step {
        ordinal: detail.ordinal,
        round: detail.round,
        kind: detail.kind,
        principle: detail.principle_id,
        calls: detail.calls.into_iter().map(to_call).collect(),
        output: detail.output,
        flags: detail.flags,
        verdict: detail.verdict,
        adopted: detail.adopted,
    }
}

fn to_call(detail: CallDetail) -> Call {
    Call {
        key: detail.key,
        request: Request::Generate(Generate {
            messages: detail.messages,
            sampling: detail.sampling.unwrap_or_default(),
            seed: detail.seed.unwrap_or_default(),
            shape: detail.shape,
            repeats: None,
            adapter: None,
        }),
        generation: Generation {
            text: detail.text,
            raw: detail.raw,
            thinking: detail.thinking,
            thinking_unclosed: detail.thinking_unclosed,
            finish: detail.finish,
            decisions: detail.decisions,
            invalid_utf8: detail.invalid_utf8,
            usage: detail.usage,
        },
        reused: true,
    }
}
