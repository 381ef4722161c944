//! Judgements: keeping them, finding what is left to judge, and reading them.

use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use serde::Serialize;
use serde_json::Value;

use super::content::{self, Known, json};
use super::writer::timestamp;
use super::{Filter, Store, StoreError, Writer, filter_sql, read};
use crate::chain::{Call, ChainId};
use crate::constitution::Constitution;
use crate::digest::{Digest, canonical};
use crate::generation::{Generation, Message, ModelIdentity};
use crate::judgement::{Judgement, Mode, PairKind};

/// What decides a judgement besides the texts.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJudge {
    /// How it is asked.
    pub mode: Mode,
    /// What the model is.
    pub model: ModelIdentity,
    /// Where its principles come from.
    pub constitution: Constitution,
    /// The name of the prompt pack.
    pub pack_name: String,
    /// Its text.
    pub pack_text: String,
    /// The digest of what the pack says to judges.
    pub pack_digest: Digest,
    /// What decides besides: seed, how many principles and samples, sampling.
    pub config: Value,
    /// Versions of this program and its libraries.
    pub versions: Value,
}

impl NewJudge {
    /// Its name: 10 characters made from all that decides.
    pub fn id(&self) -> String {
        let model = (&self.model.digest, &self.model.settings_digest);
        let wording = (self.constitution.digest(), &self.pack_digest);
        Digest::of(&("judge", self.mode, model, wording, canonical(&self.config))).id(10)
    }
}

/// A response of a chain: its draft, or an adopted revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The step that wrote it, by its ordinal.
    pub ordinal: u32,
    /// What it says.
    pub text: String,
}

/// The responses of a chain, in order, and what they respond to.
#[derive(Clone, Debug, PartialEq)]
pub struct Responses {
    /// The chain.
    pub chain: ChainId,
    /// Its run.
    pub run_id: String,
    /// The prompt's id.
    pub prompt_id: String,
    /// Which sample of the prompt.
    pub sample: u32,
    /// The conversation that is responded to.
    pub messages: Vec<Message>,
    /// The draft first.
    pub responses: Vec<Response>,
}

/// A stored judgement: one row of `v_judgements`, without the texts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JudgementRow {
    /// The chain.
    pub chain_id: String,
    /// Why these two were compared.
    pub kind: PairKind,
    /// The step that wrote the first text, by its ordinal; 0 is the draft.
    pub first: u32,
    /// The step that wrote the second text.
    pub second: u32,
    /// The principles that were asked about.
    pub principles: Vec<String>,
    /// P(the second is better) where the first was shown as (A).
    pub p_ab: f64,
    /// P(the second is better) where the second was shown as (A).
    pub p_ba: f64,
    /// The mean of both, after reasoning clamped to 0.40–0.60.
    pub p: f64,
    /// Whether both orders prefer the same text; an even answer prefers none.
    pub agree: bool,
    /// P(second) − P(first).
    pub margin: f64,
    /// Who judged: a name made from all that decides.
    pub judge_id: String,
    /// How it was asked.
    pub mode: Mode,
    /// The judge's model.
    pub model: String,
    /// The digest of the judge's model.
    pub model_digest: String,
}

/// What a judgement says, in short.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PreferenceRow {
    /// The step that wrote the first text, by its ordinal; 0 is the draft.
    pub first: u32,
    /// The step that wrote the second text.
    pub second: u32,
    /// P(the second is better), the mean of both orders.
    pub p: f64,
    /// Whether both orders prefer the same text.
    pub agree: bool,
    /// Whether neither order prefers a text.
    pub even: bool,
}

impl JudgementRow {
    /// The latest judgement of one pair of texts, named by the ordinals of their steps, among those of a
    /// chain in the order in which [`Store::judgements`] gives them. Turned round where the pair is stored the
    /// other way round.
    pub fn of_pair(all: &[JudgementRow], first: u32, second: u32) -> Option<JudgementRow> {
        let mut latest = all.iter().rev();
        let found = latest.find(|row| {
            (row.first, row.second) == (first, second) || (row.second, row.first) == (first, second)
        })?;
        match found.first == first {
            true => Some(found.clone()),
            false => Some(found.swapped()),
        }
    }

    /// The same judgement about the pair the other way round.
    #[must_use]
    pub fn swapped(&self) -> Self {
        Self {
            first: self.second,
            second: self.first,
            p_ab: 1.0 - self.p_ba,
            p_ba: 1.0 - self.p_ab,
            p: 1.0 - self.p,
            margin: -self.margin,
            ..self.clone()
        }
    }
}

impl Writer {
    /// Records who judges, and gives its key for [`record_judgement`](Self::record_judgement).
    pub fn begin_judge(&mut self, judge: &NewJudge) -> Result<i64, StoreError> {
        let name = judge.id();
        let there = self.write(|conn, _| {
            conn.prepare_cached("SELECT id FROM judges WHERE judge_id = ?1")?
                .query_row([&name], |row| row.get(0))
                .optional()
        })?;
        match there {
            Some(key) => Ok(key),
            None => self.write(|conn, known| insert_judge(conn, known, &name, judge)),
        }
    }

    /// Records a judgement; one that is there stays. Durable with the next [`keep`](Self::keep).
    pub fn record_judgement(
        &mut self,
        judge: i64,
        chain: &ChainId,
        judgement: &Judgement,
    ) -> Result<(), StoreError> {
        self.write(|conn, known| insert_judgement(conn, known, (judge, chain), judgement))
    }

    /// The stored reply to the request with the given content key.
    pub fn find_reply(&mut self, key: &Digest) -> Result<Option<Generation>, StoreError> {
        self.write(|conn, _| content::find_generation(conn, key))
    }

    /// Records a model call that belongs to no run. A reply that is stored under the same key stands, and
    /// takes the place of the call's own.
    pub fn keep_reply(&mut self, call: &mut Call) -> Result<(), StoreError> {
        let (_, new) = self.write(|conn, known| content::generation(conn, known, call))?;
        if !new && let Some(generation) = self.find_reply(&call.key)? {
            call.generation = generation;
        }
        Ok(())
    }

    /// Makes everything recorded so far durable.
    pub fn keep(&mut self) -> Result<(), StoreError> {
        self.flush()
    }
}

fn insert_judge(
    conn: &Connection,
    known: &mut Known,
    name: &str,
    judge: &NewJudge,
) -> rusqlite::Result<i64> {
    conn.execute(
        "INSERT INTO judges (judge_id, created_at, mode, model, constitution, pack_name, pack_digest,
             pack, config, versions) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            name,
            timestamp(),
            judge.mode.as_str(),
            content::model(conn, &judge.model)?,
            content::text(conn, known, &canonical(&judge.constitution))?,
            judge.pack_name,
            judge.pack_digest.as_str(),
            content::text(conn, known, &judge.pack_text)?,
            canonical(&judge.config),
            json(&judge.versions),
        ],
    )?;
    Ok(conn.last_insert_rowid())
}

fn insert_judgement(
    conn: &Connection,
    known: &mut Known,
    (judge, chain): (i64, &ChainId),
    judgement: &Judgement,
) -> rusqlite::Result<()> {
    let step = |ordinal: u32| -> rusqlite::Result<(i64, i64)> {
        conn.prepare_cached(
            "SELECT c.id, s.id FROM chains c JOIN steps s ON s.chain = c.id
             WHERE c.chain_id = ?1 AND s.ordinal = ?2",
        )?
        .query_row(params![chain.0, ordinal], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
    };
    let ((chain, first), (_, second)) = (step(judgement.first)?, step(judgement.second)?);
    let new = conn
        .prepare_cached(
            "INSERT INTO judgements (judge, chain, kind, first, second, p_ab, p_ba, p, agree, margin)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            judge,
            chain,
            judgement.kind.as_str(),
            first,
            second,
            judgement.preference.p_ab,
            judgement.preference.p_ba,
            judgement.p,
            judgement.preference.agrees(),
            judgement.margin(),
        ])?;
    if new == 0 {
        return Ok(());
    }
    let id = conn.last_insert_rowid();
    for (ordinal, vote) in (0i64..).zip(&judgement.votes) {
        conn.prepare_cached(
            "INSERT INTO judgement_votes (judgement, ordinal, principle, p_ab, p_ba)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            id,
            ordinal,
            vote.principle,
            vote.preference.p_ab,
            vote.preference.p_ba
        ])?;
        for (attempt, (order, call)) in (1i64..).zip(&vote.calls) {
            let (generation, _) = content::generation(conn, known, call)?;
            conn.prepare_cached(
                "INSERT INTO judgement_calls (judgement, vote, attempt, shown, generation, reused)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                id,
                ordinal,
                attempt,
                order.as_str(),
                generation,
                call.reused
            ])?;
        }
    }
    Ok(())
}

const COLUMNS: &str = "c.chain_id, j.kind, f.ordinal, s.ordinal,
    (SELECT ifnull(group_concat(principle, ','), '') FROM (
        SELECT principle FROM judgement_votes WHERE judgement = j.id ORDER BY ordinal)),
    j.p_ab, j.p_ba, j.p, j.agree, j.margin, g.judge_id, g.mode, m.name, m.digest";

const FROM: &str = "judgements j JOIN judges g ON g.id = j.judge JOIN models m ON m.id = g.model
    JOIN chains c ON c.id = j.chain JOIN steps f ON f.id = j.first JOIN steps s ON s.id = j.second";

fn judgement_row(row: &Row<'_>) -> rusqlite::Result<JudgementRow> {
    Ok(JudgementRow {
        chain_id: row.get(0)?,
        kind: read::name(row, 1)?,
        first: row.get(2)?,
        second: row.get(3)?,
        principles: read::names(row, 4)?,
        p_ab: row.get(5)?,
        p_ba: row.get(6)?,
        p: row.get(7)?,
        agree: row.get(8)?,
        margin: row.get(9)?,
        judge_id: row.get(10)?,
        mode: read::name(row, 11)?,
        model: row.get(12)?,
        model_digest: row.get(13)?,
    })
}

impl Store {
    /// The judgements of a chain, oldest first. May be called while chains are handed out.
    pub fn judgements(&self, chain: &ChainId) -> Result<Vec<JudgementRow>, StoreError> {
        self.read(|conn| {
            let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE c.chain_id = ?1 ORDER BY j.id");
            let mut statement = conn.prepare_cached(&sql)?;
            statement.query_map([&chain.0], judgement_row)?.collect()
        })
    }

    /// Of the judgements of a chain, oldest first, as much as gates ask for.
    pub fn preferences(&self, chain: &ChainId) -> Result<Vec<PreferenceRow>, StoreError> {
        self.read(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT f.ordinal, s.ordinal, j.p, j.agree, j.p_ab = 0.5 AND j.p_ba = 0.5
                 FROM chains c JOIN judgements j ON j.chain = c.id
                 JOIN steps f ON f.id = j.first JOIN steps s ON s.id = j.second
                 WHERE c.chain_id = ?1 ORDER BY j.id",
            )?;
            let rows = statement.query_map([&chain.0], |row| {
                Ok(PreferenceRow {
                    first: row.get(0)?,
                    second: row.get(1)?,
                    p: row.get(2)?,
                    agree: row.get(3)?,
                    even: row.get(4)?,
                })
            })?;
            rows.collect()
        })
    }

    /// The matching chains that have ended well with a revision, by run and position. `run` is a whole id.
    pub fn chains_to_judge(
        &self,
        filter: &Filter,
        run: Option<&str>,
    ) -> Result<Vec<ChainId>, StoreError> {
        let condition = filter_sql::condition(filter, run);
        self.read(|conn| {
            let sql = format!(
                "SELECT c.chain_id FROM {} WHERE ({}) AND c.status = 'done' AND c.revised
                 ORDER BY r.run_id, c.position, c.sample, c.id",
                filter_sql::BY_RUN,
                condition.sql
            );
            let mut statement = conn.prepare(&sql)?;
            let rows =
                statement.query_map(params_from_iter(&condition.params), |row| row.get(0))?;
            rows.map(|id| id.map(ChainId)).collect()
        })
    }

    /// What a chain responds to, its draft and its adopted revisions.
    pub fn responses(&self, chain: &ChainId) -> Result<Responses, StoreError> {
        let found = self.snapshot(|conn| {
            let head = conn
                .prepare_cached(
                    "SELECT c.id, r.run_id, p.prompt_id, c.sample, p.conversation
                     FROM chains c JOIN runs r ON r.id = c.run JOIN prompts p ON p.id = c.prompt
                     WHERE c.chain_id = ?1",
                )?
                .query_row([&chain.0], |row| {
                    let key: i64 = row.get(0)?;
                    let head = Responses {
                        chain: chain.clone(),
                        run_id: row.get(1)?,
                        prompt_id: row.get(2)?,
                        sample: row.get(3)?,
                        messages: content::messages(conn, row.get(4)?)?,
                        responses: Vec::new(),
                    };
                    Ok((key, head))
                })
                .optional()?;
            let Some((key, head)) = head else {
                return Ok(None);
            };
            Ok(Some(Responses {
                responses: adopted(conn, key)?,
                ..head
            }))
        })?;
        found.ok_or_else(|| self.unknown("chain", &chain.0, "; `amend ls` lists them"))
    }
}

fn adopted(conn: &Connection, chain: i64) -> rusqlite::Result<Vec<Response>> {
    let mut statement = conn.prepare_cached(
        "SELECT s.ordinal, t.body FROM steps s JOIN texts t ON t.id = s.output
         WHERE s.chain = ?1 AND s.adopted AND s.kind IN ('draft', 'revision') ORDER BY s.ordinal",
    )?;
    let rows = statement.query_map([chain], |row| {
        Ok(Response {
            ordinal: row.get(0)?,
            text: row.get(1)?,
        })
    })?;
    rows.collect()
}
