//! The statements that write a run, its chains and their steps. All of them run in the writer's transaction.

use rusqlite::{Connection, OptionalExtension, params};

use crate::chain::{Call, ChainEnd, ChainStart, Step, StepKind, StopReason};
use crate::diff::changed_share;
use crate::digest::canonical;
use crate::store::content::{self, Known, json};
use crate::store::{EventKind, NewRun, RunState, events};

use super::{length_ratio, timestamp};

pub(super) fn insert_run(
    conn: &Connection,
    known: &mut Known,
    run: &NewRun,
) -> rusqlite::Result<i64> {
    let now = timestamp();
    conn.execute(
        "INSERT INTO runs (run_id, created_at, updated_at, state, fingerprint, config, constitution,
             pack_name, pack_digest, pack, model, prompts_path, prompts_digest, versions, execution)
         VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        params![
            run.run_id,
            now,
            RunState::Running.as_str(),
            run.fingerprint.as_str(),
            json(&run.config),
            // In canonical form the text's own digest is the constitution's.
            content::text(conn, known, &canonical(&run.constitution))?,
            run.pack_name,
            run.pack_digest.as_str(),
            content::text(conn, known, &run.pack_text)?,
            content::model(conn, &run.model)?,
            run.prompts_path,
            run.prompts_digest.as_str(),
            json(&run.versions),
            json(&run.execution),
        ],
    )?;
    Ok(conn.last_insert_rowid())
}

/// The chain's key, and the key of its prompt's text where the prompt may be new.
pub(super) fn begin_chain(
    conn: &Connection,
    known: &mut Known,
    run: i64,
    chain: &ChainStart,
) -> rusqlite::Result<(i64, Option<i64>)> {
    let there = conn
        .prepare_cached("SELECT id, status FROM chains WHERE chain_id = ?1")?
        .query_row([&chain.id.0], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })
        .optional()?;
    if let Some((key, status)) = there {
        // A chain that runs or is done stays as it is.
        if status == "failed" {
            conn.prepare_cached(
                "UPDATE chains SET status = 'running', stop_reason = NULL, rounds = 0, final = NULL,
                     revised = 0, changed = NULL, length_ratio = NULL, regressed = '[]', error = NULL
                 WHERE id = ?1",
            )?
            .execute([key])?;
        }
        return Ok((key, None));
    }
    let (prompt, text) = content::prompt(conn, known, &chain.prompt)?;
    conn.prepare_cached(
        "INSERT INTO chains (chain_id, run, position, prompt, sample, status)
         VALUES (?1, ?2, ?3, ?4, ?5, 'running')",
    )?
    .execute(params![
        chain.id.0,
        run,
        // No prompt file has that many rows.
        i64::try_from(chain.position).unwrap_or(i64::MAX),
        prompt,
        chain.sample
    ])?;
    Ok((conn.last_insert_rowid(), Some(text)))
}

/// The key of the step's output; `None` when the step is there already.
pub(super) fn record_step(
    conn: &Connection,
    known: &mut Known,
    run: i64,
    chain: i64,
    step: &Step,
) -> rusqlite::Result<Option<i64>> {
    let output = content::text(conn, known, &step.output)?;
    let new = conn
        .prepare_cached(
            "INSERT INTO steps (chain, ordinal, round, kind, principle, output, adopted)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            chain,
            step.ordinal,
            step.round,
            step.kind.as_str(),
            step.principle,
            output,
            step.adopted
        ])?;
    if new == 0 {
        return Ok(None);
    }
    let id = conn.last_insert_rowid();
    for (attempt, call) in (1..).zip(&step.calls) {
        let (generation, _) = content::generation(conn, known, call)?;
        // A reply is reused when another step has it; one that a killed process left behind is not.
        conn.prepare_cached(
            "INSERT INTO step_calls (step, attempt, generation, reused) VALUES (?1, ?2, ?3,
                 EXISTS (SELECT 1 FROM step_calls WHERE generation = ?3))",
        )?
        .execute(params![id, attempt, generation])?;
    }
    for (ordinal, flag) in (0..).zip(&step.flags) {
        conn.prepare_cached(
            "INSERT INTO step_flags (step, ordinal, flag, chain) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![id, ordinal, flag.as_str(), chain])?;
    }
    if let Some(verdict) = &step.verdict {
        let critique = content::text(conn, known, &verdict.critique)?;
        conn.prepare_cached(
            "INSERT INTO verdicts (step, violated, probability, severity, quote, quote_verified,
                 critique, source, chain, kind, principle)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            id,
            verdict.violated,
            verdict.probability,
            verdict.severity.map(|severity| severity.as_str()),
            verdict.quote,
            verdict.quote_verified,
            critique,
            verdict.source.as_str(),
            chain,
            step.kind.as_str(),
            step.principle
        ])?;
    }
    add_to_chain(conn, chain, step, output)?;
    events::record(conn, run, EventKind::Step, Some(chain), Some(id))?;
    Ok(Some(output))
}

/// Keeps the chain's sums, and its draft so that a chain that still runs shows it.
fn add_to_chain(conn: &Connection, chain: i64, step: &Step, output: i64) -> rusqlite::Result<()> {
    let sum = |tokens: fn(&Call) -> u32| -> i64 {
        step.calls.iter().map(|call| i64::from(tokens(call))).sum()
    };
    let draft = (step.kind == StepKind::Draft && step.adopted).then_some(output);
    conn.prepare_cached(
        "UPDATE chains SET steps = steps + 1, prompt_tokens = prompt_tokens + ?2,
             cached_tokens = cached_tokens + ?3, tokens = tokens + ?4, draft = ifnull(draft, ?5)
         WHERE id = ?1",
    )?
    .execute(params![
        chain,
        sum(|call| call.generation.usage.prompt_tokens),
        sum(|call| call.generation.usage.cached_tokens),
        sum(|call| call.generation.usage.completion_tokens),
        draft
    ])?;
    Ok(())
}

pub(super) fn end_chain(
    conn: &Connection,
    known: &mut Known,
    run: i64,
    chain: i64,
    end: &ChainEnd,
) -> rusqlite::Result<()> {
    let mut text = |body: &Option<String>| -> rusqlite::Result<Option<i64>> {
        body.as_deref()
            .map(|body| content::text(conn, known, body))
            .transpose()
    };
    let both = end.draft.as_deref().zip(end.last.as_deref());
    let status = match end.stop {
        StopReason::Failed => "failed",
        StopReason::Clean | StopReason::RoundsDone | StopReason::ContextFull => "done",
    };
    let running = conn
        .prepare_cached("SELECT status = 'running' FROM chains WHERE id = ?1")?
        .query_row([chain], |row| row.get(0))?;
    if running {
        events::record_end(conn, run, chain, end.stop)?;
    }
    conn.prepare_cached(
        "UPDATE chains SET status = ?2, stop_reason = ?3, rounds = ?4, draft = ?5, final = ?6,
             revised = ?7, changed = ?8, length_ratio = ?9, regressed = ?10, error = ?11
         WHERE id = ?1",
    )?
    .execute(params![
        chain,
        status,
        end.stop.as_str(),
        end.rounds,
        text(&end.draft)?,
        text(&end.last)?,
        end.revised,
        both.map(|(draft, last)| changed_share(draft, last)),
        both.and_then(|(draft, last)| length_ratio(draft, last)),
        json(&end.regressions),
        end.error
    ])?;
    Ok(())
}
