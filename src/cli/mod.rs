//! The command line: the only module that prints.

mod agreement;
mod args;
mod backend;
mod chains;
mod compare;
mod constitution;
mod diff;
mod drafts;
mod dry_run;
mod endpoint;
mod eval;
mod exit;
mod export;
mod gate;
mod job;
mod judge;
mod label;
mod log;
mod lora;
mod ls;
mod measure;
mod model;
mod pager;
mod progress;
mod push;
mod render;
mod report;
mod reproduce;
mod run;
mod runs;
mod score;
mod shell;
mod show;
mod signals;
mod stats;
mod stdout;
mod tasks;
mod text;
mod verify;
mod view;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use exit::Exit;

/// Draft, criticise and revise with a local model, under a written constitution.
#[derive(Debug, Parser)]
#[command(name = "amend", version, about, long_about = None, propagate_version = true)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: Global,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Log more to stderr; twice for llama.cpp's own log
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Print the devices that can compute, and exit
    #[arg(long)]
    list_devices: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = clap::ColorChoice::Auto, value_name = "WHEN")]
    color: clap::ColorChoice,
}

/// Where the store is.
#[derive(Debug, Clone, Args)]
pub struct DbArg {
    /// The SQLite file that holds runs and chains
    #[arg(long, default_value = "amend.db", value_name = "FILE")]
    pub db: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run prompts through draft, critique and revision
    Run(Box<run::RunArgs>),
    /// Continue an interrupted run
    Resume(run::ResumeArgs),
    /// List the runs in a store
    Runs(runs::Args),
    /// List chains
    Ls(ls::Args),
    /// Show chains with the diff of every revision
    Show(show::Args),
    /// What happened in a run, in order; also while it goes on
    Log(log::Args),
    /// Accept, reject, edit, comment on chains, and agree with verdicts
    Label(label::Args),
    /// Look at chains in a browser, and label them
    View(view::Args),
    /// Write a report: the viewer as one file, or a summary in Markdown
    Report(report::Args),
    /// Figures per principle and per run
    Stats(stats::Args),
    /// Where people and verdicts agree, per principle
    Agreement(agreement::Args),
    /// Compare two runs over the same prompts, chain by chain
    Compare(compare::Args),
    /// Write, check, test and compare constitutions
    Constitution(constitution::Args),
    /// Say which of two texts of a chain is better
    Judge(Box<judge::Args>),
    /// Decide which texts and pairs are worth learning from
    Gate(gate::Args),
    /// Measure what an adapter changes: violations, refusals, drift
    Eval(Box<eval::Args>),
    /// Write a fine-tuning dataset
    Export(export::Args),
    /// Check a dataset that was written
    Verify(verify::Args),
    /// Upload a dataset to the Hugging Face Hub
    Push(push::Args),
    /// Inspect and fetch models
    Model(model::Args),
    /// Tell how likely a model thinks given texts
    Score(score::Args),
    /// Print the text that a model would see
    Render(render::Args),
    /// Print a completion script for a shell
    Completions(shell::CompletionsArgs),
    /// Write man pages
    Man(shell::ManArgs),
}

/// Parses the arguments, runs the command, and reports its error.
pub fn main() -> ExitCode {
    let args = args::normalise(std::env::args_os());
    // Like --version, it needs no command.
    let mut options = args.iter().take_while(|arg| *arg != "--");
    if options.any(|arg| arg == "--list-devices") {
        return match shell::list_devices() {
            Ok(exit) => exit.into(),
            Err(error) => exit::report(&error),
        };
    }
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => error.exit(),
        // Help and version are output like any other.
        Err(help) => {
            return match stdout::or_closed(help.print().map_err(stdout::unwritten)) {
                Ok(()) => Exit::Done.into(),
                Err(error) => exit::report(&error.into()),
            };
        }
    };
    match cli.dispatch() {
        Ok(exit) => exit.into(),
        Err(error) => exit::report(&error),
    }
}

impl Cli {
    fn dispatch(self) -> anyhow::Result<Exit> {
        self.global.apply();
        match self.command {
            Command::Run(args) => run::run(*args),
            Command::Resume(args) => run::resume(args),
            Command::Runs(args) => runs::run(args),
            Command::Ls(args) => ls::run(args),
            Command::Show(args) => show::run(args),
            Command::Log(args) => log::run(args),
            Command::Label(args) => label::run(args),
            Command::View(args) => view::run(args),
            Command::Report(args) => report::run(args),
            Command::Stats(args) => stats::run(args),
            Command::Agreement(args) => agreement::run(args),
            Command::Compare(args) => compare::run(args),
            Command::Constitution(args) => constitution::run(args),
            Command::Judge(args) => judge::run(*args),
            Command::Gate(args) => gate::run(args),
            Command::Eval(args) => eval::run(*args),
            Command::Export(args) => export::run(args),
            Command::Verify(args) => verify::run(args),
            Command::Push(args) => push::run(args),
            Command::Model(args) => model::run(args),
            Command::Score(args) => score::run(args),
            Command::Render(args) => render::run(args),
            Command::Completions(args) => shell::completions(args),
            Command::Man(args) => shell::man(args),
        }
    }
}

impl Global {
    fn apply(&self) {
        match self.color {
            clap::ColorChoice::Always => anstream::ColorChoice::Always.write_global(),
            clap::ColorChoice::Never => anstream::ColorChoice::Never.write_global(),
            clap::ColorChoice::Auto => {}
        }
        let level = match self.verbose {
            0 => "warn,llama-cpp-2=error",
            1 => "info,llama-cpp-2=warn",
            _ => "debug",
        };
        let filter = tracing_subscriber::EnvFilter::try_from_env("AMEND_LOG")
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
        let stderr = anstream::AutoStream::choice(&std::io::stderr());
        // A second subscriber in one process (as in tests) is refused, and the first one stays.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(stderr != anstream::ColorChoice::Never)
            .without_time()
            .with_target(false)
            // Where stderr takes nothing, there is nobody to tell, and telling them anyhow would panic.
            .log_internal_errors(false)
            .try_init();
    }
}
