//! `amend constitution`: writing, checking and comparing constitutions.

mod coverage;
mod diff;
mod export;
mod fmt;
mod import;
mod lint;
mod new;
mod schema;
mod show;
mod stress;
mod test;
mod trial;
mod try_out;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use clap::Subcommand;

use super::exit::usage;
use super::{Exit, stdout};
use crate::constitution::MAX_BYTES;

pub use stress::PROMPTS as STRESS_PROMPTS;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend constitution new house-style      write a commented starter file
  amend constitution lint house-style.yaml
  amend constitution test house-style.yaml
  amend constitution schema > schema.json for editors that check YAML")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a commented file to begin with
    New(new::Args),
    /// Look for mistakes, and for what probably does not do what is meant
    Lint(lint::Args),
    /// Lay files out as all files are laid out
    Fmt(fmt::Args),
    /// Show the resolved form, and where each field was written
    Show(show::Args),
    /// Compare two constitutions, principle by principle
    Diff(diff::Args),
    /// Make a constitution of another program's JSON
    Import(import::Args),
    /// Write a constitution as another program's JSON
    Export(export::Args),
    /// Print the JSON Schema of constitution files
    Schema(schema::Args),
    /// Run the tests of principles and report how well the model judges
    Test(Box<test::Args>),
    /// Try one principle on a prompt: verdict, critique, revision
    Try(Box<try_out::Args>),
    /// Look for principles that pull apart
    Stress(Box<stress::Args>),
    /// What the principles did in runs: which fire, which never do, which undo each other
    Coverage(coverage::Args),
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    match args.command {
        Command::New(args) => new::run(args),
        Command::Lint(args) => lint::run(args),
        Command::Fmt(args) => fmt::run(args),
        Command::Show(args) => show::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Import(args) => import::run(args),
        Command::Export(args) => export::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Test(args) => test::run(*args),
        Command::Try(args) => try_out::run(*args),
        Command::Stress(args) => stress::run(*args),
        Command::Coverage(args) => coverage::run(args),
    }
}

/// Prints a text to stdout, with colour only where that can be shown. A reader that goes away changes nothing
/// about how a command ends.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = stdout::styled();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(stdout::or_closed(printed)?)
}

/// Prints what a program is to read, byte for byte: where colour cannot be shown, the other one takes out more
/// than styles. A reader that goes away changes nothing about how a command ends.
fn print_data(text: &str) -> anyhow::Result<()> {
    let mut out = stdout::raw();
    let printed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(stdout::or_closed(printed)?)
}

/// Reads a text of at most [`MAX_BYTES`], from stdin for `-`.
fn read(file: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    // One byte more than is allowed tells that there is more.
    let limit = MAX_BYTES as u64 + 1;
    let read = match file {
        "-" => io::stdin().lock().take(limit).read_to_end(&mut bytes),
        file => File::open(file).and_then(|f| f.take(limit).read_to_end(&mut bytes)),
    };
    read.with_context(|| format!("{file} cannot be read"))?;
    if bytes.len() > MAX_BYTES {
        bail!("{file} is larger than {MAX_BYTES} bytes; split it");
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        anyhow!("{file}:{line}: the text is not UTF-8 here; save the file as UTF-8")
    })
}

/// Writes a file, or stdout for `-`. An existing file is replaced only when `force` is set.
fn write(path: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    if path.as_os_str() == "-" {
        return print_data(text);
    }
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let named = |error: io::Error| {
        let path = path.display();
        match error.kind() {
            io::ErrorKind::AlreadyExists => usage(anyhow!(
                "{path} exists already; give another name, or --force to replace it"
            )),
            io::ErrorKind::NotFound => usage(anyhow!(
                "{path} cannot be written: its folder does not exist; make the folder first"
            )),
            _ => anyhow::Error::new(error).context(format!("{path} cannot be written")),
        }
    };
    let mut file = options.open(path).map_err(named)?;
    file.write_all(text.as_bytes()).map_err(named)
}
