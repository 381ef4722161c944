//! Which answer the judge prefers: every pair asked in both orders, under a principle drawn for it.

use std::sync::Arc;

use crate::cli::backend::Loaded;
use crate::cli::exit::say;
use crate::cli::run::store_error;
use crate::cli::{job, runs};
use crate::constitution::Constitution;
use crate::evaluation::effect::{Preferred, Verdict};
use crate::judgement::{Mode, Preference};
use crate::quality::judge::{Ask, DriveError, Judge, Options, Subject, answer_all};
use crate::store::{Store, Writer};
use crate::template::{JudgeStep, Pack};

use super::answers::Common;
use super::measure::Measured;
use super::suites::Suite;

/// What the judge is asked with.
pub struct Preferring<'a> {
    /// What all runs have in common.
    pub common: &'a Common<'a>,
    /// Where principles are drawn from.
    pub constitution: &'a Constitution,
    /// The ids of those that are asked about.
    pub asked: &'a [super::measure::AskedOf],
}

/// What came of it.
pub enum Outcome {
    /// The figures, `None` where no pair was judged; and how many could not be.
    Done(Option<Preferred>, u64),
    /// The person wants it to end.
    Interrupted,
}

/// A pair of answers.
struct Pair {
    verdict: Verdict,
    subject: Arc<Subject>,
    judged: Arc<Judge>,
    principles: Vec<String>,
}

impl Preferring<'_> {
    /// The judge; `None` where no principle needs one, or the pack cannot compare.
    pub fn judge(&self) -> anyhow::Result<Option<Arc<Judge>>> {
        let only: Vec<String> = self
            .asked
            .iter()
            .filter(|(_, by_check)| !by_check)
            .map(|(id, _)| id.clone())
            .collect();
        let pack = Pack::load(&self.common.chain.pack)?;
        if only.is_empty() || !pack.has_judge(JudgeStep::Judge) {
            return Ok(None);
        }
        Ok(Some(Arc::new(Judge {
            constitution: self.constitution.clone(),
            sampling: job::sampling(self.common.sampling, &pack),
            pack,
            mode: Mode::Choice,
            ensemble: 1,
            only: Some(only),
            samples: 1,
            seed: self.common.sampling.seed,
            adapter: None,
        })))
    }

    /// Asks about every pair of answers of all suites.
    pub fn ask(
        &self,
        judge: &Arc<Judge>,
        loaded: &Loaded,
        measured: &Measured,
        suites: &[&Suite],
    ) -> anyhow::Result<Outcome> {
        let (pairs, equal) = self.pairs(judge, measured, suites)?;
        say(&format!(
            "preference: {} in both orders",
            crate::cli::text::plural(pairs.len() as u64, "pair")
        ));
        let mut writer = Writer::open(self.common.db).map_err(store_error)?;
        let options = Options {
            parallel: loaded.backend().parallelism(),
            interrupted: self.common.interrupted,
        };
        let mut asks = pairs.into_iter().map(|pair| {
            let questions = pair.judged.questions(&pair.subject, &pair.principles)?;
            Ok::<_, anyhow::Error>(Ask {
                questions: questions
                    .iter()
                    .map(|asked| asked.question.clone())
                    .collect(),
                about: (pair.verdict, questions),
            })
        });
        let (mut verdicts, mut failed) = (Vec::new(), 0_u64);
        let summary = answer_all(
            loaded.backend(),
            &mut writer,
            &mut asks,
            options,
            &mut |(verdict, asked), answers, _| {
                let votes = answers.and_then(|answers| judge.votes(&asked, answers));
                let preferences = votes.map(|votes| votes.iter().map(|v| v.preference).collect());
                match preferences
                    .ok()
                    .and_then(|all: Vec<_>| Preference::mean(&all))
                {
                    Some(mean) => verdicts.push(Verdict {
                        shown_second: mean.p_ab,
                        shown_first: mean.p_ba,
                        ..verdict
                    }),
                    None => failed += 1,
                }
                Ok::<_, anyhow::Error>(())
            },
        )
        .map_err(
            |error: anyhow::Error| match error.downcast_ref::<DriveError>() {
                Some(_) => error.context("what was answered is kept, the same command goes on"),
                None => error,
            },
        )?;
        if summary.interrupted {
            return Ok(Outcome::Interrupted);
        }
        if failed > 0 {
            say(&format!(
                "preference: {failed} pairs could not be judged and are left out"
            ));
        }
        // In the order of their prompts, whichever was answered first.
        verdicts.sort_by(|a, b| a.prompt.cmp(&b.prompt));
        Ok(Outcome::Done(Preferred::new(&verdicts, equal), failed))
    }

    /// Pairs whose answers differ, of all suites, and how many answers are equal.
    fn pairs(
        &self,
        judge: &Arc<Judge>,
        measured: &Measured,
        suites: &[&Suite],
    ) -> anyhow::Result<(Vec<Pair>, u64)> {
        let store = Store::open_read(self.common.db).map_err(runs::failed)?;
        let (mut pairs, mut equal) = (Vec::new(), 0);
        for (suite, runs) in suites.iter().zip(&measured.runs) {
            let Some(before) = &runs.before else { continue };
            store
                .for_each_pair(&before[0], &runs.after[0], |pair| {
                    let Some(pair) = pair else { return Ok(()) };
                    if pair.first.draft == pair.second.draft {
                        equal += 1;
                        return Ok(());
                    }
                    let words = |text: &str| text.split_whitespace().count() as u64;
                    let name = format!("{}\n{}", suite.name, pair.prompt_id);
                    let drawn = judge.draw(&(&name, pair.sample));
                    pairs.push(Pair {
                        verdict: Verdict {
                            prompt: name.clone(),
                            shown_second: 0.5,
                            shown_first: 0.5,
                            words_before: words(&pair.first.draft),
                            words_after: words(&pair.second.draft),
                        },
                        principles: drawn.iter().map(|p| p.id.clone()).collect(),
                        subject: Arc::new(Subject {
                            conversation: suite.conversation(&pair.prompt_id).to_vec(),
                            first: pair.first.draft,
                            second: pair.second.draft,
                        }),
                        judged: Arc::clone(judge),
                    });
                    Ok::<(), std::convert::Infallible>(())
                })
                .map_err(runs::failed)?
                .unwrap_or_else(|never| match never {});
        }
        Ok((pairs, equal))
    }
}
