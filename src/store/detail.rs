//! Whole runs and whole chains.

use rusqlite::{CachedStatement, Connection, Row};

use super::rows::{CallDetail, ChainDetail, ChainRow, RunDetail, RunRow, StepDetail};
use super::{content, read};
use crate::chain::{Flag, StepKind};
use crate::digest::Digest;
use crate::generation::Usage;
use crate::verdict::Verdict;

/// The rest of a run.
pub(super) fn run(conn: &Connection, row: RunRow) -> rusqlite::Result<RunDetail> {
    conn.prepare_cached(
        "SELECT fingerprint, config, constitution_json, pack_text, model_json, versions, execution,
             active_seconds FROM v_runs WHERE run_id = ?1",
    )?
    .query_row([&row.run_id.clone()], |columns| {
        Ok(RunDetail {
            row,
            fingerprint: read::name(columns, 0)?,
            config: read::json(columns, 1)?,
            constitution: read::json(columns, 2)?,
            pack_text: columns.get(3)?,
            model: read::json(columns, 4)?,
            versions: read::json(columns, 5)?,
            execution: read::json(columns, 6)?,
            active_seconds: columns.get(7)?,
        })
    })
}

/// How much of a chain is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Its responses: the draft and adopted revisions with their flags. Other steps are left out, and with them
    /// what [`ChainRow`] says of verdicts and flags.
    Responses,
    /// Its texts, verdicts and flags; [`StepDetail::calls`] stays empty.
    Texts,
    /// Everything, the model calls of its steps included.
    Calls,
}

/// A chain by its key.
pub(super) fn chain(conn: &Connection, key: i64, depth: Depth) -> rusqlite::Result<ChainDetail> {
    Chains::of(conn, depth)?.read(key)
}

/// Reads chains one after the other. Its statements are looked up once and not for every chain.
pub(super) struct Chains<'conn> {
    conn: &'conn Connection,
    depth: Depth,
    row: CachedStatement<'conn>,
    steps: CachedStatement<'conn>,
    flags: CachedStatement<'conn>,
    turn: CachedStatement<'conn>,
}

impl<'conn> Chains<'conn> {
    /// A reader of as much of every chain as is asked for.
    pub fn of(conn: &'conn Connection, depth: Depth) -> rusqlite::Result<Self> {
        Ok(Self {
            conn,
            depth,
            row: conn.prepare_cached(ROW)?,
            steps: conn.prepare_cached(match depth {
                Depth::Responses => RESPONSES,
                Depth::Texts | Depth::Calls => STEPS,
            })?,
            flags: conn.prepare_cached(FLAGS)?,
            turn: conn.prepare_cached(content::TURN)?,
        })
    }

    /// A chain by its key.
    pub fn read(&mut self, key: i64) -> rusqlite::Result<ChainDetail> {
        let steps = self.steps(key)?;
        let mut violated: Vec<String> = Vec::new();
        let mut flags: Vec<Flag> = Vec::new();
        for step in &steps {
            let found = step.kind == StepKind::Critique
                && step
                    .verdict
                    .as_ref()
                    .is_some_and(|verdict| verdict.violated);
            if let Some(principle) = step.principle_id.as_ref().filter(|_| found)
                && !violated.contains(principle)
            {
                violated.push(principle.clone());
            }
            flags.extend(&step.flags);
        }
        // As the view orders them.
        flags.sort_unstable_by_key(|flag| flag.as_str());
        flags.dedup();
        let (row, conversation, prompt_metadata) = self.row.query_row([key], |row| {
            let chain = chain_row(row, violated, flags)?;
            Ok((chain, row.get(20)?, read::json(row, 21)?))
        })?;
        Ok(ChainDetail {
            row,
            prompt_messages: content::turns(&mut self.turn, conversation)?,
            prompt_metadata,
            steps,
        })
    }

    fn steps(&mut self, chain: i64) -> rusqlite::Result<Vec<StepDetail>> {
        // Most chains have none, and one look says so.
        let flags: Vec<(i64, Flag)> = self
            .flags
            .query_map([chain], |row| Ok((row.get(0)?, read::name(row, 1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let (conn, depth) = (self.conn, self.depth);
        let rows = self.steps.query_map([chain], |row| {
            let key = row.get(0)?;
            let whole = depth != Depth::Responses;
            Ok(StepDetail {
                ordinal: row.get(1)?,
                round: row.get(2)?,
                kind: read::name(row, 3)?,
                principle_id: row.get(4)?,
                output: row.get(5)?,
                adopted: row.get(6)?,
                verdict: if whole { verdict(row)? } else { None },
                agreed: if whole { row.get(14)? } else { None },
                flags: of_step(&flags, key),
                calls: match depth {
                    Depth::Responses | Depth::Texts => Vec::new(),
                    Depth::Calls => calls(conn, key)?,
                },
            })
        })?;
        rows.collect()
    }
}

const ROW: &str =
    "SELECT c.chain_id, r.run_id, p.prompt_id, t.body, c.sample, c.position, c.status,
         c.stop_reason, c.rounds, d.body, f.body, c.revised, c.changed, c.length_ratio,
         c.regressed, c.steps, c.prompt_tokens, c.cached_tokens, c.tokens, c.error,
         p.conversation, p.metadata, c.label,
         (SELECT body FROM texts WHERE id = c.chosen), (SELECT body FROM texts WHERE id = c.note)
     FROM chains c JOIN runs r ON r.id = c.run JOIN prompts p ON p.id = c.prompt
     JOIN texts t ON t.id = p.text LEFT JOIN texts d ON d.id = c.draft
     LEFT JOIN texts f ON f.id = c.final WHERE c.id = ?1";

/// The steps whose outputs became the chain's response.
const RESPONSES: &str = "SELECT s.id, s.ordinal, s.round, s.kind, s.principle, t.body, s.adopted
     FROM steps s JOIN texts t ON t.id = s.output
     WHERE s.chain = ?1 AND s.adopted AND s.kind IN ('draft', 'revision') ORDER BY s.ordinal";

const STEPS: &str = "SELECT s.id, s.ordinal, s.round, s.kind, s.principle, t.body, s.adopted,
         v.violated, v.probability, v.severity, v.quote, v.quote_verified, w.body, v.source, v.agreed
     FROM steps s JOIN texts t ON t.id = s.output
     LEFT JOIN verdicts v ON v.step = s.id LEFT JOIN texts w ON w.id = v.critique
     WHERE s.chain = ?1 ORDER BY s.ordinal";

/// The flags of all steps of a chain, with the keys of their steps.
const FLAGS: &str = "SELECT step, flag FROM step_flags WHERE chain = ?1 ORDER BY step, ordinal";

/// What [`ROW`] says, with what the steps say.
fn chain_row(row: &Row<'_>, violated: Vec<String>, flags: Vec<Flag>) -> rusqlite::Result<ChainRow> {
    let regressed: Vec<String> = read::json(row, 14)?;
    Ok(ChainRow {
        chain_id: row.get(0)?,
        run_id: row.get(1)?,
        prompt_id: row.get(2)?,
        prompt: row.get(3)?,
        sample: row.get(4)?,
        position: read::count(row, 5)?,
        status: read::name(row, 6)?,
        stop_reason: read::maybe_name(row, 7)?,
        rounds: row.get(8)?,
        draft: row.get(9)?,
        last: row.get(10)?,
        revised: row.get(11)?,
        changed: row.get(12)?,
        length_ratio: row.get(13)?,
        regressions: u32::try_from(regressed.len()).unwrap_or(u32::MAX),
        regressed,
        violated,
        flags,
        steps: row.get(15)?,
        prompt_tokens: read::count(row, 16)?,
        cached_tokens: read::count(row, 17)?,
        tokens: read::count(row, 18)?,
        error: row.get(19)?,
        label: read::maybe_name(row, 22)?,
        chosen: row.get(23)?,
        note: row.get(24)?,
    })
}

fn of_step(flags: &[(i64, Flag)], step: i64) -> Vec<Flag> {
    let own = flags.iter().filter(|(of, _)| *of == step);
    own.map(|(_, flag)| *flag).collect()
}

fn verdict(row: &Row<'_>) -> rusqlite::Result<Option<Verdict>> {
    let Some(violated) = row.get::<_, Option<bool>>(7)? else {
        return Ok(None);
    };
    Ok(Some(Verdict {
        violated,
        probability: row.get(8)?,
        severity: read::maybe_name(row, 9)?,
        quote: row.get(10)?,
        quote_verified: row.get(11)?,
        critique: row.get(12)?,
        source: read::name(row, 13)?,
    }))
}

fn calls(conn: &Connection, step: i64) -> rusqlite::Result<Vec<CallDetail>> {
    let mut statement = conn.prepare_cached(
        "SELECT g.id, 'b3:' || lower(hex(g.key)), g.conversation, t.body, r.body, h.body,
             g.thinking_unclosed, g.invalid_utf8, g.seed, p.body, f.body, g.finish,
             g.prompt_tokens, g.cached_tokens, g.completion_tokens, g.duration_ms, k.reused,
             g.proposed_tokens, g.accepted_tokens
         FROM step_calls k JOIN generations g ON g.id = k.generation
         JOIN texts t ON t.id = g.text JOIN texts r ON r.id = g.raw
         LEFT JOIN texts h ON h.id = g.thinking
         LEFT JOIN texts p ON p.id = g.sampling LEFT JOIN texts f ON f.id = g.shape
         WHERE k.step = ?1 ORDER BY k.attempt",
    )?;
    let rows = statement.query_map([step], |row| {
        Ok(CallDetail {
            key: read::name::<Digest>(row, 1)?,
            messages: content::messages(conn, row.get(2)?)?,
            text: row.get(3)?,
            raw: row.get(4)?,
            thinking: row.get(5)?,
            thinking_unclosed: row.get(6)?,
            invalid_utf8: row.get(7)?,
            seed: row.get(8)?,
            sampling: read::maybe_json(row, 9)?,
            shape: read::maybe_json(row, 10)?,
            finish: read::name(row, 11)?,
            usage: Usage {
                prompt_tokens: row.get(12)?,
                cached_tokens: row.get(13)?,
                completion_tokens: row.get(14)?,
                duration_ms: row.get(15)?,
                proposed_tokens: row.get(17)?,
                accepted_tokens: row.get(18)?,
            },
            decisions: content::decisions(conn, row.get(0)?)?,
            reused: row.get(16)?,
        })
    })?;
    rows.collect()
}
