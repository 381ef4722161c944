//! `amend constitution export`.

use std::path::PathBuf;

use anyhow::anyhow;

use super::write;
use crate::cli::Exit;
use crate::cli::exit::{say, usage};
use crate::cli::text::{plural, sanitize};
use crate::constitution::interchange::{Shape, export};
use crate::constitution::load;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend constitution export hhh --to langchain > principles.json
  amend constitution export mine.yaml --to anthropic-2022 -o mine.json

Active principles with a critique are written. What the shape cannot hold is named on stderr.")]
pub struct Args {
    /// A file, or the name of a shipped constitution
    #[arg(value_name = "FILE")]
    file: String,
    /// The shape to write
    #[arg(long, value_enum, value_name = "SHAPE")]
    to: Shape,
    /// Where to write the JSON; `-` is stdout
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Replace the file to write when it exists
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let loaded = load(&args.file).map_err(usage)?;
    let exported = export(args.to, &loaded.resolved.constitution);
    let file = &args.file;
    for note in &exported.notes {
        say(&sanitize(&format!("{file}: {note}")));
    }
    if exported.principles == 0 {
        let shape = args.to.as_str();
        return Err(usage(anyhow!(
            "{file}: no principle can be written as {shape}; one must be active and have a critique"
        )));
    }
    write(&args.output, &exported.json, args.force)?;
    if args.output.as_os_str() != "-" {
        let output = args.output.display();
        let principles = plural(exported.principles as u64, "principle");
        say(&format!("wrote {output}: {principles}"));
    }
    Ok(Exit::Done)
}
