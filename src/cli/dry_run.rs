//! `amend run --dry-run`: what a run would do, and about how long it would take.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;

use crate::backend::{Backend, BackendError};
use crate::chain::StepKind;
use crate::constitution::Revise;
use crate::engine::policy::Select;
use crate::generation::{Generate, Message, Reply, Request, SamplingParams};
use crate::prompt::Prompt;
use crate::template::{CritiqueStyle, Vars};

use super::Exit;
use super::backend::Loaded;
use super::job::{Input, Job};
use super::progress::duration;
use super::stdout;
use super::tasks::NextPrompt;
use super::text::plural;

/// Tokens that each request of the calibration writes.
const CALIBRATION_TOKENS: u32 = 32;

/// What a clean verdict costs, in tokens written: it is mostly the reading of its request.
const CLEAN_VERDICT: f64 = 16.0;
/// What a verdict with quote and critique costs.
const VIOLATED_VERDICT: f64 = 80.0;

/// What was found out about a run.
struct Forecast {
    prompts: u64,
    skipped: u64,
    chains: u64,
    /// Model calls, at least and at most.
    calls: (u64, u64),
    /// The longest request for a draft, in tokens, and whose it is.
    longest: (u32, String),
    /// Whether tokens were counted, and not estimated.
    exact: bool,
    /// `None` where a server does not say.
    context: Option<u32>,
    too_long: u64,
    /// Prompts that the chat template refuses.
    refused: u64,
    /// Seconds, at least and at most, with the calibration's speed.
    seconds: (f64, f64),
    tokens_per_second: f64,
}

/// Says what the run would do.
pub fn run(job: &Job, loaded: &Loaded, json: bool) -> anyhow::Result<Exit> {
    let forecast = forecast(job, loaded.backend())?;
    if json {
        forecast.json()?
    } else {
        forecast.print()?
    }
    Ok(Exit::Done)
}

fn forecast(job: &Job, backend: &dyn Backend) -> anyhow::Result<Forecast> {
    let mut first = Vec::new();
    let (mut prompts, mut skipped, mut too_long, mut refused) = (0, 0, 0, 0);
    let mut longest = (0, String::new());
    let context = backend.identity().context_length;
    for prompt in job.prompts()? {
        let NextPrompt::Prompt(_, prompt) = prompt? else {
            skipped += 1;
            continue;
        };
        prompts += 1;
        let messages = draft(job, &prompt)?;
        let tokens = match backend.count_tokens(&messages) {
            // That chain alone would fail.
            Err(BackendError::Template(_)) => {
                refused += 1;
                continue;
            }
            counted => counted.with_context(|| format!("prompt {}", prompt.id))?,
        };
        if tokens >= longest.0 {
            longest = (tokens, prompt.id.to_string());
        }
        too_long += u64::from(tokens >= context);
        if first.len() < backend.parallelism() && tokens < context {
            first.push(messages);
        }
    }
    let chains = prompts * u64::from(job.args.chain.samples);
    let mut per_chain = calls_per_chain(job);
    if let Input::Drafts(_) = job.input {
        // A draft, which may be asked for twice.
        per_chain.texts.0 -= 1;
        per_chain.texts.1 -= 2;
    }
    let calls = (
        per_chain.texts.0 + per_chain.verdicts.0,
        per_chain.texts.1 + per_chain.verdicts.1,
    );
    let (tokens_per_second, per_token) = calibrate(job, backend, first)?;
    let (exact, known) = (backend.counts_exactly(), context < u32::MAX);
    // Replies seldom reach their limit: half of it is taken for the length of one.
    let text = f64::from(job.plan.sampling.max_tokens.min(context)) / 2.0;
    Ok(Forecast {
        prompts,
        skipped,
        chains,
        calls: (chains * calls.0, chains * calls.1),
        longest,
        exact,
        context: known.then_some(context),
        too_long,
        refused,
        seconds: (
            chains as f64
                * per_token
                * (per_chain.texts.0 as f64 * text + per_chain.verdicts.0 as f64 * CLEAN_VERDICT),
            chains as f64
                * per_token
                * (per_chain.texts.1 as f64 * text
                    + per_chain.verdicts.1 as f64 * VIOLATED_VERDICT),
        ),
        tokens_per_second,
    })
}

fn draft(job: &Job, prompt: &Prompt) -> anyhow::Result<Vec<Message>> {
    let vars = Vars {
        conversation: &prompt.messages,
        prompt: prompt.text(),
        draft: None,
        response: None,
        critique: None,
        quote: None,
        principle: None,
        constitution_name: &job.plan.constitution.name,
        round: 0,
    };
    Ok(job.plan.pack.render(StepKind::Draft, &vars)?)
}

/// Model calls of one chain, at least and at most: every critique may be clean, or violated with a
/// second try at its quote and a revision.
fn calls_per_chain(job: &Job) -> Calls {
    let plan = &job.plan;
    let asked: Vec<_> = match &plan.select {
        Select::Ids(ids) => ids
            .iter()
            .filter_map(|id| plan.constitution.principle(id))
            .collect(),
        Select::All | Select::Sample => plan.constitution.active(),
    };
    // A drawn principle may be one that a program decides, or not.
    let model = asked.iter().filter(|p| p.check.is_none()).count() as u64;
    let all = asked.len() as u64;
    let rounds = u64::from(plan.rounds);
    let always = plan.revise == Revise::Always;
    let never = plan.revise == Revise::Never;
    // Rounds over a list end with the first that changes nothing, so one round is the least there is.
    let (turns, sure) = match plan.select {
        Select::Sample => (rounds, rounds),
        _ if never => (all * rounds.min(1), all * rounds.min(1)),
        _ => (rounds * all, all * rounds.min(1)),
    };
    let least_asked = if model == all {
        sure
    } else if plan.select == Select::Sample {
        0
    } else {
        model * rounds.min(1)
    };
    let most_asked = if model > 0 { turns } else { 0 };
    let rechecks = if plan.recheck && !never {
        turns.min(all)
    } else {
        0
    };
    let prose = plan.pack.critique == CritiqueStyle::Prose;
    let asks = if prose { 1 } else { 2 };
    // A verdict without a verified quote, and a draft without text, are asked for twice.
    Calls {
        texts: (
            1 + if always { sure } else { 0 },
            2 + if never { 0 } else { turns },
        ),
        verdicts: (least_asked, asks * most_asked + 2 * rechecks),
    }
}

/// Model calls of one chain, at least and at most.
struct Calls {
    /// Drafts and revisions.
    texts: (u64, u64),
    /// Critiques and rechecks.
    verdicts: (u64, u64),
}

/// Writes a few tokens for the first prompts, all in flight together: tokens and seconds per call.
fn calibrate(
    job: &Job,
    backend: &dyn Backend,
    requests: Vec<Vec<Message>>,
) -> anyhow::Result<(f64, f64)> {
    let count = requests.len();
    if count == 0 {
        return Ok((0.0, 0.0));
    }
    let (sender, replies) = crossbeam_channel::unbounded();
    let begun = Instant::now();
    for (ticket, messages) in (0..).zip(requests) {
        let sampling = SamplingParams {
            max_tokens: CALIBRATION_TOKENS,
            ..job.plan.sampling.clone()
        };
        let request = Generate {
            messages,
            sampling,
            seed: 1,
            shape: None,
            repeats: None,
            adapter: None,
        };
        backend.submit(ticket, Request::Generate(request), sender.clone());
    }
    drop(sender);
    let (mut written, mut answered, mut failure) = (0, 0, None);
    for (_, reply) in replies {
        // A prompt that fails here fails alone in the run, too.
        match reply {
            Ok(Reply::Generated(generation)) => {
                answered += 1;
                written += generation.usage.completion_tokens;
            }
            Ok(Reply::Chosen(_)) => {}
            Err(error) => failure = Some(error),
        }
    }
    if let Some(error) = failure.filter(|_| answered == 0) {
        return Err(error).context("no request of the calibration was answered");
    }
    let seconds = begun.elapsed().as_secs_f64();
    let per_token = seconds / f64::from(written.max(1));
    Ok((1.0 / per_token.max(1e-9), per_token))
}

impl Forecast {
    fn print(&self) -> io::Result<()> {
        let mut out = stdout::raw();
        let time = |seconds| duration(Duration::from_secs_f64(seconds));
        writeln!(
            out,
            "prompts          {} ({} rows skipped)",
            self.prompts, self.skipped
        )?;
        writeln!(out, "chains           {}", self.chains)?;
        writeln!(out, "model calls      {} to {}", self.calls.0, self.calls.1)?;
        writeln!(
            out,
            "longest prompt   {}{} tokens ({}); {}",
            if self.exact { "" } else { "about " },
            self.longest.0,
            self.longest.1,
            match self.context {
                Some(context) => format!("the context holds {context}"),
                None => "what the context holds is not known".to_owned(),
            }
        )?;
        if self.too_long > 0 {
            writeln!(
                out,
                "too long         {} will fail",
                plural(self.too_long, "prompt")
            )?;
        }
        if self.refused > 0 {
            writeln!(
                out,
                "refused          {} will fail: the chat template does not take them",
                plural(self.refused, "prompt")
            )?;
        }
        writeln!(
            out,
            "speed            {:.1} tok/s in a short calibration",
            self.tokens_per_second
        )?;
        writeln!(
            out,
            "time             about {} to {}",
            time(self.seconds.0),
            time(self.seconds.1)
        )
    }

    fn json(&self) -> io::Result<()> {
        let line = json!({
            "event": "dry-run",
            "prompts": self.prompts,
            "rows_skipped": self.skipped,
            "chains": self.chains,
            "calls_min": self.calls.0,
            "calls_max": self.calls.1,
            "longest_prompt_tokens": self.longest.0,
            "longest_prompt_id": self.longest.1,
            "tokens_estimated": !self.exact,
            "context_length": self.context,
            "too_long": self.too_long,
            "refused": self.refused,
            "tokens_per_second": self.tokens_per_second,
            "seconds_min": self.seconds.0,
            "seconds_max": self.seconds.1,
        });
        stdout::line(&line)
    }
}
