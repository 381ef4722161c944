//! `amend judge --dry-run`: what would be judged, and about how long it would take.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde_json::json;

use super::Args;
use super::stored::{About, Asks, Bench, Work};
use crate::backend::Backend;
use crate::cli::Exit;
use crate::cli::backend::Loaded;
use crate::cli::progress::duration;
use crate::cli::stdout;
use crate::digest::Digest;
use crate::generation::Generation;
use crate::judgement::Mode;
use crate::quality::judge::{Ask, Options, answer_all};

/// Pairs that are asked about to measure the speed; fewer where fewer are in flight.
const CALIBRATED: usize = 16;

/// What was found out.
#[derive(Default)]
struct Forecast {
    pairs: u64,
    calls: u64,
    /// The longest first request, in tokens, and its chain.
    longest: (u32, String),
    too_long: u64,
}

/// Says what judging would do.
pub(super) fn run(args: &Args, work: Work, bench: Bench, loaded: &Loaded) -> anyhow::Result<Exit> {
    let backend = loaded.backend();
    let seen = Cell::new((0, 0, 0));
    let asks = Asks {
        args,
        store: &work.store,
        bench: &bench,
        chains: work.chains.iter(),
        ready: VecDeque::new(),
        seen: &seen,
    };
    let mut forecast = Forecast::default();
    let mut tried: Vec<Ask<About>> = Vec::new();
    let context = backend.identity().context_length;
    for ask in asks {
        let ask = ask?;
        let steps = match args.mode {
            Mode::Choice => 1,
            Mode::Cot => 2,
        };
        forecast.pairs += 1;
        forecast.calls += steps * ask.questions.len() as u64;
        let request = ask.questions.first().map(|question| question.request());
        let tokens = request.map_or(Ok(0), |request| backend.count_tokens(request.messages()))?;
        if tokens >= forecast.longest.0 {
            forecast.longest = (tokens, ask.about.chain.0.clone());
        }
        let fits = tokens < context;
        forecast.too_long += u64::from(!fits);
        if fits && tried.len() < CALIBRATED.min(backend.parallelism()) {
            tried.push(ask);
        }
    }
    let seconds = calibrate(backend, tried)?.map(|each| each * forecast.pairs as f64);
    let (_, before, equal) = seen.get();
    match args.json {
        true => forecast.json(seconds, (before, equal), backend)?,
        false => forecast.print(seconds, (before, equal), backend)?,
    }
    Ok(Exit::Done)
}

/// Seconds a pair. The answers are forgotten.
fn calibrate(backend: &dyn Backend, tried: Vec<Ask<About>>) -> anyhow::Result<Option<f64>> {
    let count = tried.len();
    let mut replies: HashMap<Digest, Generation> = HashMap::new();
    let (begun, interrupted) = (Instant::now(), AtomicBool::new(false));
    let options = Options {
        parallel: backend.parallelism(),
        interrupted: &interrupted,
    };
    let mut asks = tried.into_iter().map(Ok::<_, anyhow::Error>);
    answer_all(backend, &mut replies, &mut asks, options, &mut |_, _, _| {
        Ok(())
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok((count > 0).then(|| seconds / count as f64))
}

impl Forecast {
    fn print(
        &self,
        seconds: Option<f64>,
        (before, equal): (u64, u64),
        backend: &dyn Backend,
    ) -> io::Result<()> {
        let mut out = stdout::raw();
        writeln!(
            out,
            "pairs            {} ({before} judged before, {equal} of equal texts)",
            self.pairs
        )?;
        writeln!(out, "model calls      {} at most", self.calls)?;
        if self.pairs > 0 {
            let about = if backend.counts_exactly() {
                ""
            } else {
                "about "
            };
            let context = backend.identity().context_length;
            let holds = match context {
                u32::MAX => "what the context holds is not known".to_owned(),
                context => format!("the context holds {context}"),
            };
            writeln!(
                out,
                "longest request  {about}{} tokens (chain {}); {holds}",
                self.longest.0, self.longest.1
            )?;
        }
        if self.too_long > 0 {
            writeln!(out, "too long         {} pairs will fail", self.too_long)?;
        }
        if let Some(seconds) = seconds {
            let time = duration(Duration::from_secs_f64(seconds));
            let speed = self.pairs as f64 / seconds.max(1e-9);
            writeln!(
                out,
                "speed            {speed:.1} pairs/s in a short calibration"
            )?;
            writeln!(out, "time             about {time}")?;
        }
        Ok(())
    }

    fn json(
        &self,
        seconds: Option<f64>,
        (before, equal): (u64, u64),
        backend: &dyn Backend,
    ) -> io::Result<()> {
        let line = json!({
            "event": "dry-run",
            "pairs": self.pairs,
            "judged_before": before,
            "equal_texts": equal,
            "calls_max": self.calls,
            "longest_request_tokens": self.longest.0,
            "longest_request_chain": self.longest.1,
            "tokens_estimated": !backend.counts_exactly(),
            "context_length": backend.identity().context_length,
            "too_long": self.too_long,
            "seconds": seconds,
        });
        stdout::line(&line)
    }
}
