//! `amend constitution import`.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::{read, write};
use crate::cli::Exit;
use crate::cli::exit::{say, usage};
use crate::cli::text::{plural, sanitize};
use crate::constitution::interchange::{Shape, import};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend constitution import --from anthropic-2022 CritiqueRevisionInstructions.json > paper.yaml
  amend constitution import --from langchain principles.json -o principles.yaml

What of the file has no place in a constitution is named on stderr.")]
pub struct Args {
    /// The file; `-` is stdin
    #[arg(value_name = "FILE")]
    file: String,
    /// The shape of the file
    #[arg(long, value_enum, value_name = "SHAPE")]
    from: Shape,
    /// The name of the constitution [default: the file's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where to write the YAML; `-` is stdout
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Replace the file to write when it exists
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let file = &args.file;
    let text = read(file).map_err(usage)?;
    let name = args.name.clone().unwrap_or_else(|| match file.as_str() {
        "-" => "imported".to_owned(),
        file => {
            let stem = Path::new(file).file_stem().unwrap_or_default();
            stem.to_string_lossy().into_owned()
        }
    });
    if name.trim().is_empty() {
        return Err(usage(anyhow!(
            "--name is empty; give the constitution a name"
        )));
    }
    let imported = import(args.from, &text, &name);
    let imported = imported.map_err(|error| usage(anyhow!("{file}:{error}")))?;
    for note in &imported.notes {
        say(&sanitize(&format!("{file}: {note}")));
    }
    write(&args.output, &imported.yaml, args.force)?;
    if args.output.as_os_str() != "-" {
        let output = args.output.display();
        let principles = plural(imported.principles as u64, "principle");
        say(&format!("wrote {output}: {principles}"));
    }
    Ok(Exit::Done)
}
