//! `amend score`: how likely a model thinks given texts.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use serde_json::{Value, json};

use super::args::{BackendKind, ModelArgs, PromptArgs, parse_limit};
use super::backend::{self, Hints};
use super::exit::{say, usage};
use super::stdout::Printed;
use super::tasks::{NextPrompt, Prompts};
use super::text::{Table, terminal_width};
use super::{Exit, stdout};
use crate::backend::llama::score::{Scorer, Tokens};
use crate::dataset::{self, ReadOptions};
use crate::likelihood::{Passage, TokenScore};
use crate::prompt::Prompt;

/// The field of a row that holds the text to score.
const TEXT: &str = "text";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend score datasets/general.jsonl
  amend score datasets/general.jsonl --lora style.gguf --json
  amend score datasets/general.jsonl --limit 4 --json --top 5

A row's `text` is read as the reply to its `prompt`; a row without one is read as a text that stands alone.
Perplexity is over the tokens of the text, those of the prompt left out.")]
pub struct Args {
    /// The file: .jsonl, .csv, .txt or .parquet
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// List the K likeliest tokens at every place with their logits; with --json
    #[arg(long, default_value_t = 0, value_name = "K", requires = "json")]
    top: usize,
    /// Print one JSON object a text, with the log-probability of every token
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reading: PromptArgs,
    #[command(flatten)]
    model: ModelArgs,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    require_in_process(&args.model)?;
    let prompts = passages(&args.file, &args.reading)?;
    let options = backend::llama_options(&args.model, false, Hints::default())?;
    if options
        .adapters
        .iter()
        .any(|adapter| adapter.name.is_some())
    {
        bail!(usage(anyhow!(
            "--role names steps of a chain, and a text has none; use --lora"
        )));
    }
    let mut scorer = Scorer::load(&options, &[options.adapters.first().cloned()])?;
    let texts = prompts
        .iter()
        .map(|(_, passage)| scorer.tokens(passage))
        .collect::<Result<Vec<_>, _>>()?;
    let pieces = |ids: &[u32]| -> Vec<String> { ids.iter().map(|&id| scorer.piece(id)).collect() };
    let pieces: Vec<Vec<String>> = match args.json {
        true => texts.iter().map(|text| pieces(&text.ids)).collect(),
        false => Vec::new(),
    };
    let mut scored = Vec::new();
    let mut printed = Printed::default();
    scorer.score(&texts, args.top, &mut |number, scores| {
        if args.json {
            let (prompt, text) = (&prompts[number].0, &texts[number]);
            let line = to_json(prompt, text, &pieces[number], &scores, args.top);
            printed.note(|| stdout::line(&line));
        }
        scored.push(Sum::of(&scores));
        match printed.is_lost() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    printed.finish()?;
    if !args.json {
        print(&prompts, &scored)?;
    }
    let cut = texts.iter().filter(|text| text.left_out > 0).count() as u64;
    if cut > 0 {
        say(&cut_texts(cut));
    }
    Ok(Exit::Done)
}

/// What is said of texts that do not fit.
pub fn cut_texts(count: u64) -> String {
    format!("{count} texts are longer than the context and were cut; raise --ctx-size")
}

/// Refuses what has no logits to look at.
pub fn require_in_process(model: &ModelArgs) -> anyhow::Result<()> {
    if model.endpoint.endpoint.is_some() || model.backend == BackendKind::Scripted {
        bail!(usage(anyhow!(
            "texts are scored from the logits of a model in this process; leave out --endpoint and --backend"
        )));
    }
    Ok(())
}

/// The texts of a file, each with its row.
pub fn passages(file: &Path, reading: &PromptArgs) -> anyhow::Result<Vec<(Prompt, Passage)>> {
    let options = ReadOptions {
        prompt_field: reading.prompt_field.clone(),
        strict: reading.strict,
        keep_duplicates: reading.keep_duplicates,
        ..ReadOptions::default()
    };
    let reader = dataset::open(file, &options).map_err(usage)?;
    let range = reading.limit.as_deref().and_then(|l| parse_limit(l).ok());
    let mut found = Vec::new();
    for next in Prompts::new(reader, range.unwrap_or(0..u64::MAX)) {
        match next? {
            NextPrompt::Skipped(row) => say(&format!("skipped: {row}")),
            NextPrompt::Prompt(_, prompt) => {
                let passage = passage(&prompt);
                found.push((prompt, passage));
            }
        }
    }
    if found.is_empty() {
        bail!(usage(anyhow!(
            "{}: --limit leaves no text: the file has fewer usable rows",
            file.display()
        )));
    }
    Ok(found)
}

/// What is read of a row.
fn passage(prompt: &Prompt) -> Passage {
    match prompt.metadata.get(TEXT) {
        Some(Value::String(text)) if !text.trim().is_empty() => Passage {
            messages: prompt.messages.clone(),
            text: text.clone(),
        },
        _ => Passage {
            messages: Vec::new(),
            text: prompt.text().to_owned(),
        },
    }
}

/// Log-probability of a text, and over how many tokens.
#[derive(Clone, Copy, Default)]
struct Sum {
    tokens: usize,
    logprob: f64,
}

impl Sum {
    fn of(scores: &[TokenScore]) -> Self {
        Self {
            tokens: scores.len(),
            logprob: scores.iter().map(|score| score.logprob).sum(),
        }
    }

    fn perplexity(self) -> Option<f64> {
        (self.tokens > 0).then(|| (-self.logprob / self.tokens as f64).exp())
    }
}

fn to_json(
    prompt: &Prompt,
    text: &Tokens,
    pieces: &[String],
    scores: &[TokenScore],
    top: usize,
) -> Value {
    let sum = Sum::of(scores);
    let scores: Vec<Value> = scores
        .iter()
        .map(|score| match top {
            0 => json!({ "token": score.token, "logprob": score.logprob }),
            _ => json!(score),
        })
        .collect();
    json!({
        "id": prompt.id,
        "tokens": text.ids,
        "pieces": pieces,
        "first": text.first,
        "left_out": text.left_out,
        "logprob": sum.logprob,
        "perplexity": sum.perplexity(),
        "scores": scores,
    })
}

fn print(prompts: &[(Prompt, Passage)], scored: &[Sum]) -> anyhow::Result<()> {
    let mut table = Table::new(&["TEXT", ">TOKENS", ">LOG-PROBABILITY", ">PERPLEXITY"]);
    let mut row = |name: &str, sum: Sum| {
        let perplexity = sum.perplexity().map(|p| format!("{p:.2}"));
        table.row(vec![
            name.to_owned(),
            sum.tokens.to_string(),
            format!("{:.2}", sum.logprob),
            perplexity.unwrap_or_else(|| "-".to_owned()),
        ]);
    };
    let mut all = Sum::default();
    for ((prompt, _), sum) in prompts.iter().zip(scored) {
        row(&prompt.id.0, *sum);
        all.tokens += sum.tokens;
        all.logprob += sum.logprob;
    }
    if scored.len() > 1 {
        row("all", all);
    }
    let mut out = stdout::styled();
    for line in table.lines(terminal_width()) {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}
