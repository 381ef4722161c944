//! `amend constitution schema`.

use super::print_data;
use crate::cli::Exit;
use crate::constitution::schema_text;

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  amend constitution schema > schema.json

The schema is in draft-07. An editor with the YAML language server uses it where the first line of a file is
  # yaml-language-server: $schema=./schema.json")]
pub struct Args {}

/// Runs the command.
pub fn run(_: Args) -> anyhow::Result<Exit> {
    print_data(&schema_text())?;
    Ok(Exit::Done)
}
