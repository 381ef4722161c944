//! Drift: both sides read texts that are not answered.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;

use crate::backend::llama::score::Scorer;
use crate::cli::args::PromptArgs;
use crate::cli::exit::say;
use crate::cli::score;
use crate::evaluation::effect::Drift;

use super::sides::Sides;
use super::suites::Suite;

/// What came of it.
pub enum Outcome {
    /// The figures, `None` where no text has a token to look at; and the name of the model.
    Done(Option<Box<Drift>>, String),
    /// The person wants it to end.
    Interrupted,
}

/// How far the sides lie apart on the texts of suites.
pub fn read<'a>(
    sides: &Sides,
    suites: impl Iterator<Item = &'a Suite>,
    reading: &PromptArgs,
    interrupted: &AtomicBool,
) -> anyhow::Result<Outcome> {
    let mut passages = Vec::new();
    for suite in suites {
        passages.extend(score::passages(&suite.path, reading)?);
    }
    say(&format!(
        "drift: reading {} texts under both sides",
        passages.len()
    ));
    let before = sides.before.as_ref().and_then(|side| side.adapter.clone());
    let after = sides.after.adapter.clone();
    let options = sides.options()?;
    let mut scorer = Scorer::load(&options, &[before, after])?;
    let texts = passages
        .iter()
        .map(|(_, passage)| scorer.tokens(passage))
        .collect::<Result<Vec<_>, _>>()?;
    let is_left = || interrupted.load(Ordering::Relaxed);
    // The person may have given up while the model was loaded.
    if is_left() {
        return Ok(Outcome::Interrupted);
    }
    let mut gaps = Vec::with_capacity(texts.len());
    scorer.compare(&texts, &mut |number, found| {
        gaps.push((passages[number].0.id.0.clone(), found));
        match is_left() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    if is_left() {
        return Ok(Outcome::Interrupted);
    }
    let cut = texts.iter().filter(|text| text.left_out > 0).count() as u64;
    if cut > 0 {
        say(&score::cut_texts(cut));
    }
    let drift = Drift::new(&gaps, cut);
    if drift.is_none() && gaps.iter().any(|(_, gaps)| !gaps.is_empty()) {
        bail!(
            "drift is no number: to one of the sides a text is all but impossible; the training of {} may have \
             diverged, or its scale be too large",
            sides.label_after()
        );
    }
    Ok(Outcome::Done(drift.map(Box::new), options.name))
}
