//! Measuring: both sides answer, the judge is asked, and what the store then holds becomes figures.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::bail;

use crate::chain::StepKind;
use crate::cli::args::ModelArgs;
use crate::cli::backend::Loaded;
use crate::cli::exit::{say, usage};
use crate::cli::text::sanitize;
use crate::cli::{job, runs};
use crate::constitution::Constitution;
use crate::evaluation::effect::{Answer, Compared, Effect, SuiteEffect, SuiteKind};
use crate::evaluation::{Asked, Pair};
use crate::quality::gates::refuses;
use crate::store::Store;

use super::answers::{Common, Done};
use super::sides::{Side, Sides};
use super::suites::Suite;

/// A principle that is asked about, and whether a program decides.
pub type AskedOf = (String, bool);

/// What `--select` names, each once: a principle that is named twice would count twice.
pub fn named_once(select: &str) -> String {
    let mut ids: Vec<&str> = Vec::new();
    for id in select.split(',').map(str::trim) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids.join(",")
}

/// The principles that an evaluation asks about, in order. `select` names none twice.
pub fn asked(constitution: &Constitution, select: &str) -> anyhow::Result<Vec<AskedOf>> {
    let principles = if select == "all" {
        constitution.active()
    } else {
        let ids: Vec<String> = select.split(',').map(|id| id.trim().to_owned()).collect();
        job::check_ids("--select", &ids, constitution).map_err(usage)?;
        ids.iter()
            .filter_map(|id| constitution.principle(id))
            .collect()
    };
    let of = |p: &crate::constitution::Principle| (p.id.clone(), p.check.is_some());
    Ok(principles.into_iter().map(of).collect())
}

/// The runs of one suite.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Runs {
    /// The suite.
    pub suite: String,
    /// Answers and verdicts before; the latter without an id where there was no answer.
    pub before: Option<[String; 2]>,
    /// Answers and verdicts after, in the same way.
    pub after: [String; 2],
}

impl Runs {
    /// Whether there is nothing to give a verdict on, on either side.
    fn without_answers(&self) -> bool {
        let before = self.before.as_ref().is_none_or(|ids| ids[1].is_empty());
        before && self.after[1].is_empty()
    }
}

/// How answering ended.
pub enum Answered {
    /// All is there; the model that judged is still loaded.
    By(Option<Box<Loaded>>),
    /// The person wants it to end.
    Interrupted,
}

/// What was run.
#[derive(Default)]
pub struct Measured {
    /// The runs of every suite that was answered.
    pub runs: Vec<Runs>,
    /// Name of the model that answered.
    pub model: String,
    /// Name of the model that judged; `None` where programs decide everything.
    pub judge: Option<String>,
    /// Chains that failed.
    pub failed: u64,
}

impl Measured {
    /// Has both sides answer every suite and the judge look at the answers. The judge, where one was loaded.
    pub fn answer(
        &mut self,
        common: &Common<'_>,
        sides: &Sides,
        suites: &[&Suite],
        asked: &[AskedOf],
    ) -> anyhow::Result<Answered> {
        let named = |suite: &&Suite| Runs {
            suite: suite.name.clone(),
            ..Runs::default()
        };
        self.runs = suites.iter().map(named).collect();
        let Some((mut last, after)) = self.side(common, &sides.after, "after", suites)? else {
            return Ok(Answered::Interrupted);
        };
        for (runs, id) in self.runs.iter_mut().zip(after) {
            runs.after[0] = id;
        }
        if let Some(side) = &sides.before {
            // Only one model is in memory at a time.
            drop(last);
            let Some((loaded, before)) = self.side(common, side, "before", suites)? else {
                return Ok(Answered::Interrupted);
            };
            last = loaded;
            for (runs, id) in self.runs.iter_mut().zip(before) {
                runs.before = Some([id, String::new()]);
            }
        }
        let by_model = asked.iter().any(|(_, by_check)| !by_check);
        let plain = match &sides.before {
            Some(side) => side.adapter.is_none(),
            None => sides.after.adapter.is_none(),
        };
        let judge_is_there = !by_model || (plain && sides.judges_itself);
        self.verdicts(
            common,
            &sides.judge,
            judge_is_there.then_some(last),
            suites,
            by_model,
        )
    }

    /// Has a side answer every suite; its model, and the ids of the runs. `None` when interrupted.
    fn side(
        &mut self,
        common: &Common<'_>,
        side: &Side,
        when: &str,
        suites: &[&Suite],
    ) -> anyhow::Result<Option<(Loaded, Vec<String>)>> {
        let samples = u64::from(common.chain.samples);
        let all: u64 = suites.iter().map(|suite| suite.prompts * samples).sum();
        let (mut loaded, mut ids) = (None, Vec::new());
        for suite in suites {
            let job = common.answers(suite, &side.model)?;
            let loaded = match &mut loaded {
                Some(loaded) => loaded,
                none => none.insert(job.load_for(Some(all))?),
            };
            self.model.clone_from(&loaded.backend().identity().name);
            let what = format!("answers {when} ({}), {}", side.label(), suite.name);
            let done = common.run(&job, loaded, suite.prompts * samples, &what)?;
            if self.interrupted(&done) {
                return Ok(None);
            }
            ids.push(done.run_id);
        }
        Ok(loaded.map(|loaded| (loaded, ids)))
    }

    /// Asks the judge about the answers of both sides.
    fn verdicts(
        &mut self,
        common: &Common<'_>,
        judge: &ModelArgs,
        mut loaded: Option<Loaded>,
        suites: &[&Suite],
        by_model: bool,
    ) -> anyhow::Result<Answered> {
        let mut none = Vec::new();
        for (number, suite) in suites.iter().enumerate() {
            let sides = [
                (
                    "before",
                    self.runs[number].before.as_ref().map(|b| b[0].clone()),
                ),
                ("after", Some(self.runs[number].after[0].clone())),
            ];
            for (when, answers) in sides {
                let Some(answers) = answers else { continue };
                let count = match common.count(&answers)? {
                    Ok(count) => count,
                    Err(error) => {
                        none.push(format!("no answer {when}, {}: {error}", suite.name));
                        continue;
                    }
                };
                let job = common.verdicts(&answers, judge)?;
                let loaded = match &mut loaded {
                    Some(loaded) => loaded,
                    none => none.insert(job.load()?),
                };
                if by_model {
                    self.judge = Some(loaded.backend().identity().name.clone());
                }
                let what = format!("verdicts {when}, {}", suite.name);
                let done = common.run(&job, loaded, count, &what)?;
                if self.interrupted(&done) {
                    return Ok(Answered::Interrupted);
                }
                let runs = &mut self.runs[number];
                match (when, &mut runs.before) {
                    ("before", Some(before)) => before[1] = done.run_id,
                    _ => runs.after[1] = done.run_id,
                }
            }
        }
        if self.runs.iter().all(Runs::without_answers) {
            bail!("{}", none.join("\n"));
        }
        for line in none {
            say(&sanitize(&line));
        }
        Ok(Answered::By(loaded.map(Box::new)))
    }

    fn interrupted(&mut self, done: &Done) -> bool {
        self.failed += done.failed;
        done.interrupted
    }

    /// The figures of what was answered, each prompt `samples` times.
    pub fn effect(
        &self,
        db: &Path,
        suites: &[&Suite],
        asked: &[AskedOf],
        samples: u32,
    ) -> anyhow::Result<Effect> {
        let mut effect = Effect::default();
        if suites.is_empty() {
            return Ok(effect);
        }
        let store = Store::open_read(db).map_err(runs::failed)?;
        let (mut all, mut all_left_out) = (Vec::new(), 0);
        for (suite, runs) in suites.iter().zip(&self.runs) {
            let answers = read(&store, suite, runs)?;
            for (kind, name) in suite.parts() {
                let of_kind = |(of, _): &&(SuiteKind, Compared)| *of == kind;
                let part: Vec<Compared> = answers
                    .iter()
                    .filter(of_kind)
                    .map(|(_, answer)| answer.clone())
                    .collect();
                let wanted = suite.count(kind) * u64::from(samples);
                let left_out = wanted.saturating_sub(part.len() as u64);
                all_left_out += left_out;
                effect
                    .suites
                    .push(SuiteEffect::new(&name, kind, &part, left_out, asked));
            }
            // Two suites may give their prompts the same ids.
            all.extend(answers.into_iter().map(|(_, answer)| Compared {
                prompt: format!("{}\n{}", suite.name, answer.prompt),
                ..answer
            }));
        }
        if effect.suites.len() > 1 {
            let all = SuiteEffect::new("all", SuiteKind::Other, &all, all_left_out, asked);
            effect.all = Some(all);
        }
        Ok(effect)
    }
}

/// The answers to a suite that have verdicts on every side, with the kind of their prompts.
fn read(store: &Store, suite: &Suite, runs: &Runs) -> anyhow::Result<Vec<(SuiteKind, Compared)>> {
    let after = &runs.after[1];
    // One side alone is a pair of equal runs, of which one is left away.
    let before = runs.before.as_ref().map_or(after, |before| &before[1]);
    let mut answers = Vec::new();
    if before.is_empty() || after.is_empty() {
        return Ok(answers);
    }
    store
        .for_each_pair(before, after, |pair| {
            if let Some(pair) = pair {
                let kind = suite.kind_of(&pair.prompt_id);
                answers.push((kind, compared(pair, runs.before.is_some())));
            }
            Ok::<(), std::convert::Infallible>(())
        })
        .map_err(runs::failed)?
        .unwrap_or_else(|never| match never {});
    Ok(answers)
}

fn compared(pair: Pair, two_sides: bool) -> Compared {
    let answer = |text: &str, asked: &[Asked]| Answer {
        words: text.split_whitespace().count() as u64,
        refused: refuses(text),
        verdicts: verdicts(asked),
    };
    Compared {
        before: two_sides.then(|| answer(&pair.first.draft, &pair.first.asked)),
        after: answer(&pair.second.draft, &pair.second.asked),
        prompt: pair.prompt_id,
    }
}

fn verdicts(asked: &[Asked]) -> BTreeMap<String, bool> {
    let critiques = asked
        .iter()
        .filter(|asked| asked.kind == StepKind::Critique);
    critiques
        .map(|asked| (asked.principle.clone(), asked.violated))
        .collect()
}

/// The figures that an evaluation of these suites can have.
pub fn figure_names(suites: &[Suite], asked: &[AskedOf], two_sides: bool) -> Vec<String> {
    let mut names = BTreeSet::new();
    let mut add = |name: &str, of: &str| {
        names.insert(format!("{name}{of}"));
        if two_sides {
            names.insert(format!("{name}_before{of}"));
        }
    };
    let answered = || suites.iter().filter(|suite| suite.is_answered());
    for (_, name) in answered().flat_map(Suite::parts) {
        add("refusals", &format!(":{name}"));
    }
    let any = answered().next().is_some();
    if any {
        add("violations", "");
        for (id, _) in asked {
            add("violations", &format!(":{id}"));
        }
    }
    if any && two_sides {
        names.insert("length_ratio".to_owned());
        names.extend(asked.iter().map(|(id, _)| format!("obeyed_ratio:{id}")));
        if asked.iter().any(|(_, by_check)| !by_check) {
            names.extend(["win_rate", "win_rate_length_controlled"].map(str::to_owned));
        }
    }
    if two_sides && suites.iter().any(|suite| !suite.is_answered()) {
        let drift = [
            "drift",
            "drift_top",
            "same_top",
            "perplexity",
            "perplexity_before",
            "perplexity_ratio",
        ];
        names.extend(drift.map(str::to_owned));
    }
    names.into_iter().collect()
}
