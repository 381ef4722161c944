//! What was written to a store since somebody looked.

use rusqlite::{Connection, Row};
use serde::de::DeserializeOwned;

use super::lists::Numbered;
use super::{Chain, End, Ended, Finding, Mark, MarkedVerdict, Question, Reach};
use crate::chain::StepKind;
use crate::store::read;
use crate::verdict::VerdictSource;

/// What was written since, by keys of chains.
#[derive(Debug, Default)]
pub(super) struct News {
    /// With the texts of their prompts.
    pub(super) chains: Vec<(i64, i64, Chain)>,
    /// Chains that were known, and are done now.
    pub(super) ended: Vec<(i64, Ended)>,
    /// Texts of steps.
    pub(super) outputs: Vec<(i64, i64)>,
    /// Steps about principles: numbers of marks, and P(violated).
    pub(super) steps: Vec<(i64, u32, f64)>,
    /// Numbers of findings.
    pub(super) found: Vec<(i64, u32)>,
    /// What is spoken of, by numbers of its own.
    pub(super) stops: Numbered<String>,
    pub(super) findings: Numbered<Finding>,
    pub(super) marks: Numbered<Mark>,
}

const STEPS: &str = "SELECT s.chain, s.output, s.kind, s.round, s.principle, s.adopted, v.violated,
        v.quote_verified, v.source, v.probability
    FROM steps s LEFT JOIN verdicts v ON v.step = s.id WHERE s.id > ?1 ORDER BY s.id";
const FLAGS: &str = "SELECT chain, flag FROM step_flags WHERE step > ?1";

impl News {
    /// What was written behind `from`.
    pub(super) fn read(conn: &Connection, from: Reach) -> rusqlite::Result<Self> {
        let mut news = Self::default();
        let ends = End::COLUMNS;
        let chains = format!(
            "SELECT c.id, p.text, p.prompt_id, p.conversation, c.position, c.sample, {ends}
             FROM chains c CROSS JOIN prompts p ON p.id = c.prompt WHERE c.id > ?1 ORDER BY c.id"
        );
        each(conn, &chains, from.chain, |row| {
            let chain = Chain {
                position: row.get(4)?,
                sample: row.get(5)?,
                question: question(row.get_ref(2)?.as_str()?, row.get(3)?),
                ended: Ended::of(End::read(row, 6)?, &mut news.stops),
                found: 0,
                steps: 0,
            };
            news.chains.push((row.get(0)?, row.get(1)?, chain));
            Ok(())
        })?;
        // The ends of chains that were never looked at before came with the chains.
        if from.chain > 0 {
            let ended = format!(
                "SELECT c.id, {ends} FROM events e CROSS JOIN chains c ON c.id = e.chain
                 WHERE e.id > ?1 AND e.what = 'end'"
            );
            each(conn, &ended, from.event, |row| {
                if let Some(ended) = Ended::of(End::read(row, 1)?, &mut news.stops) {
                    news.ended.push((row.get(0)?, ended));
                }
                Ok(())
            })?;
        }
        each(conn, STEPS, from.step, |row| news.add_step(row))?;
        each(conn, FLAGS, from.step, |row| {
            let number = news.findings.number(Finding::Flag(row.get(1)?));
            news.found.push((row.get(0)?, number));
            Ok(())
        })?;
        Ok(news)
    }

    /// Takes up a row of [`STEPS`].
    fn add_step(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let chain: i64 = row.get(0)?;
        self.outputs.push((chain, row.get(1)?));
        let kind = one_of(row, 2, &KINDS, StepKind::as_str)?;
        let adopted: bool = row.get(5)?;
        if kind == StepKind::Revision && adopted {
            let number = self.findings.number(Finding::Revised(row.get(3)?));
            self.found.push((chain, number));
        }
        let Some(principle) = row.get(4)? else {
            return Ok(());
        };
        let violated: Option<bool> = row.get(6)?;
        let verdict = violated.map(|violated| {
            Ok::<_, rusqlite::Error>(MarkedVerdict {
                violated,
                quote_verified: row.get(7)?,
                source: one_of(row, 8, &SOURCES, VerdictSource::as_str)?,
            })
        });
        let mark = self.marks.number(Mark {
            principle,
            kind,
            adopted,
            verdict: verdict.transpose()?,
        });
        let probability: Option<f64> = row.get(9)?;
        let probability = probability.unwrap_or(f64::NAN);
        self.steps.push((chain, mark, probability));
        Ok(())
    }
}

impl Ended {
    /// `None` where the chain is not done. `stops` takes up reasons that it does not hold.
    fn of(end: End<'_>, stops: &mut Numbered<String>) -> Option<Self> {
        (end.status == super::DONE).then(|| Self {
            stop: end.stop.map(|stop| stops.number(stop.to_owned())),
            length_ratio: end.length_ratio,
            revised: end.revised,
            regressed: end.regressed,
            draft: end.draft,
            last: end.last,
        })
    }
}

const KINDS: [StepKind; 4] = [
    StepKind::Draft,
    StepKind::Critique,
    StepKind::Revision,
    StepKind::Recheck,
];
const SOURCES: [VerdictSource; 2] = [VerdictSource::Model, VerdictSource::Check];

/// A column that holds one of few names. There is one in every step, and this takes less time than what reads any
/// other name.
fn one_of<T: Copy + DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
    all: &[T],
    name: fn(T) -> &'static str,
) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    let mut all = all.iter().copied();
    match all.find(|one| name(*one) == text) {
        Some(one) => Ok(one),
        None => read::name(row, column),
    }
}

/// Conversations are kept once, so their keys tell them apart.
fn question(prompt_id: &str, conversation: Option<i64>) -> Question {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&conversation.unwrap_or_default().to_le_bytes());
    hasher.update(prompt_id.as_bytes());
    let mut question = Question::default();
    hasher.finalize_xof().fill(&mut question);
    question
}

fn each(
    conn: &Connection,
    sql: &str,
    after: i64,
    mut add: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([after])?;
    while let Some(row) = rows.next()? {
        add(row)?;
    }
    Ok(())
}
