//! `amend verify`.

use std::io::{self, Write};
use std::path::PathBuf;

use super::args::TemplateArgs;
use super::exit::{Exit, say, usage};
use super::measure::ModelMeasure;
use super::stdout;
use super::text::plural;
use crate::export::verify::{self, Check, Measure, Report, VerifyError};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend verify out/dpo
  amend verify out/dpo -m hf:bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M --max-length 4096

It reads the folder back: files and digests, columns, roles in turn, chosen unlike rejected, no prompt in
two splits, and under the model's template one BOS and no row over --max-length tokens. Exit code 4 where
something does not hold.")]
pub struct Args {
    /// A folder that `amend export` wrote
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The model whose template and tokenizer to use: the one that is going to be trained
    #[arg(
        short,
        long,
        default_value = "default",
        env = "AMEND_MODEL",
        value_name = "MODEL"
    )]
    model: String,
    /// The most tokens of a row, as the trainer will have it (TRL's DPO cuts longer ones without a word)
    #[arg(long, default_value_t = 1024, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    max_length: u32,
    /// Leave out what needs a model: template, BOS and tokens
    #[arg(long)]
    no_tokens: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    template: TemplateArgs,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let measure = match args.no_tokens {
        true => None,
        false => Some(ModelMeasure::open(&args.model, &args.template)?),
    };
    let measure = measure.as_ref().map(|measure| measure as &dyn Measure);
    let report = verify::verify(&args.folder, args.max_length, measure);
    let report = report.map_err(|error| match error {
        VerifyError::Scratch(error) => error.into(),
        error => usage(error),
    })?;
    let text = serde_json::to_string(&report)?;
    let mut out = stdout::as_asked(args.json);
    // What was found is told by the exit code as well.
    stdout::or_closed(match args.json {
        true => writeln!(out, "{text}"),
        false => print(&mut out, &report),
    })?;
    if args.no_tokens {
        say("note: template, BOS and tokens were not looked at (--no-tokens)");
    }
    Ok(match report.holds() {
        true => Exit::Done,
        false => Exit::CheckFailed,
    })
}

fn print(out: &mut impl Write, report: &Report) -> io::Result<()> {
    writeln!(out, "{}, {}", plural(report.rows, "row"), report.format)?;
    for check in Check::ALL {
        let state = match (report.faults.get(&check), report.skipped.get(&check)) {
            (Some(count), _) => plural(*count, "fault"),
            (None, Some(why)) => format!("not checked: {why}"),
            (None, None) => "holds".to_owned(),
        };
        writeln!(out, "  {:<9} {state}", check.as_str())?;
        for fault in report.told.iter().filter(|fault| fault.check == check) {
            let line = fault
                .line
                .map(|line| format!(":{line}"))
                .unwrap_or_default();
            writeln!(
                out,
                "            {}{line}: {}",
                fault.file.escape_debug(),
                fault.what
            )?;
        }
        let told = report
            .told
            .iter()
            .filter(|fault| fault.check == check)
            .count() as u64;
        let more = report.faults.get(&check).map_or(0, |count| count - told);
        if more > 0 {
            writeln!(out, "            … and {more} more")?;
        }
    }
    if let Some(tokens) = &report.tokens {
        writeln!(
            out,
            "{} tokens under {}: {} in all, the longest row {}; {} over {}",
            plural(report.rows, "row"),
            tokens.model,
            tokens.total,
            tokens.longest,
            plural(tokens.over, "row"),
            tokens.limit
        )?;
    }
    Ok(())
}
